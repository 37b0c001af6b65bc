/* The runner of batch systems, Slurm and, by another dialect (job_dialect.h), PBS: its own nouns,
 * shared by job_slurm.c (orders in, ends out), job_slurm_submit.c (script and sbatch) and
 * job_slurm_queue.c (squeue, scontrol, sacct and what stands for them elsewhere).
 *
 * Exactly once: a submission has a key, drawn at random, which stands in the catalogue before
 * sbatch is called, and in the array's name and comment. Whatever becomes of sbatch or of us,
 * the array is looked for by its key; only when the queue, asked twice after the last sbatch had
 * ended, does not know it, and no task has claimed its folder, is it submitted again, with the
 * same key. Should a call that was lost arrive after that all the same, its tasks find their
 * folders claimed and go away (job_task.h). Main thread only. */
#ifndef SKYFERRY_PULL_JOB_SLURM_H
#define SKYFERRY_PULL_JOB_SLURM_H

#include "pull/job_dialect.h"
#include "pull/job_runner.h"
#include "pull/job_task.h"
#include "pull/job_tool.h"
#include "pull/settings.h"

enum slurm_phase {
    SLURM_GATHERING,  /* orders of this moment are joining it */
    SLURM_DUE,        /* to be submitted when `due` is past */
    SLURM_SUBMITTING, /* sbatch runs */
    SLURM_UNSURE,     /* the queue is to say whether it has it */
    SLURM_QUEUED      /* the batch system has it, by the name `id` */
};

struct slurm_task {
    struct slurm_task *next;
    int64_t id;
    int number;
    char folder[PULL_PATH]; /* .../NAME/qN */
    char claimed[BATCH_ID]; /* by which task; it may be one of another submission of this array */
    char avoid[64];         /* a node that it must not go to; "" none */
    bool released, ended, taken; /* ended: `end` is to be polled */
    bool cancelled;
    int64_t cancel_due;          /* clock_mono: not to be cancelled (again) before */
    bool told;                   /* by the squeue that is being read */
    bool news;
    int strange;            /* answers in a row in which the queue thought it over or unknown */
    int64_t doubted_since;  /* clock_mono: the queue does not know it, somebody else does; 0: not */
    char waits[64];         /* why it is not begun, other than for its turn; "" */
    int64_t silent_since;   /* clock_mono: over, and seemingly well, without a word; 0: not */
    struct batch_said said; /* the last that the queue told of its being over */
    struct job_end end;
};

struct slurm_array {
    struct slurm_array *next;
    struct slurm *owner;
    int64_t serial; /* by which its folder has its turn */
    char key[TASK_KEY], id[BATCH_ID]; /* id: the batch system's; "" not known */
    int64_t group;
    char folder[PULL_PATH], name[256];
    enum slurm_phase phase;
    int64_t due, since; /* clock_mono; since: sbatch ended, or we began */
    int64_t asked_at;   /* the round of questions in which it was asked after */
    bool asked;         /* the states that are coming are about it */
    int misses, refused;
    int64_t let;        /* clock_mono, when its next submission was let (pull/gate.h); 0: not yet */
    char trouble[256];  /* what is in the way, said once */
    struct tool *sbatch;
    struct slurm_task *tasks;
};

/* How often a job was lost with its node, since we began. */
struct slurm_lost {
    struct slurm_lost *next;
    int64_t id;
    int count;
};

struct slurm {
    struct job_runner base;
    struct loop *loop;
    void (*wake)(void *ctx);
    void *ctx;
    const struct batch_dialect *dialect;
    const struct pull_settings *s; /* NULL before the first order */
    /* The clock and the programs; tests put others in their place. */
    int64_t (*now)(void);
    enum status (*call)(struct loop *l, const struct tool_order *o, struct tool **out,
                        struct fault *why);
    struct gate *gate;
    struct loop_timer *tick;
    struct slurm_array *arrays;
    struct slurm_lost *lost;
    int looks;                   /* at folders, in one tick */
    int64_t ticks, looked, count; /* count: of arrays that ever were */
    bool refused;                /* the last submission did not go: one is tried at a time */
    struct tool *query, *probe, *cancel;
    int64_t query_due, asked_at; /* asked_at: when this round of questions began */
    bool asking;                 /* a round has more to ask */
    bool deaf;                   /* squeue did not answer: said once */
    bool cancelling;             /* something was cancelled since the last question */
    struct slurm_array *sought;  /* whom the query looks for; NULL: it asks for states */
    struct slurm_array *probed;  /* whose task the probe is about */
    struct slurm_task *probed_task;
    const struct batch_probe *probe_with;
};

/* job_slurm_submit.c: writes the script; begins sbatch when the array is due. */
enum status slurm_script(const struct pull_settings *s, const char *folder, int first,
                         const char *key, char path[PULL_PATH], struct fault *why);
void slurm_submit(struct slurm_array *a);
/* The batch system has it under this name. */
void slurm_known(struct slurm_array *a, const char *id);

/* job_slurm_queue.c: asks what is to be asked now, one call of a kind at a time. */
void slurm_ask(struct slurm *q);

/* job_slurm.c: what the others tell of a task, and its name: whoever claimed it, else ours. */
void slurm_task_name(const struct slurm_array *a, const struct slurm_task *t, char out[BATCH_ID]);
void slurm_news(struct slurm_task *t, const char *state, const char *node);
/* Why it waits, when somebody may have to do something; said when it is held. */
void slurm_waits(struct slurm_array *a, struct slurm_task *t, const struct batch_said *said);
/* Takes over what the task's folder tells. */
void slurm_read(struct slurm_array *a, struct slurm_task *t);
void slurm_ended(struct slurm *q, struct slurm_task *t);
/* A cancelled task that the batch system does not have: a submission of it that comes all the
 * same runs nothing. One that was faster is cancelled as what runs. */
void slurm_withdraw(struct slurm_array *a, struct slurm_task *t);
void slurm_soon(struct slurm *q);
/* One tick of the clock: folders are read, what is due is submitted, what is to be asked asked. */
void slurm_tick(struct slurm *q);

#endif
