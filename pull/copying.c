#include "pull/copying.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fits.h"
#include "pull/place.h"
#include "pull/placing.h"

#define PIECE 65536

/* ---- names ---- */

static enum status path_in(const struct pull_settings *s, const struct exposure *x,
                           const struct ccd *one, const char *night, char out[1024],
                           struct fault *why)
{
    struct exposure there = *x;
    snprintf(there.night, sizeof there.night, "%s", night);
    return placing_path(s, &there, one, out, 1024, why);
}

enum status copying_of(const struct pull_settings *s, const struct exposure *x, const struct ccd *one,
                       const char *night, struct copy *row, struct fault *why)
{
    *row = (struct copy){.kind = camera_obstype(&s->camera, x->facts.obstype), .ccd = one->ccd,
                         .size = one->size};
    snprintf(row->night, sizeof row->night, "%s", night);
    snprintf(row->origin, sizeof row->origin, "%s", one->path);
    snprintf(row->source_sha256, sizeof row->source_sha256, "%s", x->source_sha256);
    if (row->kind == OBS_FLAT)
        snprintf(row->filter, sizeof row->filter, "%s", x->facts.filter);
    memcpy(row->datasum, one->datasum, sizeof row->datasum);
    memcpy(row->checksum, one->checksum, sizeof row->checksum);
    enum status st = path_in(s, x, one, night, row->path, why);
    if (st == ST_OK && !row->origin[0]) /* lost: it will be made there */
        st = path_in(s, x, one, x->night, row->origin, why);
    if (st == ST_OK && strcmp(row->path, row->origin) == 0)
        st = fault(why, ST_REJECT, "[place] %s has no {night}: its files are there for every night",
                   obstype_name(row->kind));
    return st;
}

bool copying_is_copy(const struct pull_settings *s, const struct exposure *x, const struct ccd *one,
                     const char *rel, char night[NIGHT_SIZE])
{
    char path[1024];
    struct fault none;
    if (camera_obstype(&s->camera, x->facts.obstype) == OBS_SCIENCE)
        return false;
    for (const char *p = rel; (p = strstr(p, "ut")); p++) {
        snprintf(night, NIGHT_SIZE, "%.8s", p);
        if (night_valid(night) && strcmp(night, x->night) != 0 &&
            path_in(s, x, one, night, path, &none) == ST_OK && strcmp(path, rel) == 0)
            return true;
    }
    return false;
}

bool copying_is_master(const struct pull_settings *s, enum obstype kind, const char *rel)
{
    static const char end[] = ".master.fits";
    const char *base = fs_basename(rel), *template = fs_basename(s->place[kind]);
    size_t len = strlen(base), stem = strcspn(template, "{");
    return kind != OBS_SCIENCE && len >= strlen(end) && strncmp(base, template, stem) == 0 &&
           strcmp(base + len - strlen(end), end) == 0;
}

enum status copying_folder(const struct pull_settings *s, enum obstype kind, const char *night,
                           int ccd, char *out, size_t size, struct fault *why)
{
    struct facts facts = {.expnum = 0, .date_ns = INT64_MIN};
    struct place_values v = {.night = night, .name = "x", .source_name = "", .extname = "",
                             .facts = &facts, .camera = &s->camera, .ccd = ccd};
    enum status st = place_path(s->place[kind], &v, out, size, why);
    if (st == ST_OK) {
        size_t len = (size_t)(fs_basename(out) - out);
        out[len > 0 ? len - 1 : 0] = '\0';
    }
    return st;
}

/* ---- the disk ---- */

/* Size and cards of a FITS file; sums "" when it has none. */
struct look {
    bool found, is_file;
    struct stat st;
    char datasum[24], checksum[24];
};

static void read_sums(int fd, struct look *l)
{
    struct fits_file f = {0};
    struct fits_header h = {0};
    struct fault none;
    if (fits_scan(fd, &f, &none) == ST_OK && f.count > 0 &&
        fits_read_header(fd, &f.hdu[0], &h, &none) == ST_OK) {
        fits_header_text(&h, "DATASUM", l->datasum, sizeof l->datasum);
        fits_header_text(&h, "CHECKSUM", l->checksum, sizeof l->checksum);
    }
    fits_header_free(&h);
    fits_file_free(&f);
}

static enum status look_at(const char *path, struct look *l, struct fault *why)
{
    *l = (struct look){.found = false};
    if (lstat(path, &l->st) != 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? ST_OK : fault_errno(why, ST_RETRY, "cannot look at '%s'", path);
    l->found = true;
    l->is_file = S_ISREG(l->st.st_mode);
    int fd = l->is_file ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (l->is_file && fd < 0)
        return fault_errno(why, ST_RETRY, "cannot open '%s'", path);
    if (fd >= 0) {
        read_sums(fd, l);
        close(fd);
    }
    return ST_OK;
}

static bool is_row(const struct look *l, const struct copy *row)
{
    return l->is_file && row->checksum[0] && l->st.st_size == row->size &&
           strcmp(l->datasum, row->datasum) == 0 && strcmp(l->checksum, row->checksum) == 0;
}

static bool same_bytes(const char *a, const char *b, int64_t size)
{
    unsigned char x[PIECE], y[PIECE];
    int fa = open(a, O_RDONLY | O_CLOEXEC), fb = open(b, O_RDONLY | O_CLOEXEC);
    bool same = fa >= 0 && fb >= 0;
    for (int64_t at = 0; same && at < size; at += PIECE) {
        size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;
        same = fs_pread_all(fa, x, n, at) == 0 && fs_pread_all(fb, y, n, at) == 0 &&
               memcmp(x, y, n) == 0;
    }
    if (fa >= 0)
        close(fa);
    if (fb >= 0)
        close(fb);
    return same;
}

/* ---- what to do ---- */

/* The original as it is now; a master's row is made of it. */
static enum status check_origin(const char *path, struct copying *c, struct look *l,
                                struct fault *why)
{
    enum status st = look_at(path, l, why);
    if (st != ST_OK)
        return st;
    if (!l->found || !l->is_file)
        return fault(why, ST_REJECT, "'%s' is %s", c->row.origin,
                     l->found ? "no plain file" : "missing (skyferry-pull verify tells more)");
    if (!c->row.source_sha256[0]) {
        c->row.size = l->st.st_size;
        memcpy(c->row.datasum, l->datasum, sizeof c->row.datasum);
        memcpy(c->row.checksum, l->checksum, sizeof c->row.checksum);
    } else if (!is_row(l, &c->row)) {
        return fault(why, ST_REJECT, "'%s' is not the file that was placed (skyferry-pull verify "
                     "tells more)", c->row.origin);
    }
    return ST_OK;
}

/* A copy that we made of the same original, and nobody changed. */
static enum status is_ours(struct catalogue *cat, const struct copying *c, const struct look *there,
                           bool *ours, struct fault *why)
{
    struct copy before = {.ccd = 0};
    bool found = false;
    enum status st = catalogue_get_copy(cat, c->row.path, &before, &found, why);
    *ours = found && is_row(there, &before) && strcmp(before.origin, c->row.origin) == 0;
    return st;
}

static enum status settle(struct catalogue *cat, struct copying *c, const char *from,
                          const char *to, const struct look *origin, struct fault *why)
{
    struct look there;
    bool ours = false;
    enum status st = look_at(to, &there, why);
    if (st != ST_OK || !there.found)
        return st;
    bool same = is_row(&there, &c->row) ||
                (there.is_file && there.st.st_ino == origin->st.st_ino &&
                 there.st.st_dev == origin->st.st_dev) ||
                (there.is_file && !c->row.checksum[0] && there.st.st_size == origin->st.st_size &&
                 same_bytes(from, to, origin->st.st_size));
    if (!same)
        st = is_ours(cat, c, &there, &ours, why);
    c->deed = same ? DEED_THERE : ours ? DEED_RENEW : DEED_REFUSE;
    if (st == ST_OK && c->deed == DEED_REFUSE)
        fault(why, ST_REJECT, "'%s' is there already with other bytes and is kept", c->row.path);
    return st;
}

enum status copying_decide(const struct pull_settings *s, struct catalogue *cat, struct copying *c,
                           struct fault *why)
{
    char from[PULL_PATH], to[PULL_PATH];
    struct look origin;
    int64_t owner = 0;
    pull_path(s, c->row.origin, from);
    pull_path(s, c->row.path, to);
    c->deed = DEED_COPY;
    enum status st = catalogue_path_owner(cat, c->row.path, &owner, why);
    if (st == ST_OK && owner)
        c->deed = DEED_OWN;
    if (st != ST_OK || owner)
        return st;
    st = check_origin(from, c, &origin, why);
    if (st == ST_OK)
        st = settle(cat, c, from, to, &origin, why);
    if (st == ST_REJECT) {
        c->deed = DEED_REFUSE;
        st = ST_OK;
    }
    return st;
}

enum status copying_make(const struct pull_settings *s, struct copying *c, struct fault *why)
{
    char from[PULL_PATH], to[PULL_PATH], folder[PULL_PATH];
    struct fs_copy file = {.from = from, .to = to, .may_link = c->row.source_sha256[0] != '\0',
                           .replace = c->deed == DEED_RENEW};
    pull_path(s, c->row.origin, from);
    pull_path(s, c->row.path, to);
    snprintf(folder, sizeof folder, "%.*s", (int)(fs_basename(to) - to), to);
    enum status st = fs_mkdirs(folder, why);
    if (st == ST_OK)
        st = fs_copy_file(&file, why);
    c->way = file.way;
    return st;
}

/* ---- the night's own ---- */

enum status copying_give_way(const struct pull_settings *s, struct catalogue *cat,
                             const struct exposure *x, struct place_file *file, struct fault *why)
{
    struct copy copy = {.ccd = 0};
    bool found = false;
    if (file->known.rel[0] || camera_obstype(&s->camera, x->facts.obstype) == OBS_SCIENCE)
        return ST_OK;
    enum status st = catalogue_get_copy(cat, file->rel, &copy, &found, why);
    if (st != ST_OK || !found)
        return st;
    memcpy(file->known.rel, copy.path, sizeof file->known.rel);
    memcpy(file->known.datasum, copy.datasum, sizeof file->known.datasum);
    memcpy(file->known.checksum, copy.checksum, sizeof file->known.checksum);
    file->known.size = copy.size;
    return ST_OK;
}

enum status copying_gave_way(const struct pull_settings *s, struct catalogue *cat,
                             const struct exposure *x, const struct ccd *one, struct fault *why)
{
    if (one->state != CCD_PLACED || camera_obstype(&s->camera, x->facts.obstype) == OBS_SCIENCE)
        return ST_OK;
    return catalogue_drop_copy(cat, one->path, why);
}
