/* Tars made by hand, block by block, for tests: any name, kind, size or digest, right or
 * wrong, and nothing of libarchive's writer in them. */
#ifndef SKYFERRY_RAW_TAR_H
#define SKYFERRY_RAW_TAR_H

#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/digest.h"

struct raw_member {
    const char *name;
    char type;           /* '0' plain, '1' hard link, '2' link, '5' directory, 'S' sparse; 0: '0' */
    const char *link;    /* where a link leads */
    const char *bytes;
    size_t len;
    const char *sha256;  /* in the pax header; NULL: of the bytes; "": none */
    const char *pax;     /* one more pax record "key=value"; NULL: none */
};

static inline void raw_pad(struct buf *t)
{
    static const char zeros[512];
    buf_append(t, zeros, (512 - t->len % 512) % 512);
}

static inline void raw_header(struct buf *t, const char *name, char type, const char *link,
                              size_t size)
{
    unsigned char h[512] = {0};
    snprintf((char *)h, 100, "%s", name);
    memcpy(h + 100, "000644 ", 8);
    memcpy(h + 108, "000000 ", 8);
    memcpy(h + 116, "000000 ", 8);
    for (int i = 134; i >= 124; i--, size /= 8)
        h[i] = (unsigned char)('0' + size % 8);
    memcpy(h + 136, "00000000000 ", 12);
    memset(h + 148, ' ', 8);
    h[156] = (unsigned char)type;
    snprintf((char *)h + 157, 100, "%s", link ? link : "");
    memcpy(h + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++)
        sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum & 0777777);
    buf_append(t, h, sizeof h);
}

/* "LENGTH key=value\n", where LENGTH counts itself. */
static inline void raw_record(struct buf *b, const char *text)
{
    size_t len = strlen(text) + 2, digits = 1;
    for (size_t n = 10; len + digits >= n; n *= 10)
        digits++;
    buf_printf(b, "%zu %s\n", len + digits, text);
}

static inline void raw_add(struct buf *t, const struct raw_member *one)
{
    char sha256[DIGEST_HEX], record[256];
    struct buf pax = {0};
    digest_bytes(one->bytes, one->len, sha256);
    if (!one->sha256 || one->sha256[0]) {
        snprintf(record, sizeof record, "SCHILY.xattr.user.skyferry.sha256=%s",
                 one->sha256 ? one->sha256 : sha256);
        raw_record(&pax, record);
    }
    if (one->pax)
        raw_record(&pax, one->pax);
    if (pax.len > 0) {
        raw_header(t, "PaxHeader/x", 'x', NULL, pax.len);
        buf_append(t, pax.data, pax.len);
        raw_pad(t);
    }
    buf_free(&pax);
    raw_header(t, one->name, one->type ? one->type : '0', one->link, one->len);
    buf_append(t, one->bytes, one->len);
    raw_pad(t);
}

static inline void raw_end(struct buf *t)
{
    static const char zeros[1024];
    buf_append(t, zeros, sizeof zeros);
}

#endif
