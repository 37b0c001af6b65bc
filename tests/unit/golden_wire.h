/* A captured session of skyferry-wire(5), tests/unit/golden/wire-session.txt: the frames in
 * order, '>' from push and '<' from pull, each below what it says. test_wire takes them apart,
 * test_push_wire makes push's side again, test_pull_receive pull's.
 *
 * UPDATE_GOLDEN=1 captures it anew: test_push_wire writes push's side, test_pull_receive the
 * answers to it. */
#ifndef SKYFERRY_GOLDEN_WIRE_H
#define SKYFERRY_GOLDEN_WIRE_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"

#define GOLDEN_WIRE "tests/unit/golden/wire-session.txt"
/* One of an older release: it must be read, and answered, for ever. */
#define GOLDEN_WIRE_OLD "tests/unit/golden/wire-session-0.1.txt"
#define GOLDEN_MOST 100
#define GOLDEN_CHANGED \
    "the words on the wire have changed. Could a release that is in use misunderstand the new ones? Then " \
    "raise WIRE_VERSION, see VERSIONS in skyferry-wire(5). If it only ignores them, write them into that " \
    "page. Then keep the old capture beside the new one, as GOLDEN_WIRE_OLD, and capture anew with " \
    "UPDATE_GOLDEN=1: test_push_wire, then test_pull_receive."

struct golden_frame {
    char from; /* '>' push, '<' pull */
    char note[80]; /* of the lines above it */
    char said[4096]; /* the line above it */
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

/* What a frame says, for people: "OPEN 1 {...}", "CHUNK 1 132, 60 bytes", "GOT 1 132, 60". */
static inline void golden_describe(const struct wire_frame *f, char out[4096])
{
    int n = snprintf(out, 4096, "%s", wire_type_name(f->type));
    if (f->stream)
        n += snprintf(out + n, (size_t)(4096 - n), " %u", f->stream);
    unsigned long long offset = f->length >= 8 ? wire_u64(f->payload) : 0;
    if (f->type == WIRE_CHUNK)
        snprintf(out + n, (size_t)(4096 - n), " %llu, %u bytes", offset, f->length - WIRE_CHUNK_HEAD);
    else if (f->type == WIRE_GOT)
        snprintf(out + n, (size_t)(4096 - n), " %llu, %llu", offset,
                 (unsigned long long)wire_u64(f->payload + 8));
    else if (f->length > 0)
        snprintf(out + n, (size_t)(4096 - n), " %.*s", (int)f->length, (const char *)f->payload);
}

static inline bool golden_add(struct golden_session *g, char from, const char *note, const void *bytes,
                              size_t len)
{
    struct golden_frame *one = &g->frames[g->count];
    struct fault why;
    size_t used = 0;
    if (g->count == GOLDEN_MOST)
        return false;
    g->count++;
    *one = (struct golden_frame){.from = from};
    snprintf(one->note, sizeof one->note, "%s", note);
    return buf_append(&one->bytes, bytes, len) &&
           wire_take(one->bytes.data, one->bytes.len, &one->frame, &used, &why) == ST_OK &&
           used == one->bytes.len;
}

/* False when the file is missing or holds anything but whole frames, one a line. */
static inline bool golden_read(const char *path, struct golden_session *g)
{
    static char line[16384], said[4096];
    char note[80] = "";
    FILE *f = fopen(path, "r");
    bool ok = f != NULL;
    g->count = 0;
    while (ok && fgets(line, sizeof line, f)) {
        unsigned char bytes[sizeof line / 2];
        size_t len = 0;
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "# -- ", 5) == 0)
            snprintf(note, sizeof note, "%.79s", line + 5);
        else if (line[0] == '#')
            snprintf(said, sizeof said, "%.4095s", line);
        if (line[0] != '<' && line[0] != '>')
            continue;
        for (const char *p = line + 2; isxdigit((unsigned char)p[0]); p += 2) {
            char two[3] = {p[0], p[1], '\0'};
            bytes[len++] = (unsigned char)strtoul(two, NULL, 16);
        }
        ok = golden_add(g, line[0], note, bytes, len);
        snprintf(g->frames[g->count - 1].said, sizeof said, "%s", said);
        note[0] = '\0';
    }
    if (f)
        fclose(f);
    return ok && g->count > 0;
}

static inline bool golden_write(const char *path, const struct golden_session *g)
{
    static const char head[] =
        "# A session of skyferry-wire(5) as it goes over the channel: '>' from push, '<' from pull,\n"
        "# a frame a line in hexadecimal, below what it says. test_push_wire makes the '>' lines again,\n"
        "# test_pull_receive gives them to the real receiver and expects the '<' lines, but for times,\n"
        "# free space and the releases' numbers. test_wire takes all of them apart.\n";
    static char said[4096];
    FILE *f = fopen(path, "w");
    if (!f)
        return false;
    fputs(head, f);
    for (size_t i = 0; i < g->count; i++) {
        const struct golden_frame *one = &g->frames[i];
        if (one->note[0])
            fprintf(f, "\n# -- %s\n", one->note);
        golden_describe(&one->frame, said);
        fprintf(f, "# %s\n%c ", said, one->from);
        for (size_t k = 0; k < one->bytes.len; k++)
            fprintf(f, "%02x", one->bytes.data[k]);
        fputc('\n', f);
    }
    return fclose(f) == 0;
}

#endif
