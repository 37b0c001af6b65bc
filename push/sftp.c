#include "push/sftp.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum request {
    ASK_INIT = 1, ASK_OPEN = 3, ASK_CLOSE, ASK_READ, ASK_WRITE, ASK_LSTAT, ASK_FSTAT,
    ASK_REMOVE = 13, ASK_STAT = 17, ASK_RENAME, ASK_EXTENDED = 200
};
enum attribute { HAS_SIZE = 1, HAS_OWNER = 2, HAS_MODE = 4, HAS_TIMES = 8 };

#define POSIX_RENAME "posix-rename@openssh.com"
#define FSYNC "fsync@openssh.com"
#define STATVFS "statvfs@openssh.com"
#define LIMITS "limits@openssh.com"

static void put32(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)(v >> 24);
    p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8);
    p[3] = (unsigned char)v;
}

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t get64(const unsigned char *p)
{
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

/* ---- requests ---- */

/* One packet being written: `at` walks through its bytes, which are all there from the start. */
struct pen {
    unsigned char *at;
};

/* `body` bytes after type and id; `later` of them come from elsewhere. */
static bool begin(struct pen *p, struct buf *out, enum request type, uint32_t id, size_t body,
                  uint32_t later)
{
    if (!buf_reserve(out, 9 + body))
        return false;
    p->at = out->data + out->len;
    out->len += 9 + body;
    put32(p->at, (uint32_t)(5 + body) + later);
    p->at[4] = (unsigned char)type;
    put32(p->at + 5, id);
    p->at += 9;
    return true;
}

static void number(struct pen *p, uint32_t v)
{
    put32(p->at, v);
    p->at += 4;
}

static void wide(struct pen *p, int64_t v)
{
    number(p, (uint32_t)((uint64_t)v >> 32));
    number(p, (uint32_t)v);
}

static void text(struct pen *p, const void *bytes, size_t len)
{
    number(p, (uint32_t)len);
    memcpy(p->at, bytes, len);
    p->at += len;
}

static bool put_texts(struct buf *out, enum request type, uint32_t id, const char *const *texts,
                      int count)
{
    struct pen p;
    size_t body = 0;
    for (int i = 0; i < count; i++)
        body += 4 + strlen(texts[i]);
    if (!begin(&p, out, type, id, body, 0))
        return false;
    for (int i = 0; i < count; i++)
        text(&p, texts[i], strlen(texts[i]));
    return true;
}

static bool put_handle(struct buf *out, enum request type, uint32_t id,
                       const struct sftp_handle *h)
{
    struct pen p;
    if (!begin(&p, out, type, id, 4 + h->len, 0))
        return false;
    text(&p, h->bytes, h->len);
    return true;
}

bool sftp_init(struct buf *out)
{
    static const unsigned char init[] = {0, 0, 0, 5, ASK_INIT, 0, 0, 0, SFTP_VERSION};
    return buf_append(out, init, sizeof init);
}

bool sftp_open(struct buf *out, uint32_t id, const char *path, unsigned flags)
{
    struct pen p;
    size_t len = strlen(path);
    if (!begin(&p, out, ASK_OPEN, id, 4 + len + 4 + 4, 0))
        return false;
    text(&p, path, len);
    number(&p, flags);
    number(&p, 0); /* no attributes: the server's umask decides */
    return true;
}

bool sftp_close(struct buf *out, uint32_t id, const struct sftp_handle *h)
{
    return put_handle(out, ASK_CLOSE, id, h);
}

bool sftp_fstat(struct buf *out, uint32_t id, const struct sftp_handle *h)
{
    return put_handle(out, ASK_FSTAT, id, h);
}

bool sftp_read(struct buf *out, uint32_t id, const struct sftp_handle *h, int64_t offset,
               uint32_t length)
{
    struct pen p;
    if (!begin(&p, out, ASK_READ, id, 4 + h->len + 8 + 4, 0))
        return false;
    text(&p, h->bytes, h->len);
    wide(&p, offset);
    number(&p, length);
    return true;
}

bool sftp_write_head(struct buf *out, uint32_t id, const struct sftp_handle *h, int64_t offset,
                     uint32_t length)
{
    struct pen p;
    if (!begin(&p, out, ASK_WRITE, id, 4 + h->len + 8 + 4, length))
        return false;
    text(&p, h->bytes, h->len);
    wide(&p, offset);
    number(&p, length);
    return true;
}

bool sftp_write(struct buf *out, uint32_t id, const struct sftp_handle *h, int64_t offset,
                const void *bytes, uint32_t length)
{
    return buf_reserve(out, SFTP_WRITE_HEAD(h) + length) &&
           sftp_write_head(out, id, h, offset, length) && buf_append(out, bytes, length);
}

bool sftp_lstat(struct buf *out, uint32_t id, const char *path)
{
    return put_texts(out, ASK_LSTAT, id, &path, 1);
}

bool sftp_stat(struct buf *out, uint32_t id, const char *path)
{
    return put_texts(out, ASK_STAT, id, &path, 1);
}

bool sftp_remove(struct buf *out, uint32_t id, const char *path)
{
    return put_texts(out, ASK_REMOVE, id, &path, 1);
}

bool sftp_rename(struct buf *out, uint32_t id, const char *from, const char *to, bool posix)
{
    const char *const plain[] = {from, to}, *const extended[] = {POSIX_RENAME, from, to};
    return posix ? put_texts(out, ASK_EXTENDED, id, extended, 3)
                 : put_texts(out, ASK_RENAME, id, plain, 2);
}

bool sftp_fsync(struct buf *out, uint32_t id, const struct sftp_handle *h)
{
    struct pen p;
    if (!begin(&p, out, ASK_EXTENDED, id, 4 + strlen(FSYNC) + 4 + h->len, 0))
        return false;
    text(&p, FSYNC, strlen(FSYNC));
    text(&p, h->bytes, h->len);
    return true;
}

bool sftp_statvfs(struct buf *out, uint32_t id, const char *path)
{
    const char *const texts[] = {STATVFS, path};
    return put_texts(out, ASK_EXTENDED, id, texts, 2);
}

bool sftp_limits(struct buf *out, uint32_t id)
{
    const char *const texts[] = {LIMITS};
    return put_texts(out, ASK_EXTENDED, id, texts, 1);
}

/* ---- replies ---- */

/* What is left of a packet; `bad` once it was too short for what was asked of it. */
struct eye {
    const unsigned char *at, *end;
    bool bad;
};

static uint32_t see32(struct eye *e)
{
    if (e->end - e->at < 4) {
        e->bad = true;
        return 0;
    }
    e->at += 4;
    return get32(e->at - 4);
}

static uint64_t see64(struct eye *e)
{
    uint64_t high = see32(e);
    return high << 32 | see32(e);
}

static const unsigned char *see_text(struct eye *e, uint32_t *len)
{
    *len = see32(e);
    if (e->bad || (size_t)(e->end - e->at) < *len) {
        e->bad = true;
        *len = 0;
        return NULL;
    }
    e->at += *len;
    return e->at - *len;
}

static void see_attributes(struct eye *e, struct sftp_reply *out)
{
    uint32_t flags = see32(e);
    out->has_size = flags & HAS_SIZE;
    out->has_time = flags & HAS_TIMES;
    if (flags & HAS_SIZE)
        out->size = (int64_t)see64(e);
    if (flags & HAS_OWNER)
        (void)see64(e);
    if (flags & HAS_MODE)
        out->mode = see32(e);
    if (flags & HAS_TIMES) {
        (void)see32(e);
        out->mtime = see32(e);
    }
    if (out->size < 0)
        e->bad = true;
}

static void see_body(struct eye *e, struct sftp_reply *out)
{
    switch (out->kind) {
    case SFTP_SAYS_STATUS:
        out->code = (enum sftp_code)see32(e);
        /* Some servers leave the words out. */
        if (!e->bad && e->at < e->end)
            out->bytes = see_text(e, &out->len);
        break;
    case SFTP_SAYS_HANDLE:
    case SFTP_SAYS_DATA:
        out->bytes = see_text(e, &out->len);
        break;
    case SFTP_SAYS_ATTRS:
        see_attributes(e, out);
        break;
    default: /* taken as it is */
        out->bytes = e->at;
        out->len = (uint32_t)(e->end - e->at);
    }
}

enum status sftp_take(const unsigned char *bytes, size_t len, struct sftp_reply *out, size_t *used,
                      struct fault *why)
{
    *out = (struct sftp_reply){0};
    if (len < 5)
        return ST_WAIT;
    uint32_t length = get32(bytes);
    out->kind = (enum sftp_reply_kind)bytes[4];
    bool known = out->kind == SFTP_SAYS_VERSION || out->kind == SFTP_SAYS_EXTENDED ||
                 (out->kind >= SFTP_SAYS_STATUS && out->kind <= SFTP_SAYS_ATTRS);
    if (!known || length < 5 || length > SFTP_PACKET_MAX)
        return fault(why, ST_REJECT, "what comes is no answer of an SFTP server");
    if (len < 4 + (size_t)length)
        return ST_WAIT;
    struct eye e = {bytes + 5, bytes + 4 + length, false};
    if (out->kind != SFTP_SAYS_VERSION)
        out->id = see32(&e);
    see_body(&e, out);
    if (e.bad)
        return fault(why, ST_REJECT, "an answer of the SFTP server ends too early");
    *used = 4 + (size_t)length;
    return ST_OK;
}

static bool is_named(const unsigned char *bytes, uint32_t len, const char *name)
{
    return bytes && len == strlen(name) && memcmp(bytes, name, len) == 0;
}

void sftp_version(const struct sftp_reply *r, struct sftp_server *out)
{
    struct eye e = {r->bytes, r->bytes + r->len, false};
    *out = (struct sftp_server){.version = see32(&e)};
    while (!e.bad && e.at < e.end) {
        uint32_t len, value;
        const unsigned char *name = see_text(&e, &len);
        (void)see_text(&e, &value);
        if (e.bad)
            break;
        out->posix_rename |= is_named(name, len, POSIX_RENAME);
        out->fsync |= is_named(name, len, FSYNC);
        out->statvfs |= is_named(name, len, STATVFS);
        out->limits |= is_named(name, len, LIMITS);
    }
}

bool sftp_handle_of(const struct sftp_reply *r, struct sftp_handle *out)
{
    out->len = 0;
    if (r->kind != SFTP_SAYS_HANDLE || r->len == 0 || r->len > SFTP_HANDLE_MAX)
        return false;
    memcpy(out->bytes, r->bytes, r->len);
    out->len = r->len;
    return true;
}

/* statvfs: bsize, frsize, blocks, bfree, bavail, ... */
int64_t sftp_free_bytes(const struct sftp_reply *r)
{
    if (r->kind != SFTP_SAYS_EXTENDED || r->len < 40)
        return -1;
    uint64_t unit = get64(r->bytes + 8), count = get64(r->bytes + 32);
    return unit && count > (uint64_t)INT64_MAX / unit ? INT64_MAX : (int64_t)(unit * count);
}

/* limits: packet, read, write, handles */
int64_t sftp_write_limit(const struct sftp_reply *r)
{
    if (r->kind != SFTP_SAYS_EXTENDED || r->len < 24)
        return 0;
    uint64_t n = get64(r->bytes + 16);
    return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

void sftp_words(const struct sftp_reply *r, char out[160])
{
    static const char *const words[] = {"no error", "end of file", "no such file",
                                        "permission denied", "failure", "bad message",
                                        "no connection", "connection lost", "not supported"};
    size_t n = r->code < sizeof words / sizeof words[0] ? r->code : SFTP_FAILURE;
    int used = snprintf(out, 160, "%s", r->kind == SFTP_SAYS_STATUS ? words[n] : "an odd answer");
    bool more = r->kind == SFTP_SAYS_STATUS && r->len > 0 &&
                (r->len != strlen(words[n]) || strncasecmp((const char *)r->bytes, words[n],
                                                           r->len) != 0);
    if (!more)
        return;
    used += snprintf(out + used, (size_t)(160 - used), " (");
    for (uint32_t i = 0; i < r->len && used < 157; i++)
        out[used++] = isprint(r->bytes[i]) ? (char)r->bytes[i] : '.';
    snprintf(out + used, (size_t)(160 - used), ")");
}
