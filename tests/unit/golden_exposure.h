/* The exposure that the golden files in tests/unit/golden are made of: a small but whole
 * FITS file (empty primary, one ccd, one table, bytes past the end) carried with codec
 * "original", so that its members one after the other are the source file. Offsets are
 * those in the source file, not yet those in the tar. */
#ifndef SKYFERRY_GOLDEN_EXPOSURE_H
#define SKYFERRY_GOLDEN_EXPOSURE_H

#include <stdio.h>
#include <string.h>

#include "common/bundle.h"
#include "common/fits.h"

#define GOLDEN_TAR "tests/unit/golden/bundle.tar"
#define GOLDEN_MANIFEST "tests/unit/golden/manifest.json"
#define GOLDEN_VISIT "tests/unit/golden/manifest_visit.json"
#define GOLDEN_MTIME 1510553020123456789LL

struct golden {
    struct buf source;
    struct manifest m;
};

static inline void golden_card(struct buf *b, const char *text)
{
    char card[FITS_CARD + 1];
    snprintf(card, sizeof card, "%-80.80s", text);
    buf_append(b, card, FITS_CARD);
}

static inline void golden_pad(struct buf *b, int fill)
{
    while (b->len % FITS_BLOCK != 0) {
        char c = (char)fill;
        buf_append(b, &c, 1);
    }
}

static inline void golden_header(struct buf *b, const char *const *cards)
{
    for (; *cards; cards++)
        golden_card(b, *cards);
    golden_card(b, "END");
    golden_pad(b, ' ');
}

/* The bytes since the last member's end become one more member. */
static inline void golden_member(struct golden *g, enum member_role role, int hdu, int ccd,
                                 const char *extname)
{
    struct member one = {.role = role, .hdu = hdu, .ccd = ccd, .codec = "original",
                         .measured = measures_none};
    for (size_t i = 0; i < g->m.count; i++)
        one.offset += g->m.members[i].size;
    one.size = one.raw_size = (int64_t)g->source.len - one.offset;
    snprintf(one.extname, sizeof one.extname, "%s", extname);
    member_name(&one, g->m.name, ".hdu");
    digest_bytes(g->source.data + one.offset, (size_t)one.size, one.sha256);
    manifest_add(&g->m, &one);
}

static inline void golden_facts(struct manifest *m)
{
    m->format = MANIFEST_FORMAT;
    snprintf(m->software, sizeof m->software, "skyferry 0.1.0");
    snprintf(m->name, sizeof m->name, "c4d_171113_060340_ori");
    snprintf(m->source_name, sizeof m->source_name, "c4d_171113_060340_ori.fits");
    m->source_mtime_ns = GOLDEN_MTIME;
    m->facts = (struct facts){.object = "DWF field 4hr",
                              .filter = "g DECam SDSS c0001 4720.0 1520.0",
                              .obstype = "object", .propid = "2017B-0904",
                              .date_obs = "2017-11-13T06:03:40.123456", .expnum = 694037,
                              .date_ns = 1510553020123456000LL, .exptime = 20.5};
}

static inline void golden_make(struct golden *g)
{
    static const char *const primary[] = {
        "SIMPLE  =                    T / file does conform to FITS standard",
        "BITPIX  =                    8 / number of bits per data pixel",
        "NAXIS   =                    0 / number of data axes",
        "EXTEND  =                    T / FITS dataset may contain extensions",
        "OBJECT  = 'DWF field 4hr'      / what the observer asked for",
        "FILTER  = 'g DECam SDSS c0001 4720.0 1520.0'",
        "EXPNUM  =               694037 / exposure number",
        "OBSTYPE = 'object  '",
        "PROPID  = '2017B-0904'",
        "EXPTIME =                 20.5 / [s] requested exposure time",
        "DATE-OBS= '2017-11-13T06:03:40.123456' / UTC of shutter open",
        "COMMENT a comment that must survive",
        NULL};
    static const char *const image[] = {
        "XTENSION= 'IMAGE   '           / image extension",
        "BITPIX  =                   16 / number of bits per data pixel",
        "NAXIS   =                    2 / number of data axes",
        "NAXIS1  =                    4",
        "NAXIS2  =                    3",
        "PCOUNT  =                    0",
        "GCOUNT  =                    1",
        "EXTNAME = 'N4      '",
        "CCDNUM  =                    3 / ccd number",
        "BZERO   =                32768",
        "BSCALE  =                    1",
        "GAINA   =                 4.05 / [electron/adu] gain of amplifier A",
        NULL};
    static const char *const table[] = {
        "XTENSION= 'BINTABLE'           / binary table extension",
        "BITPIX  =                    8",
        "NAXIS   =                    2",
        "NAXIS1  =                    4",
        "NAXIS2  =                    2",
        "PCOUNT  =                    0",
        "GCOUNT  =                    1",
        "TFIELDS =                    1",
        "TFORM1  = '1J      '",
        "TTYPE1  = 'COUNTS  '",
        "EXTNAME = 'GUIDER  '",
        NULL};
    *g = (struct golden){0};
    golden_facts(&g->m);
    golden_header(&g->source, primary);
    golden_member(g, MEMBER_HDU, 0, 0, "");
    golden_header(&g->source, image);
    for (int i = 0; i < 12; i++) {
        unsigned char value[2] = {0x84, (unsigned char)(i * 17)};
        buf_append(&g->source, value, sizeof value);
    }
    golden_pad(&g->source, 0);
    golden_member(g, MEMBER_IMAGE, 1, 3, "N4");
    golden_header(&g->source, table);
    buf_append(&g->source, "\0\0\1\2\0\0\3\4", 8);
    golden_pad(&g->source, 0);
    golden_member(g, MEMBER_HDU, 2, 0, "GUIDER");
    buf_append(&g->source, "written by the camera past the last HDU\n", 40);
    golden_member(g, MEMBER_HDU, -1, 0, "");
    g->m.source_size = (int64_t)g->source.len;
    digest_bytes(g->source.data, g->source.len, g->m.source_sha256);
}

static inline void golden_free(struct golden *g)
{
    buf_free(&g->source);
    manifest_free(&g->m);
}

/* Adds the manifest's own member to the writer; the caller finishes. */
static inline enum status golden_add_manifest(struct bundle_writer *w, const struct manifest *m,
                                              struct fault *why)
{
    struct buf text = {0};
    char sha256[DIGEST_HEX];
    if (!manifest_write(m, &text))
        return fault(why, ST_REJECT, "manifest_write failed");
    digest_bytes(text.data, text.len, sha256);
    enum status s = bundle_add(w, MANIFEST_NAME, text.data, text.len, sha256, why);
    buf_free(&text);
    return s;
}

/* Writes the whole bundle to path. */
static inline enum status golden_bundle(const struct golden *g, const char *path,
                                        char sha256[DIGEST_HEX], int64_t *size, struct fault *why)
{
    struct bundle_writer *w = NULL;
    enum status s = bundle_create(path, g->m.source_mtime_ns, &w, why);
    for (size_t i = 0; i < g->m.count && s == ST_OK; i++) {
        const struct member *one = &g->m.members[i];
        s = bundle_add_member(w, &g->m, one, g->source.data + one->offset, why);
    }
    if (s == ST_OK)
        s = golden_add_manifest(w, &g->m, why);
    if (s == ST_OK)
        s = bundle_finish(&w, sha256, size, why);
    bundle_abandon(&w);
    return s;
}

#endif
