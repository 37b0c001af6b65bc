/* codec-bench: one ccd through one row of the codec table and back, as the agents would do
 * it. Prints one line of JSON: bytes, ratio, rms and largest error, and the thread's CPU
 * seconds to load the HDU from memory (of a .fits.fz: to decode its tiles), to encode and to
 * decode (the best of --repeat). With --ratio it searches the step that gives the wanted ratio.
 * For the scripts of this folder. */
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/fidelity.h"
#include "common/fsutil.h"

static const char usage[] =
    "usage: codec-bench [option ...] FITS\n"
    "  --hdu N            which HDU, 0 the primary [the first with an image]\n"
    "  --method NAME      row of the codec table [htj2k]\n"
    "  --set KEY=VALUE    a field of struct codec_options; repeatable\n"
    "  --ratio R          search the step for this ratio of 16-bit pixels to bytes\n"
    "  --search KEY,...   the step: fields that the search scales together [steps by the ladder,\n"
    "                     as the agents have them, from the frame's measured sky noise]\n"
    "  --repeat N         time the best of N [1]\n"
    "  --decoded FILE     write the decoded ccd as a FITS file\n"
    "  --member FILE      write the compressed bytes\n"
    "  --list             print each method and whether it can be lossy, nothing else\n";

/* ---- the codec's options by name: a new field of struct codec_options is a row here ---- */

struct field {
    const char *key;
    enum { A_REAL, A_INT, A_BOOL } type;
    size_t offset;
};
static const struct field fields[] = {
    {"qstep", A_REAL, offsetof(struct codec_options, qstep)},
    {"step0", A_REAL, offsetof(struct codec_options, step[0])},
    {"step1", A_REAL, offsetof(struct codec_options, step[1])},
    {"step2", A_REAL, offsetof(struct codec_options, step[2])},
    {"offset", A_INT, offsetof(struct codec_options, offset)},
    {"q", A_REAL, offsetof(struct codec_options, q)},
    {"noise", A_REAL, offsetof(struct codec_options, noise)},
    {"reversible", A_BOOL, offsetof(struct codec_options, reversible)},
};

static const struct field *find_field(const char *key, size_t len)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strlen(fields[i].key) == len && strncmp(fields[i].key, key, len) == 0)
            return &fields[i];
    return NULL;
}

static void *field_at(struct codec_options *o, const struct field *f)
{
    return (unsigned char *)o + f->offset;
}

/* "KEY=VALUE" */
static bool set_field(struct codec_options *o, const char *pair)
{
    const char *equals = strchr(pair, '=');
    const struct field *f = equals ? find_field(pair, (size_t)(equals - pair)) : NULL;
    char *end;
    double number = equals ? strtod(equals + 1, &end) : 0;
    if (!f || end == equals + 1 || *end)
        return false;
    if (f->type == A_REAL)
        *(double *)field_at(o, f) = number;
    else if (f->type == A_INT)
        *(int *)field_at(o, f) = (int)number;
    else
        *(bool *)field_at(o, f) = number != 0;
    return true;
}

/* The real fields that a "KEY,KEY" list names, at most `room`; 0 when one is no real field. */
static size_t find_steps(const char *list, const struct field **found, size_t room)
{
    size_t n = 0, len;
    for (const char *p = list; *p && n < room; p += len + (p[len] == ',')) {
        len = strcspn(p, ",");
        const struct field *f = find_field(p, len);
        if (!f || f->type != A_REAL)
            return 0;
        found[n++] = f;
    }
    return n;
}

/* ---- one trip ---- */

struct bench {
    const char *file, *decoded, *member, *search;
    int hdu, repeat;
    double ratio; /* 0: no search */
    struct codec_options options;
    const struct field *step[8]; /* what the search scales, step_count of them */
    size_t step_count;           /* 0: the ladder decides */
    struct sky sky;              /* for the ladder */
    const struct codec *codec;
    struct fits_image img, got;
    struct buf bytes;
    double load_s, encode_s, decode_s;
};

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The least of the runs so far; `run` counts from 0. */
static void keep_best(double *best, double took, int run)
{
    *best = run == 0 || took < *best ? took : *best;
}

static enum status load(struct bench *b, struct fault *why)
{
    struct fits_file f = {0};
    struct buf hdu = {0};
    int fd = open(b->file, O_RDONLY | O_CLOEXEC);
    enum status st = fd < 0 ? fault_errno(why, ST_REJECT, "%s", b->file) : fits_scan(fd, &f, why);
    if (st != ST_OK)
        goto out;
    size_t n = b->hdu >= 0 ? (size_t)b->hdu : 0;
    while (b->hdu < 0 && n < f.count && f.hdu[n].kind != FITS_IMAGE && f.hdu[n].kind != FITS_TILED)
        n++;
    if (n >= f.count) {
        st = fault(why, ST_REJECT, "%s: no such image HDU", b->file);
        goto out;
    }
    st = fits_read_hdu(fd, &f.hdu[n], &hdu, why);
    for (int i = 0; i < b->repeat && st == ST_OK; i++) {
        fits_image_free(&b->img);
        b->img = (struct fits_image){0};
        double start = cpu_now();
        st = fits_image_load(hdu.data, hdu.len, &b->img, why);
        keep_best(&b->load_s, cpu_now() - start, i);
    }
out:
    buf_free(&hdu);
    fits_file_free(&f);
    if (fd >= 0)
        close(fd);
    return st;
}

static enum status encode(struct bench *b, struct fault *why)
{
    for (int i = 0; i < b->repeat; i++) {
        b->bytes.len = 0;
        double start = cpu_now();
        enum status st = b->codec->encode(&b->img, &b->options, &b->bytes, why);
        double took = cpu_now() - start;
        if (st != ST_OK)
            return st;
        keep_best(&b->encode_s, took, i);
    }
    return ST_OK;
}

static enum status decode(struct bench *b, struct fault *why)
{
    for (int i = 0; i < b->repeat; i++) {
        fits_image_free(&b->got);
        b->got = (struct fits_image){0};
        if (!b->codec->has_header && !fits_header_copy(&b->got.header, &b->img.header))
            return fault(why, ST_RETRY, "out of memory");
        double start = cpu_now();
        enum status st = codec_decode(b->codec, b->bytes.data, b->bytes.len, &b->got, why);
        double took = cpu_now() - start;
        if (st != ST_OK)
            return st;
        keep_best(&b->decode_s, took, i);
    }
    return ST_OK;
}

static double pixel_count(const struct fits_image *img)
{
    return (double)img->size / (abs(img->bitpix) / 8);
}

/* 16-bit pixels to bytes: whatever the camera's own depth, as all tables here have it. */
static double ratio_of(const struct bench *b)
{
    return 2.0 * pixel_count(&b->img) / (double)b->bytes.len;
}

static enum status measure_sky(struct bench *b, struct fault *why)
{
    struct camera camera;
    struct regions regions;
    struct config_report r = {0};
    memset(&camera, 0, sizeof camera);
    config_load(NULL, camera_settings, &camera, &r); /* the default keys */
    enum status st = regions_read(&camera, &b->img, &regions, why);
    return st == ST_OK ? sky_measure(&b->img, &regions, &b->sky) : st;
}

/* Sets every step to `factor` times what it was at the start, or goes to that rung. */
static void scale_steps(struct bench *b, const struct codec_options *start, double factor)
{
    struct codec_options was = *start;
    if (b->step_count == 0) {
        struct fidelity f = {.ratio = b->ratio, .pace = 1};
        snprintf(f.method, sizeof f.method, "%s", was.method);
        fidelity_options(&f, b->ratio * factor, &b->sky, b->img.bitpix, &b->options);
        b->options.method = was.method;
        return;
    }
    for (size_t i = 0; i < b->step_count; i++)
        *(double *)field_at(&b->options, b->step[i]) =
            factor * *(double *)field_at(&was, b->step[i]);
}

/* The step for the wanted ratio, within half a percent: secants of log ratio over log step,
 * which is nearly straight, kept inside the bracket that earlier steps left. */
static enum status search(struct bench *b, struct fault *why)
{
    const struct codec_options start = b->options;
    double goal = log(b->ratio), low = -12, high = 12, last_x = NAN, last_y = NAN;
    double x = 0, y = NAN, slope = 0.8;
    int repeat = b->repeat;
    enum status st = ST_OK;
    b->repeat = 1;
    for (int i = 0; i < 40 && high - low > 1e-6; i++) {
        scale_steps(b, &start, exp(x));
        if (!b->codec->accepts(&b->img, &b->options)) {
            high = x; /* a step beyond what the codec takes */
            x = 0.5 * (fmax(low, x - 1) + high);
            continue;
        }
        if ((st = encode(b, why)) != ST_OK)
            break;
        y = log(ratio_of(b)) - goal;
        if (fabs(y) < 0.005)
            break;
        *(y < 0 ? &low : &high) = x;
        if (fabs(x - last_x) > 1e-9 && (y - last_y) / (x - last_x) > 0.05)
            slope = (y - last_y) / (x - last_x);
        last_x = x;
        last_y = y;
        double next = x - fmax(-2, fmin(2, y / slope));
        x = next > low && next < high ? next : 0.5 * (low + high);
    }
    b->repeat = repeat;
    if (st == ST_OK && !(fabs(y) <= 0.01))
        st = fault(why, ST_REJECT, "no %s gives %.4g:1 within 1 %%; the last gave %.4g:1",
                   b->search ? b->search : "rung of the ladder",
                   b->ratio, b->bytes.len ? ratio_of(b) : NAN);
    return st;
}

/* ---- what came of it ---- */

static double value_at(const struct fits_image *img, size_t i)
{
    return fits_stored_value(img->data + i * ((size_t)abs(img->bitpix) / 8), img->bitpix);
}

static void report(struct bench *b)
{
    size_t n = (size_t)pixel_count(&b->img);
    double step = codec_qstep(b->codec, &b->options, b->bytes.data, b->bytes.len);
    double sum = 0, worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs(value_at(&b->img, i) - value_at(&b->got, i));
        worst = fmax(worst, d);
        sum += d * d;
    }
    printf("{\"method\": \"%s\", \"step\": %.6g, \"pixels\": %zu, \"bytes\": %zu, \"ratio\": %.4f, "
           "\"rms\": %.5f, \"max\": %g, \"load_s\": %.4f, \"encode_s\": %.4f, "
           "\"decode_s\": %.4f}\n",
           b->codec->name, step, n, b->bytes.len, ratio_of(b),
           sqrt(sum / (double)n), worst, b->load_s, b->encode_s, b->decode_s);
}

static enum status save(const char *path, const struct buf *bytes, struct fault *why)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || fs_write_all(fd, bytes->data, bytes->len) != 0 || close(fd) != 0)
        return fault_errno(why, ST_RETRY, "cannot write %s", path);
    return ST_OK;
}

static enum status run(struct bench *b, struct fault *why)
{
    struct buf file = {0};
    enum status st = load(b, why);
    if (st != ST_OK)
        return st;
    int depth = abs(b->img.bitpix);
    if (depth > 32 || pixel_count(&b->img) < 1)
        return fault(why, ST_REJECT, "%s: no pixels of 8, 16 or 32 bits", b->file);
    if (b->ratio > 0)
        st = measure_sky(b, why);
    if (b->ratio > 0 && st == ST_OK)
        st = search(b, why);
    else if (b->ratio <= 0 && !b->codec->accepts(&b->img, &b->options))
        st = fault(why, ST_REJECT, "%s does not accept this image with these options",
                   b->codec->name);
    if (st == ST_OK && (b->ratio <= 0 || b->repeat > 1))
        st = encode(b, why);
    if (st == ST_OK)
        st = decode(b, why);
    if (st == ST_OK && b->member)
        st = save(b->member, &b->bytes, why);
    if (st == ST_OK && b->decoded && (st = fits_image_file(NULL, &b->got, NULL, &file, why)) == ST_OK)
        st = save(b->decoded, &file, why);
    buf_free(&file);
    return st;
}

static void list(void)
{
    for (const struct codec *const *c = codec_all(); *c; c++)
        printf("%s %s\n", (*c)->name, (*c)->lossy_possible ? "lossy" : "lossless");
}

/* What the options name must exist. */
static bool resolve(struct bench *b)
{
    b->codec = codec_find(b->options.method);
    b->step_count = !b->search ? 0 : find_steps(b->search, b->step, sizeof b->step / sizeof *b->step);
    if (!b->codec)
        fprintf(stderr, "codec-bench: no codec is called %s\n", b->options.method);
    else if (b->search && b->step_count == 0)
        fprintf(stderr, "codec-bench: --search %s: no such real field\n", b->search);
    return b->codec && (!b->search || b->step_count > 0);
}

static bool parse(struct bench *b, int argc, char **argv)
{
    static const struct option rows[] = {
        {"hdu", 1, NULL, 'h'},     {"method", 1, NULL, 'm'}, {"set", 1, NULL, 's'},
        {"ratio", 1, NULL, 'r'},   {"search", 1, NULL, 'k'}, {"repeat", 1, NULL, 'n'},
        {"decoded", 1, NULL, 'd'}, {"member", 1, NULL, 'o'}, {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", rows, NULL)) != -1)
        switch (c) {
        case 'h': b->hdu = (int)strtol(optarg, NULL, 10); break;
        case 'm': b->options.method = optarg; break;
        case 'r': b->ratio = strtod(optarg, NULL); break;
        case 'k': b->search = optarg; break;
        case 'n': b->repeat = (int)strtol(optarg, NULL, 10); break;
        case 'd': b->decoded = optarg; break;
        case 'o': b->member = optarg; break;
        case 's':
            if (set_field(&b->options, optarg))
                break;
            fprintf(stderr, "codec-bench: --set %s: no such field, or no number\n", optarg);
            return false;
        default: return false;
        }
    b->file = optind == argc - 1 ? argv[optind] : NULL;
    return b->file && b->repeat > 0 && b->ratio >= 0 && resolve(b);
}

int main(int argc, char **argv)
{
    struct bench b = {.hdu = -1, .repeat = 1,
                      .options = {.method = "htj2k", .qstep = 3e-5}};
    struct fault why = {0};
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list();
        return EXIT_DONE;
    }
    if (!parse(&b, argc, argv)) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    enum status st = run(&b, &why);
    if (st == ST_OK)
        report(&b);
    else
        fprintf(stderr, "codec-bench: %s\n", why.text);
    fits_image_free(&b.img);
    fits_image_free(&b.got);
    buf_free(&b.bytes);
    return st == ST_OK ? EXIT_DONE : EXIT_FAILED;
}
