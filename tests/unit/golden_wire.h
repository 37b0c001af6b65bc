/* Reads tests/unit/golden/wire-session.txt: the frames of a captured session in order, '>'
 * from push and '<' from pull. For test_wire and test_pull_receive. */
#ifndef SKYFERRY_GOLDEN_WIRE_H
#define SKYFERRY_GOLDEN_WIRE_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"

#define GOLDEN_WIRE "tests/unit/golden/wire-session.txt"
#define GOLDEN_MOST 100

struct golden_frame {
    char from; /* '>' push, '<' pull */
    struct buf bytes;
    struct wire_frame frame; /* payload inside bytes */
};

struct golden_session {
    struct golden_frame frames[GOLDEN_MOST];
    size_t count;
};

static inline void golden_free(struct golden_session *g)
{
    for (size_t i = 0; i < g->count; i++)
        buf_free(&g->frames[i].bytes);
    g->count = 0;
}

/* False when the file is missing or holds anything but whole frames, one a line. */
static inline bool golden_read(struct golden_session *g)
{
    char line[16384];
    FILE *f = fopen(GOLDEN_WIRE, "r");
    bool ok = f != NULL;
    g->count = 0;
    while (ok && fgets(line, sizeof line, f)) {
        if (line[0] != '<' && line[0] != '>')
            continue;
        struct golden_frame *one = &g->frames[g->count++];
        struct fault why;
        size_t used = 0;
        *one = (struct golden_frame){.from = line[0]};
        for (const char *p = line + 2; isxdigit((unsigned char)p[0]); p += 2) {
            char two[3] = {p[0], p[1], '\0'};
            unsigned char byte = (unsigned char)strtoul(two, NULL, 16);
            ok = ok && buf_append(&one->bytes, &byte, 1);
        }
        ok = ok && g->count < GOLDEN_MOST &&
             wire_take(one->bytes.data, one->bytes.len, &one->frame, &used, &why) == ST_OK &&
             used == one->bytes.len;
    }
    if (f)
        fclose(f);
    return ok && g->count > 0;
}

#endif
