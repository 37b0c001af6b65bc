/* The files of one job's folder, their formats in skyferry-pull(1): job.json (what to do),
 * end.json (how it ended, so that `rebuild` need not ask the catalogue). Paths handed to the
 * job are absolute. Any thread; used by the main thread. */
#ifndef SKYFERRY_PULL_JOB_FILES_H
#define SKYFERRY_PULL_JOB_FILES_H

#include "pull/exposure.h"
#include "pull/settings.h"

/* "jobs/NIGHT/NAME/qN" below root. */
enum status job_folder(const struct exposure *x, int number, char *out, size_t size,
                       struct fault *why);

/* A file of the job's folder, absolute: "job.json", "result.json", "out", "err", "end.json". */
void job_path(const struct pull_settings *s, const struct job *j, const char *file,
              char out[PULL_PATH]);

/* Makes the folder and job.json; the ccds are those whose job number it is (members of
 * `ccds` with .job == j->number here, as the row has no id yet). */
enum status job_write(const struct pull_settings *s, const struct exposure *x, const struct job *j,
                      const struct ccd *ccds, size_t count, struct fault *why);
/* Folders of an earlier round from this number on are no jobs any more: without job.json,
 * `rebuild` passes them by. Their other files stay. */
void job_retire(const struct pull_settings *s, const struct exposure *x, int number);
/* Removes result.json, end.json, a batch system's files and drafts of an earlier attempt. */
enum status job_clean(const struct pull_settings *s, const struct job *j, struct fault *why);
enum status job_write_end(const struct pull_settings *s, const struct job *j, struct fault *why);

struct job_ccd {
    int ccd, hdu;
};
/* What rebuild reads back from a folder: job.json's ccds and end.json. RETRY when there is
 * no job.json. A missing end.json leaves state JOB_WAITING, or JOB_RUNNING with the
 * handle when a batch system has the job: the daemon takes it up again by that. */
enum status job_read(const struct pull_settings *s, struct job *j, struct job_ccd **ccds,
                     size_t *count, struct fault *why);

#endif
