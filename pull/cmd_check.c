/* `check`: everything that the night is going to need, tried before it. Each finding is a line
 * "ok", "warn" or "FAIL" with its remedy below. Makes the store's folders, nothing else. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/lookup.h"
#include "pull/catalogue.h"
#include "pull/command.h"
#include "pull/commands.h"
#include "pull/identity.h"
#include "pull/job.h"
#include "pull/job_tool.h"
#include "pull/lease.h"
#include "pull/node_scratch.h"
#include "pull/pause.h"

struct findings {
    const struct pull_settings *s;
    int warnings, failures;
};

/* One finding, at most 79 columns a line. */
static void __attribute__((format(printf, 2, 0))) tell(const char *head, const char *fmt, va_list ap)
{
    struct buf lines = {0};
    char text[4096];
    vsnprintf(text, sizeof text, fmt, ap);
    config_wrap(&lines, text, head[6] ? "         " : "      ", (int)strlen(head));
    printf("%s%.*s", head, (int)lines.len, (const char *)lines.data);
    buf_free(&lines);
}

static void __attribute__((format(printf, 2, 3))) good(struct findings *f, const char *fmt, ...)
{
    va_list ap;
    (void)f;
    va_start(ap, fmt);
    tell("ok    ", fmt, ap);
    va_end(ap);
}

static void __attribute__((format(printf, 3, 4))) bad(struct findings *f, bool fatal,
                                                      const char *fmt, ...)
{
    va_list ap;
    *(fatal ? &f->failures : &f->warnings) += 1;
    va_start(ap, fmt);
    tell(fatal ? "FAIL  " : "warn  ", fmt, ap);
    va_end(ap);
}

static void __attribute__((format(printf, 1, 2))) remedy(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    tell("      -> ", fmt, ap);
    va_end(ap);
}

/* ---- the parts ---- */

static void check_settings(struct findings *f)
{
    const struct pull_settings *s = f->s;
    char night[NIGHT_SIZE], now[32];
    int64_t wall = clock_wall();
    good(f, "settings: %s, camera %s", s->config[0] ? s->config : "none, all defaults",
         s->camera.name);
    night_of(&s->rule, wall, night);
    clock_iso(wall, now, sizeof now);
    good(f, "night: a new one begins at %02d:%02d:%02d UTC (%s); it is %s, night %s%s%s",
         (int)(s->rule.rollover_s / 3600), (int)(s->rule.rollover_s / 60 % 60),
         (int)(s->rule.rollover_s % 60), s->site_name, now, night,
         s->run_date[0] ? ", overridden by --run-date " : "", s->run_date);
}

static bool can_write(const char *folder, struct fault *why)
{
    char path[PULL_PATH];
    if (fs_mkdirs(folder, why) != ST_OK ||
        !pull_text(path, sizeof path, "%s/.skyferry-check.%ld", folder, (long)getpid()))
        return false;
    bool ok = fs_write_file(path, "check\n", 6, false, why) == ST_OK;
    unlink(path);
    return ok;
}

static void check_store(struct findings *f)
{
    static const char *const folders[] = {"incoming", "bundles", "jobs"};
    const struct pull_settings *s = f->s;
    struct fault why;
    char path[PULL_PATH];
    bool fresh = access(s->root, F_OK) != 0;
    for (int i = 0; i < 3; i++) {
        pull_path(s, folders[i], path);
        if (!can_write(path, &why)) {
            bad(f, true, "store: %s", why.text);
            remedy("give this user write access to %s, or set [store] root", s->root);
            return;
        }
    }
    bool remote;
    const char *kind = fs_kind(s->root, &remote);
    if (fresh) {
        bad(f, false, "store: there was no %s, it is made and empty (%s)", s->root, kind);
        remedy("nothing, if this is a new store; else remove it and correct [store] root, or mount "
               "its disk");
    } else {
        good(f, "store: %s can be written (%s)", s->root, kind);
    }
    double free_gib = (double)fs_free_bytes(s->root) / 1073741824.0;
    if (free_gib < s->min_free_gib) {
        bad(f, true, "free space: %.1f GiB, less than [store] min_free_gib = %g: nothing will be "
            "received", free_gib, s->min_free_gib);
        remedy("free some space on the disk of %s", s->root);
    } else {
        good(f, "free space: %.1f GiB", free_gib);
    }
}

/* The folder is push's too: with an account of its own there, both need a common group. */
static void check_drops(struct findings *f)
{
    const struct pull_settings *s = f->s;
    struct fault why;
    struct stat st, root;
    if (!s->drops[0])
        return;
    if (!can_write(s->drops, &why) || stat(s->drops, &st) != 0) {
        bad(f, true, "drops: %s", why.text);
        remedy("give this user write access to %s, or set [store] drops", s->drops);
        return;
    }
    if ((st.st_mode & S_ISVTX) && st.st_uid != geteuid()) {
        bad(f, true, "drops: %s has the sticky bit: what another account drops cannot be taken away",
            s->drops);
        remedy("chmod -t %s", s->drops);
    } else if (st.st_mode & S_IWOTH) {
        bad(f, false, "drops: every account of this machine can write into %s", s->drops);
        remedy("chmod o-w %s, and let push's account own it or share its group", s->drops);
    } else {
        good(f, "drops: %s can be written", s->drops);
    }
    if (stat(s->root, &root) == 0 && root.st_dev != st.st_dev) {
        bad(f, false, "drops: %s is on another file system than the store: every bundle is copied",
            s->drops);
        remedy("a folder below %s saves the copy", s->root);
    }
}

/* What was meant for an hour is easily forgotten. */
static void check_pauses(struct findings *f)
{
    struct pause_token t;
    char words[700];
    for (int i = 0; i < PAUSABLES; i++) {
        pause_read(f->s->state, (enum pausable)i, &t);
        if (!t.set)
            continue;
        pause_words(&t, words, sizeof words);
        bad(f, false, "%s: paused %s", pause_names[i], words);
        remedy("skyferry-pull resume %s", pause_names[i]);
    }
}

static void check_state(struct findings *f)
{
    const struct pull_settings *s = f->s;
    struct fault why;
    bool remote = false;
    struct catalogue *cat = NULL;
    if (!can_write(s->state, &why)) {
        bad(f, true, "catalogue: %s", why.text);
        remedy("give this user write access to %s, or set [store] state", s->state);
        return;
    }
    const char *kind = fs_kind(s->state, &remote);
    if (remote) {
        bad(f, false, "catalogue: %s is on %s, where SQLite's locks are not to be trusted",
            s->state, kind);
        remedy("set [store] state to a folder on a local disk of this machine");
    }
    if (access(s->catalogue, F_OK) != 0) {
        good(f, "catalogue: %s will be made (%s)", s->catalogue, kind);
    } else if (catalogue_open(s->catalogue, true, &cat, &why) != ST_OK) {
        bad(f, true, "catalogue: %s", why.text);
        remedy("stop the daemon; skyferry-pull rebuild makes it again from the files");
    } else if (identity_check(s, cat, &why) != ST_OK) {
        bad(f, true, "%s", why.text);
    } else {
        good(f, "catalogue: %s (%s)", s->catalogue, kind);
    }
    catalogue_close(&cat);
    struct lease_holder other;
    long pid = fs_lock_holder(s->lock);
    if (pid)
        good(f, "daemon: runs, process %ld", pid);
    else if (lease_read(s->root, s->lease_seconds, &other) && !other.expired)
        good(f, "daemon: runs on %s, process %ld; one that is started here will refuse", other.host,
             other.pid);
    else
        good(f, "daemon: does not run; exposures are received all the same");
}

static long read_number(const char *path)
{
    struct buf text = {0};
    long n = -1;
    if (fs_read_file(path, 64, &text, NULL) == ST_OK && buf_append(&text, "", 1))
        n = strtol((const char *)text.data, NULL, 10);
    buf_free(&text);
    return n;
}

/* Nights are all the folders that bundles/ ever has. */
static void check_events(struct findings *f)
{
    char bundles[PULL_PATH];
    bool remote = false;
    long watches = read_number("/proc/sys/fs/inotify/max_user_watches");
    long instances = read_number("/proc/sys/fs/inotify/max_user_instances");
    pull_path(f->s, "bundles", bundles);
    const char *kind = fs_kind(bundles, &remote);
    if (remote) {
        bad(f, false, "events: %s is on %s: a bundle that another machine receives gives no event",
            bundles, kind);
        remedy("received here it is noticed at once; else the rescan finds it, every %d s ([store] "
               "rescan_seconds)", f->s->rescan_seconds);
    }
    if (watches >= 0 && watches < 4096) {
        bad(f, false, "inotify: only %ld watches a user", watches);
        remedy("sysctl fs.inotify.max_user_watches=65536");
    } else if (instances >= 0 && instances < 16) {
        bad(f, false, "inotify: only %ld instances a user", instances);
        remedy("sysctl fs.inotify.max_user_instances=128");
    } else {
        good(f, "inotify: %ld watches, %ld instances a user", watches, instances);
    }
}

/* What the batch system said when it was asked something small. */
struct asked {
    struct loop *loop;
    bool well;
    char words[256];
};

static void on_answer(void *ctx, const struct tool_end *end)
{
    struct asked *q = ctx;
    q->well = !end->late && end->status == 0;
    pull_text(q->words, sizeof q->words, "%.200s", end->late ? "it took too long" : end->err);
    if (!q->words[0])
        pull_text(q->words, sizeof q->words, "exit status %d", end->status);
    loop_stop(q->loop);
}

/* A search where there is one: it names nobody's job, and an answer need not hold any. */
static bool ask_batch(const struct pull_settings *s, const struct batch_dialect *d,
                      struct asked *q, struct fault *why)
{
    static const struct batch_submission nobody = {.name = "skyferry-check",
                                                   .key = "0000000000000000"};
    struct command c = {0};
    struct tool *t = NULL;
    enum status st = loop_open(&q->loop, why);
    bool made = st == ST_OK && (d->find ? d->find(s, &nobody, &c, why)
                                        : d->states(s, NULL, 0, &c, why));
    struct tool_order o = {c.argv, s->slurm.call_seconds, on_answer, q};
    bool began = made && tool_run(q->loop, &o, &t, why) == ST_OK &&
                 loop_run(q->loop, why) == ST_OK;
    command_free(&c);
    loop_close(&q->loop);
    return began;
}

static void check_answers(struct findings *f)
{
    const struct batch_dialect *d = dialect_find(f->s->runner);
    struct asked q = {0};
    struct fault why;
    char program[PULL_PATH];
    pull_text(program, sizeof program, "%.*s", (int)strcspn(f->s->pbs.find, " "), f->s->pbs.find);
    if (!ask_batch(f->s, d, &q, &why))
        pull_text(q.words, sizeof q.words, "%s", why.text);
    if (q.well) {
        good(f, "%s: %s answers", d->name, d->find ? program : d->states_name);
        return;
    }
    bad(f, true, "%s: %s does not answer: %s", d->name, d->find ? program : d->states_name, q.words);
    remedy("jobs wait until %s can be reached from this machine", d->system);
}

/* Programs of the settings that are not there. */
static void check_pbs(struct findings *f)
{
    const struct pbs_settings *p = &f->s->pbs;
    const char *const texts[] = {p->submit, p->find, p->query, p->cancel};
    char path[PULL_PATH], program[PULL_PATH];
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        pull_text(program, sizeof program, "%.*s", (int)strcspn(texts[i], " "), texts[i]);
        if (command_find(program, path, sizeof path))
            continue;
        bad(f, true, "pbs: there is no program '%s'", program);
        remedy("run where the site has it, or give its path in [jobs] pbs_submit, pbs_find, "
               "pbs_query, pbs_cancel");
        return;
    }
    good(f, "pbs: queue %s, account %s", f->s->slurm.partition[0] ? f->s->slurm.partition
         : "by default", f->s->slurm.account[0] ? f->s->slurm.account : "by default");
    check_answers(f);
}

static void check_slurm(struct findings *f)
{
    static const char *const programs[] = {"sbatch", "squeue", "scontrol", "scancel"};
    const struct slurm_settings *m = &f->s->slurm;
    char path[PULL_PATH];
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
        if (!command_find(programs[i], path, sizeof path)) {
            bad(f, true, "slurm: there is no program '%s' in PATH", programs[i]);
            remedy("apt-get install slurm-client, or run where the site has it");
            return;
        }
    good(f, "slurm: partition %s, account %s", m->partition[0] ? m->partition : "by default",
         m->account[0] ? m->account : "by default");
    check_answers(f);
    if (!m->reservation[0]) {
        bad(f, false, "slurm: no reservation: jobs wait for free nodes like everybody's");
        remedy("set [jobs] slurm_reservation when there is one for the night");
    }
}

/* Jobs that [jobs] runner cannot ask after: it was changed while they were out. */
struct elsewhere {
    const struct pull_settings *s;
    const struct batch_dialect *dialect; /* of the first */
    int confirmed, unconfirmed;
    char first[512], unheard[512], id[BATCH_ID];
};

static bool note_elsewhere(void *ctx, const struct job *j)
{
    struct elsewhere *e = ctx;
    const struct batch_dialect *d = job_elsewhere(e->s, j);
    char id[BATCH_ID];
    if (!d)
        return true;
    e->dialect = e->dialect ? e->dialect : d;
    if (!job_confirmed(e->s, j, id)) {
        if (e->unconfirmed++ == 0)
            pull_text(e->unheard, sizeof e->unheard, "%s", j->folder);
    } else if (e->confirmed++ == 0) {
        e->dialect = d;
        pull_text(e->first, sizeof e->first, "%s", j->folder);
        pull_text(e->id, sizeof e->id, "%s", id[0] ? id : "a task of it began");
    }
    return true;
}

static void check_elsewhere(struct findings *f)
{
    struct elsewhere e = {.s = f->s};
    struct catalogue *cat = NULL;
    struct fault why;
    if (access(f->s->catalogue, F_OK) == 0 &&
        catalogue_open(f->s->catalogue, true, &cat, &why) == ST_OK)
        (void)catalogue_jobs_in(cat, JOB_RUNNING, note_elsewhere, &e, &why);
    catalogue_close(&cat);
    if (e.confirmed) {
        bad(f, true, "jobs: %d in %s's queue, the first %s (%s): with [jobs] runner = %s no daemon "
            "starts", e.confirmed, e.dialect->system, e.first, e.id, f->s->runner);
        remedy("set [jobs] runner = %s until they have ended", e.dialect->name);
    }
    if (e.unconfirmed) {
        bad(f, false, "jobs: %d that %s never confirmed, the first %s", e.unconfirmed,
            e.dialect->system, e.unheard);
        remedy("a daemon that starts with [jobs] runner = %s gives their submissions up and runs "
               "them", f->s->runner);
    }
}

/* Of other machines' scratch nothing is known here. */
static void check_decoding(struct findings *f)
{
    const struct pull_settings *s = f->s;
    const char *base = node_scratch_base(s->scratch);
    struct fault why;
    if (!s->on_node)
        return;
    if (strcmp(s->runner, "slurm") == 0) {
        good(f, "decode: by the jobs, in SLURM_TMPDIR, TMPDIR, JOBFS or %s of each node", s->scratch);
    } else if (access(base, F_OK) == 0 && can_write(base, &why)) {
        good(f, "decode: by the jobs, in %s, %.1f GiB free", base,
             (double)fs_free_bytes(base) / 1073741824);
    } else {
        bad(f, true, "decode: the scratch %s cannot be written", base);
        remedy("set SLURM_TMPDIR, TMPDIR or JOBFS, or [decode] scratch, to a folder on a local disk");
    }
}

static void check_jobs(struct findings *f)
{
    const struct pull_settings *s = f->s;
    struct config_report r = {0};
    struct command c = {0};
    char path[PULL_PATH], each[32];
    if (command_make(s->command, NULL, &c, &r) && command_find(c.argv[0], path, sizeof path)) {
        snprintf(each, sizeof each, "%d ccds each", s->ccds_per_job);
        good(f, "jobs: %s, %s%s", path, strcmp(s->per_task, "auto") == 0
             ? "as many ccds each as suits the processors ([jobs] per_task)" : each, s->dry_run ? ", none will be started ([jobs] dry_run)" : "");
    } else {
        bad(f, true, "jobs: there is no program '%s'", c.argc ? c.argv[0] : s->command);
        remedy("set [jobs] command, or install it beside skyferry-pull or in PATH");
    }
    if (strcmp(s->runner, "slurm") == 0)
        check_slurm(f);
    if (strcmp(s->runner, "pbs") == 0)
        check_pbs(f);
    check_elsewhere(f);
    check_decoding(f);
    bool measures = c.argc && strcmp(fs_basename(c.argv[0]), "skyferry-measure") == 0;
    if (measures && !command_find("source-extractor", path, sizeof path) &&
        !command_find("sex", path, sizeof path)) {
        bad(f, false, "source-extractor is not installed: no star counts and no FWHM");
        remedy("apt-get install source-extractor");
    } else if (measures) {
        good(f, "source-extractor: %s", path);
    }
    command_free(&c);
    buf_free(&r.text);
}

static void show_key_line(struct findings *f)
{
    char program[PULL_PATH], config[PULL_PATH] = "";
    if (!lookup_program(program, sizeof program))
        snprintf(program, sizeof program, "skyferry-pull");
    if (f->s->config[0] && !realpath(f->s->config, config))
        config[0] = '\0';
    printf("\nOne line of ~/.ssh/authorized_keys lets the telescope's key do this and nothing "
           "else:\nrestrict,command=\"%s%s%s receive\" ssh-ed25519 AAAA... observer\n", program,
           config[0] ? " -c " : "", config);
    if (f->s->drops[0])
        printf("\nWith transport = sftp it is this one, and sftp_directory = %s:\n"
               "restrict,command=\"internal-sftp\" ssh-ed25519 AAAA... observer\n", f->s->drops);
}

int command_check(struct invocation *in)
{
    struct findings f = {.s = &in->s};
    check_settings(&f);
    check_store(&f);
    check_drops(&f);
    check_state(&f);
    check_pauses(&f);
    check_events(&f);
    check_jobs(&f);
    show_key_line(&f);
    printf("\n%d to mend, %d to know\n", f.failures, f.warnings);
    return f.failures ? EXIT_FAILED : EXIT_DONE;
}
