/* The settings of skyferry-pull, as rows (common/config.h), and what follows from them:
 * the night rule, the camera, where the catalogue lies. main.c loads them once; a SIGHUP
 * loads them again into a second struct and takes over what may change while running.
 * No pointers inside: copied by assignment, read by worker threads. */
#ifndef SKYFERRY_PULL_SETTINGS_H
#define SKYFERRY_PULL_SETTINGS_H

#include "common/camera.h"
#include "common/config.h"
#include "common/night.h"

#define PULL_PATH 4096
#define PULL_TEMPLATE 512

/* [jobs] slurm_...: what the script template is filled in with, and how Slurm is asked. */
struct slurm_settings {
    char script[PULL_PATH]; /* the template */
    char partition[128], account[128], qos[128], reservation[128], walltime[32], memory[32], tmp[32];
    int nodes, tasks_per_node, cores, query_seconds, call_seconds;
};

/* [jobs] pbs_...: how PBS is called (pull/job_dialect_pbs.c); resources as for Slurm. */
struct pbs_settings {
    char script[PULL_PATH], submit[512], find[512], query[512], cancel[512];
};

struct pull_settings {
    /* as in the file */
    char root[PULL_PATH], state[PULL_PATH];
    double min_free_gib;
    int keep_parts_days, rescan_seconds, lease_seconds;
    bool keep_lossy;
    char drops[PULL_PATH];
    char place[3][PULL_TEMPLATE]; /* by enum obstype: science, flat, bias */
    char on_conflict[16], workspace[16];
    char site_name[64], night_rollover[16];
    double longitude_deg;
    char profile[PULL_PATH];
    char where[16], scratch[PULL_PATH]; /* [decode] */
    int threads;
    bool early;
    int ingest_at_once, ingest_per_minute;
    char runner[16], command[2048];
    int ccds_per_job, max_running, max_queued, submits_per_minute, timeout_seconds, retries, output_mib;
    bool dry_run, rerun_on_exact;
    struct slurm_settings slurm;
    struct pbs_settings pbs;
    char per_task[8];
    char log_level[16], log_file[PULL_PATH], log_format[16];
    /* what follows from it */
    char config[PULL_PATH];       /* the file, "" when there was none */
    bool on_node;                 /* [decode] where = job */
    struct night_rule rule;
    struct camera camera;
    char run_date[NIGHT_SIZE];    /* --run-date: every exposure's night; "" normally */
    char catalogue[PULL_PATH], lock[PULL_PATH];
    char level_given[16];         /* --debug or --quiet, for the next load too */
    char reservation_given[128];  /* --res-name, likewise */
};

extern const struct setting pull_settings_rows[];

/* What the command line and the environment say; NULL: nothing. */
struct pull_overrides {
    const char *config;   /* file; NULL: $HOME/.config/skyferry/pull.conf, /etc/skyferry/pull.conf */
    const char *root;     /* --push-dir or PUSH_DIR */
    const char *run_date; /* --run-date */
    const char *level;    /* --debug, --quiet */
    const char *reservation; /* --res-name */
};

/* Loads and checks everything; all problems at once go to r. True when there were none.
 * Without any file the defaults hold, so that root alone is enough to begin with. */
bool pull_settings_load(const struct pull_overrides *o, struct pull_settings *out,
                        struct config_report *r);

/* "root/rel" for the store's own names; a root is at most 3000 characters long. */
void pull_path(const struct pull_settings *s, const char *rel, char out[PULL_PATH]);

/* Opens the log as [log] says, for this agent's name ("pull", "receive"). */
enum status pull_log_open(const struct pull_settings *s, const char *agent, struct fault *why);

/* Stored bundles that may be unpacked at the same time ([ingest] max_at_once): where each is one ccd
 * of a visit a few of them would leave processors idle. */
int pull_ingest_at_once(const struct pull_settings *s);

/* What the receiving side needs of the settings; points into s. */
struct part_store;
void pull_part_store(const struct pull_settings *s, struct part_store *out);

/* snprintf that says whether all of it fitted. */
bool pull_text(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
