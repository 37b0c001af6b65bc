#include "common/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct mail *queue; /* of jobs, most urgent first */
    size_t waiting;
    bool stopping;
    struct mailbox *finished;
    struct loop *loop;
    int threads; /* started, to be joined */
    pthread_t thread[];
};

static struct pool_job *job_of(struct mail *m)
{
    return (struct pool_job *)m; /* its first member */
}

static struct pool_job *take(struct pool *p)
{
    struct mail *m = p->queue;
    if (!m)
        return NULL;
    p->queue = m->next;
    p->waiting--;
    return job_of(m);
}

static void *work(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stopping && !p->queue)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->stopping)
            break;
        struct pool_job *job = take(p);
        pthread_mutex_unlock(&p->lock);
        job->run(job);
        mailbox_post(p->finished, &job->mail);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void deliver(void *ctx, int fd)
{
    struct pool *p = ctx;
    (void)fd;
    struct mail *m;
    while ((m = mailbox_take(p->finished)) != NULL) {
        struct pool_job *job = job_of(m);
        job->done(job);
    }
}

static int processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? n : 1;
}

/* Signals belong to the main thread's loop: a worker that took one would lose it. */
static int start_threads(struct pool *p, int wanted)
{
    sigset_t all, before;
    sigfillset(&all);
    int err = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (err)
        return err;
    while (p->threads < wanted && !err) {
        err = pthread_create(&p->thread[p->threads], NULL, work, p);
        if (!err)
            p->threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

enum status pool_start(int threads, struct loop *loop, struct pool **out, struct fault *why)
{
    *out = NULL;
    if (threads <= 0)
        threads = processors();
    struct pool *p = calloc(1, sizeof *p + (size_t)threads * sizeof p->thread[0]);
    if (!p)
        return fault(why, ST_FATAL, "out of memory for %d worker threads", threads);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    p->finished = mailbox_new();
    if (!p->finished) {
        fault(why, ST_FATAL, "cannot make the workers' mailbox: out of memory or descriptors");
        goto out;
    }
    if (loop_read(loop, mailbox_fd(p->finished), deliver, p, why) != ST_OK)
        goto out;
    p->loop = loop;
    int err = start_threads(p, threads);
    if (err) {
        errno = err;
        fault_errno(why, ST_FATAL, "cannot start %d worker threads", threads);
        goto out;
    }
    *out = p;
    return ST_OK;
out:
    pool_stop(&p);
    return ST_FATAL;
}

int pool_threads(const struct pool *p)
{
    return p->threads;
}

static void put(struct pool *p, struct pool_job *job)
{
    struct mail **at = &p->queue;
    while (*at && job_of(*at)->urgency >= job->urgency)
        at = &(*at)->next;
    job->mail.next = *at;
    *at = &job->mail;
}

void pool_submit(struct pool *p, struct pool_job *job)
{
    pthread_mutex_lock(&p->lock);
    put(p, job);
    p->waiting++;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

void pool_hurry(struct pool *p, const void *group, int urgency)
{
    struct mail *taken = NULL, **end = &taken;
    pthread_mutex_lock(&p->lock);
    for (struct mail **at = &p->queue; *at;) {
        struct mail *m = *at;
        if (job_of(m)->group != group) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        *end = m;
        end = &m->next;
    }
    *end = NULL;
    while (taken) {
        struct pool_job *job = job_of(taken);
        taken = taken->next;
        job->urgency = urgency;
        put(p, job);
    }
    pthread_mutex_unlock(&p->lock);
}

size_t pool_waiting(const struct pool *p)
{
    struct pool *me = (struct pool *)p; /* the lock changes, what it guards does not */
    pthread_mutex_lock(&me->lock);
    size_t n = me->waiting;
    pthread_mutex_unlock(&me->lock);
    return n;
}

void pool_stop(struct pool **p)
{
    if (!*p)
        return;
    struct pool *me = *p;
    pthread_mutex_lock(&me->lock);
    me->stopping = true;
    pthread_cond_broadcast(&me->work);
    pthread_mutex_unlock(&me->lock);
    for (int i = 0; i < me->threads; i++)
        pthread_join(me->thread[i], NULL);
    if (me->finished) {
        deliver(me, -1);
        if (me->loop)
            loop_forget(me->loop, mailbox_fd(me->finished));
    }
    struct pool_job *job;
    while ((job = take(me)) != NULL)
        job->done(job);
    mailbox_free(&me->finished);
    pthread_cond_destroy(&me->work);
    pthread_mutex_destroy(&me->lock);
    free(me);
    *p = NULL;
}
