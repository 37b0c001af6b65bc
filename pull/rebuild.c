#include "pull/rebuild.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fits.h"
#include "common/log.h"
#include "common/fsutil.h"
#include "common/watch.h"
#include "pull/copying.h"
#include "pull/job_files.h"
#include "pull/part.h"
#include "pull/quality.h"

/* ---- the tree ---- */

/* Room for one more item of `size` bytes; NULL when memory is out. */
static void *one_more(void *items, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return items;
    size_t more = *room ? 2 * *room : 256;
    void *bigger = realloc(items, more * size);
    if (bigger)
        *room = more;
    return bigger;
}

bool rebuild_lossy_receipt(const char *exact_path, const struct receipt *exact,
                           struct receipt *lossy)
{
    static const char end[] = ".exact.tar";
    char path[PULL_PATH];
    struct fault none;
    size_t len = strlen(exact_path);
    if (!exact->exact || len <= strlen(end) || strcmp(exact_path + len - strlen(end), end) != 0)
        return false;
    return pull_text(path, sizeof path, "%.*s.tar", (int)(len - strlen(end)), exact_path) &&
           part_receipt(path, lossy, &none) == ST_OK && !lossy->exact &&
           strcmp(lossy->source_sha256, exact->source_sha256) == 0;
}

static void on_bundle(void *ctx, const char *path, enum watch_hint hint)
{
    struct tree *t = ctx;
    struct receipt r, lossy;
    struct fault why;
    (void)hint;
    void *bigger = one_more(t->bundles, t->bundle_count, &t->bundle_room, sizeof *t->bundles);
    char *rel = bigger ? strdup(path + strlen(t->s->root) + 1) : NULL;
    if (bigger)
        t->bundles = bigger;
    t->broken = t->broken || !rel;
    if (!rel)
        return;
    int64_t stored = part_receipt(path, &r, &why) == ST_OK ? r.stored_ns : INT64_MAX;
    /* In the place of the lossy one, and (by name) before it. */
    if (stored != INT64_MAX && rebuild_lossy_receipt(path, &r, &lossy))
        stored = lossy.stored_ns;
    t->bundles[t->bundle_count++] = (struct tree_bundle){rel, stored};
}

/* A damaged file must not be taken for a placed ccd: its sums are checked, all of it is read. */
static bool is_sound(int fd, const struct fits_hdu *hdu, const char *path)
{
    struct buf bytes = {0};
    struct fault why;
    enum status st = fits_read_hdu(fd, hdu, &bytes, &why);
    if (st == ST_OK)
        st = fits_check_sums(bytes.data, bytes.len, &why);
    buf_free(&bytes);
    if (st != ST_OK)
        log_error(AT(.stage = "rebuild"), "%s is damaged and not catalogued: %s; to make it anew: "
                  "remove it, then skyferry-pull reprocess --name its exposure", path, why.text);
    return st == ST_OK;
}

/* Fills in what the header says; false when the file is not one of ours, not whole, or damaged. */
static bool read_file(const char *path, struct tree_file *out)
{
    struct fits_file f = {0};
    struct fits_header h = {0};
    struct fault why;
    struct stat st;
    int64_t hdu = 0;
    bool ok = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    if (fstat(fd, &st) == 0 && fits_scan(fd, &f, &why) == ST_OK && f.count > 0 &&
        f.end == f.size && fits_read_header(fd, &f.hdu[0], &h, &why) == ST_OK)
        ok = fits_header_text(&h, "SFSHA", out->sha256, sizeof out->sha256) &&
             fits_header_int(&h, "SFHDU", &hdu) && digest_valid(out->sha256) &&
             is_sound(fd, &f.hdu[0], path);
    if (ok) {
        fits_header_text(&h, "DATASUM", out->datasum, sizeof out->datasum);
        fits_header_text(&h, "CHECKSUM", out->checksum, sizeof out->checksum);
        fits_header_text(&h, "SFCODEC", out->codec, sizeof out->codec);
        fits_header_real(&h, "SFQSTEP", &out->qstep);
        out->hdu = (int)hdu;
        out->size = st.st_size;
        out->mtime_ns = clock_ns(st.st_mtim);
    }
    fits_header_free(&h);
    fits_file_free(&f);
    close(fd);
    return ok;
}

bool tree_counts(const char *rel)
{
    static const char *const other[] = {"workspace/", "jobs/", "incoming/", "log/", "state/"};
    for (int i = 0; i < 5; i++)
        if (strncmp(rel, other[i], strlen(other[i])) == 0)
            return false;
    return true;
}

static void on_fits(void *ctx, const char *path, enum watch_hint hint)
{
    struct tree *t = ctx;
    struct tree_file file = {0};
    (void)hint;
    const char *rel = path + strlen(t->s->root) + 1;
    /* A master may have the cards of one of the frames that it was made of. */
    if (!tree_counts(rel) || copying_is_master(t->s, OBS_BIAS, rel) ||
        copying_is_master(t->s, OBS_FLAT, rel) || !read_file(path, &file))
        return;
    void *bigger = one_more(t->files, t->file_count, &t->file_room, sizeof *t->files);
    if (bigger)
        t->files = bigger;
    file.rel = bigger ? strdup(rel) : NULL;
    t->broken = t->broken || !file.rel;
    if (file.rel)
        t->files[t->file_count++] = file;
}

static int by_arrival(const void *a, const void *b)
{
    const struct tree_bundle *x = a, *y = b;
    if (x->stored_ns != y->stored_ns)
        return x->stored_ns < y->stored_ns ? -1 : 1;
    return strcmp(x->rel, y->rel);
}

static int by_source(const void *a, const void *b)
{
    const struct tree_file *x = a, *y = b;
    int c = strcmp(x->sha256, y->sha256);
    if (c == 0)
        c = (x->hdu > y->hdu) - (x->hdu < y->hdu);
    return c;
}

static int by_source_and_name(const void *a, const void *b)
{
    int c = by_source(a, b);
    return c ? c : strcmp(((const struct tree_file *)a)->rel, ((const struct tree_file *)b)->rel);
}

int rebuild_folders(const struct pull_settings *s, char out[3][PULL_PATH])
{
    int count = 0;
    for (int i = 0; i < 3; i++) {
        char rel[PULL_TEMPLATE];
        bool again = false;
        snprintf(rel, sizeof rel, "%.*s", (int)strcspn(s->place[i], "{"), s->place[i]);
        rel[fs_basename(rel) - rel] = '\0';
        pull_path(s, rel, out[count]);
        out[count][strlen(out[count]) - 1] = '\0';
        for (int k = 0; k < count; k++)
            again = again || strcmp(out[k], out[count]) == 0;
        count += !again;
    }
    return count;
}

enum status tree_scan(const struct pull_settings *s, struct tree *t, struct fault *why)
{
    char folders[3][PULL_PATH];
    struct watch_options o = {.recursive = true, .rescan_seconds = 1, .stage = "rebuild"};
    struct stat st;
    *t = (struct tree){.s = s};
    pull_path(s, "bundles", folders[0]);
    o.directory = folders[0];
    o.patterns = "*.tar";
    enum status grade = watch_walk(&o, on_bundle, t, why);
    int count = rebuild_folders(s, folders);
    o.patterns = "*.fits";
    for (int i = 0; i < count && grade == ST_OK; i++) {
        o.directory = folders[i];
        if (stat(folders[i], &st) == 0)
            grade = watch_walk(&o, on_fits, t, why);
    }
    if (grade == ST_OK && t->broken)
        grade = fault(why, ST_RETRY, "out of memory");
    if (t->bundle_count > 0)
        qsort(t->bundles, t->bundle_count, sizeof *t->bundles, by_arrival);
    if (t->file_count > 0)
        qsort(t->files, t->file_count, sizeof *t->files, by_source_and_name);
    return grade;
}

void tree_free(struct tree *t)
{
    for (size_t i = 0; i < t->bundle_count; i++)
        free(t->bundles[i].rel);
    for (size_t i = 0; i < t->file_count; i++)
        free(t->files[i].rel);
    free(t->bundles);
    free(t->files);
    *t = (struct tree){0};
}

const struct tree_file *tree_find(const struct tree *t, const char *sha256, int hdu, size_t *count)
{
    struct tree_file key = {.hdu = hdu};
    *count = 0;
    snprintf(key.sha256, sizeof key.sha256, "%s", sha256);
    const struct tree_file *first =
        t->file_count ? bsearch(&key, t->files, t->file_count, sizeof key, by_source) : NULL;
    if (!first)
        return NULL;
    while (first > t->files && by_source(first - 1, &key) == 0)
        first--;
    while (first + *count < t->files + t->file_count && by_source(first + *count, &key) == 0)
        ++*count;
    return first;
}

/* ---- jobs ---- */

/* Links the job's ccds to its row and takes over what it measured. */
static enum status link_ccds(const struct pull_settings *s, struct catalogue *cat,
                             const struct job *j, struct ccd *ccds, size_t count, struct fault *why)
{
    char path[PULL_PATH];
    bool found = false;
    struct fault reason;
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < count; i++)
        if (ccds[i].job == j->id)
            st = catalogue_put_ccd(cat, &ccds[i], why);
    job_path(s, j, "result.json", path);
    if (st != ST_OK || j->state != JOB_DONE ||
        quality_read(path, ccds, count, &found, &reason) != ST_OK || !found)
        return st;
    for (size_t i = 0; st == ST_OK && i < count; i++)
        if (ccds[i].job == j->id)
            st = catalogue_put_quality(cat, ccds[i].id, &ccds[i].quality, why);
    return st;
}

static enum status one_job(const struct pull_settings *s, struct catalogue *cat, struct job *j,
                           struct ccd *ccds, size_t count, struct fault *why)
{
    struct job_ccd *in = NULL;
    size_t n = 0;
    struct fault none;
    if (job_read(s, j, &in, &n, &none) != ST_OK) {
        free(in);
        return ST_WAIT; /* there is no such folder */
    }
    if (j->state == JOB_WAITING && s->dry_run)
        j->state = JOB_DRY;
    enum status st = catalogue_put_job(cat, j, why);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < count; k++)
            if (ccds[k].hdu == in[i].hdu && ccds[k].ccd == in[i].ccd) {
                ccds[k].job = j->id;
                break;
            }
    free(in);
    return st == ST_OK ? link_ccds(s, cat, j, ccds, count, why) : st;
}

enum status rebuild_jobs(const struct pull_settings *s, struct catalogue *cat,
                         const struct exposure *x, struct rebuilt_jobs *out, struct fault *why)
{
    struct ccd *ccds = NULL;
    size_t count = 0;
    int left_to_jobs = 0;
    *out = (struct rebuilt_jobs){0};
    enum status st = catalogue_ccds(cat, x->id, &ccds, &count, why);
    for (int number = 1; st == ST_OK; number++) {
        struct job j = {.exposure = x->id, .number = number};
        st = job_folder(x, number, j.folder, sizeof j.folder, why);
        if (st == ST_OK)
            st = one_job(s, cat, &j, ccds, count, why);
        if (st != ST_OK)
            break;
        out->count++;
        bool active = j.state == JOB_WAITING || j.state == JOB_RUNNING;
        out->active += active;
        for (size_t i = 0; s->on_node && active && i < count; i++)
            left_to_jobs += ccds[i].job == j.id && ccds[i].state != CCD_PLACED;
        if (j.ended_ns > out->ended_ns)
            out->ended_ns = j.ended_ns;
    }
    for (size_t i = 0; i < count; i++) {
        out->ccds_waiting += ccds[i].state != CCD_PLACED;
        out->ccds_without += ccds[i].state == CCD_PLACED && ccds[i].job == 0;
    }
    out->ccds_waiting -= left_to_jobs;
    free(ccds);
    return st == ST_WAIT ? ST_OK : st;
}
