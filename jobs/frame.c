#include "jobs/frame.h"

#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"

#define MAX_FILE ((size_t)4 << 30)
#define SAMPLE 250000
#define CLIP 3.0
#define CLIP_SHRINKS 0.9866

/* A FITS section [x1:x2,y1:y2], 1-based and inclusive. */
struct section {
    long x1, x2, y1, y2;
};

/* One amplifier: where its light falls, where its overscan lies, when it is full. */
struct amplifier {
    struct section data, bias;
    bool has_bias;
    double saturation;
};

static bool section_read(const struct frame *f, const char *key, struct section *s, long w, long h)
{
    char text[72];
    if (!fits_header_text(&f->header, key, text, sizeof text) ||
        sscanf(text, "[%ld:%ld,%ld:%ld]", &s->x1, &s->x2, &s->y1, &s->y2) != 4)
        return false;
    return s->x1 >= 1 && s->x2 >= s->x1 && s->x2 <= w && s->y1 >= 1 && s->y2 >= s->y1 && s->y2 <= h;
}

static double full_scale(const struct fits_image *img)
{
    double zero = 0, scale = 1;
    fits_header_real(&img->header, "BZERO", &zero);
    fits_header_real(&img->header, "BSCALE", &scale);
    if (img->bitpix < 0)
        return HUGE_VAL;
    return (img->bitpix == 8 ? 255.0 : ldexp(1.0, img->bitpix - 1) - 1) * scale + zero;
}

/* DECam writes one set of keys an amplifier, with the letters A and B. */
static int amplifiers_find(const struct frame *f, const struct fits_image *img, long w, long h,
                           struct amplifier amp[2])
{
    int count = 0;
    for (const char *letter = "AB"; *letter; letter++) {
        char data[16], bias[16], full[16];
        snprintf(data, sizeof data, "DATASEC%c", *letter);
        snprintf(bias, sizeof bias, "BIASSEC%c", *letter);
        snprintf(full, sizeof full, "SATURAT%c", *letter);
        struct amplifier *a = &amp[count];
        a->saturation = full_scale(img);
        if (!section_read(f, data, &a->data, w, h))
            continue;
        a->has_bias = section_read(f, bias, &a->bias, w, h);
        fits_header_real(&f->header, full, &a->saturation);
        count++;
    }
    if (count > 0)
        return count;
    amp[0] = (struct amplifier){.data = {1, w, 1, h}, .saturation = full_scale(img)};
    if (!section_read(f, "DATASEC", &amp[0].data, w, h))
        section_read(f, "TRIMSEC", &amp[0].data, w, h);
    amp[0].has_bias = section_read(f, "BIASSEC", &amp[0].bias, w, h);
    fits_header_real(&f->header, "SATURATE", &amp[0].saturation);
    return 1;
}

static float pixel_at(const struct fits_image *img, size_t i)
{
    const unsigned char *p = img->data + i * (size_t)(abs(img->bitpix) / 8);
    uint64_t v = 0;
    for (int k = 0; k < abs(img->bitpix) / 8; k++)
        v = v << 8 | p[k];
    switch (img->bitpix) {
    case 8: return (float)v;
    case 16: return (float)(int16_t)v;
    case 32: return (float)(int32_t)v;
    case 64: return (float)(int64_t)v;
    case -32: {
        uint32_t bits = (uint32_t)v;
        float out;
        memcpy(&out, &bits, sizeof out);
        return out;
    }
    default: {
        double out;
        memcpy(&out, &v, sizeof out);
        return (float)out;
    }
    }
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median_of(float *v, size_t n)
{
    if (n == 0)
        return NAN;
    qsort(v, n, sizeof *v, ascending);
    return n % 2 ? v[n / 2] : 0.5 * ((double)v[n / 2 - 1] + v[n / 2]);
}

/* The overscan's median over its inner part: 5 columns at each side see the light's edge. */
static double overscan_level(const float *all, long w, struct section s)
{
    long margin = s.x2 - s.x1 + 1 > 15 ? 5 : 0;
    size_t n = 0, room = (size_t)(s.x2 - s.x1 + 1) * (size_t)(s.y2 - s.y1 + 1);
    float *v = malloc(room * sizeof *v);
    if (!v)
        return NAN;
    for (long y = s.y1; y <= s.y2; y++)
        for (long x = s.x1 + margin; x <= s.x2 - margin; x++)
            if (isfinite(all[(y - 1) * w + x - 1]))
                v[n++] = all[(y - 1) * w + x - 1];
    double level = median_of(v, n);
    free(v);
    return level;
}

static float *physical_values(const struct fits_image *img)
{
    size_t n = img->size / (size_t)(abs(img->bitpix) / 8);
    double zero = 0, scale = 1;
    int64_t blank = 0;
    bool has_blank = img->bitpix > 0 && fits_header_int(&img->header, "BLANK", &blank);
    fits_header_real(&img->header, "BZERO", &zero);
    fits_header_real(&img->header, "BSCALE", &scale);
    float *v = malloc(n * sizeof *v);
    for (size_t i = 0; v && i < n; i++) {
        float raw = pixel_at(img, i);
        v[i] = has_blank && raw == (float)blank ? NAN : (float)(raw * scale + zero);
    }
    return v;
}

/* The box around all amplifiers' light. */
static struct section light_box(const struct amplifier *amp, int count)
{
    struct section box = amp[0].data;
    for (int i = 1; i < count; i++) {
        box.x1 = amp[i].data.x1 < box.x1 ? amp[i].data.x1 : box.x1;
        box.x2 = amp[i].data.x2 > box.x2 ? amp[i].data.x2 : box.x2;
        box.y1 = amp[i].data.y1 < box.y1 ? amp[i].data.y1 : box.y1;
        box.y2 = amp[i].data.y2 > box.y2 ? amp[i].data.y2 : box.y2;
    }
    return box;
}

static enum status cut_out(struct frame *f, const float *all, long w, const struct amplifier *amp,
                           int count, struct fault *why)
{
    struct section box = light_box(amp, count);
    f->width = box.x2 - box.x1 + 1;
    f->height = box.y2 - box.y1 + 1;
    size_t n = (size_t)f->width * (size_t)f->height, full = 0;
    f->pixel = malloc(n * sizeof *f->pixel);
    if (!f->pixel)
        return fault(why, ST_RETRY, "out of memory for %ld x %ld pixels", f->width, f->height);
    for (size_t i = 0; i < n; i++)
        f->pixel[i] = NAN;
    double levels = 0;
    f->saturation = HUGE_VAL;
    for (int i = 0; i < count; i++) {
        const struct section *d = &amp[i].data;
        double level = amp[i].has_bias ? overscan_level(all, w, amp[i].bias) : 0;
        levels += amp[i].has_bias ? level : NAN;
        f->saturation = fmin(f->saturation, amp[i].saturation - level);
        for (long y = d->y1; y <= d->y2; y++)
            for (long x = d->x1; x <= d->x2; x++) {
                float v = all[(y - 1) * w + x - 1];
                full += v >= amp[i].saturation;
                f->pixel[(y - box.y1) * f->width + x - box.x1] = (float)(v - level);
            }
    }
    f->bias = levels / count;
    f->saturated = (double)full / (double)n;
    return ST_OK;
}

enum status frame_load(const char *path, struct frame *out, struct fault *why)
{
    struct buf file = {0};
    struct fits_image img = {0};
    struct amplifier amp[2];
    float *all = NULL;
    *out = (struct frame){0};
    enum status st = fs_read_file(path, MAX_FILE, &file, why);
    if (st == ST_OK)
        st = fits_image_load(file.data, file.len, &img, why);
    if (st != ST_OK)
        goto out;
    if (img.naxis != 2) {
        st = fault(why, ST_REJECT, "%s: an image of %d axes cannot be measured", path, img.naxis);
        goto out;
    }
    all = physical_values(&img);
    if (!all || !fits_header_copy(&out->header, &img.header)) {
        st = fault(why, ST_RETRY, "%s: out of memory", path);
        goto out;
    }
    long w = (long)img.naxes[0], h = (long)img.naxes[1];
    int count = amplifiers_find(out, &img, w, h, amp);
    st = cut_out(out, all, w, amp, count, why);
out:
    free(all);
    fits_image_free(&img);
    buf_free(&file);
    if (st != ST_OK)
        frame_free(out);
    return st;
}

void frame_free(struct frame *f)
{
    fits_header_free(&f->header);
    free(f->pixel);
    *f = (struct frame){0};
}

enum status frame_save(const struct frame *f, const char *path, struct fault *why)
{
    struct fits_image img = {.bitpix = -32, .naxis = 2, .naxes = {f->width, f->height}};
    struct buf file = {0};
    int fd = -1;
    enum status st = ST_RETRY;
    img.size = (size_t)f->width * (size_t)f->height * 4;
    img.data = malloc(img.size);
    bool ok = img.data && fits_header_add_logical(&img.header, "SIMPLE", true, NULL) &&
              fits_header_add_int(&img.header, "BITPIX", -32, NULL) &&
              fits_header_add_int(&img.header, "NAXIS", 2, NULL) &&
              fits_header_add_int(&img.header, "NAXIS1", f->width, NULL) &&
              fits_header_add_int(&img.header, "NAXIS2", f->height, NULL);
    if (!ok) {
        st = fault(why, ST_RETRY, "%s: out of memory", path);
        goto out;
    }
    for (size_t i = 0; i < img.size / 4; i++) {
        uint32_t bits;
        memcpy(&bits, &f->pixel[i], 4);
        bits = __builtin_bswap32(bits);
        memcpy(img.data + 4 * i, &bits, 4);
    }
    st = fits_image_file(NULL, &img, NULL, &file, why);
    if (st != ST_OK)
        goto out;
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || fs_write_all(fd, file.data, file.len) < 0)
        st = fault_errno(why, ST_RETRY, "cannot write %s", path);
out:
    if (fd >= 0)
        close(fd);
    buf_free(&file);
    fits_image_free(&img);
    return st;
}

/* Mean and scatter of v after clipping at 3 sigma from the median. */
static void clipped(float *v, size_t n, double *mean, double *sigma)
{
    double centre = median_of(v, n), width = 0;
    if (n > 3) /* sorted now: half the distance between the 15.9 and 84.1 % points */
        width = 0.5 * ((double)v[(size_t)((double)n * 0.841)] - v[(size_t)((double)n * 0.159)]);
    *mean = centre;
    *sigma = width;
    for (int round = 0; round < 10 && *sigma > 0; round++) {
        double sum = 0, squares = 0, kept = 0;
        for (size_t i = 0; i < n; i++) {
            double d = v[i] - centre;
            if (fabs(d) > CLIP * width)
                continue;
            sum += d;
            squares += d * d;
            kept += 1;
        }
        if (kept < 2)
            return;
        *mean = centre + sum / kept;
        *sigma = sqrt(fmax(0, squares / kept - (sum / kept) * (sum / kept))) / CLIP_SHRINKS;
        if (fabs(*sigma - width) < 1e-3 * width)
            return;
        centre = *mean;
        width = *sigma;
    }
}

void frame_sky(const struct frame *f, double *level, double *noise)
{
    size_t n = (size_t)f->width * (size_t)f->height, kept = 0, pairs = 0;
    size_t step = n / SAMPLE + 1;
    while (step > 1 && (size_t)f->width % step == 0) /* never the same columns in every row */
        step++;
    float *v = malloc((n / step + 2) * sizeof *v), *d = malloc((n / step + 2) * sizeof *d);
    *level = *noise = NAN;
    for (size_t i = 0; v && d && i + 1 < n; i += step) {
        if (isfinite(f->pixel[i]))
            v[kept++] = f->pixel[i];
        if (isfinite(f->pixel[i + 1] - f->pixel[i]))
            d[pairs++] = (f->pixel[i + 1] - f->pixel[i]) * (float)M_SQRT1_2;
    }
    double unused;
    if (kept > 0)
        clipped(v, kept, level, &unused);
    if (pairs > 0)
        clipped(d, pairs, &unused, noise);
    free(v);
    free(d);
}
