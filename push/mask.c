#include "push/mask.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_mask(const char *directory, int ccd, char *path, size_t size)
{
    snprintf(path, size, "%s/%d.fits.fz", directory, ccd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    snprintf(path, size, "%s/%d.fits", directory, ccd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

bool mask_is_there(const char *directory, int ccd)
{
    char path[4352];
    int fd = open_mask(directory, ccd, path, sizeof path);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static enum status load_first_image(int fd, struct fits_image *out, struct fault *why)
{
    struct fits_file file = {0};
    struct buf hdu = {0};
    size_t at = 0;
    enum status st = fits_scan(fd, &file, why);
    while (st == ST_OK && at < file.count && file.hdu[at].kind != FITS_IMAGE &&
           file.hdu[at].kind != FITS_TILED)
        at++;
    if (st == ST_OK && at == file.count)
        st = fault(why, ST_REJECT, "there is no image in it");
    if (st == ST_OK)
        st = fits_read_hdu(fd, &file.hdu[at], &hdu, why);
    if (st == ST_OK)
        st = fits_image_load(hdu.data, hdu.len, out, why);
    buf_free(&hdu);
    fits_file_free(&file);
    return st == ST_WAIT ? ST_REJECT : st; /* a mask that is cut will not grow */
}

/* 1 where the stored value stands for anything but 0. */
static enum status mark(const struct fits_image *mask, size_t pixels, unsigned char **out,
                        struct fault *why)
{
    double zero = 0, scale = 1;
    fits_header_real(&mask->header, "BZERO", &zero);
    fits_header_real(&mask->header, "BSCALE", &scale);
    if (mask->bitpix < 0 || mask->bitpix > 32)
        return fault(why, ST_REJECT, "its pixels are no integers of up to 32 bits");
    *out = malloc(pixels ? pixels : 1);
    if (!*out)
        return fault(why, ST_RETRY, "out of memory for a mask");
    size_t size = (size_t)mask->bitpix / 8;
    for (size_t i = 0; i < pixels; i++)
        (*out)[i] = fits_stored_value(mask->data + i * size, mask->bitpix) * scale + zero != 0;
    return ST_OK;
}

enum status mask_load(const char *directory, int ccd, const struct fits_image *img,
                      unsigned char **out, struct fault *why)
{
    char path[4352];
    struct fits_image mask = {0};
    int fd = open_mask(directory, ccd, path, sizeof path);
    *out = NULL;
    if (fd < 0)
        return fault_errno(why, ST_REJECT, "no mask of ccd %d: %s", ccd, path);
    enum status st = load_first_image(fd, &mask, why);
    close(fd);
    if (st == ST_OK && (mask.naxis < 2 || img->naxis < 2 || mask.naxes[0] != img->naxes[0] ||
                        mask.naxes[1] != img->naxes[1] ||
                        img->size / (size_t)abs(img->bitpix) != mask.size / (size_t)abs(mask.bitpix)))
        st = fault(why, ST_REJECT, "it is not as large as the ccd");
    if (st == ST_OK)
        st = mark(&mask, mask.size / ((size_t)abs(mask.bitpix) / 8), out, why);
    fits_image_free(&mask);
    if (st != ST_OK) {
        why->grade = st;
        fault_within(why, "mask %s: ", path);
    }
    return st;
}
