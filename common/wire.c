#include "common/wire.h"

#include <ctype.h>
#include <stdio.h>

static const char *const names[] = {
    [WIRE_HELLO] = "HELLO",     [WIRE_WELCOME] = "WELCOME", [WIRE_OPEN] = "OPEN",
    [WIRE_OPENED] = "OPENED",   [WIRE_CHUNK] = "CHUNK",     [WIRE_GOT] = "GOT",
    [WIRE_COMMIT] = "COMMIT",   [WIRE_RECEIPT] = "RECEIPT", [WIRE_REFUSED] = "REFUSED",
    [WIRE_ABORT] = "ABORT",     [WIRE_HAVE] = "HAVE",       [WIRE_HELD] = "HELD",
    [WIRE_PING] = "PING",       [WIRE_PONG] = "PONG",       [WIRE_BYE] = "BYE",
    [WIRE_CLOSE] = "CLOSE",
};

const char *wire_type_name(int type)
{
    return type >= WIRE_HELLO && type <= WIRE_CLOSE ? names[type] : "unknown";
}

static uint32_t get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint64_t wire_u64(const unsigned char *p)
{
    return (uint64_t)get_u32(p) << 32 | get_u32(p + 4);
}

void wire_put_u64(unsigned char *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(v >> (56 - 8 * i));
}

static void make_head(unsigned char head[WIRE_HEAD], enum wire_type type, uint16_t stream,
                      uint32_t length)
{
    wire_put_u64(head, (uint64_t)length << 32 | (uint64_t)type << 24 | stream);
}

bool wire_put(struct buf *out, enum wire_type type, uint16_t stream, const void *payload,
              uint32_t length)
{
    unsigned char head[WIRE_HEAD];
    if (length > WIRE_MAX || !buf_reserve(out, WIRE_HEAD + (size_t)length))
        return false;
    make_head(head, type, stream, length);
    return buf_append(out, head, sizeof head) && buf_append(out, payload, length);
}

bool wire_put_chunk_head(struct buf *out, uint16_t stream, uint64_t offset, uint32_t length)
{
    unsigned char head[WIRE_HEAD + WIRE_CHUNK_HEAD];
    if (length > WIRE_MAX - WIRE_CHUNK_HEAD)
        return false;
    make_head(head, WIRE_CHUNK, stream, WIRE_CHUNK_HEAD + length);
    wire_put_u64(head + WIRE_HEAD, offset);
    return buf_append(out, head, sizeof head);
}

/* What came instead of a frame is mostly text (a login banner, a shell's complaint), so
 * the message shows it as text. */
static enum status no_frame(const unsigned char *bytes, size_t len, struct fault *why)
{
    char shown[49];
    size_t n = len < sizeof shown - 1 ? len : sizeof shown - 1;
    for (size_t i = 0; i < n; i++)
        shown[i] = isprint(bytes[i]) ? (char)bytes[i] : '.';
    shown[n] = '\0';
    return fault(why, ST_REJECT, "these bytes are no skyferry frame: \"%s\"", shown);
}

enum status wire_take(const unsigned char *bytes, size_t len, struct wire_frame *out,
                      size_t *used, struct fault *why)
{
    if (len < WIRE_HEAD)
        return ST_WAIT;
    uint32_t length = get_u32(bytes);
    if (length > WIRE_MAX || bytes[4] < WIRE_HELLO || bytes[4] > WIRE_CLOSE || bytes[5] != 0)
        return no_frame(bytes, len, why);
    if (len - WIRE_HEAD < length)
        return ST_WAIT;
    *out = (struct wire_frame){
        .type = (enum wire_type)bytes[4],
        .stream = (uint16_t)(bytes[6] << 8 | bytes[7]),
        .payload = bytes + WIRE_HEAD,
        .length = length,
    };
    *used = WIRE_HEAD + (size_t)length;
    return ST_OK;
}
