#include "push/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_NUMBER (-1)

static enum status open_file(const char *path, struct survey *s, struct fault *why)
{
    struct stat st;
    /* O_NONBLOCK: a FIFO of that name must not stop us. */
    s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (s->fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return fault(why, ST_REJECT, "the file vanished before it was read: %s", path);
    if (s->fd < 0 && errno == EACCES)
        return fault(why, ST_RETRY, "may not read %s: give this account read permission", path);
    if (s->fd < 0)
        return fault_errno(why, ST_RETRY, "cannot open %s", path);
    if (fstat(s->fd, &st) != 0) {
        close(s->fd);
        s->fd = -1;
        return fault_errno(why, ST_RETRY, "cannot read %s", path);
    }
    identity_of(&st, &s->file);
    if (!S_ISREG(st.st_mode))
        return fault(why, ST_REJECT, "not a regular file: %s", path);
    return ST_OK;
}

static bool is_image(const struct fits_hdu *h)
{
    return h->kind == FITS_IMAGE || h->kind == FITS_TILED;
}

int64_t survey_image_bytes(const struct fits_hdu *hdu)
{
    int64_t bytes = abs(hdu->bitpix) / 8;
    for (int i = 0; i < hdu->naxis; i++)
        bytes *= hdu->naxes[i];
    return hdu->naxis > 0 ? bytes : 0;
}

static size_t index_of(const int *ccd, size_t count, int number)
{
    size_t i = 0;
    while (i < count && ccd[i] != number)
        i++;
    return i;
}

void survey_number(const int *stated, int *ccd, size_t count)
{
    memset(ccd, 0, count * sizeof *ccd);
    for (size_t i = 0; i < count; i++)
        if (stated[i] > 0 && index_of(ccd, count, stated[i]) == count)
            ccd[i] = stated[i];
    for (size_t i = 1; i < count; i++)
        if (stated[i] != 0 && ccd[i] == 0 && index_of(ccd, count, (int)i) == count)
            ccd[i] = (int)i;
    int next = 1;
    for (size_t i = 0; i < count; i++) {
        if (stated[i] == 0 || ccd[i] != 0)
            continue;
        while (index_of(ccd, count, next) < count)
            next++;
        ccd[i] = next;
    }
}

/* Reads the headers of all images; *first keeps that of the first one. */
static enum status read_images(struct survey *s, const struct camera *camera, int *stated,
                               struct fits_header *first, struct fault *why)
{
    for (size_t i = 0; i < s->layout.count; i++) {
        struct fits_header h = {0};
        if (!is_image(&s->layout.hdu[i]))
            continue;
        enum status st = fits_read_header(s->fd, &s->layout.hdu[i], &h, why);
        if (st != ST_OK)
            return st;
        stated[i] = camera_ccd(camera, &h);
        if (stated[i] < 1 || stated[i] > CAMERA_CCD_MAX)
            stated[i] = NO_NUMBER;
        if (stated[i] == NO_NUMBER && camera_groups(camera))
            camera_ccd_fault(camera, &h, s->ccd_fault, sizeof s->ccd_fault);
        if (s->images++ == 0)
            *first = h;
        else
            fits_header_free(&h);
    }
    return ST_OK;
}

static enum status read_facts(struct survey *s, const struct camera *camera, const char *path,
                              struct fault *why)
{
    struct fits_header primary = {0}, first = {0};
    int *stated = calloc(s->layout.count + 1, sizeof *stated);
    enum status st;
    s->ccd = calloc(s->layout.count + 1, sizeof *s->ccd);
    if (!stated || !s->ccd) {
        st = fault(why, ST_RETRY, "out of memory for the headers of %s", path);
        goto out;
    }
    if ((st = fits_read_header(s->fd, &s->layout.hdu[0], &primary, why)) != ST_OK)
        goto out;
    if ((st = read_images(s, camera, stated, &first, why)) != ST_OK)
        goto out;
    survey_number(stated, s->ccd, s->layout.count);
    camera_facts(camera, &primary, s->images ? &first : NULL, &s->facts);
    int64_t number;
    if (camera_groups(camera) &&
        camera_group(camera, &primary, s->images ? &first : NULL, s->group, &number))
        s->facts.expnum = number;
    if (s->facts.expnum < 0)
        s->facts.expnum = camera_expnum_from_name(camera, path);
out:
    fits_header_free(&first);
    fits_header_free(&primary);
    free(stated);
    return st;
}

enum status survey_file(const char *path, const struct camera *camera, struct survey *out,
                        struct fault *why)
{
    memset(out, 0, sizeof *out);
    out->fd = -1;
    out->facts.expnum = -1;
    out->facts.date_ns = INT64_MIN;
    enum status st = open_file(path, out, why);
    if (st == ST_OK && (st = fits_scan(out->fd, &out->layout, why)) == ST_REJECT)
        fault_within(why, "not FITS: ");
    if (st == ST_OK)
        st = read_facts(out, camera, path, why);
    return st;
}

void survey_free(struct survey *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    fits_file_free(&s->layout);
    free(s->ccd);
    s->ccd = NULL;
}

bool survey_changed(int fd, const char *path, const struct identity *file)
{
    struct stat st;
    struct identity now;
    if (fstat(fd, &st) != 0)
        return true;
    identity_of(&st, &now);
    if (!identity_equal(file, &now))
        return true;
    if (stat(path, &st) != 0)
        return false;
    identity_of(&st, &now);
    return !identity_equal(file, &now);
}
