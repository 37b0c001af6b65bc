/* The one C++ file: OpenJPH behind two C functions. Its errors are exceptions and none of
 * them leaves this file. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* struct fault and fault(): two names in C */
#include "common/codec_htj2k.h"
#pragma GCC diagnostic pop

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>

#include <openjph/ojph_arch.h>
#include <openjph/ojph_codestream.h>
#include <openjph/ojph_file.h>
#include <openjph/ojph_mem.h>
#include <openjph/ojph_message.h>
#include <openjph/ojph_params.h>

namespace {

/* OpenJPH 0.9 prints what is wrong and throws a bare "ojph error"; its configure_error has
 * no effect (it assigns its argument to itself). So it prints to a stream that keeps the
 * text for the thread that is inside OpenJPH, and warnings count as errors: a codestream of
 * ours gives none. */
struct note {
    char text[256];
    size_t used;
};
thread_local note heard;

ssize_t hear(void *, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size && heard.used + 1 < sizeof heard.text; i++)
        heard.text[heard.used++] = bytes[i];
    heard.text[heard.used] = '\0';
    return static_cast<ssize_t>(size);
}

/* The first line, without "ojph error 0x... at file:line: " before it. */
const char *what_was_heard()
{
    heard.text[strcspn(heard.text, "\n")] = '\0';
    const char *file = strstr(heard.text, " at "), *colon = file ? strchr(file, ':') : nullptr;
    const char *words = colon ? strstr(colon, ": ") : nullptr;
    return words ? words + 2 : heard.text;
}

ssize_t drop(void *, const char *, size_t size)
{
    return static_cast<ssize_t>(size);
}

FILE *listener(ssize_t (*write)(void *, const char *, size_t))
{
    cookie_io_functions_t io = {};
    io.write = write;
    FILE *f = fopencookie(nullptr, "w", io);
    if (!f)
        throw std::bad_alloc();
    setvbuf(f, nullptr, _IONBF, 0); /* so that each message is heard by its own thread */
    return f;
}

/* Once: the streams, and OpenJPH's choice of vector code, which its first codestream makes
 * in variables that all share. The streams live as long as the program. */
bool init()
{
    static FILE *const messages = listener(hear), *const infos = listener(drop);
    ojph::set_error_stream(messages);
    ojph::set_warning_stream(messages);
    ojph::set_info_stream(infos);
    ojph::codestream first;
    return true;
}

void begin()
{
    static const bool done = init();
    (void)done;
    heard.used = 0;
    heard.text[0] = '\0';
}

/* Codestream bytes go straight into the caller's buffer. */
class buf_outfile : public ojph::outfile_base {
public:
    explicit buf_outfile(struct buf *b) : out(b), start(b->len) {}
    size_t write(const void *bytes, size_t size) override
    {
        if (!buf_append(out, bytes, size))
            throw std::bad_alloc();
        return size;
    }
    ojph::si64 tell() override { return static_cast<ojph::si64>(out->len - start); }

private:
    struct buf *out;
    size_t start;
};

/* Reads and seeks within the bytes given and nowhere else. */
class window : public ojph::infile_base {
public:
    window(const unsigned char *bytes, size_t len) : data(bytes), size(len), at(0) {}
    size_t read(void *to, size_t want) override
    {
        size_t take = want < size - at ? want : size - at;
        memcpy(to, data + at, take);
        at += take;
        return take;
    }
    int seek(ojph::si64 offset, enum ojph::infile_base::seek origin) override
    {
        ojph::si64 base = origin == OJPH_SEEK_SET   ? 0
                          : origin == OJPH_SEEK_CUR ? static_cast<ojph::si64>(at)
                                                    : static_cast<ojph::si64>(size);
        if (offset < -base || offset > static_cast<ojph::si64>(size) - base)
            return -1;
        at = static_cast<size_t>(base + offset);
        return 0;
    }
    ojph::si64 tell() override { return static_cast<ojph::si64>(at); }
    bool eof() override { return at >= size; }

private:
    const unsigned char *data;
    size_t size, at;
};

/* Up to J2K_LEVELS, but OpenJPH 0.9 sets two limits. It writes nonsense when a level splits
 * nothing (images of at most 16 pixels). And its decoder takes a wrong bit where a quantised
 * coefficient has more than 20 bits: raw frames lie near the low end of their range, so the
 * lowest subband does reach that. Its largest value is half the range times 1.69, over a step
 * of qstep / 33.9 at five levels, half of that at four, ...: hence so many levels only for
 * qstep >= 0.857e-6 * 2^levels (a little more here). */
int levels_of(const j2k_shape &s, const struct codec_options *o)
{
    uint32_t side = s.width > s.height ? s.width : s.height;
    double finest = 0.88e-6 * 2;
    int levels = 0;
    while (levels < J2K_LEVELS && side > 1u << levels &&
           (!j2k_is_lossy(o) || o->qstep >= finest)) {
        levels++;
        finest *= 2;
    }
    return levels;
}

void configure(ojph::codestream &cs, const htj2k_plane &p)
{
    ojph::param_siz siz = cs.access_siz();
    siz.set_image_extent(ojph::point(p.width, p.height));
    siz.set_num_components(1);
    siz.set_component(0, ojph::point(1, 1), static_cast<ojph::ui32>(p.bits), p.is_signed);
    siz.set_image_offset(ojph::point(0, 0));
    siz.set_tile_size(ojph::size(0, 0)); /* one tile, the image */
    siz.set_tile_offset(ojph::point(0, 0));
    ojph::param_cod cod = cs.access_cod();
    cod.set_num_decomposition(static_cast<ojph::ui32>(p.levels));
    cod.set_block_dims(64, 64);
    cod.set_progression_order("RPCL");
    cod.set_color_transform(false);
    cod.set_reversible(p.reversible);
    if (!p.reversible)
        cs.access_qcd().set_irrev_quant(static_cast<float>(p.qstep));
    cs.set_planar(true);
}

void encode_lines(const htj2k_plane &p, struct buf *out)
{
    begin();
    ojph::codestream cs;
    buf_outfile file(out);
    ojph::ui32 component;
    configure(cs, p);
    cs.write_headers(&file);
    ojph::line_buf *line = cs.exchange(nullptr, component);
    for (ojph::ui32 y = 0; y < p.height; y++) {
        p.line(p.ctx, y, line->i32);
        line = cs.exchange(line, component);
    }
    cs.flush();
    cs.close();
}

/* Call in a catch block: the exception at hand as a fault. OpenJPH throws runtime_error,
 * and bare strings where memory is out. */
enum status caught(enum status grade, const char *doing, struct fault *why)
{
    try {
        throw;
    } catch (const std::bad_alloc &) {
        return fault(why, ST_RETRY, "HTJ2K %s: no memory", doing);
    } catch (const std::exception &e) {
        return fault(why, grade, "HTJ2K %s: %s", doing, heard.used ? what_was_heard() : e.what());
    } catch (const char *text) {
        return fault(why, ST_RETRY, "HTJ2K %s: %s", doing, text);
    } catch (...) {
        return fault(why, grade, "HTJ2K %s: an unknown error of OpenJPH", doing);
    }
}

enum status no_memory(struct fault *why)
{
    return fault(why, ST_RETRY, "HTJ2K: no memory for a picture");
}

/* ---- an image ---- */

struct picture {
    const struct fits_image *img;
    const j2k_shape *shape;
};

void picture_line(void *ctx, uint32_t y, int32_t *samples)
{
    const picture *p = static_cast<const picture *>(ctx);
    size_t line_bytes = static_cast<size_t>(p->shape->width) * (p->shape->bits / 8);
    j2k_read_line(p->shape, p->img->data + y * line_bytes, samples);
}

enum status encode_plain(const struct fits_image *img, const j2k_shape &s,
                         const struct codec_options *o, struct buf *out, struct fault *why)
{
    picture p = {img, &s};
    htj2k_plane plane = {s.width, s.height, s.bits, s.is_signed, !j2k_is_lossy(o),
                         levels_of(s, o), o->qstep, picture_line, &p};
    return htj2k_codestream(&plane, out, why);
}

enum status encode(const struct fits_image *img, const struct codec_options *o, struct buf *out,
                   struct fault *why)
{
    struct fits_image shaped = *img;
    j2k_shape s;
    size_t start;
    enum status st = j2k_shape_of(&shaped, &s, why);
    if (st != ST_OK)
        return st;
    s.shifted = !o->reversible && o->step[0] > 0;
    s.offset = static_cast<int32_t>(o->offset);
    if (!j2k_open_boxes(&s, J2K_HT, out, &start))
        return no_memory(why);
    st = s.shifted ? htj2k_shaped(img, &s, o, out, why) : encode_plain(img, s, o, out, why);
    if (st == ST_OK && !j2k_close_boxes(out, start))
        st = fault(why, ST_REJECT, "HTJ2K encoding: no memory, or a codestream longer than 4 GB");
    if (st != ST_OK)
        out->len = start;
    return st;
}

/* ---- back ---- */

struct rows {
    const j2k_shape *shape;
    codec_row_fn *fn;
    void *ctx;
    unsigned char *stored; /* one row, aligned for its values */
};

enum status stored_row(void *ctx, uint32_t y, const int32_t *samples, struct fault *why)
{
    const rows *r = static_cast<const rows *>(ctx);
    j2k_write_line(r->shape, samples, r->stored);
    return r->fn(r->ctx, y, r->stored, why);
}

enum status decode_rows(const void *bytes, size_t len, struct fits_image *img, codec_row_fn *fn,
                        void *ctx, struct fault *why)
{
    j2k_shape s;
    const unsigned char *codestream;
    size_t codestream_len;
    enum status st = j2k_shape_of(img, &s, why);
    if (st == ST_OK)
        st = j2k_check(bytes, len, &s, J2K_HT, &codestream, &codestream_len, why);
    if (st != ST_OK)
        return st;
    rows r = {&s, fn, ctx, static_cast<unsigned char *>(malloc(s.width * (s.bits / 8u)))};
    if (!r.stored)
        return no_memory(why);
    st = htj2k_lines(codestream, codestream_len, s.width, s.height, stored_row, &r, why);
    free(r.stored);
    return st;
}

} // namespace

extern "C" {
enum status htj2k_codestream(const struct htj2k_plane *p, struct buf *out, struct fault *why)
{
    size_t start = out->len;
    enum status st = ST_OK;
    try {
        encode_lines(*p, out);
    } catch (...) {
        st = caught(ST_REJECT, "encoding", why);
        out->len = start;
    }
    return st;
}

enum status htj2k_lines(const unsigned char *bytes, size_t len, uint32_t width, uint32_t height,
                        enum status (*line)(void *ctx, uint32_t y, const int32_t *samples,
                                            struct fault *why),
                        void *ctx, struct fault *why)
{
    try {
        begin();
        ojph::codestream cs;
        window file(bytes, len);
        ojph::ui32 component;
        cs.read_headers(&file);
        cs.set_planar(true);
        cs.create();
        for (ojph::ui32 y = 0; y < height; y++) {
            ojph::line_buf *got = cs.pull(component);
            if (!got || component != 0 || got->size < width)
                throw std::runtime_error("a line is missing");
            enum status st = line(ctx, y, got->i32, why);
            if (st != ST_OK)
                return st;
        }
        cs.close();
        if (heard.used)
            throw std::runtime_error("a warning");
        return ST_OK;
    } catch (...) {
        return caught(ST_REJECT, "decoding", why);
    }
}

extern const struct codec codec_htj2k;
const struct codec codec_htj2k = {
    "htj2k", ".jph", false, true, false, j2k_accepts, encode, nullptr, decode_rows,
    "High-Throughput JPEG 2000 (ISO/IEC 15444-15): the fastest; lossless, or lossy by a "
    "quantisation step",
    nullptr, /* qstep is its step */
};
}
