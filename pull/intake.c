#include "pull/intake.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "common/watch.h"
#include "pull/adopt.h"
#include "pull/early.h"
#include "pull/flow.h"
#include "pull/gate.h"
#include "pull/part.h"
#include "pull/renew.h"
#include "pull/retire.h"

#define AT_A_TIME 64 /* the rest follows at the next scan */

/* A tar without a receipt, being waited for or looked through. */
struct candidate {
    struct candidate *next;
    char path[PULL_PATH];
    bool under_way;
};

struct intake {
    struct watch *bundles, *top;
    struct candidate *candidates;
    struct loop_timer *again;
};

void intake_from_receipt(const char *bundle, const struct receipt *r, struct exposure *x)
{
    const char *base = fs_basename(bundle);
    size_t stem = strlen(base) - strlen(".tar");
    memset(x, 0, sizeof *x);
    /* NAME.exact.tar is another bundle of NAME, no exposure of its own. */
    if (r->exact && stem > strlen(".exact") &&
        strncmp(base + stem - strlen(".exact"), ".exact", strlen(".exact")) == 0 &&
        strlen(r->name) < stem)
        stem -= strlen(".exact");
    pull_text(x->bundle, sizeof x->bundle, "%s", bundle);
    pull_text(x->name, sizeof x->name, "%.*s", (int)stem, base);
    pull_text(x->night, sizeof x->night, "%s", r->night);
    x->state = EX_STORED;
    x->stamp[STAMP_NOTICED] = r->noticed_ns;
    x->stamp[STAMP_ENCODED] = r->encoded_ns;
    x->stamp[STAMP_FIRST] = r->first_ns;
    x->stamp[STAMP_STORED] = r->stored_ns;
    pull_text(x->source_name, sizeof x->source_name, "%s", r->source_name);
    memcpy(x->source_sha256, r->source_sha256, sizeof x->source_sha256);
    x->source_size = r->source_size;
    x->exact = r->exact ? EXACT_YES : EXACT_NO;
    memcpy(x->bundle_sha256, r->sha256, sizeof x->bundle_sha256);
    x->bundle_size = r->size;
    x->facts.expnum = -1;
    x->facts.date_ns = INT64_MIN;
    x->facts.exptime = NAN;
}

/* ---- tars without a receipt ---- */

static struct candidate *candidate_for(struct intake *in, const char *path)
{
    struct candidate *c = in->candidates;
    while (c && strcmp(c->path, path) != 0)
        c = c->next;
    return c;
}

static void forget_candidate(struct intake *in, const char *path)
{
    for (struct candidate **p = &in->candidates; *p; p = &(*p)->next) {
        if (strcmp((*p)->path, path) != 0)
            continue;
        struct candidate *gone = *p;
        *p = gone->next;
        free(gone);
        return;
    }
}

static void adopted(void *ctx, const char *path)
{
    struct agent *a = ctx;
    if (a->intake)
        forget_candidate(a->intake, path);
    agent_poke(a);
}

/* Waits, or begins to read it: one that changed or got its name a moment ago may still be
 * written, or its receipt may be just behind it. */
static void consider(struct agent *a, const char *path, const struct stat *st)
{
    struct intake *in = a->intake;
    struct candidate *c = candidate_for(in, path);
    time_t changed = st->st_mtime > st->st_ctime ? st->st_mtime : st->st_ctime;
    if (!c) {
        c = calloc(1, sizeof *c);
        if (!c || !pull_text(c->path, sizeof c->path, "%s", path)) {
            free(c);
            return;
        }
        c->next = in->candidates;
        in->candidates = c;
    }
    if (c->under_way)
        return;
    int64_t age = clock_wall() / NS_PER_S - changed;
    if (age >= 0 && age < a->settle_s) {
        loop_timer_set(in->again, (a->settle_s - age) * 1000 + 100, 0);
        return;
    }
    if (gate_paused(a, PAUSE_INGEST))
        return; /* intake_again */
    c->under_way = true;
    adopt_begin(a, path, adopted);
}

/* ---- what the watch tells ---- */

/* Does the file look like the one that was catalogued? A look into its receipt tells, but not
 * one for each of a season's bundles at every rescan: the bytes were there before the receipt,
 * and a time that says otherwise (copied back from an archive) is noted when it was looked into. */
static bool looks_known(const struct exposure *x, const struct stat *st)
{
    if (x->bundle_size != st->st_size)
        return false;
    return x->bundle_mtime_ns ? x->bundle_mtime_ns == clock_ns(st->st_mtim)
                              : clock_ns(st->st_mtim) <= x->stamp[STAMP_STORED];
}

/* A bundle that was lost here and sent anew need not have the bytes it had: the ratio is held by
 * what the exposures before it came to. What was placed from the first one stays. With the same
 * bytes, too, a parked one is tried again: they were not there, or not these, when it was. */
static enum status take_again(struct agent *a, struct exposure *x, const struct receipt *r,
                              const struct stat *st, struct fault *why)
{
    bool anew = strcmp(x->bundle_sha256, r->sha256) != 0;
    bool parked = x->state == EX_PARKED;
    x->bundle_mtime_ns = clock_ns(st->st_mtim);
    if (anew || parked)
        log_info(AT(.stage = "stored", .exposure = x->name), "%.1f MB, %s came again%s",
                 (double)r->size / 1e6, x->bundle, anew ? ", encoded anew" : "");
    memcpy(x->bundle_sha256, r->sha256, sizeof x->bundle_sha256);
    x->bundle_size = r->size;
    if (parked) {
        x->state = EX_STORED;
        x->attempts = 0;
    }
    if (x->state == EX_STORED && (anew || parked))
        x->due_ns = clock_wall();
    return catalogue_save(a->cat, x, why);
}

/* The path of x holds another file by the look of it. *known is false when that is another
 * exposure's bundle, and x gave the path up for it. */
static enum status look_again(struct agent *a, struct exposure *x, const struct stat *st,
                              bool *known, struct fault *why)
{
    char path[PULL_PATH];
    struct receipt r;
    struct fault none;
    enum status grade = ST_OK;
    pull_path(&a->s, x->bundle, path);
    if (part_receipt(path, &r, &none) != ST_OK || r.size != st->st_size)
        return ST_OK;
    if (strcmp(r.source_sha256, x->source_sha256) == 0) {
        if (!flow_is_flying(a, x->id))
            grade = take_again(a, x, &r, st, why);
        agent_poke(a);
    } else if (retire_can(a, x)) {
        grade = retire_exposure(a, x, why);
        *known = grade != ST_OK;
    }
    return grade;
}

/* The same for a bundle beside an exposure's own. */
static enum status look_beside(struct agent *a, const struct other_bundle *b,
                               const struct stat *st, bool *known, struct fault *why)
{
    char path[PULL_PATH];
    struct exposure x;
    struct receipt r;
    struct fault none;
    bool found = false;
    pull_path(&a->s, b->path, path);
    if ((b->size == st->st_size && clock_ns(st->st_mtim) <= b->stored_ns) ||
        part_receipt(path, &r, &none) != ST_OK || r.size != st->st_size)
        return ST_OK;
    enum status grade = catalogue_get(a->cat, b->exposure, &x, &found, why);
    if (grade != ST_OK || !found || strcmp(r.source_sha256, x.source_sha256) == 0)
        return grade;
    grade = catalogue_drop_bundle(a->cat, b->path, why);
    *known = grade != ST_OK;
    return grade;
}

/* ---- receipts that somebody removed ---- */

/* What intake_from_receipt made a row of. The id was push's; source and name serve as well. */
static bool receipt_again(const struct exposure *x, struct receipt *r)
{
    const char *stored = x->bundle + strlen("bundles/"), *slash;
    const char *version = strrchr(x->name, '~');
    size_t len = strlen(x->name);
    memset(r, 0, sizeof *r);
    if (strncmp(x->bundle, "bundles/", strlen("bundles/")) != 0 || !(slash = strchr(stored, '/')) ||
        strchr(slash + 1, '/') || !x->source_sha256[0])
        return false;
    if (version && version > x->name && version[1] &&
        version[1 + strspn(version + 1, "0123456789")] == '\0')
        len = (size_t)(version - x->name);
    memcpy(r->id, x->bundle_sha256, sizeof r->id);
    memcpy(r->sha256, x->bundle_sha256, sizeof r->sha256);
    memcpy(r->source_name, x->source_name, sizeof r->source_name);
    memcpy(r->source_sha256, x->source_sha256, sizeof r->source_sha256);
    r->size = x->bundle_size;
    r->source_size = x->source_size;
    r->noticed_ns = x->stamp[STAMP_NOTICED];
    r->encoded_ns = x->stamp[STAMP_ENCODED];
    r->first_ns = x->stamp[STAMP_FIRST];
    r->stored_ns = x->stamp[STAMP_STORED];
    r->exact = x->exact != EXACT_NO;
    return pull_text(r->name, sizeof r->name, "%.*s", (int)len, x->name) &&
           pull_text(r->stored, sizeof r->stored, "%s", stored) &&
           pull_text(r->night, sizeof r->night, "%.*s", (int)(slash - stored), stored);
}

/* Without it the telescope sends the exposure again at each sweep, to be refused as a twin. The
 * bundle is the file that was catalogued; what was parked may be damaged. */
static void mend_receipt(struct agent *a, const struct exposure *x)
{
    char path[PULL_PATH];
    struct part_store store;
    struct buf text = {0};
    struct receipt r;
    struct fault why;
    int lock = -1;
    pull_text(path, sizeof path, "%s/%.*s.receipt", a->s.root,
              (int)(strlen(x->bundle) - strlen(".tar")), x->bundle);
    if (x->state == EX_PARKED || access(path, F_OK) == 0 || errno != ENOENT ||
        !receipt_again(x, &r) || !receipt_text(&r, &text)) {
        buf_free(&text);
        return;
    }
    pull_part_store(&a->s, &store);
    enum status st = part_name_lock(&store, &lock, &why);
    if (st == ST_OK && access(path, F_OK) != 0)
        st = fs_write_file(path, text.data, text.len, false, &why);
    if (lock >= 0)
        close(lock);
    buf_free(&text);
    if (st == ST_OK)
        log_warn(AT(.stage = "intake", .exposure = x->name), "%s had lost its receipt: written again",
                 x->bundle);
    else
        log_warn(AT(.stage = "intake", .exposure = x->name), "%s", why.text);
}

static enum status look_up(struct agent *a, const char *rel, const struct stat *st, bool *known,
                           struct fault *why)
{
    struct exposure x;
    struct other_bundle other;
    bool found = false;
    *known = true; /* also after trouble: seen again at the next rescan */
    enum status grade = catalogue_by_bundle(a->cat, rel, &x, &found, why);
    if (grade == ST_OK && !found) {
        grade = catalogue_get_bundle(a->cat, rel, &other, known, why);
        return grade == ST_OK && *known ? look_beside(a, &other, st, known, why) : grade;
    }
    if (grade != ST_OK)
        return grade;
    if (x.bundle_sha256[0] && looks_known(&x, st)) {
        mend_receipt(a, &x);
        return retire_parked_twin(a, &x, why);
    }
    if (x.bundle_sha256[0])
        return look_again(a, &x, st, known, why);
    /* Parked as no bundle: another file by now? */
    *known = x.state != EX_PARKED ||
             (x.bundle_size == st->st_size && x.bundle_mtime_ns == clock_ns(st->st_mtim));
    return ST_OK;
}

static bool is_known(struct agent *a, const char *rel, const struct stat *st)
{
    struct fault why;
    bool known;
    if (look_up(a, rel, st, &known, &why) != ST_OK)
        agent_trouble(a, &why);
    return known;
}

static void add(struct agent *a, const char *rel, const struct receipt *r)
{
    struct exposure x;
    struct fault why;
    bool taken = false;
    enum status st = renew_notice(a, rel, r, &taken, &why);
    intake_from_receipt(rel, r, &x);
    x.due_ns = clock_wall();
    if (st == ST_OK && taken)
        return;
    if (st == ST_OK)
        early_stored(a, rel, r, &taken);
    if (st == ST_OK && taken) {
        crash_point("pull:noticed");
        return;
    }
    if (st == ST_OK)
        st = catalogue_add(a->cat, &x, &why);
    if (st == ST_OK) {
        crash_point("pull:noticed");
        log_info(AT(.stage = "stored", .exposure = x.name), "%.1f MB, %s", (double)r->size / 1e6,
                 rel);
        agent_poke(a);
    } else if (st != ST_REJECT) {
        agent_trouble(a, &why);
    }
}

static void notice_tar(struct agent *a, const char *path)
{
    struct stat st;
    struct receipt r;
    struct fault why;
    size_t root = strlen(a->s.root) + 1;
    if (strlen(path) <= root || lstat(path, &st) != 0 || !S_ISREG(st.st_mode)) {
        forget_candidate(a->intake, path);
        return;
    }
    if (is_known(a, path + root, &st))
        return;
    if (part_receipt(path, &r, &why) == ST_OK && r.size == st.st_size) {
        forget_candidate(a->intake, path);
        add(a, path + root, &r);
    } else {
        consider(a, path, &st);
    }
}

/* The receipt gets its name after the bundle, so both may be what tells us. */
static void on_path(void *ctx, const char *path, enum watch_hint hint)
{
    struct agent *a = ctx;
    char tar[PULL_PATH];
    size_t len = strlen(path);
    (void)hint;
    if (a->stopping)
        return;
    if (watch_matches("*.receipt", fs_basename(path))) {
        if (pull_text(tar, sizeof tar, "%.*s.tar", (int)(len - strlen(".receipt")), path))
            notice_tar(a, tar);
    } else {
        notice_tar(a, path);
    }
}

static void on_again(void *ctx)
{
    struct agent *a = ctx;
    struct candidate *next;
    for (struct candidate *c = a->intake->candidates; c; c = next) {
        char path[PULL_PATH];
        next = c->next;
        if (c->under_way)
            continue;
        memcpy(path, c->path, sizeof path);
        notice_tar(a, path);
    }
}

/* What was parked as no bundle at all and is not there any more. */
struct removed {
    const struct agent *a;
    int64_t id[AT_A_TIME];
    size_t count;
};

static bool note_removed(void *ctx, const struct exposure *x)
{
    struct removed *r = ctx;
    char path[PULL_PATH];
    struct stat st;
    pull_path(&r->a->s, x->bundle, path);
    if (!x->bundle_sha256[0] && x->ccds == 0 && retire_can(r->a, x) && lstat(path, &st) != 0 &&
        errno == ENOENT)
        r->id[r->count++] = x->id;
    return r->count < AT_A_TIME;
}

static void forget_removed(struct agent *a)
{
    struct catalogue_pick parked = {.states = 1u << EX_PARKED, .rows = ROWS_BUNDLES};
    struct removed r = {.a = a};
    struct fault why;
    enum status st = catalogue_each(a->cat, &parked, note_removed, &r, &why);
    for (size_t i = 0; st == ST_OK && i < r.count; i++)
        st = catalogue_remove(a->cat, r.id[i], &why);
    if (st != ST_OK)
        agent_trouble(a, &why);
}

/* Every bundle that has a receipt is in the catalogue. */
static void on_scanned(void *ctx)
{
    struct agent *a = ctx;
    early_intake_looked(a);
    if (!a->stopping)
        forget_removed(a);
}

/* ---- opening and closing ---- */

enum status intake_open(struct agent *a, struct fault *why)
{
    char bundles[PULL_PATH];
    struct intake *in = calloc(1, sizeof *in);
    if (!in)
        return fault(why, ST_FATAL, "out of memory");
    a->intake = in;
    in->again = loop_timer_new(a->loop, on_again, a);
    if (!in->again)
        return fault(why, ST_FATAL, "out of memory");
    pull_path(&a->s, "bundles", bundles);
    struct watch_options deep = {.directory = bundles, .patterns = "*.tar *.receipt",
                                 .recursive = true, .rescan_seconds = a->s.rescan_seconds,
                                 .stage = "intake", .scanned = on_scanned};
    struct watch_options top = {.directory = a->s.root, .patterns = "*.tar",
                                .rescan_seconds = a->s.rescan_seconds, .stage = "intake"};
    enum status st = watch_open(a->loop, &deep, on_path, a, &in->bundles, why);
    if (st == ST_OK)
        st = watch_open(a->loop, &top, on_path, a, &in->top, why);
    return st;
}

void intake_scan(struct agent *a)
{
    if (!a->intake)
        return;
    watch_rescan(a->intake->bundles);
    watch_rescan(a->intake->top);
}

void intake_again(struct agent *a)
{
    if (a->intake)
        loop_timer_set(a->intake->again, 0, 0);
}

void intake_close(struct agent *a)
{
    struct intake *in = a->intake;
    if (!in)
        return;
    watch_close(&in->bundles);
    watch_close(&in->top);
    loop_timer_free(&in->again);
    while (in->candidates)
        forget_candidate(in, in->candidates->path);
    free(in);
    a->intake = NULL;
}
