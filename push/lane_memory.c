#include "push/lane_memory.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

/* Stands in front of the bytes handed out, which must be aligned as malloc's are. */
struct memory_block {
    alignas(max_align_t) struct memory_block *next;
    struct memory_block *before;
};

static void link_first(struct memory *m, struct memory_block *b)
{
    b->before = NULL;
    b->next = m->first;
    if (m->first)
        m->first->before = b;
    m->first = b;
}

static void unlink_block(struct memory *m, struct memory_block *b)
{
    if (b->before)
        b->before->next = b->next;
    else
        m->first = b->next;
    if (b->next)
        b->next->before = b->before;
}

void *memory_resize(struct memory *m, void *old, size_t size)
{
    struct memory_block *b = old ? (struct memory_block *)old - 1 : NULL;
    if (size > SIZE_MAX - sizeof *b)
        return NULL;
    if (b)
        unlink_block(m, b);
    struct memory_block *fresh = realloc(b, sizeof *b + size);
    if (fresh || b)
        link_first(m, fresh ? fresh : b);
    return fresh ? fresh + 1 : NULL;
}

void *memory_take(struct memory *m, size_t size)
{
    return memory_resize(m, NULL, size);
}

void memory_give(struct memory *m, void *bytes)
{
    if (!bytes)
        return;
    struct memory_block *b = (struct memory_block *)bytes - 1;
    unlink_block(m, b);
    free(b);
}

void memory_end(struct memory *m)
{
    while (m->first)
        memory_give(m, m->first + 1);
}
