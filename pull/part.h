/* The receiving side of one bundle, shared by several lanes' processes: incoming/NAME.ID8.part
 * holds the bytes at their final offsets, NAME.ID8.map the extents written so far. The map
 * is append-only, a record a chunk; a damaged record ends the map there, so those bytes are
 * only asked for again. commit checks the whole digest before anything gets a final name.
 * Every store's directory layout is said here: incoming/, bundles/NIGHT/NAME.tar and, after
 * it, NAME.receipt: a receipt never stands without its bundle, so watch for the receipt
 * (but for that of a lossy bundle which NAME.exact.tar has replaced). */
#ifndef SKYFERRY_PART_H
#define SKYFERRY_PART_H

#include "common/night.h"
#include "common/wire.h"

struct part;

struct part_store {
    const char *root;       /* [store] root */
    struct night_rule rule;
    int64_t min_free_bytes; /* below this, chunks are refused with WAIT */
    const char *state;      /* [store] state: where the daemon says how fast it is; NULL: nowhere */
};

/* Opens (creates) the part for one wire_open. When the store already holds this id, or the
 * same source under this name, *held is filled and *out stays NULL. */
enum status part_open(const struct part_store *s, const struct wire_open *o, struct part **out,
                      struct receipt *held, bool *is_held, struct fault *why);
/* Extents already there: sorted, merged, malloc'ed. */
enum status part_extents(struct part *p, struct extent **have, size_t *count, struct fault *why);
/* Writes one chunk, then its map record. REJECT when the part was committed or aborted
 * under us by another process. WAIT when the disk is full. */
enum status part_write(struct part *p, int64_t offset, const void *bytes, size_t len,
                       struct fault *why);
/* Size, digest, fsync, receipt, rename to bundles/NIGHT/NAME.tar (NAME~2.tar ... when that
 * name holds another file; NAME.exact.tar for exact data that follow), fsync of the directories;
 * idempotent. An exact bundle answers for a lossy one of the same source, never the reverse.
 * RETRY with the part emptied when the digest is wrong; WAIT when bytes are still missing. */
enum status part_commit(struct part *p, const struct wire_commit *c, struct receipt *out,
                        struct fault *why);
/* Did the last part_commit drop all that had come: a wrong digest, or a failed fsync? After any
 * other trouble the bytes are still there. */
bool part_dropped(const struct part *p);
/* Waits until the first `size` bytes are written, by this process or others; at most until
 * `until` (clock_mono), or until stop_fd is readable. A commit may overtake the last chunks, which
 * come over other lanes. */
void part_await(struct part *p, int64_t size, int64_t until, int stop_fd);
/* Makes a file of another folder the part's bytes by renaming it, without a copy, and notes all of
 * it in the map. *adopted is false, and nothing is done, where that cannot be: another file system,
 * another owner (who could still write into it), a second link. path NULL: the part has had its
 * bytes since before a crash; *adopted says whether they are `size`. */
enum status part_adopt(struct part *p, const char *path, int64_t size, bool *adopted,
                       struct fault *why);
/* Is a part of this bundle there, of this size, by whomever, or a commit of it that a crash cut
 * short? */
bool part_waits(const struct part_store *s, const struct wire_open *o, int64_t size);
enum status part_abort(struct part *p, struct fault *why);
/* Has another process committed or aborted it? Then only part_commit and close make sense. */
bool part_gone(const struct part *p);
void part_close(struct part **p);

/* The part of part_open that asks only: does the store hold this id? Nothing is made. */
enum status part_held(const struct part_store *s, const struct wire_open *o, struct receipt *held,
                      bool *is_held, struct fault *why);
/* Does the store hold this exposure (same name's night, same source digest, bundle
 * present and of the receipt's size)? */
enum status part_holds(const struct part_store *s, const struct wire_have *asked, bool *held,
                       struct fault *why);
/* The receipt beside a bundle ("bundles/NIGHT/NAME.tar"). RETRY/ENOENT when there is none. */
enum status part_receipt(const char *bundle_path, struct receipt *out, struct fault *why);

/* For who gives a bundle its name and receipt otherwise than by part_commit: nobody else does while
 * the lock is held, and what was interrupted at it is ended. Waits; close(*fd) releases it. */
enum status part_name_lock(const struct part_store *s, int *fd, struct fault *why);

/* Removes parts and maps untouched for this many days; returns how many. */
int part_expire(const struct part_store *s, int days);

#endif
