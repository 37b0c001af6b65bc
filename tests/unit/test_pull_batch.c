/* The batch runner's decisions over simulated time: nothing is lost and nothing runs twice when
 * the submitting program fails, hangs, is heard too late or takes the job and dies, when the
 * controller is away for ten minutes, tasks are put back into the queue, and the daemon dies
 * anywhere; what is said of a task that left no word of its end. */
#include "tests/unit/batch_model.h"

static struct scratch dir;
static struct pull_settings s;
static struct loop *loop;
static struct batch *q;
static struct fault why;

/* ---- the daemon: what job.c and the catalogue keep of a job ---- */

#define JOBS 12
enum state { NONE, WAITING, RUNNING, DONE, FAILED };

static struct row {
    enum state state;
    int64_t group;
    int number, runs, requeues, attempts;
    char folder[PULL_PATH], handle[JOB_HANDLE], batch[32], said[32], news[256];
    struct job_end end;
} rows[JOBS];

static void count_run(const char *folder)
{
    for (int i = 0; i < JOBS; i++)
        rows[i].runs += strcmp(rows[i].folder, folder) == 0;
}

static struct job_order order_of(struct row *r)
{
    static char *argv[] = {"true", NULL};
    return (struct job_order){.id = r - rows + 1, .folder = r->folder, .program = "/bin/true",
                              .argv = argv, .job_file = "job.json", .result_file = "result.json",
                              .timeout_s = 60, .output_max = 1000, .group = r->group,
                              .number = r->number, .settings = &s};
}

static void wake(void *ctx)
{
    (void)ctx;
}

static void open_daemon(void)
{
    struct job_runner *r;
    const struct job_runner_row *row = model.pbs ? &job_pbs : &job_slurm;
    assert_int_equal(row->open(loop, wake, NULL, &r, &why), ST_OK);
    q = (struct batch *)r;
    q->now = model_now;
    q->call = model_call;
    for (int i = 0; i < JOBS; i++) {
        struct job_order o = order_of(&rows[i]);
        if (rows[i].state == RUNNING)
            assert_int_equal(row->adopt(r, &o, rows[i].handle, rows[i].batch, &why), ST_OK);
    }
}

static void kill_daemon(void)
{
    struct job_runner *r = &q->base;
    model_orphan(q);
    r->row->close(&r);
}

/* An exposure's two jobs; a daemon that dies before the catalogue has them has not begun any. */
static void begin(int first, bool dies)
{
    for (int i = first; i < first + 2; i++) {
        struct job_order o = order_of(&rows[i]);
        char handle[JOB_HANDLE];
        assert_int_equal(q->base.row->submit(&q->base, &o, handle, &why), ST_OK);
        if (dies && i > first)
            return;
        snprintf(rows[i].handle, sizeof rows[i].handle, "%s", handle);
        rows[i].batch[0] = '\0';
        rows[i].state = RUNNING;
        rows[i].attempts++;
        q->base.row->release(&q->base, o.id);
    }
}

static void take_ends(void)
{
    struct job_end end;
    while (q->base.row->poll(&q->base, &end)) {
        struct row *r = &rows[end.id - 1];
        snprintf(r->batch, sizeof r->batch, "%s", end.batch);
        snprintf(r->said, sizeof r->said, "%s", end.state);
        snprintf(r->news, sizeof r->news, "%s", end.words);
        if (end.news)
            continue;
        assert_int_equal(r->state, RUNNING); /* one end each */
        r->end = end;
        r->state = end.cancelled ? WAITING : end.ok ? DONE : FAILED;
    }
}

static void seconds(int n)
{
    for (; n > 0; n--) {
        model_step();
        batch_tick(q);
        take_ends();
    }
}

static bool all_are(enum state state, int from, int count)
{
    for (int i = from; i < from + count; i++)
        if (rows[i].state != state)
            return false;
    return true;
}

/* Steps until these jobs are in the state; the seconds that it took. */
static int until(enum state state, int from, int count, int limit)
{
    int64_t begun = model.now;
    while (!all_are(state, from, count)) {
        if (model.now - begun >= limit)
            fail_msg("not within %d s", limit);
        seconds(1);
    }
    return (int)(model.now - begun);
}

static void start(bool pbs)
{
    char path[PULL_PATH];
    model_reset();
    model.pbs = pbs;
    model.began = count_run;
    memset(rows, 0, sizeof rows);
    for (int i = 0; i < JOBS; i++) {
        rows[i].group = i / 2 + 1;
        rows[i].number = i % 2 + 1;
        snprintf(rows[i].folder, sizeof rows[i].folder, "%s/jobs/night/exp_%d/q%d", dir.dir, i / 2,
                 i % 2 + 1);
        assert_int_equal(fs_mkdirs(rows[i].folder, &why), ST_OK);
        struct job_order o = order_of(&rows[i]);
        static const char *const files[] = {"task.json", "claim.json", "ended.json"};
        for (int k = 0; k < 3; k++) {
            snprintf(path, sizeof path, "%.4000s/%s", o.folder, files[k]);
            unlink(path);
        }
    }
    snprintf(s.runner, sizeof s.runner, pbs ? "pbs" : "slurm");
    open_daemon();
}

static void stop(void)
{
    kill_daemon();
}

static int run_once(int from, int count)
{
    int wrong = 0;
    for (int i = from; i < from + count; i++)
        wrong += rows[i].runs != 1 + rows[i].requeues;
    return wrong;
}

/* ---- what is shown ---- */

static void every_misbehaviour_ends_in_one_run(void **state)
{
    (void)state;
    for (int pbs = 0; pbs < 2; pbs++)
        for (enum model_fault f = FINE; f <= TAKEN_BABBLES; f++) {
            start(pbs);
            model.next = f;
            begin(0, false);
            until(DONE, 0, 2, 600);
            seconds(400); /* whatever comes late */
            assert_int_equal(run_once(0, 2), 0);
            assert_int_equal(model.submissions, f == REFUSED || f == HANGS || f == TAKEN_LATER
                                                    ? 2 : 1);
            stop();
        }
}

/* The first submission, believed lost, arrives and begins while the second still waits. */
static void the_submission_that_has_the_job_counts(void **state)
{
    (void)state;
    for (int pbs = 0; pbs < 2; pbs++) {
        start(pbs);
        model.task_s = 200;
        model.next = TAKEN_LATER;
        begin(0, false);
        while (model.array_count < 2)
            seconds(1);
        for (int k = 0; k < 2; k++)
            model.arrays[1].tasks[k].begins = model.arrays[0].arrives + 30;
        until(DONE, 0, 2, 600);
        assert_string_equal(rows[0].batch, pbs ? "1000[1]" : "1000_1");
        assert_int_equal(run_once(0, 2), 0);
        stop();
    }
}

/* One array runs, one waits in the queue, one is submitted while the controller is away. */
static void ten_minutes_without_the_controller(void **state)
{
    (void)state;
    for (int pbs = 0; pbs < 2; pbs++) {
        start(pbs);
        begin(0, false);
        seconds(20);
        assert_string_equal(rows[0].said, "RUNNING");
        begin(2, false);
        seconds(2);
        model.away_until = model.now + 600;
        seconds(5);
        begin(4, false);
        int before = model.submissions;
        seconds(300);
        assert_true(all_are(DONE, 0, 2)); /* their files tell it */
        assert_true(all_are(RUNNING, 2, 4));
        assert_int_equal(model.submissions, before + 1); /* nothing is tried before it is sure */
        kill_daemon(); /* and one daemon dies meanwhile */
        open_daemon();
        seconds(293);
        assert_int_equal(model.submissions, before + 1);
        assert_true(model.queries >= 20 && model.queries <= 90);
        int took = until(DONE, 2, 4, 300);
        assert_true(took < 120); /* two questions, then the job itself */
        assert_int_equal(model.submissions, before + 2);
        seconds(100);
        assert_int_equal(run_once(0, 6), 0);
        stop();
    }
}

static void a_requeued_task_is_the_same_job(void **state)
{
    (void)state;
    char batch[32];
    start(false);
    begin(0, false);
    seconds(20);
    snprintf(batch, sizeof batch, "%s", rows[0].batch);
    model_requeue(&model.arrays[0], &model.arrays[0].tasks[0]);
    rows[0].requeues++;
    seconds(17);
    assert_string_equal(rows[0].said, "PENDING");
    until(DONE, 0, 2, 120);
    assert_string_equal(rows[0].batch, batch);
    assert_int_equal(model.submissions, 1);
    assert_int_equal(run_once(0, 2), 0);
    stop();
}

static void a_preempted_task_waits_again(void **state)
{
    (void)state;
    start(false);
    model.nodes_die = true;
    model.dead_state = "PREEMPTED";
    begin(0, false);
    until(WAITING, 0, 2, 300);
    assert_true(rows[0].end.cancelled); /* no attempt is counted */
    model.nodes_die = false;
    begin(0, false);
    until(DONE, 0, 2, 120);
    stop();
}

static void a_lost_node_costs_no_attempt_but_not_for_ever(void **state)
{
    (void)state;
    start(false);
    model.nodes_die = true;
    for (int k = 0; k < 3; k++) {
        begin(0, false);
        until(WAITING, 0, 2, 300);
    }
    begin(0, false);
    until(FAILED, 0, 2, 300);
    assert_non_null(strstr(rows[0].end.words, "NODE_FAIL"));
    stop();
}

static void a_task_that_left_no_word_is_asked_about(void **state)
{
    (void)state;
    start(false);
    model.nodes_die = true;
    for (int k = 0; k < 3; k++) {
        begin(0, false);
        until(WAITING, 0, 2, 300);
    }
    begin(0, false);
    until(FAILED, 0, 2, 300);
    assert_non_null(strstr(rows[0].end.words, "Slurm's job 1003_1: NODE_FAIL"));
    assert_true(model.probes > 0);
    stop();
    /* Slurm has forgotten it, accounting has not. */
    start(false);
    model.nodes_die = model.forgets = true;
    model.accounting = "TIMEOUT|0:15|node7|2026-11-21T16:00:00|2026-11-21T16:07:00\n";
    begin(0, false);
    until(FAILED, 0, 2, 300);
    assert_string_equal(rows[1].end.state, "TIMEOUT");
    assert_string_equal(rows[1].end.node, "node7");
    assert_int_equal(rows[1].end.exit_status, 143);
    assert_true(rows[1].end.ended_ns > 0);
    stop();
    /* Nobody knows. */
    start(false);
    model.nodes_die = model.forgets = true;
    begin(0, false);
    until(FAILED, 0, 2, 300);
    assert_non_null(strstr(rows[0].end.words, "not known any more"));
    stop();
    /* A template that does not call us. */
    start(false);
    model.nodes_die = true;
    model.dead_state = "COMPLETED";
    begin(0, false);
    until(FAILED, 0, 2, 300);
    assert_non_null(strstr(rows[0].end.words, "does the template end in skyferry-pull task?"));
    stop();
}

static void a_submission_that_outlives_the_daemon_is_waited_for(void **state)
{
    (void)state;
    for (int pbs = 0; pbs < 2; pbs++) {
        start(pbs);
        model.next = SLEEPS;
        begin(0, false);
        seconds(5);
        kill_daemon();
        open_daemon();
        until(DONE, 0, 2, 200);
        assert_int_equal(model.submissions, 1);
        assert_int_equal(run_once(0, 2), 0);
        stop();
    }
}

/* Lost, it seems, but what is to be submitted again has to wait: it is looked for meanwhile. */
static void a_submission_that_arrives_before_the_next_is_the_one(void **state)
{
    (void)state;
    for (int pbs = 0; pbs < 2; pbs++) {
        start(pbs);
        model.next = TAKEN_LATER;
        begin(0, false);
        seconds(5);
        q->arrays->due = (model.now + 210) * NS_PER_S; /* as after many refusals */
        until(DONE, 0, 2, 400);
        assert_int_equal(model.submissions, 1);
        assert_int_equal(run_once(0, 2), 0);
        stop();
    }
}

/* A claim tells that the array is there, whatever we wait for. */
static void a_claim_counts_while_a_submission_is_due(void **state)
{
    (void)state;
    start(false);
    model.next = TAKEN_DIED;
    begin(0, false);
    while (q->arrays->phase != BATCH_UNSURE)
        seconds(1);
    q->arrays->phase = BATCH_DUE; /* the queue said twice that it has it not */
    q->arrays->due = (model.now + 20) * NS_PER_S;
    until(DONE, 0, 2, 200);
    assert_int_equal(model.submissions, 1);
    stop();
}

static void what_is_cancelled_before_it_is_sent_never_runs(void **state)
{
    (void)state;
    for (int pbs = 0; pbs < 2; pbs++) {
        start(pbs);
        model.next = TAKEN_LATER;
        begin(0, false);
        while (q->arrays->phase != BATCH_UNSURE)
            seconds(1);
        if (pbs)
            q->arrays->phase = BATCH_DUE;
        q->arrays->due = (model.now + 500) * NS_PER_S;
        q->base.row->cancel(&q->base, 1);
        q->base.row->cancel(&q->base, 2);
        until(WAITING, 0, 2, 40);
        seconds(400); /* the one believed lost arrives */
        assert_int_equal(rows[0].runs + rows[1].runs, 0);
        stop();
    }
}

/* Slurm began its numbers anew: the array of that number is another's. */
static void a_number_used_again_is_not_ours(void **state)
{
    (void)state;
    start(false);
    model.task_s = 500;
    begin(0, false);
    seconds(20);
    snprintf(model.arrays[0].key, sizeof model.arrays[0].key, "0123456789abcdef");
    snprintf(model.arrays[0].name, sizeof model.arrays[0].name, "other.0123456789abcdef");
    snprintf(model.arrays[0].tasks[0].state, sizeof model.arrays[0].tasks[0].state, "SUSPENDED");
    seconds(20);
    assert_string_equal(rows[0].said, "RUNNING");
    stop();
}

static void an_end_that_is_seen_late_is_waited_for(void **state)
{
    (void)state;
    for (int k = 0; k < 4; k++) {
        start(k % 2);
        model.words_late = 90;
        model.forgets = k > 1;
        begin(0, false);
        until(DONE, 0, 2, 200);
        assert_int_equal(run_once(0, 2), 0);
        stop();
    }
}

static void what_the_script_said_is_the_reason(void **state)
{
    (void)state;
    char path[PULL_PATH];
    start(false);
    begin(0, false);
    seconds(2);
    for (int k = 0; k < 2; k++) {
        struct model_task *t = &model.arrays[0].tasks[k];
        t->over = true;
        snprintf(t->state, sizeof t->state, "FAILED");
        model_write(rows[k].folder, "slurm.out", "module loaded\nexec: skyferry-pull: not found\n");
    }
    until(FAILED, 0, 2, 100);
    assert_non_null(strstr(rows[0].end.words, ": exec: skyferry-pull: not found"));
    begin(0, false); /* which does not stand for the next attempt */
    snprintf(path, sizeof path, "%.4000s/slurm.out", rows[0].folder);
    assert_int_not_equal(access(path, F_OK), 0);
    stop();
}

static void a_template_that_is_gone_is_said_as_such(void **state)
{
    (void)state;
    char kept[sizeof s.slurm.script];
    start(false);
    memcpy(kept, s.slurm.script, sizeof kept);
    snprintf(s.slurm.script, sizeof s.slurm.script, "%s", "/none.sbatch");
    begin(0, false);
    seconds(5);
    assert_int_equal(model.submissions, 0);
    assert_non_null(strstr(rows[0].news, "/none.sbatch"));
    memcpy(s.slurm.script, kept, sizeof kept);
    until(DONE, 0, 2, 200);
    stop();
}

/* Accounting calls it running for ever: the controller lost it. */
static void what_the_controller_lost_is_judged_in_the_end(void **state)
{
    (void)state;
    start(false);
    model.nodes_die = model.forgets = true;
    model.accounting = "RUNNING|0:0|node7|2026-11-21T16:00:00|Unknown\n";
    begin(0, false);
    assert_true(until(FAILED, 0, 2, 1000) > 600);
    assert_non_null(strstr(rows[0].end.words, "not known any more"));
    stop();
}

static void why_a_job_is_not_begun_is_told(void **state)
{
    (void)state;
    start(false);
    begin(0, false);
    seconds(2);
    for (int k = 0; k < 2; k++)
        model.arrays[0].tasks[k].begins = model.now + 100;
    seconds(20);
    assert_string_equal(rows[0].news, ""); /* its turn will come */
    model.reason = "JobHeldUser";
    seconds(20);
    assert_string_equal(rows[0].news, "JobHeldUser");
    model.reason = "Resources";
    seconds(20);
    assert_string_equal(rows[0].news, "");
    until(DONE, 0, 2, 200);
    stop();
}

static void pbs_tells_of_a_task_that_left_no_word(void **state)
{
    (void)state;
    start(true);
    model.nodes_die = true;
    begin(0, false);
    until(FAILED, 0, 2, 300);
    assert_string_equal(rows[0].end.state, "FINISHED");
    assert_string_equal(rows[0].end.batch, "1000[1]");
    assert_int_equal(rows[0].end.exit_status, 137);
    stop();
    /* One job of an exposure alone is no array. */
    start(true);
    begin(0, false);
    q->base.row->cancel(&q->base, 1); /* before it was submitted */
    until(DONE, 1, 1, 120);
    assert_int_equal(rows[0].state, WAITING);
    assert_int_equal(rows[0].runs, 0);
    assert_string_equal(rows[1].batch, "1000");
    stop();
}

static void what_is_cancelled_ends_and_runs_no_more(void **state)
{
    (void)state;
    for (int pbs = 0; pbs < 2; pbs++) {
        start(pbs);
        begin(0, false);
        seconds(15);
        model.away_until = model.now + 60; /* the first attempt to cancel is not heard */
        q->base.row->cancel(&q->base, 1);
        q->base.row->cancel(&q->base, 2);
        model.task_s = 30;
        until(WAITING, 0, 2, 300);
        stop();
    }
}

static void cancelling_many_asks_the_queue_once(void **state)
{
    (void)state;
    start(false);
    model.task_s = 500;
    for (int i = 0; i < JOBS; i += 2)
        begin(i, false);
    seconds(60);
    int before = model.queries, *cancels = &model.cancels;
    for (int i = 0; i < JOBS; i++)
        q->base.row->cancel(&q->base, i + 1);
    seconds(40);
    assert_int_equal(*cancels, JOBS);
    assert_true(model.queries - before <= 5);
    until(WAITING, 0, JOBS, 100);
    stop();
}

static void few_submissions_go_at_a_time(void **state)
{
    (void)state;
    start(false);
    model.task_s = 500;
    for (int i = 0; i < JOBS; i += 2)
        begin(i, false);
    seconds(60);
    assert_int_equal(model.submissions, JOBS / 2);
    assert_int_equal(model.most_submitting, 2);
    stop();
    start(false);
    model.away_until = model.now + 200; /* one tries for all */
    begin(0, false);
    seconds(15);
    for (int i = 2; i < JOBS; i += 2)
        begin(i, false);
    model.most_submitting = 0;
    seconds(150);
    assert_int_equal(model.most_submitting, 1);
    until(DONE, 0, JOBS, 400);
    assert_int_equal(run_once(0, JOBS), 0);
    stop();
}

/* With more jobs than folders are looked at a second. */
static void many_folders_are_looked_at_in_turn(void **state)
{
    (void)state;
    start(false);
    q->looks = 3;
    for (int i = 0; i < JOBS; i += 2)
        begin(i, false);
    int64_t before = q->looked;
    seconds(8);
    assert_true(q->looked - before <= 8 * 4);
    until(DONE, 0, JOBS, 60);
    stop();
}

/* ---- everything at once ---- */

static unsigned chance_state;

static bool chance(int of)
{
    chance_state = chance_state * 1103515245u + 12345u;
    return (chance_state >> 16) % (unsigned)of == 0;
}

static void requeue_one(void)
{
    for (int i = 0; i < model.array_count; i++)
        for (int k = 0; k < model.arrays[i].count; k++) {
            struct model_array *a = &model.arrays[i];
            struct model_task *t = &a->tasks[k];
            if (!t->running || !chance(4))
                continue;
            model_requeue(a, t);
            for (int r = 0; r < JOBS; r++) {
                size_t len = strlen(a->folder);
                rows[r].requeues += rows[r].number == t->number &&
                                    strncmp(rows[r].folder, a->folder, len) == 0 &&
                                    rows[r].folder[len] == '/';
            }
            return;
        }
}

/* A night in which all goes wrong, as the seed says. */
static void bad_night(unsigned seed)
{
    chance_state = seed;
    start(seed % 2);
    model.forgets = false;
    for (int t = 0, next = 0; t < 2400 && !all_are(DONE, 0, JOBS); t++) {
        bool dies = t < 1200 && chance(60);
        if (next < JOBS && chance(30)) {
            if (model.next == FINE && chance(2))
                model.next = (enum model_fault)(chance_state / 65536 % (TAKEN_BABBLES + 1));
            begin(next, dies);
            next += dies ? 1 : 2;
            if (dies) { /* the row that was not written waits */
                next--;
                kill_daemon();
                open_daemon();
                for (int i = next; i < next + 2; i++)
                    if (rows[i].state != RUNNING)
                        rows[i].state = NONE;
                if (rows[next].state == RUNNING)
                    next += 2;
            }
        } else if (dies) {
            kill_daemon();
            open_daemon();
        }
        for (int i = 0; i < next; i++) /* what a dead daemon left waiting */
            if (rows[i].state == NONE || rows[i].state == WAITING) {
                struct job_order o = order_of(&rows[i]);
                assert_int_equal(q->base.row->submit(&q->base, &o, rows[i].handle, &why), ST_OK);
                rows[i].state = RUNNING;
                rows[i].batch[0] = '\0';
                q->base.row->release(&q->base, o.id);
            }
        if (t < 1200 && chance(300))
            model.away_until = model.now + 60 + (chance(2) ? 540 : 0);
        if (t < 1200 && chance(100))
            requeue_one();
        seconds(1);
    }
    for (int i = 0; i < JOBS; i++)
        if (rows[i].state != DONE)
            fail_msg("seed %u: job %d is lost (state %d): %s", seed, i, rows[i].state,
                     rows[i].end.words);
    seconds(300);
    if (run_once(0, JOBS))
        fail_msg("seed %u: a job ran twice", seed);
    stop();
}

static void bad_nights_lose_and_double_nothing(void **state)
{
    (void)state;
    const char *more = getenv("BAD_NIGHTS");
    unsigned nights = more ? (unsigned)strtoul(more, NULL, 10) : 40;
    for (unsigned seed = 1; seed <= nights; seed++)
        bad_night(seed);
}

static int set_up(void **state)
{
    (void)state;
    struct log_options quiet = {.agent = "test", .level = LOG_ERROR, .quiet_terminal = 1};
    char path[PULL_PATH];
    static const char text[] = "#!/bin/sh\nexec {program} task {folder}/q {key}\n";
    if (scratch_make(&dir) != 0 || loop_open(&loop, &why) != ST_OK ||
        log_open(&quiet, &why) != ST_OK)
        return -1;
    scratch_path(&dir, "site.sbatch", path);
    snprintf(s.slurm.script, sizeof s.slurm.script, "%s", path);
    snprintf(s.pbs.script, sizeof s.pbs.script, "%s", path);
    snprintf(s.pbs.submit, sizeof s.pbs.submit, "qsub -N {name} -J{range} -o {output} {script}");
    snprintf(s.pbs.find, sizeof s.pbs.find, "qselect -x -N {name}");
    snprintf(s.pbs.query, sizeof s.pbs.query, "qstat -x -t -f {jobs}");
    snprintf(s.pbs.cancel, sizeof s.pbs.cancel, "qdel {job}");
    s.slurm.query_seconds = 15;
    s.slurm.call_seconds = 60;
    s.timeout_seconds = 300;
    return fs_write_file(path, text, strlen(text), false, &why) == ST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    model_reset();
    loop_close(&loop);
    scratch_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_misbehaviour_ends_in_one_run),
        cmocka_unit_test(the_submission_that_has_the_job_counts),
        cmocka_unit_test(ten_minutes_without_the_controller),
        cmocka_unit_test(a_requeued_task_is_the_same_job),
        cmocka_unit_test(a_preempted_task_waits_again),
        cmocka_unit_test(a_lost_node_costs_no_attempt_but_not_for_ever),
        cmocka_unit_test(a_task_that_left_no_word_is_asked_about),
        cmocka_unit_test(a_submission_that_outlives_the_daemon_is_waited_for),
        cmocka_unit_test(a_submission_that_arrives_before_the_next_is_the_one),
        cmocka_unit_test(a_claim_counts_while_a_submission_is_due),
        cmocka_unit_test(what_is_cancelled_before_it_is_sent_never_runs),
        cmocka_unit_test(a_number_used_again_is_not_ours),
        cmocka_unit_test(an_end_that_is_seen_late_is_waited_for),
        cmocka_unit_test(what_the_script_said_is_the_reason),
        cmocka_unit_test(a_template_that_is_gone_is_said_as_such),
        cmocka_unit_test(what_the_controller_lost_is_judged_in_the_end),
        cmocka_unit_test(why_a_job_is_not_begun_is_told),
        cmocka_unit_test(pbs_tells_of_a_task_that_left_no_word),
        cmocka_unit_test(what_is_cancelled_ends_and_runs_no_more),
        cmocka_unit_test(cancelling_many_asks_the_queue_once),
        cmocka_unit_test(few_submissions_go_at_a_time),
        cmocka_unit_test(many_folders_are_looked_at_in_turn),
        cmocka_unit_test(bad_nights_lose_and_double_nothing),
    };
    return cmocka_run_group_tests_name("the batch runner", tests, set_up, tear_down);
}
