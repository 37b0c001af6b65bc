/* A growable run of bytes. The owner calls buf_free, which is harmless on an
 * empty one; start with `struct buf b = {0}`. Not shared between threads. */
#ifndef SKYFERRY_BUF_H
#define SKYFERRY_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    unsigned char *data;
    size_t len; /* bytes in use */
    size_t cap; /* bytes allocated */
};

/* Makes room for `more` bytes past len; false when memory is out (b unchanged). */
bool buf_reserve(struct buf *b, size_t more);

/* Appends; false when memory is out. */
bool buf_append(struct buf *b, const void *bytes, size_t len);

/* Appends formatted text (no terminating NUL is counted, but one always follows). */
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Drops `count` bytes from the front. */
void buf_consume(struct buf *b, size_t count);

/* Releases the memory and leaves an empty buffer. */
void buf_free(struct buf *b);

#endif
