/* Ccds placed while their bundle still grows: what is there of them at each moment, that the end is
 * the same as without, and that all of it goes again when the bundle turns out to be another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/digest.h"
#include "pull/gate.h"
#include "pull/part.h"
#include "tests/unit/pull_fixture.h"

#define FITS11 "rawdata/" NIGHT "/11/Field.g.ut160901.%d_11.fits"

/* A bundle on its way. */
struct transfer {
    struct part_store store;
    struct wire_open open;
    struct wire_commit commit;
    struct buf bytes;
    struct part *part;
    struct manifest m;
};

static void transfer_open(struct transfer *t)
{
    struct receipt r;
    bool held;
    TRY(part_open(&t->store, &t->open, &t->part, &r, &held, WHY));
    assert_false(held);
}

/* The recipe's bundle, not a byte of it sent. */
static void transfer_begin(struct transfer *t, const struct recipe *r, const char *name)
{
    char path[4096];
    *t = (struct transfer){.open = {.date_obs = "2016-08-31T23:10:00"}};
    pull_part_store(&settings, &t->store);
    cook(r, scratch_path(&dir, "cooked.tar", path));
    slurp(path, &t->bytes);
    int fd = open(path, O_RDONLY);
    TRY(bundle_index(fd, &t->m, WHY));
    close(fd);
    snprintf(t->open.name, sizeof t->open.name, "%s", name);
    t->commit.size = (int64_t)t->bytes.len;
    digest_bytes(t->bytes.data, t->bytes.len, t->commit.sha256);
    memcpy(t->open.id, t->commit.sha256, sizeof t->open.id);
    memcpy(t->commit.source_sha256, t->m.source_sha256, sizeof t->commit.source_sha256);
    t->commit.source_size = t->m.source_size;
    t->commit.exact = manifest_is_exact(&t->m);
    snprintf(t->commit.source_name, sizeof t->commit.source_name, "%s", t->m.source_name);
    transfer_open(t);
}

static void transfer_send(struct transfer *t, int64_t from, int64_t to)
{
    TRY(part_write(t->part, from, t->bytes.data + from, (size_t)(to - from), WHY));
}

/* Up to the end of this ccd's image. */
static int64_t end_of_ccd(const struct transfer *t, int ccd)
{
    for (size_t i = 0; i < t->m.count; i++)
        if (t->m.members[i].role == MEMBER_IMAGE && t->m.members[i].ccd == ccd)
            return t->m.members[i].offset + t->m.members[i].size;
    fail_msg("no ccd %d", ccd);
    return 0;
}

static void transfer_commit(struct transfer *t)
{
    struct receipt r;
    TRY(part_commit(t->part, &t->commit, &r, WHY));
}

static void transfer_end(struct transfer *t)
{
    part_close(&t->part);
    manifest_free(&t->m);
    buf_free(&t->bytes);
}

/* ---- the agent, until something is so ---- */

struct waiting {
    struct agent *a;
    bool (*so)(struct agent *a, void *ctx);
    void *ctx;
    int64_t deadline;
    bool late;
};

static void look_if_so(void *ctx)
{
    struct waiting *w = ctx;
    w->late = clock_mono() > w->deadline;
    if (w->late || w->so(w->a, w->ctx))
        agent_stop(w->a);
}

static void run_until(bool (*so)(struct agent *a, void *ctx), void *ctx, const char *what)
{
    struct waiting w = {.so = so, .ctx = ctx, .deadline = clock_mono() + 20 * NS_PER_S};
    TRY(agent_open(&settings, &w.a, WHY));
    w.a->settle_s = 0;
    TRY(agent_watch(w.a, WHY));
    struct loop_timer *t = loop_timer_new(w.a->loop, look_if_so, &w);
    loop_timer_set(t, 10, 10);
    TRY(agent_run(w.a, WHY));
    loop_timer_free(&t);
    agent_close(&w.a);
    if (w.late)
        fail_msg("never: %s", what);
}

/* An exposure by name: how it stands, if there is one. */
struct standing {
    const char *name;
    enum exposure_state state;
    int placed, found;
};

static bool note_standing(void *ctx, const struct exposure *x)
{
    struct standing *s = ctx;
    s->state = x->state;
    s->placed = x->placed;
    s->found++;
    return true;
}

static void stand(struct agent *a, const char *name, struct standing *out)
{
    struct catalogue_pick pick = {.name = name};
    *out = (struct standing){.name = name};
    TRY(catalogue_each(a->cat, &pick, note_standing, out, WHY));
}

static bool is_placed_early(struct agent *a, void *ctx)
{
    struct standing now, *wanted = ctx;
    stand(a, wanted->name, &now);
    return now.found && now.state == EX_COMING && now.placed >= wanted->placed;
}

static bool has_nothing(struct agent *a, void *ctx)
{
    struct standing now;
    stand(a, ctx, &now);
    return now.placed == 0;
}

static bool is_gone(struct agent *a, void *ctx)
{
    struct standing now;
    stand(a, ctx, &now);
    return now.found == 0;
}

static bool is_done(struct agent *a, void *ctx)
{
    struct standing now;
    stand(a, ctx, &now);
    return now.found && (now.state == EX_DONE || now.state == EX_PARKED);
}

static void wait_early(const char *name, int placed)
{
    struct standing s = {.name = name, .placed = placed};
    run_until(is_placed_early, &s, "placed early");
}

#define WAIT(what, name) run_until(what, (void *)(uintptr_t)(name), #what " " name)

/* Runs for half a second and sees that nothing was begun. */
static bool never(struct agent *a, void *ctx)
{
    struct standing now;
    int *looks = ctx;
    stand(a, "exp_9001", &now);
    assert_int_equal(now.found, 0);
    return ++*looks > 50;
}

/* Likewise that nothing is placed. */
static bool places_nothing(struct agent *a, void *ctx)
{
    struct standing now;
    int *looks = ctx;
    stand(a, "exp_9001", &now);
    assert_int_equal(now.placed, 0);
    return ++*looks > 50;
}

static void assert_waits(struct transfer *t)
{
    int looks = 0;
    transfer_send(t, 0, end_of_ccd(t, 12));
    run_until(never, &looks, "half a second");
    assert_int_equal(count_files("", "*.fits"), 0);
    transfer_send(t, 0, (int64_t)t->bytes.len);
    transfer_commit(t);
    WAIT(is_done, "exp_9001");
    assert_int_equal(exposure_named("exp_9001").placed, 2);
}

static void digest_of(const char *rel, char hex[DIGEST_HEX])
{
    struct buf file = {0};
    slurp(in_store(rel), &file);
    digest_bytes(file.data, file.len, hex);
    buf_free(&file);
}

static const struct recipe plain = {.name = "exp_9001", .seed = 1};

/* ---- tests ---- */

static void a_ccd_is_placed_before_the_rest_is_there(void **state)
{
    (void)state;
    struct transfer t;
    char rel[256], early[DIGEST_HEX], later[DIGEST_HEX];
    transfer_begin(&t, &plain, "exp_9001");
    /* The second ccd's bytes first: nothing can be known of them. */
    transfer_send(&t, end_of_ccd(&t, 11), end_of_ccd(&t, 12));
    transfer_send(&t, 0, end_of_ccd(&t, 11) - 1);
    transfer_send(&t, end_of_ccd(&t, 11) - 1, end_of_ccd(&t, 11));
    wait_early("exp_9001", 2);
    struct exposure x = exposure_named("exp_9001");
    assert_int_equal(x.state, EX_COMING);
    assert_true(x.jobs == 0 && x.ccds == 2 && x.stamp[STAMP_STORED] == 0);
    assert_string_equal(x.night, NIGHT);
    assert_int_equal(x.stamp[STAMP_CLOSED], GOLDEN_MTIME);
    snprintf(rel, sizeof rel, FITS11, 9001);
    verify(in_store(rel));
    digest_of(rel, early);
    assert_int_equal(count_files("bundles", "*"), 0);
    transfer_send(&t, 0, (int64_t)t.bytes.len);
    transfer_commit(&t);
    WAIT(is_done, "exp_9001");
    x = exposure_named("exp_9001");
    assert_true(x.state == EX_DONE && x.placed == 2 && x.jobs == 2 && x.faults == 0);
    assert_string_equal(x.bundle, "bundles/" NIGHT "/exp_9001.tar");
    assert_true(x.exact == EXACT_YES && x.raw_size > 0);
    digest_of(rel, later);
    assert_string_equal(early, later);
    assert_int_equal(count_files("", "*.fits"), 2);
    assert_int_equal(count_files("", ".*.part"), 0);
    /* And made again from the whole, it is the same. */
    assert_int_equal(unlink(in_store(rel)), 0);
    ask("exp_9001", ASK_REPROCESS, false);
    run_agent(1);
    digest_of(rel, later);
    assert_string_equal(early, later);
    transfer_end(&t);
}

struct finishing {
    struct transfer *t;
    bool sent;
};

/* The end comes while the agent looks on. */
static bool finish_and_done(struct agent *a, void *ctx)
{
    struct finishing *f = ctx;
    struct standing now;
    stand(a, "exp_9001", &now);
    if (!f->sent && now.found && now.placed >= 1) {
        transfer_send(f->t, 0, (int64_t)f->t->bytes.len);
        transfer_commit(f->t);
        f->sent = true;
    }
    return now.found && now.state == EX_DONE;
}

static void it_ends_while_the_agent_runs(void **state)
{
    (void)state;
    struct transfer t;
    struct finishing f = {&t, false};
    transfer_begin(&t, &plain, "exp_9001");
    transfer_send(&t, 0, end_of_ccd(&t, 11));
    run_until(finish_and_done, &f, "delivered");
    struct exposure x = exposure_named("exp_9001");
    assert_true(f.sent && x.placed == 2 && x.jobs == 2);
    transfer_end(&t);
}

/* One ccd is placed, then ingest is paused: no other is begun, the bundle is received all the
 * same, and what stands of it is kept; after the pause the rest follows. */
struct pausing {
    struct transfer *t;
    int step;
    int64_t at;
};

static bool waited(struct pausing *p)
{
    if (!p->at)
        p->at = clock_mono();
    if (clock_mono() - p->at < 250 * NS_PER_MS)
        return false;
    p->at = 0;
    return true;
}

static bool paused_in_the_middle(struct agent *a, void *ctx)
{
    struct pausing *p = ctx;
    struct standing now;
    stand(a, "exp_9001", &now);
    if (p->step == 0 && now.placed == 1) {
        TRY(pause_set(settings.state, PAUSE_INGEST, "", WHY));
        p->step = 1;
    } else if (p->step == 1 && gate_paused(a, PAUSE_INGEST)) {
        transfer_send(p->t, 0, end_of_ccd(p->t, 12));
        p->step = 2;
    } else if (p->step == 2 && waited(p)) {
        assert_true(now.state == EX_COMING && now.placed == 1);
        transfer_send(p->t, 0, (int64_t)p->t->bytes.len);
        transfer_commit(p->t);
        p->step = 3;
    } else if (p->step == 3 && now.state == EX_STORED && waited(p)) {
        assert_int_equal(now.placed, 1);
        TRY(pause_end(settings.state, PAUSE_INGEST, WHY));
        p->step = 4;
    }
    return now.found && now.state == EX_DONE;
}

static bool not_begun(struct agent *a, void *ctx)
{
    struct pausing *p = ctx;
    struct standing now;
    stand(a, "exp_9002", &now);
    if (p->step == 0 && waited(p)) {
        assert_int_equal(now.found, 0);
        TRY(pause_end(settings.state, PAUSE_INGEST, WHY));
        p->step = 1;
    }
    return now.state == EX_COMING && now.placed == 1;
}

static void a_pause_in_the_middle(void **state)
{
    (void)state;
    struct transfer t;
    struct pausing p = {.t = &t};
    transfer_begin(&t, &plain, "exp_9001");
    transfer_send(&t, 0, end_of_ccd(&t, 11));
    run_until(paused_in_the_middle, &p, "delivered");
    assert_int_equal(p.step, 4);
    assert_int_equal(exposure_named("exp_9001").placed, 2);
    transfer_end(&t);
    /* Paused before: nothing is begun, until it ends. */
    TRY(pause_set(settings.state, PAUSE_INGEST, "", WHY));
    struct recipe another = {.name = "exp_9002", .seed = 2};
    transfer_begin(&t, &another, "exp_9002");
    transfer_send(&t, 0, end_of_ccd(&t, 11));
    struct pausing q = {.t = &t};
    run_until(not_begun, &q, "resumed");
    transfer_end(&t);
}

static void what_is_given_up_is_withdrawn(void **state)
{
    (void)state;
    struct transfer t;
    char rel[256];
    transfer_begin(&t, &plain, "exp_9001");
    transfer_send(&t, 0, end_of_ccd(&t, 12));
    wait_early("exp_9001", 2);
    /* What somebody changed is kept. */
    snprintf(rel, sizeof rel, FITS11, 9001);
    damage(rel, 3000);
    TRY(part_abort(t.part, WHY));
    WAIT(is_gone, "exp_9001");
    assert_int_equal(count_files("", "*.fits"), 1);
    assert_true(exists(rel));
    assert_int_equal(unlink(in_store(rel)), 0);
    /* Sent again it is whole as ever. */
    part_close(&t.part);
    transfer_open(&t);
    transfer_send(&t, 0, end_of_ccd(&t, 11));
    wait_early("exp_9001", 1);
    transfer_send(&t, 0, (int64_t)t.bytes.len);
    transfer_commit(&t);
    WAIT(is_done, "exp_9001");
    assert_int_equal(exposure_named("exp_9001").placed, 2);
    transfer_end(&t);
}

/* Two files of one visit come at the same time, under names that differ by the ccd alone; what is
 * withdrawn is no file of the visit any more, and a visit without files is none. */
static void files_of_a_visit_come_side_by_side(void **state)
{
    (void)state;
    struct transfer t[2];
    struct recipe r[2];
    for (int i = 0; i < 2; i++) {
        r[i] = (struct recipe){.name = i ? "file_2" : "file_1", .expnum = 10, .seed = i + 1,
                               .visit = {.name = "V10", .ccd = i + 1, .ccds = 2, .coming = 2}};
        transfer_begin(&t[i], &r[i], r[i].name);
        transfer_send(&t[i], 0, end_of_ccd(&t[i], i + 1));
    }
    wait_early("file_1", 1);
    wait_early("file_2", 1);
    struct exposure v = exposure_named("V10");
    assert_true(v.state == EX_PLACED && v.placed == 2 && v.ccds == 2 && v.jobs == 0);
    TRY(part_abort(t[0].part, WHY));
    WAIT(is_gone, "file_1");
    v = exposure_named("V10");
    assert_true(v.state == EX_PLACED && v.placed == 1 && v.ccds == 2);
    TRY(part_abort(t[1].part, WHY));
    WAIT(is_gone, "file_2");
    WAIT(is_gone, "V10");
    for (int i = 0; i < 2; i++) {
        part_close(&t[i].part);
        transfer_open(&t[i]);
        transfer_send(&t[i], 0, (int64_t)t[i].bytes.len);
        transfer_commit(&t[i]);
        transfer_end(&t[i]);
    }
    WAIT(is_done, "V10");
    v = exposure_named("V10");
    assert_true(v.placed == 2 && v.jobs == 2 && v.faults == 0);
    assert_int_equal(count_files("", "*.fits"), 2);
}

static void a_wrong_digest_withdraws(void **state)
{
    (void)state;
    struct transfer t;
    struct receipt r;
    transfer_begin(&t, &plain, "exp_9001");
    transfer_send(&t, 0, end_of_ccd(&t, 12));
    wait_early("exp_9001", 2);
    transfer_send(&t, 0, (int64_t)t.bytes.len);
    t.commit.sha256[0] = t.commit.sha256[0] == '0' ? '1' : '0';
    assert_int_equal(part_commit(t.part, &t.commit, &r, WHY), ST_RETRY);
    WAIT(is_gone, "exp_9001");
    assert_int_equal(count_files("", "*.fits"), 0);
    transfer_end(&t);
}

/* A bundle whose rows say one thing and whose manifest another: the manifest has the last word. */
static void forge(struct transfer *t, const char *say, const char *instead)
{
    unsigned char *end = t->bytes.data + t->bytes.len, *at = t->bytes.data;
    size_t len = strlen(say), changed = 0;
    assert_int_equal(len, strlen(instead));
    while ((at = memmem(at, (size_t)(end - at), "SCHILY.xattr.user.skyferry.row=", 31)) != NULL) {
        unsigned char *stop = at + 400 < end ? at + 400 : end;
        unsigned char *hit = memmem(at, (size_t)(stop - at), say, len);
        if (hit) {
            memcpy(hit, instead, len);
            changed++;
        }
        at += 31;
    }
    assert_true(changed > 0);
    digest_bytes(t->bytes.data, t->bytes.len, t->commit.sha256);
}

static void the_manifest_has_the_last_word(void **state)
{
    (void)state;
    struct transfer t;
    char rel[256];
    struct fits_image got = {0};
    transfer_begin(&t, &plain, "exp_9001");
    forge(&t, "\"extname\":\"N4\"", "\"extname\":\"XX\"");
    transfer_send(&t, 0, end_of_ccd(&t, 12));
    wait_early("exp_9001", 2);
    snprintf(rel, sizeof rel, FITS11, 9001);
    load(in_store(rel), &got);
    assert_text(&got.header, "SFEXT", "XX");
    fits_image_free(&got);
    transfer_send(&t, 0, (int64_t)t.bytes.len);
    transfer_commit(&t);
    WAIT(is_done, "exp_9001");
    assert_int_equal(exposure_named("exp_9001").placed, 2);
    load(in_store(rel), &got);
    assert_text(&got.header, "SFEXT", "N4");
    fits_image_free(&got);
    assert_int_equal(count_files("", "*.fits"), 2);
    transfer_end(&t);
}

/* A ccd under another number: its file goes, the right one comes. */
static void a_file_that_should_not_be_is_removed(void **state)
{
    (void)state;
    struct transfer t;
    transfer_begin(&t, &plain, "exp_9001");
    forge(&t, "\"ccd\":11", "\"ccd\":77");
    transfer_send(&t, 0, end_of_ccd(&t, 12));
    wait_early("exp_9001", 2);
    assert_true(exists("rawdata/" NIGHT "/77/Field.g.ut160901.9001_77.fits"));
    transfer_send(&t, 0, (int64_t)t.bytes.len);
    transfer_commit(&t);
    WAIT(is_done, "exp_9001");
    assert_false(exists("rawdata/" NIGHT "/77/Field.g.ut160901.9001_77.fits"));
    assert_true(exists("rawdata/" NIGHT "/11/Field.g.ut160901.9001_11.fits"));
    assert_int_equal(count_files("", "*.fits"), 2);
    transfer_end(&t);
}

static void a_stored_bundle_goes_first(void **state)
{
    (void)state;
    struct transfer t;
    const struct recipe same_names = {.name = "other_9001", .seed = 2};
    transfer_begin(&t, &plain, "exp_9001");
    transfer_send(&t, 0, end_of_ccd(&t, 11));
    wait_early("exp_9001", 1);
    store_as(&same_names, NIGHT, "other_9001");
    WAIT(is_done, "other_9001");
    struct exposure x = exposure_named("other_9001");
    assert_true(x.state == EX_DONE && x.placed == 2);
    WAIT(has_nothing, "exp_9001");
    assert_int_equal(count_files("", "*.fits"), 2);
    /* The late one meets taken names, as it would have without. */
    transfer_send(&t, 0, (int64_t)t.bytes.len);
    transfer_commit(&t);
    WAIT(is_done, "exp_9001");
    assert_int_equal(exposure_named("exp_9001").faults, 2);
    assert_int_equal(exposure_named("other_9001").placed, 2);
    transfer_end(&t);
}

static void the_same_source_elsewhere_goes_first(void **state)
{
    (void)state;
    struct transfer t;
    const struct recipe twin = {.name = "twin_7", .seed = 1, .expnum = 77};
    transfer_begin(&t, &plain, "exp_9001");
    transfer_send(&t, 0, end_of_ccd(&t, 12));
    wait_early("exp_9001", 2);
    store_as(&twin, NIGHT, "twin_7");
    WAIT(is_done, "twin_7");
    assert_int_equal(exposure_named("twin_7").placed, 2);
    assert_int_equal(count_files("", "*.fits"), 2);
    transfer_send(&t, 0, (int64_t)t.bytes.len);
    transfer_commit(&t);
    WAIT(is_done, "exp_9001");
    assert_int_equal(exposure_named("exp_9001").state, EX_PARKED); /* it is held already */
    assert_int_equal(count_files("", "*.fits"), 2);
    transfer_end(&t);
}

static void a_name_that_is_taken_is_left(void **state)
{
    (void)state;
    struct transfer t;
    char rel[256];
    snprintf(rel, sizeof rel, "rawdata/" NIGHT "/11");
    TRY(fs_mkdirs(in_store(rel), WHY));
    snprintf(rel, sizeof rel, FITS11, 9001);
    TRY(fs_write_file(in_store(rel), "mine\n", 5, false, WHY));
    transfer_begin(&t, &plain, "exp_9001");
    transfer_send(&t, 0, end_of_ccd(&t, 12));
    wait_early("exp_9001", 1);
    TRY(part_abort(t.part, WHY));
    WAIT(is_gone, "exp_9001");
    assert_int_equal(count_files("", "*.fits"), 1);
    assert_true(exists(rel));
    transfer_end(&t);
}

/* Somebody removed a placed file: what another exposure placed there early could not be withdrawn. */
static void a_name_of_another_exposure_is_left(void **state)
{
    (void)state;
    struct transfer t;
    char rel[256];
    const struct recipe same_names = {.name = "other_9001", .seed = 2};
    store_as(&same_names, NIGHT, "other_9001");
    WAIT(is_done, "other_9001");
    snprintf(rel, sizeof rel, FITS11, 9001);
    assert_int_equal(unlink(in_store(rel)), 0);
    transfer_begin(&t, &plain, "exp_9001");
    transfer_send(&t, 0, end_of_ccd(&t, 12));
    int looks = 0;
    run_until(places_nothing, &looks, "looked at");
    assert_false(exists(rel));
    TRY(part_abort(t.part, WHY));
    WAIT(is_gone, "exp_9001");
    assert_false(exists(rel));
    transfer_end(&t);
}

static void what_is_unusual_waits(void **state)
{
    (void)state;
    struct transfer t;
    const struct recipe undated = {.name = "exp_9001", .date_obs = "soon", .seed = 1};
    transfer_begin(&t, &undated, "exp_9001");
    assert_waits(&t);
    transfer_end(&t);
}

static void another_name_than_the_parts_waits(void **state)
{
    (void)state;
    struct transfer t;
    int looks = 0;
    transfer_begin(&t, &plain, "exp_9999");
    transfer_send(&t, 0, end_of_ccd(&t, 12));
    run_until(never, &looks, "half a second");
    assert_int_equal(count_files("", "*.fits"), 0);
    transfer_end(&t);
}

static void the_workspace_gets_what_stands(void **state)
{
    (void)state;
    struct transfer t;
    load_settings("[place]\nworkspace = link\n[jobs]\ndry_run = yes\n");
    transfer_begin(&t, &plain, "exp_9001");
    transfer_send(&t, 0, end_of_ccd(&t, 12));
    wait_early("exp_9001", 2);
    assert_int_equal(count_files("rawdata", "*.fits"), 2);
    assert_int_equal(count_files("workspace", "*.fits"), 0);
    transfer_send(&t, 0, (int64_t)t.bytes.len);
    transfer_commit(&t);
    WAIT(is_done, "exp_9001");
    assert_int_equal(exposure_named("exp_9001").placed, 2);
    assert_int_equal(count_files("workspace", "*.fits"), 2);
    transfer_end(&t);
}

static void the_switch_is_off(void **state)
{
    (void)state;
    struct transfer t;
    load_settings("[decode]\nearly = no\n[jobs]\ndry_run = yes\n");
    transfer_begin(&t, &plain, "exp_9001");
    assert_waits(&t);
    transfer_end(&t);
}

static void a_full_disk_waits(void **state)
{
    (void)state;
    struct transfer t;
    transfer_begin(&t, &plain, "exp_9001");
    settings.min_free_gib = 1e6;
    transfer_send(&t, 0, end_of_ccd(&t, 11));
    struct standing s = {.name = "exp_9001", .placed = 0};
    run_until(is_placed_early, &s, "listed");
    assert_int_equal(count_files("", "*.fits"), 0);
    settings.min_free_gib = 0;
    transfer_send(&t, 0, (int64_t)t.bytes.len);
    transfer_commit(&t);
    WAIT(is_done, "exp_9001");
    assert_int_equal(exposure_named("exp_9001").placed, 2);
    transfer_end(&t);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_ccd_is_placed_before_the_rest_is_there),
        TEST(it_ends_while_the_agent_runs),
        TEST(a_pause_in_the_middle),
        TEST(what_is_given_up_is_withdrawn),
        TEST(files_of_a_visit_come_side_by_side),
        TEST(a_wrong_digest_withdraws),
        TEST(the_manifest_has_the_last_word),
        TEST(a_file_that_should_not_be_is_removed),
        TEST(a_stored_bundle_goes_first),
        TEST(the_same_source_elsewhere_goes_first),
        TEST(a_name_that_is_taken_is_left),
        TEST(a_name_of_another_exposure_is_left),
        TEST(what_is_unusual_waits),
        TEST(another_name_than_the_parts_waits),
        TEST(the_workspace_gets_what_stands),
        TEST(the_switch_is_off),
        TEST(a_full_disk_waits),
    };
    return cmocka_run_group_tests_name("pull early", tests, NULL, NULL);
}
