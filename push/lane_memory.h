/* Memory of one connection, given back as a whole when it ends. libssh2 1.10 loses the host
 * key at every exchange of keys (51 bytes each), and whatever it holds when it is not let
 * finish. One thread. */
#ifndef SKYFERRY_LANE_MEMORY_H
#define SKYFERRY_LANE_MEMORY_H

#include <stddef.h>

struct memory {
    struct memory_block *first;
};

/* As malloc, realloc and free, of this memory. */
void *memory_take(struct memory *m, size_t size);
void *memory_resize(struct memory *m, void *old, size_t size);
void memory_give(struct memory *m, void *bytes);
/* Frees all that was not given back. */
void memory_end(struct memory *m);

#endif
