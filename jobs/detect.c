#include "jobs/detect.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fsutil.h"

#define MAX_CATALOGUE ((size_t)64 << 20)
#define PATH_SIZE 4096
#define FAINT_SNR 10  /* counted as a star */
#define BRIGHT_SNR 50 /* its width is the seeing's */

extern char **environ;

bool detect_find(char *path, size_t size)
{
    static const char *const names[] = {"source-extractor", "sex"};
    const char *list = getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (const char *p = list; *p;) {
            size_t len = strcspn(p, ":");
            snprintf(path, size, "%.*s/%s", (int)len, p, names[i]);
            if (access(path, X_OK) == 0)
                return true;
            p += len + (p[len] == ':');
        }
    }
    return false;
}

/* The files of one run, all below the scratch directory. */
struct run {
    char image[PATH_SIZE], params[PATH_SIZE], config[PATH_SIZE], catalogue[PATH_SIZE];
};

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool ok = fd >= 0 && fs_write_all(fd, text, strlen(text)) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static enum status prepare(struct run *r, const struct frame *f, double noise,
                           const char *scratch, struct fault *why)
{
    int pid = (int)getpid();
    snprintf(r->image, sizeof r->image, "%s/measure.%d.fits", scratch, pid);
    snprintf(r->params, sizeof r->params, "%s/measure.%d.param", scratch, pid);
    snprintf(r->config, sizeof r->config, "%s/measure.%d.sex", scratch, pid);
    snprintf(r->catalogue, sizeof r->catalogue, "%s/measure.%d.cat", scratch, pid);
    struct buf config = {0};
    bool ok = buf_printf(&config,
                         "CATALOG_NAME %s\nCATALOG_TYPE ASCII\nPARAMETERS_NAME %s\n"
                         "FILTER N\nDETECT_MINAREA 5\nTHRESH_TYPE ABSOLUTE\n"
                         "DETECT_THRESH %.4f\nANALYSIS_THRESH %.4f\nSATUR_KEY NONE\n"
                         "SATUR_LEVEL %.1f\nBACK_SIZE 128\nVERBOSE_TYPE QUIET\n",
                         r->catalogue, r->params, 1.5 * noise, 1.5 * noise,
                         isfinite(f->saturation) ? f->saturation : 1e30) &&
              write_text(r->config, (const char *)config.data) &&
              write_text(r->params, "FLUX_AUTO\nFLUXERR_AUTO\nFWHM_IMAGE\nELLIPTICITY\nFLAGS\n");
    buf_free(&config);
    if (!ok)
        return fault_errno(why, ST_RETRY, "cannot write scratch files below %s", scratch);
    return frame_save(f, r->image, why);
}

static enum status execute(const char *program, const struct run *r, struct fault *why)
{
    char *argv[] = {(char *)program, (char *)r->image, (char *)"-c", (char *)r->config, NULL};
    pid_t pid;
    int err = posix_spawn(&pid, program, NULL, NULL, argv, environ), status = 0;
    if (err) {
        errno = err;
        return fault_errno(why, ST_RETRY, "cannot start %s", program);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return fault_errno(why, ST_RETRY, "lost track of %s", program);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fault(why, ST_RETRY, "%s failed (%s %d); its words are in the job's err file", program,
                     WIFEXITED(status) ? "exit status" : "signal",
                     WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return ST_OK;
}

/* The widths of round, unflagged stars, faint and bright apart: noise widens the faint ones. */
struct widths {
    double *faint, *bright;
    size_t faint_count, bright_count, room;
};

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *v, size_t n)
{
    qsort(v, n, sizeof *v, ascending);
    return v[n / 2];
}

static bool widths_grow(struct widths *w)
{
    if (w->faint_count < w->room && w->bright_count < w->room)
        return true;
    size_t room = w->room ? 2 * w->room : 256;
    double *faint = realloc(w->faint, room * sizeof *faint);
    w->faint = faint ? faint : w->faint;
    double *bright = realloc(w->bright, room * sizeof *bright);
    w->bright = bright ? bright : w->bright;
    w->room = faint && bright ? room : w->room;
    return faint && bright;
}

/* One catalogue line; false only when memory is out. */
static bool take_line(const char *line, struct widths *w, struct stars *out)
{
    double flux, error, width, ellipticity;
    int flags;
    if (sscanf(line, "%lf %lf %lf %lf %d", &flux, &error, &width, &ellipticity, &flags) != 5)
        return true;
    double snr = error > 0 ? flux / error : 0;
    if (snr < FAINT_SNR || flags != 0)
        return true;
    out->count++;
    if (ellipticity > 0.3 || width <= 0.5) /* trailed, or a cosmic ray */
        return true;
    if (!widths_grow(w))
        return false;
    if (snr >= BRIGHT_SNR)
        w->bright[w->bright_count++] = width;
    else
        w->faint[w->faint_count++] = width;
    return true;
}

static enum status read_catalogue(const char *path, struct stars *out, struct fault *why)
{
    struct buf text = {0};
    struct widths w = {0};
    enum status st = fs_read_file(path, MAX_CATALOGUE, &text, why);
    if (st != ST_OK || !buf_append(&text, "", 1))
        goto out;
    for (char *save = NULL, *line = strtok_r((char *)text.data, "\n", &save); line && st == ST_OK;
         line = strtok_r(NULL, "\n", &save))
        if (!take_line(line, &w, out))
            st = fault(why, ST_RETRY, "out of memory");
    if (w.bright_count >= 3)
        out->fwhm = median_of(w.bright, w.bright_count);
    else if (w.faint_count >= 3)
        out->fwhm = median_of(w.faint, w.faint_count);
out:
    free(w.faint);
    free(w.bright);
    buf_free(&text);
    return st;
}

enum status detect_stars(const char *program, const struct frame *f, double noise,
                         const char *scratch, struct stars *out, struct fault *why)
{
    struct run r = {{0}, {0}, {0}, {0}};
    *out = (struct stars){.fwhm = NAN};
    enum status st = prepare(&r, f, noise, scratch, why);
    if (st == ST_OK)
        st = execute(program, &r, why);
    if (st == ST_OK)
        st = read_catalogue(r.catalogue, out, why);
    unlink(r.image);
    unlink(r.params);
    unlink(r.config);
    unlink(r.catalogue);
    return st;
}
