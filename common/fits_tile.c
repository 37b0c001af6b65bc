#include "common/fits_private.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* fitsio2.h declares cfitsio's Rice and gzip routines. fits_tile_load.c calls them tile by
 * tile, on bytes and room that it measured before: cfitsio's own road through a table takes
 * twice the time, and reads past the end of a damaged tile. */
#include <fitsio2.h>

static void init_cfitsio(void)
{
    fits_init_cfitsio();
}

/* Before any call that may report an error: until then cfitsio's lock is not recursive, and an
 * error inside a locked routine would wait for itself for ever. */
static void ready(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_cfitsio);
}

bool fits_rice_decode(unsigned char *bytes, size_t len, void *values, size_t n, int size,
                      int block)
{
    ready();
    switch (size) {
    case 1:
        return fits_rdecomp_byte(bytes, (int)len, values, (int)n, block) == 0;
    case 2:
        return fits_rdecomp_short(bytes, (int)len, values, (int)n, block) == 0;
    default:
        return fits_rdecomp(bytes, (int)len, values, (int)n, block) == 0;
    }
}

long fits_rice_encode(void *values, size_t n, int size, int block, unsigned char *out, size_t room)
{
    ready();
    switch (size) {
    case 1:
        return fits_rcomp_byte(values, (int)n, out, (int)room, block);
    case 2:
        return fits_rcomp_short(values, (int)n, out, (int)room, block);
    default:
        return fits_rcomp(values, (int)n, out, (int)room, block);
    }
}

double fits_noise(float *values, long nx, long ny)
{
    const float null = -9.11912e-36f; /* cfitsio's own; it does not know NaN here */
    double noise2 = 0, noise3 = 0, noise5 = 0, least = 0;
    int status = 0;
    long good;
    float low, high;
    for (long i = 0; i < nx * ny; i++)
        if (values[i] != values[i])
            values[i] = null;
    ready();
    fits_img_stats_float(values, nx, ny, 1, null, &good, &low, &high, NULL, NULL, NULL, &noise2,
                         &noise3, &noise5, &status);
    const double each[] = {noise2, noise3, noise5};
    for (int i = 0; i < 3 && status == 0; i++)
        if (each[i] > 0 && (least == 0 || each[i] < least))
            least = each[i];
    return least;
}

bool fits_gzip_decode(const unsigned char *bytes, size_t len, void *out, size_t room, size_t *got)
{
    int status = 0;
    char *in = (char *)(uintptr_t)bytes, *to = out; /* cfitsio only reads `in` */
    ready();
    /* Without a realloc function it stops at the room given. */
    return uncompress2mem_from_mem(in, len, &to, &room, NULL, got, &status) == 0;
}

long fits_gzip_encode(const void *bytes, size_t len, unsigned char *out, size_t room)
{
    int status = 0;
    size_t made = 0;
    char *in = (char *)(uintptr_t)bytes, *to = (char *)out;
    if (compress2mem_from_mem(in, len, &to, &room, NULL, &made, &status) != 0)
        return -1;
    return (long)made;
}

bool fits_hcompress_decode(unsigned char *bytes, bool narrow, int smooth, void *out)
{
    int nx, ny, scale, status = 0;
    ready();
    if (narrow)
        fits_hdecompress(bytes, smooth, out, &nx, &ny, &scale, &status);
    else
        fits_hdecompress64(bytes, smooth, out, &nx, &ny, &scale, &status);
    return status == 0;
}

/* The pixels as they are stored, in the machine's order. Undefined ones become the NaN that
 * funpack writes. funpack itself goes through fits_img_decompress, which in cfitsio 4.2
 * misplaces tiles that are narrower than the image and hold undefined pixels. */
static int read_pixels(void *file, size_t file_size, const struct tiles *t, void *pixels)
{
    static const uint64_t undefined = UINT64_MAX;
    fitsfile *in = NULL;
    long first[FITS_MAX_AXES], last[FITS_MAX_AXES], step[FITS_MAX_AXES];
    int status = 0, ignored = 0, any;
    int type = t->image.bitpix == 8    ? TBYTE
               : t->image.bitpix == 16 ? TSHORT
               : t->image.bitpix == 32 ? TINT
               : t->image.bitpix < -32 ? TDOUBLE
                                       : TFLOAT;
    for (int i = 0; i < t->image.naxis; i++) {
        first[i] = step[i] = 1;
        last[i] = (long)t->image.n[i];
    }
    fits_open_memfile(&in, "memory", READONLY, &file, &file_size, 0, NULL, &status);
    fits_movabs_hdu(in, 2, NULL, &status);
    fits_set_bscale(in, 1, 0, &status);
    void *nan = t->image.bitpix < 0 ? (void *)(uintptr_t)&undefined : NULL;
    fits_read_subset(in, type, first, last, step, nan, pixels, &any, &status);
    if (in)
        fits_close_file(in, &ignored);
    return status;
}

enum status fits_run_decompress(struct buf *file, const struct tiles *t, unsigned char *pixels,
                                size_t size, struct fault *why)
{
    int bytes = abs(t->image.bitpix) / 8;
    void *native = calloc(1, size);
    if (!native)
        return fault(why, ST_RETRY, "no memory for an image of %zu bytes", size);
    ready();
    int status = read_pixels(file->data, file->len, t, native);
    if (status == 0)
        fits_swap_copy(pixels, native, size / (size_t)bytes, bytes);
    free(native);
    if (status == 0)
        return ST_OK;
    char text[FLEN_STATUS];
    /* The code's text only: cfitsio's stack of messages is shared by all threads. */
    fits_get_errstatus(status, text);
    return fault(why, status == MEMORY_ALLOCATION ? ST_RETRY : ST_REJECT,
                 "the tiles cannot be decompressed: %s (cfitsio error %d)", text, status);
}
