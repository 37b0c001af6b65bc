/* Small real FITS files for the tests of push, written card by card: an empty primary, ccds of
 * unsigned 16-bit noise, optionally a table; and a camera that knows them. */
#ifndef SKYFERRY_PUSH_FIXTURE_H
#define SKYFERRY_PUSH_FIXTURE_H

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/camera.h"
#include "common/fits.h"

static inline void fixture_card(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static inline void fixture_card(struct buf *b, const char *fmt, ...)
{
    char card[FITS_CARD + 1];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(card, sizeof card, fmt, ap);
    va_end(ap);
    memset(card + n, ' ', (size_t)(FITS_CARD - n));
    buf_append(b, card, FITS_CARD);
}

static inline void fixture_pad(struct buf *b, char fill)
{
    while (b->len % FITS_BLOCK)
        buf_append(b, &fill, 1);
}

static inline void fixture_primary(struct buf *b, int expnum, const char *date_obs)
{
    fixture_card(b, "SIMPLE  =                    T");
    fixture_card(b, "BITPIX  =                    8");
    fixture_card(b, "NAXIS   =                    0");
    fixture_card(b, "EXTEND  =                    T");
    fixture_card(b, "OBJECT  = 'Field A'");
    fixture_card(b, "FILTER  = 'g DECam'");
    fixture_card(b, "OBSTYPE = 'object'");
    if (expnum >= 0)
        fixture_card(b, "EXPNUM  = %20d", expnum);
    if (date_obs)
        fixture_card(b, "DATE-OBS= '%s'", date_obs);
    fixture_card(b, "EXPTIME =                 20.0");
    fixture_card(b, "END");
    fixture_pad(b, ' ');
}

/* ccdnum < 0: the header does not say. side x side pixels of reproducible noise. */
static inline void fixture_ccd(struct buf *b, int ccdnum, int side)
{
    unsigned state = 12345u + (unsigned)ccdnum;
    fixture_card(b, "XTENSION= 'IMAGE   '");
    fixture_card(b, "BITPIX  =                   16");
    fixture_card(b, "NAXIS   =                    2");
    fixture_card(b, "NAXIS1  = %20d", side);
    fixture_card(b, "NAXIS2  = %20d", side);
    fixture_card(b, "PCOUNT  =                    0");
    fixture_card(b, "GCOUNT  =                    1");
    fixture_card(b, "BSCALE  =                  1.0");
    fixture_card(b, "BZERO   =              32768.0");
    fixture_card(b, "EXTNAME = 'N%d'", ccdnum);
    if (ccdnum >= 0)
        fixture_card(b, "CCDNUM  = %20d", ccdnum);
    fixture_card(b, "END");
    fixture_pad(b, ' ');
    for (int i = 0; i < side * side; i++) {
        state = state * 1664525u + 1013904223u;
        int value = 1200 + (int)(state >> 27) - 32768;
        unsigned char be[2] = {(unsigned char)((unsigned)value >> 8), (unsigned char)value};
        buf_append(b, be, 2);
    }
    fixture_pad(b, '\0');
}

static inline void fixture_table(struct buf *b, int rows)
{
    fixture_card(b, "XTENSION= 'BINTABLE'");
    fixture_card(b, "BITPIX  =                    8");
    fixture_card(b, "NAXIS   =                    2");
    fixture_card(b, "NAXIS1  =                    4");
    fixture_card(b, "NAXIS2  = %20d", rows);
    fixture_card(b, "PCOUNT  =                    0");
    fixture_card(b, "GCOUNT  =                    1");
    fixture_card(b, "TFIELDS =                    1");
    fixture_card(b, "TFORM1  = 'J       '");
    fixture_card(b, "EXTNAME = 'GUIDER'");
    fixture_card(b, "END");
    fixture_pad(b, ' ');
    for (int i = 0; i < rows; i++)
        buf_append(b, &(unsigned char[4]){0, 0, (unsigned char)(i >> 8), (unsigned char)i}, 4);
    fixture_pad(b, '\0');
}

/* Primary, ccds 1..count, a table. */
static inline void fixture_exposure(struct buf *b, int expnum, int ccds, int side)
{
    fixture_primary(b, expnum, "2024-04-05T03:00:00.5");
    for (int i = 1; i <= ccds; i++)
        fixture_ccd(b, i, side);
    fixture_table(b, 100);
}

static inline bool fixture_write(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(bytes, 1, len, f) == len;
    return (!f || fclose(f) == 0) && ok;
}

/* Sets a file's modification time to so many seconds ago. */
static inline bool fixture_age(const char *path, double seconds)
{
    struct timespec now, then[2];
    clock_gettime(CLOCK_REALTIME, &now);
    double t = (double)now.tv_sec + (double)now.tv_nsec * 1e-9 - seconds;
    then[0] = then[1] = (struct timespec){(time_t)floor(t), (long)((t - floor(t)) * 1e9)};
    return utimensat(AT_FDCWD, path, then, 0) == 0;
}

static inline void fixture_camera(struct camera *c, int ccds)
{
    memset(c, 0, sizeof *c);
    snprintf(c->name, sizeof c->name, "testcam");
    snprintf(c->key_expnum, sizeof c->key_expnum, "EXPNUM");
    snprintf(c->key_object, sizeof c->key_object, "OBJECT");
    snprintf(c->key_filter, sizeof c->key_filter, "FILTER");
    snprintf(c->key_obstype, sizeof c->key_obstype, "OBSTYPE");
    snprintf(c->key_date_obs, sizeof c->key_date_obs, "DATE-OBS");
    snprintf(c->key_exptime, sizeof c->key_exptime, "EXPTIME");
    snprintf(c->key_propid, sizeof c->key_propid, "PROPID");
    snprintf(c->key_ccd, sizeof c->key_ccd, "CCDNUM");
    c->ccds = ccds;
    c->expnum_from_name = true;
}

#endif
