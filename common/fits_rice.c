#include "common/fits_private.h"

#include <string.h>

/* How 16-bit pixels are coded: each block begins with 4 bits, one more than the number of
 * low bits that its differences give plainly; 0: there are no differences; 15: they are
 * too large to be split and stand as 16 bits each. */
#define SPLIT_BITS 4
#define SPLIT_NONE 14
#define PIXEL_BITS 16

/* Bits that a refill leaves at least; and when four differences share one refill, what each
 * may take, which suits splits up to GROUP_SPLIT. */
#define HELD 56
#define GROUP 4
#define GROUP_SPLIT 8

/* Let the processor's own instructions for counting zeros and shifting be used where they are:
 * the decoder waits for hardly anything else. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MODERN __attribute__((target("arch=x86-64-v3")))
#define IS_MODERN __builtin_cpu_supports("x86-64-v3")
#else
#define MODERN
#define IS_MODERN 0
#endif
#define INLINE static inline __attribute__((always_inline))

/* The code's next bits, from the highest down; below the `held` ones stand more of the same
 * code, or zeros. `at`: the first byte not all held. */
struct code {
    uint64_t bits;
    unsigned held;
    const unsigned char *at, *end;
};

/* Reads 8 bytes, wherever the code ends. */
INLINE void refill(struct code *c)
{
    uint64_t next;
    memcpy(&next, c->at, sizeof next);
    c->bits |= __builtin_bswap64(next) >> c->held;
    c->at += (63 - c->held) >> 3;
    c->held |= HELD;
}

INLINE void drop(struct code *c, unsigned count)
{
    c->bits <<= count;
    c->held -= count;
}

INLINE bool is_past_end(const struct code *c)
{
    return c->at - c->end > (ptrdiff_t)(c->held / 8);
}

/* A difference that may be longer than the bits at hand: a star's edge, a cosmic ray, or
 * damage. Like cfitsio it lets the number overflow. */
static __attribute__((noinline)) bool take_long(struct code *c, unsigned split, uint32_t *out)
{
    uint32_t high = 0;
    for (;;) {
        refill(c);
        if (is_past_end(c))
            return false;
        if (c->bits >> (64 - HELD))
            break;
        high += HELD;
        drop(c, HELD);
    }
    unsigned zeros = (unsigned)__builtin_clzll(c->bits);
    drop(c, zeros);
    drop(c, 1);
    refill(c);
    *out = (high + zeros) << split | (uint32_t)(c->bits >> 1 >> (63 - split));
    drop(c, split);
    refill(c);
    return true;
}

/* The value of code bits so small that a difference takes more than `most` of them. */
INLINE uint64_t least_bits(unsigned most, unsigned split)
{
    return 1ull << (64 - (most - split));
}

/* One difference: its high part as so many zeros and a one, then `split` low bits. */
INLINE bool take(struct code *c, unsigned split, uint64_t least, uint32_t *out)
{
    if (__builtin_expect(c->bits < least, 0)) {
        struct code copy = *c; /* so that *c itself can stay in registers */
        bool ok = take_long(&copy, split, out);
        *c = copy;
        return ok;
    }
    unsigned zeros = (unsigned)__builtin_clzll(c->bits);
    uint64_t rest = c->bits << zeros;
    *out = zeros << split | (uint32_t)((rest & INT64_MAX) >> (63 - split));
    c->bits = rest << (split + 1);
    c->held -= zeros + split + 1;
    return true;
}

/* Even numbers stand for differences upwards, odd ones for those downwards. */
INLINE void put(uint16_t *to, uint16_t *last, uint32_t difference)
{
    *last = (uint16_t)(*last + (difference >> 1 ^ -(difference & 1)));
    *to = __builtin_bswap16(*last);
}

/* A block of n split differences. */
INLINE bool take_split(struct code *c, unsigned split, uint16_t *last, uint16_t *to, size_t n)
{
    uint32_t d;
    size_t i = 0;
    if (split <= GROUP_SPLIT) {
        uint64_t least = least_bits(HELD / GROUP, split);
        for (; i + GROUP <= n; i += GROUP) {
            refill(c);
            for (size_t k = 0; k < GROUP; k++) {
                if (!take(c, split, least, &d))
                    return false;
                put(to + i + k, last, d);
            }
        }
    }
    uint64_t least = least_bits(HELD, split);
    for (; i < n; i++) {
        refill(c);
        if (!take(c, split, least, &d))
            return false;
        put(to + i, last, d);
    }
    return true;
}

INLINE bool decode(const unsigned char *bytes, size_t len, int block, uint16_t *to, size_t n)
{
    uint16_t last = (uint16_t)(bytes[0] << 8 | bytes[1]);
    struct code c = {.at = bytes + 2, .end = bytes + len};
    for (size_t i = 0, count; i < n; i += count, to += count) {
        count = n - i < (size_t)block ? n - i : (size_t)block;
        refill(&c);
        unsigned split = (unsigned)(c.bits >> (64 - SPLIT_BITS)) - 1;
        drop(&c, SPLIT_BITS);
        if (split < SPLIT_NONE) {
            if (!take_split(&c, split, &last, to, count))
                return false;
        } else if (split == SPLIT_NONE) {
            for (size_t k = 0; k < count; k++) {
                refill(&c);
                put(to + k, &last, (uint32_t)(c.bits >> (64 - PIXEL_BITS)));
                drop(&c, PIXEL_BITS);
            }
        } else {
            for (size_t k = 0; k < count; k++)
                put(to + k, &last, 0);
        }
        if (is_past_end(&c))
            return false;
    }
    return true;
}

bool fits_rice16_plain(const unsigned char *bytes, size_t len, int block, void *stored, size_t n)
{
    return decode(bytes, len, block, stored, n);
}

MODERN static bool rice16_modern(const unsigned char *bytes, size_t len, int block, void *stored,
                                 size_t n)
{
    return decode(bytes, len, block, stored, n);
}

bool fits_rice16_decode(const unsigned char *bytes, size_t len, int block, void *stored, size_t n)
{
    return IS_MODERN ? rice16_modern(bytes, len, block, stored, n)
                     : fits_rice16_plain(bytes, len, block, stored, n);
}
