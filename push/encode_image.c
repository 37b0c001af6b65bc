#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "push/encode_hdu_inner.h"
#include "push/mask.h"
#include "push/proof.h"

/* One way of encoding an image, and what came of it. */
struct attempt {
    const struct codec *codec;
    struct codec_options options;
    struct buf pixels;   /* empty when the HDU travels as it stands */
    struct proof proof;
    struct exact exact;
};

static void attempt_free(struct attempt *a)
{
    buf_free(&a->pixels);
    exact_free(&a->exact);
}

/* What is known of the image before it is encoded. */
struct subject {
    struct fits_image img;
    bool tiled, tiled_lossless;
    struct regions regions;
    struct sky sky;
    double bound;
    unsigned char *mask; /* owned */
};

static enum status measure(struct encode_hdu *h, struct subject *s)
{
    s->sky = (struct sky){NAN, NAN, NAN, NAN, NAN, false, false};
    if (s->img.size == 0 || regions_read(h->camera, &s->img, &s->regions, NULL) != ST_OK)
        return ST_OK;
    enum status st = sky_measure(&s->img, &s->regions, &s->sky);
    return st == ST_OK ? ST_OK : fault(&h->why, st, "out of memory to measure the sky");
}

static bool stands(const struct attempt *a)
{
    return strcmp(a->codec->name, "original") == 0;
}

static enum status encode_once(struct encode_hdu *h, const struct subject *s,
                               const struct codec_options *options, struct attempt *out)
{
    *out = (struct attempt){.options = *options};
    out->codec = codec_choose(options, &s->img, s->tiled, s->tiled_lossless);
    h->fell_back |= strcmp(out->codec->name, h->fidelity.method) != 0;
    if (stands(out))
        return ST_OK;
    enum status st = codec_encode(&out->codec, &s->img, options, &out->pixels, &h->why);
    h->cpu_ns[PART_ENCODE] += clock_lap(&h->mark);
    if (st != ST_OK)
        return st;
    if (codec_is_lossless(out->codec, options)) {
        proof_lossless(&s->img, &out->proof);
    } else {
        struct proof_order o = {.codec = out->codec, .raw = &s->img, .bound = s->bound,
                                .exact = h->fidelity.exact, .regions = &s->regions,
                                .mask = s->mask};
        st = proof_run(&o, &out->pixels, &out->exact, &out->proof, &h->why);
    }
    h->cpu_ns[PART_PROOF] += clock_lap(&h->mark);
    return st;
}

/* A quantiser errs by a few steps; a decoder that read a bit wrong errs by hundreds, and one that
 * lost a NaN, without limit. And where every eighth pixel must travel exactly, a lossless picture
 * is smaller. */
static bool is_good(const struct subject *s, const struct attempt *a)
{
    const struct codec_options *o = &a->options;
    double range = ldexp(1, abs(s->img.bitpix)), step = fmax(o->qstep, o->step[0]) * range;
    if (o->q > 0)
        step = INFINITY; /* each tile has its own, and the proof of all is in its decoder */
    int64_t pixels = (int64_t)(s->img.size / (size_t)(abs(s->img.bitpix) / 8));
    return !(a->proof.max_coded > 64 * step + 16) && isfinite(a->proof.rms) &&
           a->exact.pixels <= pixels / 8;
}

static enum status encode_best(struct encode_hdu *h, const struct subject *s, struct attempt *out)
{
    struct codec_options options;
    fidelity_options(&h->fidelity, h->rung, &s->sky, s->img.bitpix, &options);
    /* Which pixels must be exact, or how much others may err, is not known. */
    bool unknown = ((h->fidelity.exact & EXACT_MASKED) && !s->mask) ||
                   (h->fidelity.max_error > 0 && isnan(s->bound));
    if (unknown && !options.reversible) {
        options.reversible = true;
        h->fell_back = true;
    }
    enum status st = encode_once(h, s, &options, out);
    bool refused = st == ST_REJECT || (st == ST_OK && !stands(out) && !is_good(s, out));
    if (refused && !options.reversible) {
        attempt_free(out);
        options.reversible = true;
        h->fell_back = true;
        st = encode_once(h, s, &options, out);
    }
    return st;
}

static void fill_measures(const struct encode_hdu *h, const struct subject *s,
                          const struct attempt *a, struct measures *m)
{
    *m = (struct measures){.sky = s->sky.level, .noise = s->sky.noise, .gain = s->sky.gain,
                           .read_noise = s->sky.read_noise, .rms_error = a->proof.rms,
                           .max_error = a->proof.max, .bound = s->bound,
                           .exact_pixels = a->exact.pixels, .datasum = a->proof.datasum};
    if (codec_is_lossless(a->codec, &a->options))
        m->bound = h->fidelity.max_error > 0 ? 0 : NAN;
}

static enum status add_exact(struct encode_hdu *h, struct attempt *a)
{
    struct buf plain = {0};
    if (a->exact.pixels == 0)
        return ST_OK;
    struct member *m = encode_hdu_member(h, MEMBER_EXACT, "zstd", ".exact.zst");
    enum status st = ST_OK;
    if (!exact_write(&a->exact, &plain))
        st = fault(&h->why, ST_RETRY, "out of memory for pixels that travel exactly");
    m->raw_size = (int64_t)plain.len;
    if (st == ST_OK)
        st = bundle_squeeze(plain.data, plain.len, &h->bytes[h->count - 1], &h->why);
    buf_free(&plain);
    return st;
}

/* The exact pixels come before the picture: who has the picture has all that belongs to it. */
static enum status add_members(struct encode_hdu *h, const struct subject *s, struct attempt *a)
{
    enum status st = a->codec->has_header ? ST_OK : encode_hdu_header(h, &s->img.header);
    if (st == ST_OK)
        st = add_exact(h, a);
    if (st != ST_OK)
        return st;
    struct member *m = encode_hdu_member(h, MEMBER_IMAGE, a->codec->name, a->codec->suffix);
    m->raw_size = (int64_t)s->img.size;
    m->qstep = codec_qstep(a->codec, &a->options, a->pixels.data, a->pixels.len);
    fill_measures(h, s, a, &m->measured);
    h->bytes[h->count - 1] = a->pixels;
    a->pixels = (struct buf){0};
    return ST_OK;
}

enum status encode_hdu_image(struct encode_hdu *h, struct buf *hdu)
{
    struct subject s = {.tiled = h->hdu.kind == FITS_TILED, .bound = NAN};
    struct attempt a = {0};
    h->cpu_ns[PART_READ] += clock_lap(&h->mark);
    enum status st = fits_image_load(hdu->data, hdu->len, &s.img, &h->why);
    h->cpu_ns[PART_TILES] += clock_lap(&h->mark);
    if (st == ST_OK)
        st = measure(h, &s);
    h->cpu_ns[PART_NOISE] += clock_lap(&h->mark);
    if (st != ST_OK)
        goto out;
    s.bound = fidelity_bound(&h->fidelity, &s.sky);
    if (h->fidelity.exact & EXACT_MASKED) /* without one s.mask stays NULL, and the note says why */
        mask_load(h->fidelity.masks, h->ccd, &s.img, &s.mask, &h->note);
    s.tiled_lossless = s.tiled && fits_tiled_lossless(hdu->data, hdu->len);
    st = encode_best(h, &s, &a);
    if (st != ST_OK)
        goto out;
    if (stands(&a))
        encode_hdu_as_it_stands(h, MEMBER_IMAGE, hdu);
    else
        st = add_members(h, &s, &a);
out:
    attempt_free(&a);
    free(s.mask);
    fits_image_free(&s.img);
    return st;
}
