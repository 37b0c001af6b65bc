/* What the tests of the running far side share: a store in a throw-away folder, its settings,
 * bundles of small exposures stored as `receive` would have, and an agent that runs until so
 * many exposures have come to rest. One program each. */
#ifndef SKYFERRY_PULL_FIXTURE_H
#define SKYFERRY_PULL_FIXTURE_H

#include <signal.h>

#include "common/clock.h"
#include "common/log.h"
#include "pull/adopt.h"
#include "pull/agent.h"
#include "pull/intake.h"
#include "tests/unit/unpack_fixture.h"

static struct pull_settings settings;

static struct fault try_fault;
#define WHY (&try_fault)
#define TRY(call)                                                                                \
    do {                                                                                         \
        if ((call) != ST_OK)                                                                     \
            fail_msg("%s:%d: %s: %s", __FILE__, __LINE__, #call, try_fault.text);                \
    } while (0)

/* ---- the store ---- */

/* root below the scratch folder; `more` are further lines of pull.conf, or NULL. */
static inline void load_settings(const char *more)
{
    char path[4096], text[8192];
    struct config_report r = {0};
    struct pull_overrides o = {.config = scratch_path(&dir, "pull.conf", path)};
    snprintf(text, sizeof text, "[store]\nroot = %s/store\nmin_free_gib = 0\nrescan_seconds = 1\n"
             "[camera]\nprofile = etc/cameras/generic.conf\n[log]\nfile = none\n%s", dir.dir,
             more ? more : "");
    TRY(fs_write_file(path, text, strlen(text), false, WHY));
    if (!pull_settings_load(&o, &settings, &r))
        fail_msg("%.*s", (int)r.text.len, (const char *)r.text.data);
    struct log_options quiet = {.agent = "test", .level = LOG_ERROR};
    TRY(log_open(&quiet, WHY));
}

static inline const char *in_store(const char *rel)
{
    static char path[PULL_PATH];
    pull_path(&settings, rel, path);
    return path;
}

static inline bool exists(const char *rel)
{
    return access(in_store(rel), F_OK) == 0;
}

static inline void remove_tree(const char *path)
{
    nftw(path, scratch_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

static inline int store_setup(void **state)
{
    (void)state;
    if (scratch_make(&dir) != 0)
        return -1;
    load_settings("[jobs]\nccds_per_job = 1\ndry_run = yes\n");
    return 0;
}

static inline int store_teardown(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

/* ---- exposures ---- */

struct recipe {
    const char *name;     /* of exposure and bundle; its digits are the exposure number */
    const char *object, *obstype, *date_obs, *method; /* NULL: "Field", "object", ..., "rice" */
    int64_t expnum;       /* 0: the name's digits */
    int seed;             /* of the pixels */
    struct visit visit;   /* with a name: of the two images only the first, as this ccd of it */
};

#define NIGHT "ut160901"

static inline void recipe_source(const struct recipe *r, const char *path)
{
    struct buf file = {0};
    make_source(path);
    slurp(path, &file);
    /* The second ccd's pixels: rows of values below 0x0400, so any low byte may change. */
    for (int i = 0; i < 32; i++)
        file.data[file.len - 4 * FITS_BLOCK - 101 - 2 * i] = (unsigned char)(r->seed * 7 + i);
    TRY(fs_write_file(path, file.data, file.len, false, WHY));
    buf_free(&file);
}

static inline void recipe_facts(const struct recipe *r, struct manifest *m)
{
    golden_facts(m);
    m->visit = r->visit;
    snprintf(m->name, sizeof m->name, "%s", r->name);
    snprintf(m->source_name, sizeof m->source_name, "%s.fits", r->name);
    snprintf(m->facts.object, sizeof m->facts.object, "%s", r->object ? r->object : "Field");
    snprintf(m->facts.obstype, sizeof m->facts.obstype, "%s", r->obstype ? r->obstype : "object");
    snprintf(m->facts.date_obs, sizeof m->facts.date_obs, "%s",
             r->date_obs ? r->date_obs : "2016-08-31T23:10:00");
    if (!clock_parse_date_obs(m->facts.date_obs, &m->facts.date_ns))
        m->facts.date_ns = INT64_MIN;
    m->facts.expnum = r->expnum ? r->expnum : (int64_t)strtoll(r->name + strcspn(r->name,
                                                               "0123456789"), NULL, 10);
}

/* The recipe's bundle as a file: ccds 11 and 12 (HDU 1 and 2) and a table. */
static inline void cook(const struct recipe *r, const char *to)
{
    struct bundle_writer *w = NULL;
    struct fits_file f = {0};
    struct manifest m = {0};
    struct buf whole = {0};
    char source[4096], sha256[DIGEST_HEX];
    int64_t size;
    bool exact = r->method && strcmp(r->method, "original") == 0;
    recipe_source(r, scratch_path(&dir, "source.fits", source));
    int fd = open(source, O_RDONLY);
    TRY(fits_scan(fd, &f, WHY));
    recipe_facts(r, &m);
    m.source_size = f.size;
    TRY(digest_fd(fd, -1, m.source_sha256, WHY));
    TRY(bundle_create(to, GOLDEN_MTIME, &w, WHY));
    for (size_t i = 0; i < f.count; i++) {
        whole.len = 0;
        TRY(fits_read_hdu(fd, &f.hdu[i], &whole, WHY));
        if (f.hdu[i].kind == FITS_IMAGE && i == 2 && r->visit.ccd)
            continue;
        if (f.hdu[i].kind == FITS_IMAGE)
            add_image(w, &m, &f.hdu[i], codec_find(r->method ? r->method : "rice"), &whole);
        else if (i == 0 && !exact)
            add_header(w, &m, &f.hdu[i], 0, &whole);
        else
            add_other(w, &m, &f.hdu[i], exact, &whole);
    }
    TRY(golden_add_manifest(w, &m, WHY));
    TRY(bundle_finish(&w, sha256, &size, WHY));
    buf_free(&whole);
    manifest_free(&m);
    fits_file_free(&f);
    close(fd);
}

static inline void write_receipt_for(const char *night, const char *stem)
{
    char tar[PULL_PATH], rel[512];
    struct receipt r;
    struct manifest m = {0};
    struct buf text = {0};
    snprintf(rel, sizeof rel, "bundles/%s/%s.tar", night, stem);
    pull_path(&settings, rel, tar);
    TRY(adopt_read(tar, &m, &r, WHY));
    snprintf(r.night, sizeof r.night, "%s", night);
    snprintf(r.stored, sizeof r.stored, "%s/%s.tar", night, stem);
    r.noticed_ns = r.stored_ns - 3 * NS_PER_S;
    r.encoded_ns = r.stored_ns - 2 * NS_PER_S;
    r.first_ns = r.stored_ns - NS_PER_S;
    assert_true(receipt_text(&r, &text));
    memcpy(tar + strlen(tar) - 4, ".receipt", 9);
    TRY(fs_write_file(tar, text.data, text.len, false, WHY));
    buf_free(&text);
    manifest_free(&m);
}

/* As receive leaves it: bundles/NIGHT/NAME.tar and its receipt. */
static inline void store_as(const struct recipe *r, const char *night, const char *stem)
{
    char rel[512], tar[PULL_PATH];
    snprintf(rel, sizeof rel, "bundles/%s", night);
    TRY(fs_mkdirs(in_store(rel), WHY));
    snprintf(rel, sizeof rel, "bundles/%s/%s.tar", night, stem);
    pull_path(&settings, rel, tar);
    cook(r, tar);
    write_receipt_for(night, stem);
}

/* The same exposure lossy, and its exact data as they follow. */
static inline void store_lossy(const char *name)
{
    struct recipe r = {.name = name, .seed = 7, .method = "htj2k"};
    lossy_qstep = 0.001;
    store_as(&r, NIGHT, name);
    lossy_qstep = 0;
}

static inline void store_exact(const char *name)
{
    struct recipe r = {.name = name, .seed = 7};
    char stem[64];
    snprintf(stem, sizeof stem, "%s.exact", name);
    store_as(&r, NIGHT, stem);
}

static inline void store_one(const char *name)
{
    struct recipe r = {.name = name, .seed = (int)strlen(name) + name[strlen(name) - 1]};
    store_as(&r, NIGHT, name);
}

/* Changes one byte of a stored file. */
static inline void damage(const char *rel, off_t offset)
{
    unsigned char byte;
    int fd = open(in_store(rel), O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x55;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

/* ---- the agent ---- */

/* Which rows are waited for: by default visits, not their files. */
static enum catalogue_rows rows_to_rest;

struct run_to_rest {
    struct agent *a;
    int wanted, rested;
    int64_t deadline;
    bool late;
};

static inline bool count_rested(void *ctx, const struct exposure *x)
{
    struct run_to_rest *r = ctx;
    bool asked = true;
    TRY(catalogue_is_asked(r->a->cat, x->id, &asked, WHY));
    r->rested += !asked && (x->state == EX_DONE || x->state == EX_PARKED);
    return true;
}

static inline void look_for_rest(void *ctx)
{
    struct run_to_rest *r = ctx;
    struct catalogue_pick all = {.rows = rows_to_rest};
    r->rested = 0;
    TRY(catalogue_each(r->a->cat, &all, count_rested, r, WHY));
    r->late = clock_mono() > r->deadline;
    if (r->rested >= r->wanted || r->late)
        agent_stop(r->a);
}

/* Runs the daemon's engine until `wanted` exposures are done or parked. */
static inline void run_agent(int wanted)
{
    struct run_to_rest r = {.wanted = wanted, .deadline = clock_mono() + 30 * NS_PER_S};
    TRY(agent_open(&settings, &r.a, WHY));
    r.a->settle_s = 0;
    TRY(agent_watch(r.a, WHY));
    struct loop_timer *t = loop_timer_new(r.a->loop, look_for_rest, &r);
    loop_timer_set(t, 20, 20);
    TRY(agent_run(r.a, WHY));
    loop_timer_free(&t);
    agent_close(&r.a);
    assert_null(r.a);
    if (r.late)
        fail_msg("only %d of %d exposures came to rest", r.rested, wanted);
}

/* One exposure by name, from the catalogue. */
struct wanted_exposure {
    struct exposure x;
    int found;
};

static inline bool take_exposure(void *ctx, const struct exposure *x)
{
    struct wanted_exposure *w = ctx;
    w->x = *x;
    w->found++;
    return true;
}

static inline struct exposure exposure_named(const char *name)
{
    struct wanted_exposure w = {.found = 0};
    struct catalogue *cat;
    struct catalogue_pick pick = {.name = name};
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_each(cat, &pick, take_exposure, &w, WHY));
    catalogue_close(&cat);
    if (w.found != 1)
        fail_msg("%d exposures are named %s", w.found, name);
    return w.x;
}

static inline void ask(const char *name, enum request_verb verb, bool force)
{
    struct catalogue *cat;
    struct exposure x = exposure_named(name);
    TRY(catalogue_open(settings.catalogue, false, &cat, WHY));
    TRY(catalogue_ask(cat, x.id, verb, force, WHY));
    catalogue_close(&cat);
}

/* Files below the store whose names match a shell pattern, drafts too. */
static inline int count_files(const char *below, const char *pattern)
{
    char command[PULL_PATH + 200], line[64] = "";
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(command, sizeof command, "find '%s' -type f -name '%s' 2>/dev/null | wc -l",
                 in_store(below), pattern);
        dup2(pipe_ends[1], 1);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(pipe_ends[1]);
    assert_true(read(pipe_ends[0], line, sizeof line - 1) > 0);
    close(pipe_ends[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return (int)strtol(line, NULL, 10);
}

#endif
