/* FITS bytes for the unit tests: headers written card by card, images of any kind with
 * repeatable pixels, the real frames, and other people's tools when they are installed. */
#ifndef SKYFERRY_FITS_FIXTURE_H
#define SKYFERRY_FITS_FIXTURE_H

#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fits.h"
#include "common/fsutil.h"

extern char **environ;

static const char *const real_frames[] = {"../shared/data/c4d_170316_062107_ood_z_ls9.N2.fits",
                                          "../shared/data/c4d_170316_062107_ooi_z_ls9.N2.fits",
                                          "../shared/data/c4d_171113_060340_ooi_r_ls9.N6.fits"};
#define REAL_FRAMES 3

/* xorshift: the same numbers in every run. */
static inline uint32_t fixture_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)(*seed >> 20);
}

/* One 80-column card. */
__attribute__((format(printf, 2, 3))) static inline void card(struct buf *b, const char *fmt, ...)
{
    char line[256], padded[FITS_CARD + 1];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    snprintf(padded, sizeof padded, "%-80.80s", line);
    if (!buf_append(b, padded, FITS_CARD))
        abort();
}

/* Fills up to a block with this byte. */
static inline void pad(struct buf *b, int byte)
{
    while (b->len % FITS_BLOCK) {
        unsigned char c = (unsigned char)byte;
        if (!buf_append(b, &c, 1))
            abort();
    }
}

static inline void end_card(struct buf *b)
{
    card(b, "END");
    pad(b, ' ');
}

/* A primary without data. */
static inline void empty_primary(struct buf *b)
{
    card(b, "SIMPLE  =                    T");
    card(b, "BITPIX  =                    8");
    card(b, "NAXIS   =                    0");
    card(b, "EXTEND  =                    T");
    end_card(b);
}

/* An image whose pixels are of this kind; give it back with fits_image_free. */
enum pixels { PIX_RANDOM, PIX_ZERO, PIX_LOW, PIX_HIGH, PIX_SKY };
#define PIX_KINDS 5

static inline void put_pixel(unsigned char *p, int bytes, int64_t v)
{
    for (int i = bytes - 1; i >= 0; i--, v >>= 8)
        p[i] = (unsigned char)(v & 0xff);
}

static inline void fill_pixels(struct fits_image *img, enum pixels kind)
{
    uint64_t seed = 0x9e3779b97f4a7c15u;
    int bytes = abs(img->bitpix) / 8;
    int64_t high = img->bitpix == 8 ? 255 : INT64_MAX >> (64 - 8 * bytes);
    int64_t low = img->bitpix == 8 ? 0 : -high - 1;
    for (size_t i = 0; i < img->size; i += (size_t)bytes) {
        uint32_t r = fixture_random(&seed), q = fixture_random(&seed);
        float sky = 1000.0f + (float)(r % 4001) / 100.0f;
        int64_t v = kind == PIX_ZERO   ? 0
                    : kind == PIX_LOW  ? low + r % 5
                    : kind == PIX_HIGH ? high - r % 5
                    : kind == PIX_SKY  ? (img->bitpix == 8 ? 100 : -31000) + r % 20
                                       : (int64_t)((uint64_t)r << 32 | q);
        if (kind == PIX_SKY && img->bitpix == -32)
            memcpy(&v, &sky, 4);
        put_pixel(img->data + i, bytes, v);
    }
}

static inline void make_image(struct fits_image *img, int bitpix, int width, int height,
                              bool is_unsigned, enum pixels kind)
{
    *img = (struct fits_image){0};
    struct fits_header *h = &img->header;
    fits_header_add_text(h, "XTENSION", "IMAGE", "image extension");
    fits_header_add_int(h, "BITPIX", bitpix, "bits per pixel");
    fits_header_add_int(h, "NAXIS", height ? 2 : 1, "axes");
    fits_header_add_int(h, "NAXIS1", width, "width");
    if (height)
        fits_header_add_int(h, "NAXIS2", height, "height");
    fits_header_add_int(h, "PCOUNT", 0, NULL);
    fits_header_add_int(h, "GCOUNT", 1, NULL);
    if (is_unsigned) {
        fits_header_add_int(h, "BZERO", 32768, "unsigned");
        fits_header_add_int(h, "BSCALE", 1, NULL);
    }
    if (fits_image_shape(img, NULL) != ST_OK || !(img->data = malloc(img->size)))
        abort();
    fill_pixels(img, kind);
}

/* The image as an HDU: cards, END, pixels, padding. */
static inline void append_hdu(struct buf *b, const struct fits_image *img)
{
    if (!buf_append(b, img->header.cards, img->header.count * FITS_CARD))
        abort();
    end_card(b);
    if (!buf_append(b, img->data, img->size))
        abort();
    pad(b, 0);
}

static inline bool same_image(const struct fits_image *a, const struct fits_image *b)
{
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0 &&
           a->header.count == b->header.count &&
           memcmp(a->header.cards, b->header.cards, a->header.count * FITS_CARD) == 0;
}

/* The whole file, or false with a message when it is not there. */
static inline bool read_frame(const char *path, struct buf *out)
{
    struct fault why;
    if (fs_read_file(path, 64u << 20, out, &why) == ST_OK)
        return true;
    printf("[  SKIPPED ] %s is not there\n", path);
    return false;
}

static inline void write_bytes(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
        abort();
}

/* Runs a program with its output thrown away: its exit status, -1 when it is not installed. */
static inline int run_tool(const char *const *argv)
{
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status = 0;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    int bad = posix_spawnp(&pid, argv[0], &files, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (bad || waitpid(pid, &status, 0) != pid)
        return -1;
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 127)
        return -1;
    return WEXITSTATUS(status);
}
#define RUN(...) run_tool((const char *const[]){__VA_ARGS__, NULL})

/* Loads the index-th HDU of a file in memory. */
static inline enum status load_hdu(const struct buf *file, size_t index, struct fits_image *out,
                                   struct fault *why)
{
    char path[] = "/tmp/skyferry-unit.XXXXXX";
    struct fits_file f = {0};
    struct buf hdu = {0};
    int fd = mkstemp(path);
    if (fd < 0 || fs_write_all(fd, file->data, file->len) != 0)
        abort();
    unlink(path);
    enum status st = fits_scan(fd, &f, why);
    if (st == ST_OK && index >= f.count)
        st = fault(why, ST_REJECT, "no such HDU");
    if (st == ST_OK)
        st = fits_read_hdu(fd, &f.hdu[index], &hdu, why);
    if (st == ST_OK)
        st = fits_image_load(hdu.data, hdu.len, out, why);
    close(fd);
    buf_free(&hdu);
    fits_file_free(&f);
    return st;
}

#endif
