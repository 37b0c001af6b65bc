/* Exposures of several small files through the real engine: a real agent, pool, journal and spool,
 * and a far end at which nobody listens. What is shipped together, what is not, and what becomes
 * of it when the agent or its profile is another one the next time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "common/clock.h"
#include "push/agent.h"
#include "push/deliver.h"
#include "tests/unit/push_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct config config;
static struct fault why;
static char data[4096];

#define OK(call)                                 \
    do {                                         \
        enum status st_ = (call);                \
        if (st_ != ST_OK)                        \
            fail_msg("%s: %s", #call, why.text); \
    } while (0)

static int set_up(void **state)
{
    struct config_report report = {0};
    struct settings_source none = {0};
    struct camera *c = &config.camera;
    (void)state;
    if (scratch_make(&scratch) != 0)
        return -1;
    memset(&config, 0, sizeof config);
    setenv("HOME", scratch.dir, 1);
    settings_load(&none, 0, &config, &report);
    buf_free(&report.text);
    fixture_camera(c, 4);
    snprintf(c->key_group, sizeof c->key_group, "FRAMEID");
    snprintf(c->group_ccds, sizeof c->group_ccds, "1-4");
    snprintf(c->group_partial, sizeof c->group_partial, "park");
    c->group_digits = c->group_numbers = 2;
    c->group_wait_s = 60;
    mkdir(scratch_path(&scratch, "data", data), 0755);
    struct settings *s = &config.set;
    scratch_path(&scratch, "spool", s->spool);
    snprintf(s->directory, sizeof s->directory, "%s", data);
    snprintf(s->host, sizeof s->host, "127.0.0.1");
    s->port = 1; /* tcpmux: nobody listens */
    s->give_up_s = 1;
    s->threads = 2;
    s->connect_timeout_s = 1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

/* A file of a visit, FRAMEID VnnnnCC. ccd_card: the image's card. */
static const char *frame_of(int visit, int ccd, const char *ccd_card)
{
    static char name[64];
    char path[4200];
    struct buf b = {0};
    fixture_card(&b, "SIMPLE  =                    T");
    fixture_card(&b, "BITPIX  =                    8");
    fixture_card(&b, "NAXIS   =                    2");
    fixture_card(&b, "NAXIS1  =                   16");
    fixture_card(&b, "NAXIS2  =                   16");
    fixture_card(&b, "OBSTYPE = 'object'");
    fixture_card(&b, "PROPID  = 'o1'");
    fixture_card(&b, "DATE-OBS= '2024-04-05T03:%02d:00'", visit % 60);
    fixture_card(&b, "FRAMEID = 'V%04d%02d'", visit, ccd - 1);
    fixture_card(&b, "%s", ccd_card);
    fixture_card(&b, "END");
    fixture_pad(&b, ' ');
    for (int i = 0; i < 256; i++)
        buf_append(&b, &(unsigned char){(unsigned char)(i + ccd)}, 1);
    fixture_pad(&b, '\0');
    snprintf(name, sizeof name, "V%04d%02d", visit, ccd - 1);
    snprintf(path, sizeof path, "%s/%s.fits", data, name);
    assert_true(fixture_write(path, b.data, b.len) && fixture_age(path, 10));
    buf_free(&b);
    return name;
}

static const char *frame(int visit, int ccd)
{
    char card[32];
    snprintf(card, sizeof card, "CCDNUM  = %d", ccd);
    return frame_of(visit, ccd, card);
}

static void frames(int visit, int first, int last)
{
    for (int ccd = first; ccd <= last; ccd++)
        frame(visit, ccd);
}

/* ---- an agent for a while ---- */

struct walk {
    struct agent *agent;
    int state, wanted; /* so many rows in this state end it */
    int rows[EXPOSURE_STATES], all;
    int under_way, parked; /* at most */
    const char *grp;   /* of this group alone; NULL: of all */
    void (*then)(struct walk *w);
    int64_t give_up;
    bool late;
    char reason[512];  /* of a row in that state */
};

static bool count(void *ctx, const struct exposure *e)
{
    struct walk *w = ctx;
    if (w->grp && strcmp(e->group, w->grp) != 0)
        return true;
    w->rows[e->state]++;
    w->all++;
    if (e->state == w->state)
        snprintf(w->reason, sizeof w->reason, "%s", e->reason);
    return true;
}

static void look(struct walk *w, struct journal *j)
{
    memset(w->rows, 0, sizeof w->rows);
    w->all = 0;
    OK(journal_list(j, -1, 0, 0, count, w, &why));
}

static void sight(struct flow *f)
{
    struct watch_options o = {.directory = data, .patterns = "*.fits", .rescan_seconds = 1,
                              .stage = "test"};
    OK(watch_walk(&o, flow_intake, f, &why));
}

static void on_tick(void *ctx)
{
    struct walk *w = ctx;
    struct flow_state s;
    sight(agent_flow(w->agent));
    flow_state(agent_flow(w->agent), &s);
    w->under_way = s.under_way > w->under_way ? s.under_way : w->under_way;
    look(w, agent_journal(w->agent));
    w->parked = w->rows[EXPOSURE_PARKED] > w->parked ? w->rows[EXPOSURE_PARKED] : w->parked;
    w->late = clock_mono() > w->give_up;
    if (w->rows[w->state] == w->wanted && w->then) {
        void (*then)(struct walk *) = w->then;
        w->then = NULL;
        then(w);
    } else if (w->rows[w->state] == w->wanted || w->late) {
        agent_stop(w->agent);
    }
}

static void walk_until(struct walk *w, int wanted, int state)
{
    struct agent_options o = {.config = &config, .ctx = w, .tick = on_tick};
    w->wanted = wanted;
    w->state = state;
    w->give_up = clock_mono() + 20 * NS_PER_S;
    OK(agent_open(&o, &w->agent, &why));
    OK(agent_run(w->agent, &why));
    agent_close(&w->agent);
    for (int i = 0; i < EXPOSURE_STATES && w->late; i++)
        print_message("%s: %d of %d\n", exposure_state_names[i], w->rows[i], w->all);
    if (w->late)
        fail_msg("not %d are %s (%s)", w->wanted, exposure_state_names[w->state], w->reason);
}

/* ---- all or none ---- */

static void a_visit_goes_when_it_is_whole(void **state)
{
    struct walk some = {0}, all = {0};
    (void)state;
    frames(12, 1, 3);
    walk_until(&some, 3, EXPOSURE_PARTIAL);
    assert_non_null(strstr(some.reason, "3 of 4 ccds (missing: 4)"));
    frame(12, 4);
    walk_until(&all, 4, EXPOSURE_SENDING);
    assert_true(all.under_way >= 4); /* whatever the window: they are one exposure */
}

struct rows {
    struct exposure e[16];
    size_t count;
};

static bool keep(void *ctx, const struct exposure *e)
{
    struct rows *r = ctx;
    r->e[r->count++] = *e;
    return r->count < 16;
}

/* As if it had been found whole an hour ago. */
static void age_what_settled(void)
{
    static struct rows r;
    struct journal *j;
    r.count = 0;
    OK(journal_open(config.set.spool, false, &j, &why));
    OK(journal_list(j, -1, 0, 0, keep, &r, &why));
    for (size_t i = 0; i < r.count; i++) {
        r.e[i].stamp[STAMP_SETTLED] -= 3600 * NS_PER_S;
        OK(journal_save(j, &r.e[i], &why));
    }
    journal_close(&j);
}

/* An agent that was away does not say that nothing came, before it has looked. */
static void a_restart_looks_before_it_gives_up(void **state)
{
    struct walk some = {0}, all = {0};
    (void)state;
    frames(12, 1, 3);
    walk_until(&some, 3, EXPOSURE_PARTIAL);
    age_what_settled();
    frame(12, 4);
    walk_until(&all, 4, EXPOSURE_SENDING);
    assert_int_equal(all.parked, 0);
}

static void in_the_end_it_gives_up(void **state)
{
    struct walk some = {0}, again = {0};
    (void)state;
    config.camera.group_wait_s = 1;
    frames(12, 1, 3);
    walk_until(&some, 3, EXPOSURE_PARKED);
    assert_non_null(strstr(some.reason, "3 of 4 ccds (missing: 4), and nothing more came for 1 s"));
    frame(12, 4);
    walk_until(&again, 4, EXPOSURE_SENDING);
}

static void lose(int visit, int ccd)
{
    char path[4200];
    snprintf(path, sizeof path, "%.4000s/V%04d%02d.fits", data, visit, ccd - 1);
    assert_int_equal(unlink(path), 0);
}

/* Nothing of it goes, and what is missing is named. */
static void a_file_that_went_while_it_waited_is_missing(void **state)
{
    struct walk some = {0}, three = {.grp = "V12"}, all = {0};
    (void)state;
    frames(12, 1, 3);
    walk_until(&some, 3, EXPOSURE_PARTIAL);
    lose(12, 2);
    frame(12, 4);
    config.camera.group_wait_s = 1;
    walk_until(&three, 3, EXPOSURE_PARKED);
    assert_non_null(strstr(three.reason, "3 of 4 ccds (missing: 2)"));
    frame(12, 2);
    walk_until(&all, 4, EXPOSURE_SENDING);
}

static void also_when_they_were_parked_for_want_of_the_last(void **state)
{
    struct walk some = {0}, parked = {0};
    (void)state;
    config.camera.group_wait_s = 1;
    frames(12, 1, 3);
    walk_until(&some, 3, EXPOSURE_PARKED);
    lose(12, 1);
    frame(12, 4);
    walk_until(&parked, 4, EXPOSURE_PARKED);
    assert_non_null(strstr(parked.reason, "vanished"));
}

static void move(const char *from, const char *to)
{
    char path[2][4200];
    snprintf(path[0], sizeof path[0], "%.4000s/%s", data, from);
    snprintf(path[1], sizeof path[1], "%.4000s/%s", data, to);
    assert_int_equal(rename(path[0], path[1]), 0);
}

static void it_is_put_back(struct walk *w)
{
    move("away", "V001201.fits");
    w->state = EXPOSURE_SENDING;
}

static void the_last_comes_without_it(struct walk *w)
{
    move("V001201.fits", "away");
    frame(12, 4);
    w->state = EXPOSURE_PARKED;
    w->wanted = 4;
    w->then = it_is_put_back;
}

/* As it was: not a version that the journal has dealt with. */
static void what_is_put_back_is_there_again(void **state)
{
    struct walk w = {.then = the_last_comes_without_it};
    (void)state;
    config.camera.group_wait_s = 1;
    frames(12, 1, 3);
    walk_until(&w, 3, EXPOSURE_PARTIAL);
    assert_int_equal(w.rows[EXPOSURE_SENDING], 4);
    assert_int_equal(w.all, 4);
}

/* ---- which ccd is it? ---- */

static void a_file_without_its_ccd_is_not_taken_for_another(void **state)
{
    static const struct {
        const char *card, *says;
    } set[] = {
        {"CCDNUM  = 'broken'", "CCDNUM = broken"},
        {"CCDNUM  =                  2.5", "CCDNUM = 2.5"},
        {"CCDNO   =                    1", "its keyword CCDNUM is missing"},
        {"CCDNUM  =                    0", "CCDNUM = 0, where a number is needed"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
        struct walk w = {0};
        frames(12, 2, 4);
        frame_of(12, 1, set[i].card);
        walk_until(&w, 1, EXPOSURE_PARKED);
        if (!strstr(w.reason, set[i].says))
            fail_msg("'%s' says not '%s'", w.reason, set[i].says);
        assert_int_equal(w.rows[EXPOSURE_SENDING] + w.rows[EXPOSURE_READY], 0);
        tear_down(NULL);
        set_up(NULL);
    }
}

/* ---- named to send ---- */

static void name_to_send(const char *name)
{
    struct deliver *d = NULL;
    char path[4200];
    snprintf(path, sizeof path, "%.4000s/%s.fits", data, name);
    OK(deliver_open(&config, &d, &why));
    OK(deliver_add(d, path, ORIGIN_SEND, false, &why));
    deliver_close(&d);
}

/* It goes as it was named, whatever the settings leave out, and without the others. */
static void what_is_named_goes(void **state)
{
    struct walk w = {0}, named = {0};
    (void)state;
    snprintf(config.set.proposals, sizeof config.set.proposals, "o2");
    frames(12, 1, 3);
    walk_until(&w, 3, EXPOSURE_SKIPPED);
    name_to_send("V001201");
    walk_until(&named, 1, EXPOSURE_SENDING);
    assert_int_equal(named.rows[EXPOSURE_SKIPPED], 2);
}

static void what_is_named_while_it_waits_goes(void **state)
{
    struct walk w = {0}, named = {0}, last = {0};
    struct rows r = {.count = 0};
    struct journal *j;
    (void)state;
    frames(12, 1, 3);
    walk_until(&w, 3, EXPOSURE_PARTIAL);
    /* As if the agent had looked at it at the very moment. */
    OK(journal_open(config.set.spool, false, &j, &why));
    OK(journal_list(j, EXPOSURE_PARTIAL, 0, 0, keep, &r, &why));
    OK(journal_ask(j, r.e[1].id, ORIGIN_SEND, 7, &why));
    journal_close(&j);
    walk_until(&named, 1, EXPOSURE_SENDING);
    assert_int_equal(named.rows[EXPOSURE_PARTIAL], 2);
    frame(12, 4);
    walk_until(&last, 4, EXPOSURE_SENDING);
}

/* ---- sightings ---- */

static struct timespec as_it_was[2];

static void put_it_back(struct walk *w)
{
    char path[4200];
    frame(12, 1);
    snprintf(path, sizeof path, "%.4000s/V001200.fits", data);
    assert_int_equal(utimensat(AT_FDCWD, path, as_it_was, 0), 0);
    w->state = EXPOSURE_PARTIAL;
}

static void spoil_it(struct walk *w)
{
    char path[4200];
    struct stat st;
    snprintf(path, sizeof path, "%.4000s/V001200.fits", data);
    assert_int_equal(stat(path, &st), 0);
    as_it_was[0] = as_it_was[1] = st.st_mtim;
    assert_true(fixture_write(path, "nothing", 7) && fixture_age(path, 10));
    w->state = EXPOSURE_PARKED;
    w->then = put_it_back;
}

/* A file that becomes again what it was is noticed, though that version was known before. */
static void there_and_back_again(void **state)
{
    struct walk w = {.then = spoil_it};
    (void)state;
    frame(12, 1);
    walk_until(&w, 1, EXPOSURE_PARTIAL);
    assert_int_equal(w.rows[EXPOSURE_PARTIAL], 1);
    assert_null(w.then);
}

/* ---- another profile ---- */

/* None of it may need `retry`: the profile's author has done what was to be done. */
static void a_corrected_profile_is_enough(void **state)
{
    struct walk w = {0}, again = {0};
    struct camera *c = &config.camera;
    (void)state;
    snprintf(config.set.proposals, sizeof config.set.proposals, "o1");
    snprintf(c->key_propid, sizeof c->key_propid, "PROP-ID");
    frames(12, 1, 4);
    walk_until(&w, 4, EXPOSURE_SKIPPED);
    assert_non_null(strstr(w.reason, "its header names none"));
    snprintf(c->key_propid, sizeof c->key_propid, "PROPID");
    walk_until(&again, 4, EXPOSURE_SENDING);
}

static void a_visit_gathered_wrongly_is_gathered_again(void **state)
{
    struct walk parked = {0}, partial = {.grp = "V1200"}, again = {.grp = "V12"};
    struct camera *c = &config.camera;
    (void)state;
    c->group_digits = 0;
    c->group_wait_s = 1;
    frames(12, 1, 1);
    walk_until(&parked, 1, EXPOSURE_PARKED);
    c->group_wait_s = 60;
    frames(12, 2, 4);
    walk_until(&partial, 2, EXPOSURE_PARTIAL); /* V1200: numbers 1200 and 1201; V1202 has the rest */
    c->group_digits = 2;
    walk_until(&again, 4, EXPOSURE_SENDING);
}

static void what_no_profile_could_read_is_read_again(void **state)
{
    struct walk parked = {0}, again = {0};
    struct camera *c = &config.camera;
    (void)state;
    snprintf(c->key_group, sizeof c->key_group, "FRAME-ID");
    frames(12, 1, 4);
    walk_until(&parked, 4, EXPOSURE_PARKED);
    assert_non_null(strstr(parked.reason, ": FRAME-ID, which [group] key"));
    snprintf(c->key_group, sizeof c->key_group, "FRAMEID");
    walk_until(&again, 4, EXPOSURE_SENDING);
}

/* Every file is an exposure then: they go, and nobody says that they are whole. */
static void a_profile_without_groups_frees_what_waits(void **state)
{
    struct walk some = {0}, again = {0};
    (void)state;
    frames(12, 1, 3);
    walk_until(&some, 3, EXPOSURE_PARTIAL);
    config.camera.key_group[0] = '\0';
    config.camera.ccds = 0;
    again.grp = "";
    walk_until(&again, 2, EXPOSURE_SENDING); /* as many as the window has */
    assert_int_equal(again.rows[EXPOSURE_READY], 1);
}

/* ---- the same while it runs ---- */

static void a_ccd_dies(struct walk *w)
{
    static struct config now;
    now = config;
    snprintf(now.camera.group_bad, sizeof now.camera.group_bad, "4");
    snprintf(now.camera.key_propid, sizeof now.camera.key_propid, "NOT-NOW");
    w->state = EXPOSURE_SENDING;
    flow_reconfigure(agent_flow(w->agent), &now);
}

static void bad_ccds_hold_at_a_reload(void **state)
{
    struct walk w = {.then = a_ccd_dies};
    (void)state;
    snprintf(config.set.proposals, sizeof config.set.proposals, "o1");
    frames(12, 1, 3);
    walk_until(&w, 3, EXPOSURE_PARTIAL);
    assert_int_equal(w.rows[EXPOSURE_SENDING], 3);
}

static void another_camera(struct walk *w)
{
    static struct config now;
    now = config;
    snprintf(now.set.profile, sizeof now.set.profile, "other");
    snprintf(now.camera.group_ccds, sizeof now.camera.group_ccds, "1-3");
    w->state = EXPOSURE_SENDING;
    flow_reconfigure(agent_flow(w->agent), &now);
    frame(12, 4);
    w->wanted = 4;
}

static void another_camera_waits_for_a_restart(void **state)
{
    struct walk w = {.then = another_camera};
    (void)state;
    frames(12, 1, 3);
    walk_until(&w, 3, EXPOSURE_PARTIAL);
    assert_int_equal(w.rows[EXPOSURE_SENDING], 4);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_visit_goes_when_it_is_whole), T(a_restart_looks_before_it_gives_up),
        T(in_the_end_it_gives_up), T(a_file_that_went_while_it_waited_is_missing),
        T(also_when_they_were_parked_for_want_of_the_last), T(what_is_put_back_is_there_again),
        T(a_file_without_its_ccd_is_not_taken_for_another),
        T(what_is_named_goes), T(what_is_named_while_it_waits_goes),
        T(there_and_back_again), T(a_corrected_profile_is_enough), T(a_visit_gathered_wrongly_is_gathered_again),
        T(what_no_profile_could_read_is_read_again), T(a_profile_without_groups_frees_what_waits),
        T(bad_ccds_hold_at_a_reload), T(another_camera_waits_for_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
