/* The runner of batch systems, Slurm and, by another dialect (job_dialect.h), PBS: its own nouns,
 * shared by job_batch.c (orders in, ends out), job_batch_submit.c (script and sbatch) and
 * job_batch_queue.c (squeue, scontrol, sacct and what stands for them elsewhere).
 *
 * Exactly once: a submission has a key, drawn at random, which stands in the catalogue before
 * sbatch is called, and in the array's name and comment. Whatever becomes of sbatch or of us,
 * the array is looked for by its key; only when the queue, asked twice after the last sbatch had
 * ended, does not know it, and no task has claimed its folder, is it submitted again, with the
 * same key. Should a call that was lost arrive after that all the same, its tasks find their
 * folders claimed and go away (job_task.h). Main thread only. */
#ifndef SKYFERRY_PULL_JOB_BATCH_H
#define SKYFERRY_PULL_JOB_BATCH_H

#include "pull/job_dialect.h"
#include "pull/job_runner.h"
#include "pull/job_task.h"
#include "pull/job_tool.h"
#include "pull/settings.h"

enum batch_phase {
    BATCH_GATHERING,  /* orders of this moment are joining it */
    BATCH_DUE,        /* to be submitted when `due` is past */
    BATCH_SUBMITTING, /* sbatch runs */
    BATCH_UNSURE,     /* the queue is to say whether it has it */
    BATCH_QUEUED      /* the batch system has it, by the name `id` */
};

struct batch_task {
    struct batch_task *next;
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

struct batch_array {
    struct batch_array *next;
    struct batch *owner;
    int64_t serial; /* by which its folder has its turn */
    char key[TASK_KEY], id[BATCH_ID]; /* id: the batch system's; "" not known */
    int64_t group;
    char folder[PULL_PATH], name[256];
    enum batch_phase phase;
    int64_t due, since; /* clock_mono; since: sbatch ended, or we began */
    int64_t asked_at;   /* the round of questions in which it was asked after */
    bool asked;         /* the states that are coming are about it */
    int misses, refused;
    int64_t let;        /* clock_mono, when its next submission was let (pull/gate.h); 0: not yet */
    char trouble[256];  /* what is in the way, said once */
    struct tool *sbatch;
    struct batch_task *tasks;
};

/* How often a job was lost with its node, since we began. */
struct batch_lost {
    struct batch_lost *next;
    int64_t id;
    int count;
};

struct batch {
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
    struct batch_array *arrays;
    struct batch_lost *lost;
    int looks;                   /* at folders, in one tick */
    int64_t ticks, looked, count; /* count: of arrays that ever were */
    bool refused;                /* the last submission did not go: one is tried at a time */
    struct tool *query, *probe, *cancel;
    int64_t query_due, asked_at; /* asked_at: when this round of questions began */
    bool asking;                 /* a round has more to ask */
    bool deaf;                   /* squeue did not answer: said once */
    bool cancelling;             /* something was cancelled since the last question */
    struct batch_array *sought;  /* whom the query looks for; NULL: it asks for states */
    struct batch_array *probed;  /* whose task the probe is about */
    struct batch_task *probed_task;
    const struct batch_probe *probe_with;
};

/* job_batch_submit.c: writes the script; begins sbatch when the array is due. */
enum status batch_script(const struct pull_settings *s, const char *folder, int first,
                         const char *key, char path[PULL_PATH], struct fault *why);
void batch_submit(struct batch_array *a);
/* The batch system has it under this name. */
void batch_known(struct batch_array *a, const char *id);

/* job_batch_queue.c: asks what is to be asked now, one call of a kind at a time. */
void batch_ask(struct batch *q);

/* job_batch.c: what the others tell of a task, and its name: whoever claimed it, else ours. */
void batch_task_name(const struct batch_array *a, const struct batch_task *t, char out[BATCH_ID]);
void batch_news(struct batch_task *t, const char *state, const char *node);
/* Why it waits, when somebody may have to do something; said when it is held. */
void batch_waits(struct batch_array *a, struct batch_task *t, const struct batch_said *said);
/* Takes over what the task's folder tells. */
void batch_read(struct batch_array *a, struct batch_task *t);
void batch_ended(struct batch *q, struct batch_task *t);
/* A cancelled task that the batch system does not have: a submission of it that comes all the
 * same runs nothing. One that was faster is cancelled as what runs. */
void batch_withdraw(struct batch_array *a, struct batch_task *t);
void batch_soon(struct batch *q);
/* One tick of the clock: folders are read, what is due is submitted, what is to be asked asked. */
void batch_tick(struct batch *q);

#endif
