#include "push/known.h"

#include <stdlib.h>
#include <string.h>

#define FIRST 1024
#define MOST (1u << 20) /* paths; then it begins anew: the watched directory was cleared */

/* Two digests of 64 bits; a path that is taken for another is one in 10^10 of them. */
struct entry {
    uint64_t path, version; /* path 0: free; version 0: none */
};

struct known {
    struct entry *table;
    size_t size, used; /* a power of two */
};

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/; never 0. */
static uint64_t digest(const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    uint64_t h = 0xcbf29ce484222325u;
    while (len--)
        h = (h ^ *at++) * 0x100000001b3u;
    return h ? h : 1;
}

struct known *known_new(void)
{
    struct known *k = calloc(1, sizeof *k);
    if (k)
        k->table = calloc(FIRST, sizeof *k->table);
    if (k && k->table)
        k->size = FIRST;
    else
        known_free(&k);
    return k;
}

void known_free(struct known **k)
{
    if (*k)
        free((*k)->table);
    free(*k);
    *k = NULL;
}

static struct entry *find(const struct known *k, uint64_t path)
{
    size_t at = path & (k->size - 1);
    while (k->table[at].path && k->table[at].path != path)
        at = (at + 1) & (k->size - 1);
    return &k->table[at];
}

bool known_is(const struct known *k, const char *path, const struct identity *file)
{
    return find(k, digest(path, strlen(path)))->version == digest(file, sizeof *file);
}

static void forget_all(struct known *k)
{
    memset(k->table, 0, k->size * sizeof *k->table);
    k->used = 0;
}

/* Twice the room; without memory for it, all of it again. */
static void grow(struct known *k)
{
    struct known wide = {.size = 2 * k->size};
    if (k->used >= MOST || !(wide.table = calloc(wide.size, sizeof *wide.table))) {
        forget_all(k);
        return;
    }
    for (size_t i = 0; i < k->size; i++)
        if (k->table[i].version) {
            *find(&wide, k->table[i].path) = k->table[i];
            wide.used++;
        }
    free(k->table);
    *k = wide;
}

void known_set(struct known *k, const char *path, const struct identity *file)
{
    uint64_t name = digest(path, strlen(path));
    if (2 * k->used >= k->size)
        grow(k);
    struct entry *e = find(k, name);
    k->used += !e->path && file;
    if (e->path || file)
        *e = (struct entry){name, file ? digest(file, sizeof *file) : 0};
}
