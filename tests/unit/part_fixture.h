/* What the tests of a store share: a store in a throw-away folder, a bundle with bytes that
 * follow from a seed, and looks at what lies on disk. */
#ifndef SKYFERRY_PART_FIXTURE_H
#define SKYFERRY_PART_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "pull/part.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct part_store store;

/* A bundle to store. */
struct sample {
    struct wire_open open;
    struct wire_commit commit;
    unsigned char *bytes;
    size_t size;
};

static inline void sample_make(struct sample *s, const char *name, unsigned seed, size_t size)
{
    char text[64];
    memset(s, 0, sizeof *s);
    s->bytes = malloc(size);
    s->size = size;
    for (size_t i = 0; i < size; i++)
        s->bytes[i] = (unsigned char)(seed = seed * 1664525u + 1013904223u, seed >> 24);
    snprintf(text, sizeof text, "%s %u %zu", name, seed, size);
    digest_bytes(text, strlen(text), s->open.id);
    snprintf(s->open.name, sizeof s->open.name, "%s", name);
    snprintf(s->open.date_obs, sizeof s->open.date_obs, "2016-08-31T23:10:00");
    s->commit.size = (int64_t)size;
    digest_bytes(s->bytes, size, s->commit.sha256);
    digest_bytes(s->commit.sha256, 64, s->commit.source_sha256);
    s->commit.source_size = 1000;
    snprintf(s->commit.source_name, sizeof s->commit.source_name, "%s.fits", name);
}

static inline void sample_free(struct sample *s)
{
    free(s->bytes);
    s->bytes = NULL;
}

static inline int store_setup(void **state)
{
    (void)state;
    if (scratch_make(&dir) != 0)
        return -1;
    store = (struct part_store){.root = dir.dir};
    return night_rule_parse("22:30", 0, &store.rule) ? 0 : -1;
}

/* Every test begins with an empty store. */
static inline int store_teardown(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

static inline const char *in_store(const char *rel)
{
    static char paths[8][4096];
    static int next;
    next = (next + 1) % 8;
    return scratch_path(&dir, rel, paths[next]);
}

static inline bool there(const char *rel)
{
    return access(in_store(rel), F_OK) == 0;
}

/* How many files of this ending a folder of the store holds; drafts and locks count not. */
static inline int count_files(const char *rel, const char *ending)
{
    int count = 0;
    DIR *d = opendir(in_store(rel));
    if (!d)
        return 0;
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name), end = strlen(ending);
        if (e->d_name[0] != '.' && len >= end && strcmp(e->d_name + len - end, ending) == 0)
            count++;
    }
    closedir(d);
    return count;
}

static inline struct part *open_new(const struct sample *s)
{
    struct part *p = NULL;
    struct receipt r;
    bool held;
    struct fault why;
    assert_int_equal(part_open(&store, &s->open, &p, &r, &held, &why), ST_OK);
    assert_false(held);
    assert_non_null(p);
    return p;
}

static inline void write_range(struct part *p, const struct sample *s, size_t from, size_t to)
{
    struct fault why;
    assert_int_equal(part_write(p, (int64_t)from, s->bytes + from, to - from, &why), ST_OK);
}

static inline bool stored_is(const char *stored, const struct sample *s)
{
    char rel[512];
    struct buf b = {0};
    struct fault why;
    snprintf(rel, sizeof rel, "bundles/%s", stored);
    bool same = fs_read_file(in_store(rel), 1u << 30, &b, &why) == ST_OK && b.len == s->size &&
                memcmp(b.data, s->bytes, s->size) == 0;
    buf_free(&b);
    return same;
}

/* Opens, writes what is missing, commits: as push does it after any accident. */
static inline enum status deliver(const struct sample *s, struct receipt *r, struct fault *why)
{
    struct part *p = NULL;
    struct extent *have = NULL;
    size_t count = 0, at = 0;
    bool held = false;
    enum status st = part_open(&store, &s->open, &p, r, &held, why);
    if (st != ST_OK || held)
        return st;
    st = part_extents(p, &have, &count, why);
    for (size_t i = 0; st == ST_OK && i <= count; i++) {
        size_t to = i < count ? (size_t)have[i].offset : s->size;
        if (to > at)
            st = part_write(p, (int64_t)at, s->bytes + at, to - at, why);
        at = i < count ? (size_t)(have[i].offset + have[i].length) : to;
    }
    if (st == ST_OK)
        st = part_commit(p, &s->commit, r, why);
    free(have);
    part_close(&p);
    return st;
}

#endif
