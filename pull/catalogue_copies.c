#include "pull/catalogue_copies.h"

#include <stdio.h>
#include <string.h>

#include "pull/catalogue_inner.h"

static const char *const kinds[] = {"science", "flat", "bias"};

const char *obstype_name(enum obstype kind)
{
    return kinds[kind];
}

#define COLUMNS "path, night, origin, kind, filter, ccd, source_sha256, size, datasum, checksum, copied_ns"

enum status catalogue_put_copy(struct catalogue *c, const struct copy *one, struct fault *why)
{
    return db_run(c->db, why,
                  "INSERT OR REPLACE INTO copies (" COLUMNS ") VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                  "sssssisissi", one->path, one->night, one->origin, kinds[one->kind], one->filter,
                  (int64_t)one->ccd, one->source_sha256, one->size, one->datasum, one->checksum,
                  one->copied_ns);
}

enum status catalogue_drop_copy(struct catalogue *c, const char *path, struct fault *why)
{
    return db_run(c->db, why, "DELETE FROM copies WHERE path = ?", "s", path);
}

static void read_copy(const struct db_row *row, struct copy *one)
{
    memset(one, 0, sizeof *one);
    TAKE_TEXT(one->path, row, 0);
    TAKE_TEXT(one->night, row, 1);
    TAKE_TEXT(one->origin, row, 2);
    one->kind = (enum obstype)catalogue_word(db_col_text(row, 3), kinds, 3);
    TAKE_TEXT(one->filter, row, 4);
    one->ccd = (int)db_col_int(row, 5);
    TAKE_TEXT(one->source_sha256, row, 6);
    one->size = db_col_int(row, 7);
    TAKE_TEXT(one->datasum, row, 8);
    TAKE_TEXT(one->checksum, row, 9);
    one->copied_ns = db_col_int(row, 10);
}

struct one_copy {
    struct copy *out;
    bool found;
};

static bool take_one(void *ctx, const struct db_row *row)
{
    struct one_copy *one = ctx;
    read_copy(row, one->out);
    one->found = true;
    return false;
}

enum status catalogue_get_copy(struct catalogue *c, const char *path, struct copy *out, bool *found,
                               struct fault *why)
{
    struct one_copy one = {out, false};
    enum status st = db_each(c->db, why, take_one, &one,
                             "SELECT " COLUMNS " FROM copies WHERE path = ?", "s", path);
    *found = one.found;
    return st;
}

struct each_copy {
    copy_fn *fn;
    void *ctx;
};

static bool take_copy(void *ctx, const struct db_row *row)
{
    struct each_copy *each = ctx;
    struct copy one;
    read_copy(row, &one);
    return each->fn(each->ctx, &one);
}

enum status catalogue_copies(struct catalogue *c, copy_fn *fn, void *ctx, struct fault *why)
{
    struct each_copy each = {fn, ctx};
    return db_each(c->db, why, take_copy, &each, "SELECT " COLUMNS " FROM copies ORDER BY path", "");
}

struct each_sum {
    copy_sum_fn *fn;
    void *ctx;
};

static bool take_sum(void *ctx, const struct db_row *row)
{
    struct each_sum *each = ctx;
    struct copy_sum s;
    s.kind = (enum obstype)catalogue_word(db_col_text(row, 0), kinds, 3);
    TAKE_TEXT(s.filter, row, 1);
    s.exposures = db_col_int(row, 2);
    s.masters = db_col_int(row, 3);
    s.files = db_col_int(row, 4);
    s.bytes = db_col_int(row, 5);
    return each->fn(each->ctx, &s);
}

enum status catalogue_sum_copies(struct catalogue *c, const char *night, copy_sum_fn *fn, void *ctx,
                                 struct fault *why)
{
    struct each_sum each = {fn, ctx};
    return db_each(c->db, why, take_sum, &each,
                   "SELECT kind, filter, count(DISTINCT nullif(source_sha256, '')),"
                   " sum(source_sha256 = ''), count(*), sum(size) FROM copies WHERE night = ?"
                   " GROUP BY kind, filter", "s", night);
}
