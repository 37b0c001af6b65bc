/* codec-bench: one ccd through one row of the codec table and back, as the agents would do
 * it. Prints one line of JSON: bytes, ratio, rms and largest error, and the thread's CPU
 * seconds to encode and to decode (the best of --repeat). With --ratio it searches the step
 * that gives the wanted ratio. For tests/bench/codec and tests/bench/science. */
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/codec.h"
#include "common/fsutil.h"

static const char usage[] =
    "usage: codec-bench [option ...] FITS\n"
    "  --hdu N            which HDU, 0 the primary [the first with an image]\n"
    "  --method NAME      row of the codec table [htj2k]\n"
    "  --set KEY=VALUE    a field of struct codec_options; repeatable\n"
    "  --ratio R          search the step for this ratio of 16-bit pixels to bytes\n"
    "  --search KEY       the field that is the step [qstep]\n"
    "  --repeat N         time the best of N [1]\n"
    "  --decoded FILE     write the decoded ccd as a FITS file\n"
    "  --member FILE      write the compressed bytes\n";

/* ---- the codec's options by name: a new field of struct codec_options is a row here ---- */

struct field {
    const char *key;
    enum { A_REAL, A_BOOL } type;
    size_t offset;
};
static const struct field fields[] = {
    {"qstep", A_REAL, offsetof(struct codec_options, qstep)},
    {"reversible", A_BOOL, offsetof(struct codec_options, reversible)},
};

static bool set_field(struct codec_options *o, const char *key, size_t key_len, const char *value)
{
    char *end;
    double number = strtod(value, &end);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const struct field *f = &fields[i];
        if (strlen(f->key) != key_len || strncmp(f->key, key, key_len) != 0)
            continue;
        if (end == value || *end)
            return false;
        unsigned char *at = (unsigned char *)o + f->offset;
        if (f->type == A_REAL)
            *(double *)(void *)at = number;
        else
            *(bool *)(void *)at = number != 0;
        return true;
    }
    return false;
}

static double get_real(const struct codec_options *o, const char *key)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].type == A_REAL && strcmp(fields[i].key, key) == 0)
            return *(const double *)(const void *)((const unsigned char *)o + fields[i].offset);
    return NAN;
}

/* ---- one trip ---- */

struct bench {
    const char *file, *decoded, *member, *search;
    int hdu, repeat;
    double ratio; /* 0: no search */
    struct codec_options options;
    const struct codec *codec;
    struct fits_image img, got;
    struct buf bytes;
    double encode_s, decode_s;
};

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
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
    if (st == ST_OK)
        st = fits_image_load(hdu.data, hdu.len, &b->img, why);
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
        b->encode_s = i == 0 || took < b->encode_s ? took : b->encode_s;
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
        enum status st = b->codec->decode(b->bytes.data, b->bytes.len, &b->got, why);
        double took = cpu_now() - start;
        if (st != ST_OK)
            return st;
        b->decode_s = i == 0 || took < b->decode_s ? took : b->decode_s;
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

/* The step for the wanted ratio, within half a percent: secants of log ratio over log step,
 * which is nearly straight, kept inside the bracket that earlier steps left. */
static enum status search(struct bench *b, struct fault *why)
{
    double goal = log(b->ratio), low = log(1e-7), high = log(1e4), last_x = NAN, last_y = NAN;
    double x = log(get_real(&b->options, b->search)), slope = 0.8;
    int repeat = b->repeat;
    enum status st = ST_OK;
    b->repeat = 1;
    for (int i = 0; i < 40; i++) {
        char value[32];
        snprintf(value, sizeof value, "%.9g", exp(x));
        set_field(&b->options, b->search, strlen(b->search), value);
        if (!b->codec->accepts(&b->img, &b->options)) {
            high = x; /* a step beyond what the codec takes */
            x = 0.5 * (fmax(low, x - 1) + high);
            continue;
        }
        if ((st = encode(b, why)) != ST_OK)
            break;
        double y = log(ratio_of(b)) - goal;
        if (fabs(y) < 0.005 || high - low < 1e-6)
            break;
        *(y < 0 ? &low : &high) = x;
        if (isfinite(last_x) && fabs(x - last_x) > 1e-9 && (y - last_y) / (x - last_x) > 0.05)
            slope = (y - last_y) / (x - last_x);
        last_x = x;
        last_y = y;
        double next = x - fmax(-2, fmin(2, y / slope));
        x = next > low && next < high ? next : 0.5 * (low + high);
    }
    b->repeat = repeat;
    if (st == ST_OK && fabs(log(ratio_of(b)) - goal) > 0.01)
        st = fault(why, ST_REJECT, "no %s gives %.3g:1 within 1 %%; the last gave %.3g:1", b->search,
                   b->ratio, ratio_of(b));
    return st;
}

/* ---- what came of it ---- */

static double value_at(const struct fits_image *img, size_t i)
{
    const unsigned char *p = img->data + i * ((size_t)abs(img->bitpix) / 8);
    uint32_t word = 0;
    float real;
    switch (img->bitpix) {
    case 8:
        return p[0];
    case 16:
        return (int16_t)(p[0] << 8 | p[1]);
    default:
        for (int k = 0; k < 4; k++)
            word = word << 8 | p[k];
        if (img->bitpix == 32)
            return (int32_t)word;
        memcpy(&real, &word, sizeof real);
        return (double)real;
    }
}

static void report(const struct bench *b)
{
    size_t n = (size_t)pixel_count(&b->img);
    double sum = 0, worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs(value_at(&b->img, i) - value_at(&b->got, i));
        worst = fmax(worst, d);
        sum += d * d;
    }
    printf("{\"method\": \"%s\", \"step\": %.6g, \"pixels\": %zu, \"bytes\": %zu, \"ratio\": %.4f, "
           "\"rms\": %.5f, \"max\": %g, \"encode_s\": %.4f, \"decode_s\": %.4f}\n",
           b->codec->name, get_real(&b->options, b->search), n, b->bytes.len, ratio_of(b),
           sqrt(sum / (double)n), worst, b->encode_s, b->decode_s);
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
        st = search(b, why);
    else if (!b->codec->accepts(&b->img, &b->options))
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

static bool parse(struct bench *b, int argc, char **argv)
{
    static const struct option rows[] = {
        {"hdu", 1, NULL, 'h'},    {"method", 1, NULL, 'm'}, {"set", 1, NULL, 's'},
        {"ratio", 1, NULL, 'r'},  {"search", 1, NULL, 'k'}, {"repeat", 1, NULL, 'n'},
        {"decoded", 1, NULL, 'd'}, {"member", 1, NULL, 'o'}, {0}};
    int c;
    while ((c = getopt_long(argc, argv, "", rows, NULL)) != -1) {
        const char *equals = optarg ? strchr(optarg, '=') : NULL;
        switch (c) {
        case 'h': b->hdu = (int)strtol(optarg, NULL, 10); break;
        case 'm': b->options.method = optarg; break;
        case 'r': b->ratio = strtod(optarg, NULL); break;
        case 'k': b->search = optarg; break;
        case 'n': b->repeat = (int)strtol(optarg, NULL, 10); break;
        case 'd': b->decoded = optarg; break;
        case 'o': b->member = optarg; break;
        case 's':
            if (!equals || !set_field(&b->options, optarg, (size_t)(equals - optarg), equals + 1)) {
                fprintf(stderr, "codec-bench: --set %s: no such field, or no number\n", optarg);
                return false;
            }
            break;
        default: return false;
        }
    }
    b->codec = codec_find(b->options.method);
    if (!b->codec)
        fprintf(stderr, "codec-bench: no codec is called %s\n", b->options.method);
    else if (b->ratio > 0 && !isfinite(get_real(&b->options, b->search)))
        fprintf(stderr, "codec-bench: no field is called %s\n", b->search);
    else if (b->repeat > 0 && optind == argc - 1) {
        b->file = argv[optind];
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    struct bench b = {.hdu = -1, .repeat = 1, .search = "qstep",
                      .options = {.method = "htj2k", .qstep = 3e-5}};
    struct fault why = {0};
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
