#include "pull/settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "common/log.h"
#include "common/lookup.h"
#include "pull/command.h"
#include "pull/job_dialect.h"
#include "pull/job_template.h"
#include "pull/part.h"
#include "pull/place.h"

#define ROW(section, key, type, member) section, key, type, SETTING_AT(struct pull_settings, member)

const struct setting pull_settings_rows[] = {
    {ROW("store", "root", SET_PATH, root), "", 0, 0, NULL, NULL,
     "The folder that holds everything: incoming/, bundles/, rawdata/, jobs/, state/, log/."},
    {ROW("store", "state", SET_PATH, state), "", 0, 0, NULL, NULL,
     "The folder of the catalogue and the lock, on a local disk, below root unless absolute; "
     "empty: state/."},
    {ROW("store", "min_free_gib", SET_REAL, min_free_gib), "5", 0, 1e6, NULL, "GiB",
     "With less free space than this nothing more is received: the telescope's side waits."},
    {ROW("store", "keep_parts_days", SET_INT, keep_parts_days), "14", 1, 3650, NULL, "days",
     "Half-received exposures that nobody went on with for so long are removed."},
    {ROW("store", "rescan_seconds", SET_INT, rescan_seconds), "30", 1, 3600, NULL, "s",
     "How often bundles/ is walked for what no event told."},
    {ROW("store", "lease_seconds", SET_INT, lease_seconds), "60", 1, 3600, NULL, "s",
     "A daemon on another login node may take this store over when ours has given no sign of life "
     "for so long; ours does nothing more after three quarters of it, until it knows."},
    {ROW("store", "keep_lossy", SET_BOOL, keep_lossy), "no", 0, 0, NULL, NULL,
     "When exact data have followed a lossy exposure and every file holds them: keep the lossy "
     "bundle, too; no: it is removed, its receipt stays."},
    {ROW("store", "drops", SET_PATH, drops), "", 0, 0, NULL, NULL,
     "The folder into which a telescope with transport = sftp drops exposures, below root unless "
     "absolute: what that account's SFTP login sees as [ship] sftp_directory; empty: none."},
    {ROW("place", "science", SET_TEXT, place[OBS_SCIENCE]),
     "rawdata/{night}/{ccd}/{object}.{filter1}.{night}.{expnum}_{ccd}.fits", 0, 0, NULL, NULL,
     "Where a science ccd's FITS file goes, below root."},
    {ROW("place", "flat", SET_TEXT, place[OBS_FLAT]),
     "rawdata/{night}/{ccd}/domeflat.{filter1}.{night}.{expnum}_{ccd}.fits", 0, 0, NULL, NULL,
     "Where a dome flat's goes."},
    {ROW("place", "bias", SET_TEXT, place[OBS_BIAS]),
     "rawdata/{night}/{ccd}/bias.{night}.{expnum}_{ccd}.fits", 0, 0, NULL, NULL,
     "Where a bias frame's goes."},
    {ROW("place", "on_conflict", SET_CHOICE, on_conflict), "park", 0, 0, "park|version|replace",
     NULL,
     "When another file has the name: park this ccd, place it as NAME~2.fits, or replace it."},
    {ROW("place", "workspace", SET_CHOICE, workspace), "none", 0, 0, "none|copy|link", NULL,
     "Also put science ccds into workspace/{night}/{ccd}/, as copies or as hard links."},
    {ROW("site", "name", SET_TEXT, site_name), "CTIO", 0, 0, NULL, NULL,
     "The telescope's site, for messages."},
    {ROW("site", "longitude_deg", SET_REAL, longitude_deg), "-70.8", -180, 360, NULL,
     "degrees east", "The site's longitude: a night begins at its local noon."},
    {ROW("site", "night_rollover", SET_TEXT, night_rollover), "noon", 0, 0, NULL, NULL,
     "noon, or the UTC time HH:MM at which the next night's name begins to hold."},
    {ROW("camera", "profile", SET_PATH, profile), "decam", 0, 0, NULL, NULL,
     "The camera: a file of the folder cameras/ without its .conf, or a path."},
    {ROW("decode", "where", SET_CHOICE, where), "daemon", 0, 0, "daemon|job", NULL,
     "What decodes ccds and places them: the daemon, or each job its own, in the scratch of the "
     "node that it runs on."},
    {ROW("decode", "scratch", SET_PATH, scratch), "/tmp", 0, 0, NULL, NULL,
     "With where = job: the folder on the node where that is done, when the environment has none "
     "of SLURM_TMPDIR, TMPDIR and JOBFS."},
    {ROW("decode", "threads", SET_INT, threads), "0", 0, 1024, NULL, NULL,
     "Threads that decode ccds; 0: one for each processor; with where = job those of one job, 0: "
     "slurm_cores with slurm, else 1."},
    {ROW("decode", "early", SET_BOOL, early), "yes", 0, 0, NULL, NULL,
     "Decode and place each ccd as soon as it is here, while its bundle still arrives; no, and with "
     "where = job: when the bundle is stored."},
    {ROW("ingest", "max_at_once", SET_INT, ingest_at_once), "2", 1, 64, NULL, NULL,
     "Stored exposures that are unpacked at the same time; the others wait, the newest is next; where "
     "each ccd is a file of its own, at least two files for each processor."},
    {ROW("ingest", "per_minute", SET_INT, ingest_per_minute), "0", 0, 6000, NULL, NULL,
     "Exposures that begin to be unpacked in any minute, also those that are still arriving; 0: any "
     "number."},
    {ROW("jobs", "runner", SET_CHOICE, runner), "local", 0, 0, "local|slurm|pbs", NULL,
     "What runs the jobs: local, as processes of this machine; slurm, as a job array an exposure; "
     "pbs, the same with PBS, by the pbs_ commands below (not tried on a real PBS yet)."},
    {ROW("jobs", "command", SET_TEXT, command), "skyferry-measure", 0, 0, NULL, NULL,
     "The job's program and arguments, never given to a shell; {job} {result} {exposure} "
     "{night} {store} are filled in; a name without a slash is looked for beside skyferry-pull, "
     "then in PATH."},
    {ROW("jobs", "ccds_per_job", SET_INT, ccds_per_job), "15", 1, 4096, NULL, NULL,
     "How many ccds one job gets."},
    {ROW("jobs", "per_task", SET_CHOICE, per_task), "given", 0, 0, "given|auto", NULL,
     "given: ccds_per_job; auto: as many ccds as a job has processors (with local: so many that "
     "each processor gets one job), at least 4, the same in every job; ccds that the profile gives no "
     "job do not count."},
    {ROW("jobs", "max_running", SET_INT, max_running), "0", 0, 1024, NULL, NULL,
     "Jobs that run at the same time, however many are in the queue; 0: one for each processor, "
     "with slurm as many as there are."},
    {ROW("jobs", "max_queued", SET_INT, max_queued), "0", 0, 100000, NULL, NULL,
     "Jobs that wait or run in the batch system; the others wait in the catalogue, the newest "
     "exposure's are next; 0: any number."},
    {ROW("jobs", "submits_per_minute", SET_INT, submits_per_minute), "0", 0, 6000, NULL, NULL,
     "Submissions to the batch system in any minute, an exposure's jobs being one; with local, jobs "
     "begun; 0: any number."},
    {ROW("jobs", "timeout_seconds", SET_INT, timeout_seconds), "300", 1, 604800, NULL, "s",
     "A job that takes longer is ended, with all its processes."},
    {ROW("jobs", "retries", SET_INT, retries), "1", 0, 100, NULL, NULL,
     "How often a failed job is run again before it counts as failed."},
    {ROW("jobs", "output_mib", SET_INT, output_mib), "16", 1, 65536, NULL, "MiB",
     "A job that writes more than this to its standard output or error is ended."},
    {ROW("jobs", "dry_run", SET_BOOL, dry_run), "no", 0, 0, NULL, NULL,
     "Write the job files but start none."},
    {ROW("jobs", "rerun_on_exact", SET_BOOL, rerun_on_exact), "no", 0, 0, NULL, NULL,
     "Run the jobs once more when exact data have followed a lossy exposure; no: the figures "
     "measured on the lossy files are kept."},
    {ROW("jobs", "slurm_template", SET_PATH, slurm.script), "slurm", 0, 0, NULL, NULL,
     "The batch script that sbatch gets, with {placeholders}: a file of the folder jobs/ without "
     "its .sbatch, or a path."},
    {ROW("jobs", "slurm_partition", SET_TEXT, slurm.partition), "", 0, 0, NULL, NULL,
     "The partition (queue); empty: the site's default."},
    {ROW("jobs", "slurm_account", SET_TEXT, slurm.account), "", 0, 0, NULL, NULL,
     "The account to charge; empty: the user's default."},
    {ROW("jobs", "slurm_qos", SET_TEXT, slurm.qos), "", 0, 0, NULL, NULL,
     "The quality of service; empty: the default."},
    {ROW("jobs", "slurm_reservation", SET_TEXT, slurm.reservation), "", 0, 0, NULL, NULL,
     "The reservation whose nodes are used; empty: none."},
    {ROW("jobs", "slurm_walltime", SET_TEXT, slurm.walltime), "", 0, 0, NULL, NULL,
     "Slurm's time limit of one job, as HH:MM:SS; empty: timeout_seconds and two minutes."},
    {ROW("jobs", "slurm_memory", SET_TEXT, slurm.memory), "5G", 0, 0, NULL, NULL,
     "Memory of one job, as sbatch --mem takes it; empty: the partition's default."},
    {ROW("jobs", "slurm_tmp", SET_TEXT, slurm.tmp), "", 0, 0, NULL, NULL,
     "Local disk that the node must have, as sbatch --tmp takes it; empty: any."},
    {ROW("jobs", "slurm_nodes", SET_INT, slurm.nodes), "1", 1, 1024, NULL, NULL,
     "Nodes that one job gets."},
    {ROW("jobs", "slurm_tasks_per_node", SET_INT, slurm.tasks_per_node), "1", 1, 1024, NULL, NULL,
     "Tasks on each node, for a command that starts them itself (srun)."},
    {ROW("jobs", "slurm_cores", SET_INT, slurm.cores), "1", 1, 1024, NULL, NULL,
     "Processors that each task gets."},
    {ROW("jobs", "slurm_query_seconds", SET_INT, slurm.query_seconds), "15", 1, 3600, NULL, "s",
     "How often squeue is asked while jobs are in the queue."},
    {ROW("jobs", "slurm_call_seconds", SET_INT, slurm.call_seconds), "60", 1, 3600, NULL, "s",
     "An sbatch, squeue or scontrol that takes longer is ended; whether the job was taken is then "
     "asked of the queue."},
    {ROW("jobs", "pbs_template", SET_PATH, pbs.script), "pbs", 0, 0, NULL, NULL,
     "The script that qsub gets: a file of the folder jobs/ without its .qsub, or a path; the "
     "slurm_ resources above are its {placeholders}, too, partition being the queue."},
    {ROW("jobs", "pbs_submit", SET_TEXT, pbs.submit),
     "qsub -N {name} -J{range} -j oe -o {output} {script}", 0, 0, NULL, NULL,
     "Submits with PBS and prints the job's id; words with an empty value, such as {range} for a "
     "single job, are left out."},
    {ROW("jobs", "pbs_find", SET_TEXT, pbs.find), "qselect -x -N {name}", 0, 0, NULL, NULL,
     "Prints the id of the job of this name, or nothing: asked before anything is submitted again."},
    {ROW("jobs", "pbs_query", SET_TEXT, pbs.query), "qstat -x -t -f {jobs}", 0, 0, NULL, NULL,
     "Prints what became of these jobs and their array's tasks, in qstat's long form."},
    {ROW("jobs", "pbs_cancel", SET_TEXT, pbs.cancel), "qdel {job}", 0, 0, NULL, NULL,
     "Ends a job or one task of an array."},
    {ROW("log", "level", SET_CHOICE, log_level), "info", 0, 0, "debug|info|warn|error", NULL,
     "What is logged: this level and above."},
    {ROW("log", "file", SET_PATH, log_file), "log/skyferry-pull_%Y%m%d_%H:%M:%S.log", 0, 0, NULL,
     NULL, "The log file, below root unless absolute; strftime fields are filled in when it is "
     "opened; none: standard error only."},
    {ROW("log", "format", SET_CHOICE, log_format), "text", 0, 0, "text|json", NULL,
     "Log lines as text or as one JSON object each."},
    {.key = NULL},
};

bool pull_text(char *out, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(out, size, fmt, ap);
    va_end(ap);
    return n >= 0 && (size_t)n < size;
}

void pull_path(const struct pull_settings *s, const char *rel, char out[PULL_PATH])
{
    pull_text(out, PULL_PATH, "%s/%s", s->root, rel);
}

enum status pull_log_open(const struct pull_settings *s, const char *agent, struct fault *why)
{
    struct log_options o = {.agent = agent, .file = s->log_file,
                            .level = (enum log_level)log_level_parse(s->log_level),
                            .json = strcmp(s->log_format, "json") == 0};
    return log_open(&o, why);
}

int pull_ingest_at_once(const struct pull_settings *s)
{
    long threads = s->threads > 0 ? s->threads : sysconf(_SC_NPROCESSORS_ONLN);
    long least = camera_groups(&s->camera) ? 2 * (threads > 0 ? threads : 1) : 1;
    return s->ingest_at_once > least ? s->ingest_at_once : (int)least;
}

void pull_part_store(const struct pull_settings *s, struct part_store *out)
{
    *out = (struct part_store){.root = s->root, .rule = s->rule,
                               .min_free_bytes = (int64_t)(s->min_free_gib * 1073741824.0),
                               .state = s->state};
}

/* Trailing slashes never matter, and a relative root must not change with the directory. */
static void settle_root(struct pull_settings *s, struct config_report *r)
{
    char here[PULL_PATH], joined[PULL_PATH];
    size_t len = strlen(s->root);
    while (len > 1 && s->root[len - 1] == '/')
        s->root[--len] = '\0';
    if (len > 0 && s->root[0] != '/' && getcwd(here, sizeof here)) {
        if (pull_text(joined, sizeof joined, "%s/%s", here, s->root))
            memcpy(s->root, joined, sizeof joined);
    }
    if (len > 3000)
        config_problem(r, "[store] root is %zu characters long; choose a shorter path", len);
}

/* Below the folder, or the folder itself? */
static bool is_within(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* A folder of its own: what push writes into the store's would be taken for something else. */
static void check_drops(struct pull_settings *s, struct config_report *r)
{
    static const char *const taken[] = {"incoming", "bundles", "rawdata", "workspace", "jobs",
                                        "state", "log"};
    char folder[PULL_PATH];
    size_t len = strlen(s->drops);
    while (len > 1 && s->drops[len - 1] == '/')
        s->drops[--len] = '\0';
    bool bad = len > 0 && strcmp(s->drops, s->root) == 0;
    for (size_t i = 0; len > 0 && i < sizeof taken / sizeof taken[0]; i++) {
        pull_path(s, taken[i], folder);
        bad = bad || is_within(s->drops, folder);
    }
    if (strcmp(s->drops, "/") == 0)
        config_problem(r, "[store] drops = / is the whole machine; choose a folder of its own, such "
                          "as drops");
    else if (bad)
        config_problem(r, "[store] drops = %s is the store's own folder; choose another, such as "
                          "drops", s->drops);
}

static void settle_paths(struct pull_settings *s, struct config_report *r)
{
    char joined[PULL_PATH];
    if (s->root[0] == '\0')
        config_problem(r, "[store] root is not set: the folder that exposures are received into; "
                          "set it, or give --push-dir DIR or PUSH_DIR");
    settle_root(s, r);
    if (s->state[0] != '/') {
        pull_path(s, s->state[0] ? s->state : "state", joined);
        memcpy(s->state, joined, sizeof joined);
    }
    if (s->drops[0] && s->drops[0] != '/') {
        pull_path(s, s->drops, joined);
        memcpy(s->drops, joined, sizeof joined);
    }
    check_drops(s, r);
    pull_text(s->catalogue, sizeof s->catalogue, "%s/catalogue.db", s->state);
    pull_text(s->lock, sizeof s->lock, "%s/lock", s->state);
    if (strcmp(s->log_file, "none") == 0) {
        s->log_file[0] = '\0';
    } else if (s->log_file[0] && s->log_file[0] != '/') {
        pull_path(s, s->log_file, joined);
        memcpy(s->log_file, joined, sizeof joined);
    }
}

static void settle_run_date(struct pull_settings *s, const char *run_date, struct config_report *r)
{
    if (!run_date)
        return;
    if (night_valid(run_date))
        snprintf(s->run_date, sizeof s->run_date, "%s", run_date);
    else
        config_problem(r, "--run-date '%s' is no night: write it as utYYMMDD, such as ut170316",
                       run_date);
}

/* Problems that no single row can see get the file's name too. */
static void name_file(struct config_report *found, const char *config, struct config_report *r)
{
    char *rest = buf_append(&found->text, "", 1) ? (char *)found->text.data : NULL;
    for (char *line; (line = strsep(&rest, "\n"));)
        if (line[0])
            config_problem(r, "%s%s%s", config, config[0] ? ": " : "", line);
    buf_free(&found->text);
}

/* What the values mean together, and whether they can work. */
static void settle(struct pull_settings *s, struct config_report *r)
{
    static const char *const keys[] = {"science", "flat", "bias"};
    struct command command;
    settle_paths(s, r);
    s->on_node = strcmp(s->where, "job") == 0;
    s->early = s->early && !s->on_node;
    if (s->on_node && s->scratch[0] != '/')
        config_problem(r, "[decode] scratch = '%s' is no absolute path: it has to be a folder of the "
                          "node's own disk, such as /tmp", s->scratch);
    if (!night_rule_parse(s->night_rollover, s->longitude_deg, &s->rule))
        config_problem(r, "[site] night_rollover = '%s' is neither noon nor a time HH:MM of the "
                          "UTC day, such as 22:30", s->night_rollover);
    for (int i = 0; i < 3; i++)
        place_check(s->place[i], keys[i], r);
    if (command_make(s->command, NULL, &command, r))
        command_free(&command);
    if (dialect_find(s->runner))
        template_check(s, r);
    dialect_check(s, r);
}

bool pull_settings_load(const struct pull_overrides *o, struct pull_settings *out,
                        struct config_report *r)
{
    struct config_report found = {0};
    int before = r->count;
    memset(out, 0, sizeof *out);
    char config[PULL_PATH];
    if (o->config)
        snprintf(config, sizeof config, "%s", o->config);
    else
        lookup_config("pull.conf", config, sizeof config);
    config_load(config[0] ? config : NULL, pull_settings_rows, out, r);
    snprintf(out->config, sizeof out->config, "%s", config);
    if (o->root && o->root[0])
        config_set(pull_settings_rows, out, "store", "root", o->root, "--push-dir", r);
    pull_text(out->reservation_given, sizeof out->reservation_given, "%s",
              o->reservation ? o->reservation : "");
    if (o->reservation)
        config_set(pull_settings_rows, out, "jobs", "slurm_reservation", o->reservation,
                   "--res-name", r);
    snprintf(out->level_given, sizeof out->level_given, "%s", o->level ? o->level : "");
    if (o->level)
        config_set(pull_settings_rows, out, "log", "level", o->level, "command line", r);
    settle(out, &found);
    name_file(&found, out->config, r);
    settle_run_date(out, o->run_date, r);
    lookup_camera(out->profile, out->config, &out->camera, r);
    return r->count == before;
}
