/* A batch script made from a template: the site's own shell script in which {name} {folder}
 * {walltime} ... are filled in. A brace after '$' and one that no lower-case word follows are
 * the shell's. In a comment line (#SBATCH, #PBS) a value stands as it is, and the line is left
 * out when a value in it is empty; elsewhere it stands in single quotes. Pure, but for reading. */
#ifndef SKYFERRY_PULL_JOB_TEMPLATE_H
#define SKYFERRY_PULL_JOB_TEMPLATE_H

#include "common/config.h"
#include "pull/settings.h"

struct script_values {
    const char *name;    /* the exposure's, as its folder is called */
    const char *folder;  /* absolute: .../jobs/NIGHT/NAME, which holds q1, q2, ... */
    const char *key;     /* of this submission, for `skyferry-pull task` */
    const char *program; /* skyferry-pull's path */
    int first;           /* the submission's first task */
};

/* Where [jobs] slurm_template, or pbs_template, lies; REJECT with words when it is nowhere. */
enum status template_find(const struct pull_settings *s, char out[PULL_PATH], struct fault *why);
/* Problems of the template (cannot be read, an unknown placeholder) go to r, with line numbers. */
void template_check(const struct pull_settings *s, struct config_report *r);
/* The script's text appended to out. */
enum status template_fill(const struct pull_settings *s, const struct script_values *v,
                          struct buf *out, struct fault *why);

#endif
