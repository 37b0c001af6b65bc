/*
 * simcam - a simulated camera.
 *
 * It stands in for the telescope in tests and demonstrations: it writes raw exposures like DECam's into a directory, at a cadence
 * if asked, in the ways a real writer may show a file to a watcher. An exposure is an empty primary HDU with the
 * exposure's keywords and one unsigned 16-bit image extension for each CCD, plain or tile-compressed as fpack does it.
 * The stars come from a fixed synthetic sky (sky.h) through the header's own WCS (optics.h); light, detector and readout are
 * modelled in scene.h and detector.h; camera.h is the instrument, plan.h what is observed, deliver.h how a file appears. Every
 * byte follows from the arguments alone. `simcam --help` lists them, with examples.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "expose.h"
#include "hdu.h"
#include "options.h"
#include "say.h"
#include "when.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const double readout_seconds = 20.483261;        /* from the end of one exposure to the start of the next */

/* Make the directories of a path below base, which must exist. */
static int
make_subdirectories(const char *base, char *path)
{
    for (char *p = path + strlen(base) + 1; *p != '\0';) {
        char *slash = p + strcspn(p, "/");
        const char kept = *slash;

        *slash = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST) {
            complain("cannot make %s: %s", path, strerror(errno));
            return -1;
        }
        *slash = kept;
        p = slash + (kept == '/');
    }
    return 0;
}

/* The directory must be there, so that a typing error does not fill another disk; only --subdir is made. */
static int
prepare_directory(struct options *o)
{
    struct stat st;

    if (stat(o->out, &st) != 0 || !S_ISDIR(st.st_mode)) {
        complain("--out %s: no such directory", o->out);
        return -1;
    }
    return o->subdir == NULL ? 0 : make_subdirectories(o->out, o->directory);
}

/* Start the truth file; stars are added as the CCDs are written, also those of an exposure that is then abandoned. */
static FILE *
open_truth(const char *path)
{
    FILE *truth = fopen(path, "we");

    if (truth == NULL || fputs(expose_truth_heading, truth) < 0) {
        complain("cannot write %s: %s", path, strerror(errno));
        if (truth != NULL)
            (void)fclose(truth);
        return NULL;
    }
    return truth;
}

/* The plan's time, else the command line's, else what is usual for the kind. */
static double
exposure_seconds(const struct options *o, const struct plan_item *item)
{
    static const double usual[] = {20.0, 10.0, 0.0};

    if (item->kind == EXPOSURE_BIAS)
        return 0.0;
    if (item->exptime >= 0.0)
        return item->exptime;
    return o->exptime > OPTIONS_UNSET ? o->exptime : usual[item->kind];
}

/* Where the telescope points: at the field, or for a calibration at the zenith; and where its header says it does. */
static void
point(const struct options *o, const struct plan_item *item, struct exposure *e)
{
    const double towards = 2.0 * M_PI * (double)(rng_hash((uint64_t)o->seed, (uint64_t)e->number) >> 11) * 0x1.0p-53;
    const double off = o->pointing_error / 3600.0;

    e->ra = item->kind == EXPOSURE_OBJECT ? item->ra : when_sidereal(e->start);
    e->dec = item->kind == EXPOSURE_OBJECT ? item->dec : when_latitude;
    e->header_dec = fmax(-90.0, fmin(90.0, e->dec + off * sin(towards)));
    e->header_ra = fmod(e->ra + off * cos(towards) / fmax(0.01, cos(e->dec * M_PI / 180.0)) + 360.0, 360.0);
    optics_init(&e->optics, e->ra, e->dec, CAMERA_PIXEL_ARCSEC, o->wcs == WCS_TPV);
}

/* Everything about the exposure that the plan item and the options decide. */
static void
set_exposure(const struct options *o, const struct plan_item *item, struct exposure *e)
{
    e->kind = item->kind;
    e->object = item->object;
    e->observer = o->observer;
    e->propid = o->propid;
    e->filter = item->filter;
    e->exptime = exposure_seconds(o, item);
    e->seeing_arcsec = o->seeing;
    e->sky_adu = o->sky > OPTIONS_UNSET ? o->sky : item->filter->sky_rate * e->exptime;
    e->tpv = o->wcs == WCS_TPV;
    e->checksum = !o->no_checksum;
    e->compress = o->format == FORMAT_FZ && !e->single;
    point(o, item, e);
}

/* Expose until the count is reached or a stop asked for; 0 or -1. */
static int
observe(const struct options *o, const struct expose_options *how, struct exposure *e)
{
    const int64_t begin = halt_now();
    char root[OPTIONS_ROOT];
    int result = 0;

    for (long i = 0; result == 0 && (o->count == 0 || i < o->count); i++) {
        const struct plan_item *item = plan_at(&o->plan, i);

        if (halt_wait(how->halt, begin + llround((double)i * o->cadence * 1e6)))
            break;
        e->number = o->expnum + (e->single ? 2 * i : i);
        options_file_root(o, e->number, root);
        e->root = root;
        set_exposure(o, item, e);
        result = expose(how, e);
        e->start += llround((e->exptime + readout_seconds) * (double)WHEN_SECOND);
    }
    return result < 0 ? -1 : 0;
}

static int
run(struct options *o)
{
    struct normal_table *normal = malloc(sizeof(*normal));
    struct halt halt = {-1, -1};
    struct expose_options how = {.threads = (int)o->threads, .halt = &halt, .quiet = o->quiet,
        .deliver = {o->directory, (enum deliver_style)o->style, o->write_seconds, o->force}};
    struct exposure e = {.start = o->start, .normal = normal};
    int result = -1;

    if (normal == NULL || hdu_start() != 0 || halt_open(&halt) != 0) {
        complain("cannot start: %s", strerror(errno));
        goto out;
    }
    if (prepare_directory(o) != 0 || (o->truth != NULL && (how.truth = open_truth(o->truth)) == NULL))
        goto out;
    normal_table_init(normal);
    camera_init(&e.camera, o->width, o->height, (int)o->ccds, (uint64_t)o->seed);
    e.single = o->layout == LAYOUT_HSC;
    e.camera.dead_ccd = (int)o->dead_ccd;
    result = observe(o, &how, &e);
out:
    if (how.truth != NULL && fclose(how.truth) != 0)
        result = -1;
    halt_close(&halt);
    free(normal);
    return result;
}

int
main(int argc, char *argv[])
{
    struct options o;
    int status = EXIT_USAGE;

    if (options_parse(&o, argc, argv) != 0)
        (void)fputs("simcam --help explains every option\n", stderr);
    else if (o.help) {
        options_help(stdout);
        status = EXIT_OK;
    } else
        status = run(&o) == 0 ? EXIT_OK : EXIT_FAILED;
    options_free(&o);
    return status;
}
