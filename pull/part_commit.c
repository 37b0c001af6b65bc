#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "pull/part_map.h"
#include "pull/part_store.h"

static enum status check_commit(const struct part *p, const struct wire_commit *c,
                                struct fault *why)
{
    if (c->size < 0 || !digest_valid(c->sha256) || !digest_valid(c->source_sha256))
        return fault(why, ST_REJECT, "the commit's size or digest is none");
    if (p->open.exact && !c->exact)
        return fault(why, ST_REJECT, "'%s' was announced as exact data and is not", p->open.name);
    return ST_OK;
}

/* The part and its map as they were at the start: what came was wrong. The head's time is moved
 * by a nanosecond: it tells those who read along that nothing of the old map holds. */
static enum status empty_part(struct part *p, struct fault *why)
{
    struct map_head head;
    p->dropped = true;
    if (!map_head_read(p->map_fd, &head))
        head.first_ns = p->first_ns;
    head.first_ns++;
    memcpy(head.id, p->open.id, sizeof head.id);
    enum status st = map_begin(p->map_fd, &head, why);
    if (st == ST_OK && ftruncate(p->part_fd, 0) != 0)
        st = fault_errno(why, ST_RETRY, "cannot empty '%s'", p->part_path);
    return st;
}

static enum status check_whole(struct part *p, const struct wire_commit *c, struct fault *why)
{
    struct extent *have = NULL;
    size_t count = 0;
    struct stat file;
    int64_t there = 0;
    if (fstat(p->part_fd, &file) != 0)
        return fault_errno(why, ST_RETRY, "cannot read '%s'", p->part_path);
    int64_t limit = file.st_size < c->size ? (int64_t)file.st_size : c->size;
    enum status st = map_read(p->map_fd, limit, &have, &count, why);
    for (size_t i = 0; st == ST_OK && i < count; i++)
        there += have[i].length;
    free(have);
    if (st == ST_OK && there < c->size)
        st = fault(why, ST_WAIT, "%lld of the %lld bytes of '%s' are still missing",
                   (long long)(c->size - there), (long long)c->size, p->open.name);
    return st;
}

static enum status check_digest(struct part *p, const struct wire_commit *c, struct fault *why)
{
    struct stat file;
    char hex[DIGEST_HEX];
    bool sized = fstat(p->part_fd, &file) == 0 && file.st_size == c->size;
    /* The size first: a sparse part of terabytes is not to be read. */
    enum status st = sized ? digest_fd(p->part_fd, -1, hex, why) : ST_OK;
    if (st != ST_OK)
        return st;
    if (sized && strcmp(hex, c->sha256) == 0)
        return ST_OK;
    st = empty_part(p, why);
    if (st != ST_OK)
        return st;
    return fault(why, ST_RETRY,
                 "the bytes of '%s' that came are not those that were sent (SHA-256 differs); "
                 "they are dropped and must be sent again",
                 p->open.name);
}

/* After a failed fsync the kernel may call pages clean that never reached the disk: a second
 * fsync would then succeed without them. So the bytes are asked for again. */
static enum status sync_part(struct part *p, struct fault *why)
{
    if (fsync(p->part_fd) == 0)
        return ST_OK;
    enum status st = fault_errno(why, fs_write_grade(errno), "cannot fsync '%s'", p->part_path);
    empty_part(p, NULL);
    return st;
}

/* A receipt whose bundle somebody took away keeps its name for the same file. */
static bool is_free(const struct slot *slot, const struct wire_commit *c)
{
    return !slot->has_tar && (!slot->has_receipt ||
                              strcmp(slot->receipt.source_sha256, c->source_sha256) == 0);
}

static enum status free_slot(struct part *p, const struct wire_commit *c, struct slot *slot,
                             struct fault *why)
{
    for (int n = 1; n <= SLOTS; n++) {
        struct slot lossy;
        enum status st = store_look(&p->store, &p->open, (struct slot_name){n, p->open.exact}, slot,
                                    why);
        if (st != ST_OK)
            return st;
        if (!is_free(slot, c))
            continue;
        if (!p->open.exact)
            return ST_OK;
        /* Beside its own lossy bundle, not beside another file's. */
        st = store_look(&p->store, &p->open, (struct slot_name){n, false}, &lossy, why);
        if (st != ST_OK)
            return st;
        if ((!lossy.has_tar && !lossy.has_receipt) ||
            strcmp(lossy.receipt.source_sha256, c->source_sha256) == 0)
            return ST_OK;
    }
    return fault(why, ST_REJECT, "there are %d bundles '%s' of that night already", SLOTS,
                 p->open.name);
}

static void fill_receipt(const struct part *p, const struct wire_commit *c, const struct slot *slot,
                         struct receipt *r)
{
    memset(r, 0, sizeof *r);
    memcpy(r->id, p->open.id, sizeof r->id);
    memcpy(r->name, p->open.name, sizeof r->name);
    memcpy(r->stored, slot->stored, sizeof r->stored);
    store_night(&p->store, &p->open, r->night);
    r->size = c->size;
    memcpy(r->sha256, c->sha256, sizeof r->sha256);
    memcpy(r->source_name, c->source_name, sizeof r->source_name);
    memcpy(r->source_sha256, c->source_sha256, sizeof r->source_sha256);
    r->source_size = c->source_size;
    r->noticed_ns = c->noticed_ns;
    r->encoded_ns = c->encoded_ns;
    r->exact = c->exact;
    r->first_ns = p->first_ns;
    r->stored_ns = clock_wall();
}

/* States 2 to 5 of part_store.h: the receipt stands on disk before the bundle has its name,
 * and goes beside it after. */
static enum status seal_and_name(struct part *p, const struct receipt *r, struct fault *why)
{
    struct buf text = {0};
    enum status st = ST_OK;
    if (!receipt_text(r, &text) || !buf_append(&text, "\n", 1))
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK)
        st = fs_write_file(p->intent_path, text.data, text.len, false, why);
    buf_free(&text);
    if (st != ST_OK)
        return st;
    crash_point("commit-intent");
    if (unlink(p->map_path) != 0)
        return fault_errno(why, ST_RETRY, "cannot remove '%s'", p->map_path);
    crash_point("commit-sealed");
    return store_name(&p->store, p->intent_path, r, why);
}

/* The store, locked, and whether it holds the bundle. */
struct search {
    int lock; /* to be closed when it is >= 0, whatever the answer */
    bool held;
};

/* Takes the store's lock and looks, after ending what crashes have left. */
static enum status lock_and_find(struct part *p, const struct wire_commit *c, struct search *out,
                                 struct receipt *r, struct fault *why)
{
    struct wanted wanted = {p->open.id, c->source_sha256, p->open.exact};
    *out = (struct search){.lock = -1};
    enum status st = store_lock(&p->store, &out->lock, why);
    if (st == ST_OK)
        st = store_finish(&p->store, why);
    if (st == ST_OK && store_find(&p->store, &p->open, &wanted, r, &out->held) != ST_OK)
        st = fault(why, ST_REJECT, "'%s' has no place in the store", p->open.name);
    return st;
}

/* Under the lock on the map, the part verified and fsynced. */
static enum status name_bundle(struct part *p, const struct wire_commit *c, struct receipt *out,
                               struct fault *why)
{
    struct slot slot;
    struct search found;
    enum status st = lock_and_find(p, c, &found, out, why);
    if (st == ST_OK && found.held) {
        unlink(p->map_path);
        unlink(p->part_path);
        goto out;
    }
    if (st == ST_OK)
        st = free_slot(p, c, &slot, why);
    if (st == ST_OK) {
        fill_receipt(p, c, &slot, out);
        st = seal_and_name(p, out, why);
    }
out:
    if (found.lock >= 0)
        close(found.lock);
    return st;
}

/* The map is gone: another lane was faster, or gave the bundle up; or an earlier commit of
 * ours was stopped behind its seal (a full disk). */
static enum status commit_gone(struct part *p, const struct wire_commit *c, struct receipt *out,
                               struct fault *why)
{
    struct search found;
    enum status st = lock_and_find(p, c, &found, out, why);
    if (st == ST_OK && !found.held && access(p->intent_path, F_OK) == 0)
        st = fault(why, ST_RETRY, "'%s' is whole but cannot get its name in the store yet",
                   p->open.name);
    else if (st == ST_OK && !found.held)
        st = fault(why, ST_RETRY, "'%s' was given up by another lane: open it again",
                   p->open.name);
    if (found.lock >= 0)
        close(found.lock);
    return st;
}

static enum status commit_locked(struct part *p, const struct wire_commit *c, struct receipt *out,
                                 struct fault *why)
{
    if (!part_linked(p))
        return commit_gone(p, c, out, why);
    enum status st = check_whole(p, c, why);
    if (st == ST_OK)
        st = check_digest(p, c, why);
    if (st == ST_OK)
        st = sync_part(p, why);
    if (st == ST_OK)
        st = name_bundle(p, c, out, why);
    return st;
}

enum status part_commit(struct part *p, const struct wire_commit *c, struct receipt *out,
                        struct fault *why)
{
    p->dropped = false;
    enum status st = check_commit(p, c, why);
    if (st == ST_OK)
        st = part_lock(p, LOCK_EX, why);
    if (st != ST_OK)
        return st;
    st = commit_locked(p, c, out, why);
    part_unlock(p);
    return st;
}

bool part_dropped(const struct part *p)
{
    return p->dropped;
}
