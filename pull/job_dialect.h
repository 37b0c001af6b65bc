/* What differs between batch systems, one row each: how their programs are called and what their
 * answers mean. Pure: takes and gives values, asks nobody, keeps nothing; job_batch_*.c calls
 * the programs and decides. Answers are read as hostile input: cut to size, never trusted to be
 * whole. Calls are argument vectors; the caller frees them with command_free. */
#ifndef SKYFERRY_PULL_JOB_DIALECT_H
#define SKYFERRY_PULL_JOB_DIALECT_H

#include "pull/command.h"
#include "pull/settings.h"

#define BATCH_ID 32
#define BATCH_ONLY (-1)
#define BATCH_ASK_MOST 32 /* arrays that one call of `states` names, where it names them */

struct batch_submission {
    const char *name, *key; /* the exposure's; the submission's */
    const char *folder;     /* holds q1, q2, ... */
    const char *script;
    const int *numbers;     /* tasks, ascending */
    size_t count;
    const char *avoid;      /* "a,b": nodes that are not wanted; "" or NULL: none */
};

/* What an answer says of one task; "", 0 and -1: nothing. */
struct batch_said {
    char array[BATCH_ID]; /* as read_id gives it */
    int task;             /* BATCH_ONLY: not an array, its only one */
    char state[24], node[64], reason[64];
    char sign[320];       /* job name and comment: an array's key stands in it */
    bool over;            /* this state is its last */
    bool turn, held;      /* it waits for its turn; it waits for somebody to let it go */
    int exit_status;      /* 128 and the number after a signal */
    int64_t started_ns, ended_ns;
};

enum batch_answer {
    BATCH_DEAF,    /* no answer: ask again */
    BATCH_UNKNOWN, /* it does not know the task */
    BATCH_SAID
};

/* One more thing to ask about a task that seems to be over. */
struct batch_probe {
    void (*call)(const char *task, struct command *out);
    enum batch_answer (*read)(int status, const char *out, const char *err,
                              struct batch_said *said);
};

struct batch_dialect {
    const char *name;   /* [jobs] runner */
    const char *system; /* in messages */
    const char *submit_name, *states_name, *cancel_name; /* programs, in messages */
    const char *ending; /* of template and script, ".sbatch" */

    bool (*submit)(const struct pull_settings *s, const struct batch_submission *b,
                   struct command *out, struct fault *why);
    /* What the submitting program printed: the array's id. */
    bool (*read_id)(const char *out, char id[BATCH_ID]);

    /* Looks for one array by its sign; prints its id or nothing. NULL: `states` tells it too. */
    bool (*find)(const struct pull_settings *s, const struct batch_submission *b,
                 struct command *out, struct fault *why);
    /* All tasks of these arrays (or all of ours). */
    bool (*states)(const struct pull_settings *s, const char *const *ids, size_t count,
                   struct command *out, struct fault *why);
    /* Did `states` answer? Some fail when one of many jobs is unknown. */
    bool (*heard)(int status, const char *err);
    /* Calls take for every task in the answer, which it writes into. */
    void (*read_states)(char *answer, void (*take)(void *ctx, const struct batch_said *said),
                        void *ctx);
    const struct batch_probe *probes; /* asked in turn; the last has no call */

    bool (*cancel)(const struct pull_settings *s, const char *task, struct command *out,
                   struct fault *why);
    /* What users call task n of the array, and the array of a task. */
    void (*task_name)(const char *id, int number, char out[BATCH_ID]);
    void (*array_name)(const char *task, char out[BATCH_ID]);
};

extern const struct batch_dialect dialect_slurm, dialect_pbs;

/* By [jobs] runner; NULL: it is no batch system. */
const struct batch_dialect *dialect_find(const char *runner);
/* Whose handle "NAME KEY" it is; NULL: no batch system's. */
const struct batch_dialect *dialect_of_handle(const char *handle);
/* Problems of the commands in the settings go to r. */
void dialect_check(const struct pull_settings *s, struct config_report *r);

/* For the rows: a call from words (ended by NULL), and a shorter copy of a piece of text. */
void dialect_words(struct command *out, const char *const *words);
void dialect_cut(char *out, size_t size, const char *text, size_t len);

#endif
