#include "pull/job_inner.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/flow.h"
#include "pull/gate.h"
#include "pull/job_decode.h"
#include "pull/job_files.h"
#include "pull/quality.h"
#include "pull/task_files.h"

#define AGAIN_S 5    /* after the first failure; longer after the next */
#define BLOCKED_S 30 /* when the program itself cannot be begun */

const struct job_runner_row *job_runner_find(const char *name)
{
    static const struct job_runner_row *const rows[] = {&job_local, &job_slurm, &job_pbs};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(name, rows[i]->name) == 0)
            return rows[i];
    return NULL;
}

static struct log_at *at_job(struct log_at *at, const struct exposure *x)
{
    *at = (struct log_at){.stage = "job", .exposure = x->name};
    return at;
}

/* ---- the list of what runs ---- */

enum status job_note_running(struct jobs *jobs, const struct job *j, struct fault *why)
{
    struct running *r = malloc(sizeof *r);
    if (!r)
        return fault(why, ST_RETRY, "out of memory");
    *r = (struct running){.next = jobs->running, .id = j->id, .exposure = j->exposure};
    pull_text(r->handle, sizeof r->handle, "%s", j->handle);
    jobs->running = r;
    jobs->count++;
    return ST_OK;
}

void job_forget_running(struct jobs *jobs, int64_t id)
{
    for (struct running **p = &jobs->running; *p; p = &(*p)->next) {
        if ((*p)->id != id)
            continue;
        struct running *gone = *p;
        *p = gone->next;
        free(gone);
        jobs->count--;
        return;
    }
}

bool jobs_cancel(struct agent *a, int64_t exposure)
{
    bool any = false;
    for (struct running *r = a->jobs ? a->jobs->running : NULL; r; r = r->next) {
        if (r->exposure != exposure)
            continue;
        any = true;
        a->jobs->runner->row->cancel(a->jobs->runner, r->id);
    }
    return any;
}

/* ---- the end of a job ---- */

/* The last line of what it said on standard error: usually the reason. */
static void last_words(const struct pull_settings *s, const struct job *j, char *out, size_t size)
{
    char path[PULL_PATH], line[400];
    job_path(s, j, "err", path);
    task_last_line(path, line, sizeof line);
    pull_text(out, size, "%s%s", line[0] ? ": " : "", line);
}

/* OK, or REJECT with the reason why this run counts as failed. */
static enum status judge(struct agent *a, const struct job *j, const struct job_end *end,
                         struct ccd *ccds, size_t count, struct fault *why)
{
    char path[PULL_PATH], said[400];
    bool found;
    if (!end->ok) {
        last_words(&a->s, j, said, sizeof said);
        return fault(why, ST_REJECT, "%s%s", end->words, said);
    }
    job_path(&a->s, j, "result.json", path);
    return quality_read(path, ccds, count, &found, why);
}

static void note_verdict(struct agent *a, struct job *j, enum status grade,
                         const struct fault *why)
{
    j->ended_ns = clock_wall();
    j->handle[0] = '\0';
    if (grade == ST_OK) {
        j->state = JOB_DONE;
        j->reason[0] = '\0';
        return;
    }
    pull_text(j->reason, sizeof j->reason, "%s", why->text);
    bool again = j->attempts <= a->s.retries;
    j->state = again ? JOB_WAITING : JOB_FAILED;
    j->due_ns = j->ended_ns + (int64_t)AGAIN_S * j->attempts * NS_PER_S;
}

static void say_verdict(struct agent *a, const struct exposure *x, const struct job *j)
{
    struct log_at at;
    double s = (double)(j->ended_ns - j->started_ns) / 1e9;
    if (j->state == JOB_DONE)
        log_info(at_job(&at, x), "q%d done in %.1f s", j->number, s);
    else if (j->state == JOB_WAITING)
        log_warn(at_job(&at, x), "q%d failed, attempt %d of %d, again in %d s: %s", j->number,
                 j->attempts, a->s.retries + 1, AGAIN_S * j->attempts, j->reason);
    else
        log_error(at_job(&at, x), "q%d failed: %s; its output is in %s/%s; when the cause is "
                  "mended: skyferry-pull retry %s", j->number, j->reason, a->s.root, j->folder,
                  x->name);
}

static enum status save_end(struct agent *a, struct job *j, const struct decode_rows *r,
                            const struct decoded_job *d, struct fault *why)
{
    enum status st = catalogue_begin(a->cat, why);
    if (st != ST_OK)
        return st;
    st = catalogue_put_job(a->cat, j, why);
    if (st == ST_OK)
        st = decode_record(a, r, d, why);
    for (size_t i = 0; st == ST_OK && j->state == JOB_DONE && i < r->count; i++)
        st = catalogue_put_quality(a->cat, r->ccds[i].id, &r->ccds[i].quality, why);
    if (st == ST_OK)
        st = catalogue_count(a->cat, j->exposure, why);
    if (st == ST_OK)
        st = flow_wake(a, j->exposure, EX_WORKING, why);
    if (st == ST_OK)
        return catalogue_commit(a->cat, why);
    catalogue_rollback(a->cat);
    return st;
}

static void note_batch(struct job *j, const struct job_end *end)
{
    pull_text(j->batch, sizeof j->batch, "%s", end->batch);
    pull_text(j->batch_state, sizeof j->batch_state, "%s", end->state);
    pull_text(j->node, sizeof j->node, "%s", end->node);
    j->exit_status = end->news ? -1 : end->exit_status;
    if (end->started_ns)
        j->started_ns = end->started_ns;
}

/* Keeps those of the exposure's ccds that are this job's, at the front. */
static size_t only_this_job(struct ccd *ccds, size_t count, int64_t job)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (ccds[i].job == job)
            ccds[kept++] = ccds[i];
    return kept;
}

/* It is run again, and this run does not count. */
static void not_counted(struct job *j)
{
    j->state = JOB_WAITING;
    j->attempts--;
    j->handle[0] = '\0';
    j->due_ns = clock_wall() + AGAIN_S * NS_PER_S;
}

/* There was no room in the store for what it placed. */
static void wait_for_room(struct job *j, const struct exposure *x, const struct decoded_job *d)
{
    struct log_at at;
    not_counted(j);
    j->due_ns = clock_wall() + BLOCKED_S * NS_PER_S;
    pull_text(j->reason, sizeof j->reason, "%s", d->words);
    log_error(at_job(&at, x), "q%d waits, again in %d s: %s", j->number, BLOCKED_S, j->reason);
}

static void conclude(struct agent *a, const struct exposure *x, struct job *j,
                     const struct job_end *end, struct decode_rows *r,
                     const struct decoded_job *d)
{
    struct fault reason = {0};
    struct job_end e = *end;
    if (d->said[0])
        memcpy(e.words, d->said, sizeof e.words);
    enum status grade = judge(a, j, &e, r->ccds, r->count, &reason);
    r->count = only_this_job(r->ccds, r->count, j->id);
    grade = decode_verdict(grade, j, r, d, &reason);
    if (d->hopeless)
        j->attempts = a->s.retries + 1;
    note_verdict(a, j, grade, &reason);
    if (j->state == JOB_FAILED)
        decode_give_up(x, j, r);
    if (end->ended_ns)
        j->ended_ns = end->ended_ns;
    crash_point("pull:jobended");
    if (j->state != JOB_WAITING && job_write_end(&a->s, j, &reason) != ST_OK)
        log_warn(AT(.stage = "job", .exposure = x->name), "%s", reason.text);
    say_verdict(a, x, j);
}

static enum status take_end(struct agent *a, const struct job_end *end, struct fault *why)
{
    struct job j;
    struct exposure x;
    struct decode_rows r = {NULL, 0};
    struct decoded_job d;
    bool found = false, has_exposure = false;
    enum status st = catalogue_get_job(a->cat, end->id, &j, &found, why);
    if (st == ST_OK && found)
        st = catalogue_get(a->cat, j.exposure, &x, &has_exposure, why);
    if (st == ST_OK && has_exposure)
        st = catalogue_ccds(a->cat, j.exposure, &r.ccds, &r.count, why);
    /* Another state: its exposure was set back meanwhile, or it was never released. */
    if (st != ST_OK || !has_exposure || j.state != JOB_RUNNING)
        goto out;
    note_batch(&j, end);
    if (end->news) {
        pull_text(j.reason, sizeof j.reason, "%s", end->words);
        st = catalogue_put_job(a->cat, &j, why);
        goto out;
    }
    decode_take(a, &x, &j, &r, &d);
    /* What a job says of a file that was taken out of it since is no fault. */
    if (!x.visit_ccds || end->cancelled || d.store_full)
        r.count = only_this_job(r.ccds, r.count, j.id);
    if (end->cancelled)
        not_counted(&j);
    else if (d.store_full)
        wait_for_room(&j, &x, &d);
    else
        conclude(a, &x, &j, end, &r, &d);
    st = save_end(a, &j, &r, &d, why);
    if (st == ST_OK)
        crash_point("pull:jobrecorded");
out:
    free(r.ccds);
    return st;
}

enum status job_record_ends(struct agent *a, struct fault *why)
{
    struct jobs *jobs = a->jobs;
    enum status st = ST_OK;
    while (jobs->ends && (st = take_end(a, &jobs->ends->end, why)) == ST_OK) {
        struct unrecorded *done = jobs->ends;
        jobs->ends = done->next;
        if (!jobs->ends)
            jobs->last_end = &jobs->ends;
        if (!done->end.news)
            job_forget_running(jobs, done->end.id);
        free(done);
    }
    return st;
}

void jobs_on_wake(void *ctx)
{
    struct agent *a = ctx;
    struct job_end end;
    struct fault why;
    while (a->jobs->runner->row->poll(a->jobs->runner, &end)) {
        struct unrecorded *one = malloc(sizeof *one);
        if (!one) {
            fault(&why, ST_FATAL, "out of memory");
            agent_trouble(a, &why);
            return;
        }
        *one = (struct unrecorded){NULL, end};
        *a->jobs->last_end = one;
        a->jobs->last_end = &one->next;
    }
    if (job_record_ends(a, &why) != ST_OK)
        agent_trouble(a, &why);
    agent_poke(a);
}

/* ---- starting one ---- */

/* The order that one row means; c owns its argument array. */
static enum status make_order(struct agent *a, const struct job *j, const struct exposure *x,
                              struct command *c, char program[PULL_PATH], struct fault *why)
{
    char job_file[PULL_PATH], result[PULL_PATH];
    struct config_report r = {0};
    job_path(&a->s, j, "job.json", job_file);
    job_path(&a->s, j, "result.json", result);
    struct command_values v = {job_file, result, x->name, x->night, a->s.root};
    enum status st = ST_OK;
    if (!command_make(a->s.command, &v, c, &r))
        st = fault(why, ST_WAIT, "%.*s", (int)r.text.len, (const char *)r.text.data);
    else if (!command_find(c->argv[0], program, PULL_PATH))
        st = fault(why, ST_WAIT, "there is no program '%s' to run ([jobs] command); mend it and "
                   "send the daemon a SIGHUP", c->argv[0]);
    buf_free(&r.text);
    return st;
}

void job_prepare(struct agent *a, const struct job *j, struct making *m)
{
    *m = (struct making){0};
    pull_path(&a->s, j->folder, m->folder);
    job_path(&a->s, j, "job.json", m->job_file);
    job_path(&a->s, j, "result.json", m->result);
    m->o = (struct job_order){.id = j->id, .folder = m->folder, .program = m->program,
                              .argv = m->c.argv, .job_file = m->job_file,
                              .result_file = m->result, .timeout_s = a->s.timeout_seconds,
                              .output_max = (int64_t)a->s.output_mib << 20,
                              .group = j->exposure, .number = j->number, .settings = &a->s,
                              .gate = a->gate};
}

static enum status begin(struct agent *a, struct job *j, const struct exposure *x,
                         struct fault *why)
{
    struct job_runner *runner = a->jobs->runner;
    struct making m;
    job_prepare(a, j, &m);
    enum status st = make_order(a, j, x, &m.c, m.program, why);
    decode_avoid(j, &m);
    if (st == ST_OK)
        st = job_clean(&a->s, j, why);
    if (st == ST_OK)
        st = decode_order(a, j, x, &m, why);
    if (st == ST_OK)
        st = runner->row->submit(runner, &m.o, j->handle, why);
    decode_order_free(&m);
    command_free(&m.c);
    return st;
}

/* A job whose program cannot be begun is not the job's fault: it waits, no attempt counted. */
static enum status put_off(struct agent *a, struct job *j, const struct exposure *x,
                           const struct fault *reason, struct fault *why)
{
    struct log_at at;
    log_error(at_job(&at, x), "q%d cannot begin, again in %d s: %s", j->number, BLOCKED_S,
              reason->text);
    j->due_ns = clock_wall() + BLOCKED_S * NS_PER_S;
    pull_text(j->reason, sizeof j->reason, "%s", reason->text);
    j->handle[0] = '\0';
    return catalogue_put_job(a->cat, j, why);
}

enum status job_start(struct agent *a, struct job *j, struct fault *why)
{
    struct exposure x;
    struct fault reason;
    struct log_at at;
    bool found;
    enum status st = catalogue_get(a->cat, j->exposure, &x, &found, why);
    if (st != ST_OK || !found)
        return st;
    if (begin(a, j, &x, &reason) != ST_OK)
        return put_off(a, j, &x, &reason, why);
    j->state = JOB_RUNNING;
    j->attempts++;
    j->started_ns = clock_wall();
    j->ended_ns = 0;
    j->batch[0] = j->batch_state[0] = j->node[0] = '\0';
    j->exit_status = -1;
    st = job_note_running(a->jobs, j, why);
    if (st == ST_OK)
        st = catalogue_put_job(a->cat, j, why);
    if (st != ST_OK) {
        /* Never released, so nothing of it ran; its end is no row's. */
        job_forget_running(a->jobs, j->id);
        a->jobs->runner->row->cancel(a->jobs->runner, j->id);
        return st;
    }
    crash_point("pull:jobstarted");
    a->jobs->runner->row->release(a->jobs->runner, j->id);
    log_info(at_job(&at, &x), "q%d begun, attempt %d of %d", j->number, j->attempts,
             a->s.retries + 1);
    return ST_OK;
}
