/* The worker pool: really parallel, most urgent first, results on the main thread, and
 * every job given back exactly once, also when the pool stops. */
#include "common/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct scene {
    struct loop *l;
    struct pool *p;
    pthread_t main_thread;
    pthread_barrier_t together;
    pthread_mutex_t gate;
    char done[256], ran[256]; /* letters in order; `ran` is written by one worker only */
    int back, wanted;
    bool resubmit;
};

struct job {
    struct pool_job base;
    struct scene *s;
    char letter;
    bool ran, on_worker, meets, signals_blocked;
};

static struct fault why;

static int open_scene(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    s->main_thread = pthread_self();
    pthread_mutex_init(&s->gate, NULL);
    assert_int_equal(loop_open(&s->l, &why), ST_OK);
    *state = s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    pool_stop(&s->p);
    assert_null(s->p);
    loop_close(&s->l);
    pthread_mutex_destroy(&s->gate);
    free(s);
    return 0;
}

static void note(char *order, char c)
{
    size_t len = strlen(order);
    order[len] = c;
    order[len + 1] = '\0';
}

static void run_job(struct pool_job *base)
{
    struct job *j = (struct job *)base;
    sigset_t set;
    j->ran = true;
    j->on_worker = !pthread_equal(pthread_self(), j->s->main_thread);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    j->signals_blocked = sigismember(&set, SIGTERM) && sigismember(&set, SIGCHLD) &&
                         sigismember(&set, SIGINT);
    if (j->meets)
        pthread_barrier_wait(&j->s->together);
    /* Holding the gate keeps a worker inside its job. */
    pthread_mutex_lock(&j->s->gate);
    note(j->s->ran, j->letter);
    pthread_mutex_unlock(&j->s->gate);
}

static void job_done(struct pool_job *base);

static struct job *new_job(struct scene *s, char letter, int urgency)
{
    struct job *j = calloc(1, sizeof *j);
    j->base.run = run_job;
    j->base.done = job_done;
    j->base.urgency = urgency;
    j->s = s;
    j->letter = letter;
    return j;
}

static void job_done(struct pool_job *base)
{
    struct job *j = (struct job *)base;
    struct scene *s = j->s;
    assert_true(pthread_equal(pthread_self(), s->main_thread));
    if (j->ran) {
        assert_true(j->on_worker);
        assert_true(j->signals_blocked);
    }
    note(s->done, j->ran ? j->letter : '-');
    if (s->resubmit) {
        s->resubmit = false;
        pool_submit(s->p, &new_job(s, 'z', 0)->base);
    }
    free(j);
    if (++s->back == s->wanted)
        loop_stop(s->l);
}

static void most_urgent_first(void **state)
{
    struct scene *s = *state;
    assert_int_equal(pool_start(1, s->l, &s->p, &why), ST_OK);
    assert_int_equal(pool_threads(s->p), 1);
    pthread_mutex_lock(&s->gate);
    pool_submit(s->p, &new_job(s, '0', 0)->base);
    while (pool_waiting(s->p) > 0) /* until the worker has taken it and stands at the gate */
        sched_yield();
    static const struct { char letter; int urgency; } set[] = {
        {'a', 1}, {'b', 5}, {'c', 1}, {'d', -3}, {'e', 5}, {'f', 9}, {'g', 1}};
    for (size_t i = 0; i < 7; i++)
        pool_submit(s->p, &new_job(s, set[i].letter, set[i].urgency)->base);
    assert_int_equal(pool_waiting(s->p), 7);
    pthread_mutex_unlock(&s->gate);
    s->wanted = 8;
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_string_equal(s->ran, "0fbeacgd");
    assert_string_equal(s->done, "0fbeacgd");
    assert_int_equal(pool_waiting(s->p), 0);
}

/* What is more urgent than it was when it was submitted, or less. */
static void some_are_hurried(void **state)
{
    struct scene *s = *state;
    assert_int_equal(pool_start(1, s->l, &s->p, &why), ST_OK);
    pthread_mutex_lock(&s->gate);
    pool_submit(s->p, &new_job(s, '0', 0)->base);
    while (pool_waiting(s->p) > 0)
        sched_yield();
    for (int i = 0; i < 8; i++) {
        struct job *j = new_job(s, (char)('a' + i), i % 2);
        j->base.group = i % 2 ? s : NULL;
        pool_submit(s->p, &j->base);
    }
    pool_hurry(s->p, s, -1); /* b d f h: behind the others now, in the order in which they came */
    pool_hurry(s->p, &why, 7); /* nobody */
    assert_int_equal(pool_waiting(s->p), 8);
    pthread_mutex_unlock(&s->gate);
    s->wanted = 9;
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_string_equal(s->ran, "0acegbdfh");
}

static void jobs_run_side_by_side(void **state)
{
    struct scene *s = *state;
    pthread_barrier_init(&s->together, NULL, 3);
    assert_int_equal(pool_start(3, s->l, &s->p, &why), ST_OK);
    for (int i = 0; i < 3; i++) {
        struct job *j = new_job(s, 'x', 0);
        j->meets = true; /* ends only if three run at once */
        pool_submit(s->p, &j->base);
    }
    s->wanted = 3;
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_string_equal(s->done, "xxx");
    pthread_barrier_destroy(&s->together);
}

static void many_jobs_all_come_back(void **state)
{
    struct scene *s = *state;
    assert_int_equal(pool_start(0, s->l, &s->p, &why), ST_OK);
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_int_equal(pool_threads(s->p), CPU_COUNT(&set));
    for (int i = 0; i < 200; i++)
        pool_submit(s->p, &new_job(s, 'm', i % 7)->base);
    s->wanted = 200;
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_int_equal(strspn(s->done, "m"), 200);
    assert_int_equal(strlen(s->done), 200);
}

static void stopping_gives_every_job_back(void **state)
{
    struct scene *s = *state;
    assert_int_equal(pool_start(1, s->l, &s->p, &why), ST_OK);
    pthread_mutex_lock(&s->gate);
    pool_submit(s->p, &new_job(s, 'r', 0)->base);
    while (pool_waiting(s->p) > 0)
        sched_yield();
    for (int i = 0; i < 3; i++)
        pool_submit(s->p, &new_job(s, 'n', 0)->base);
    s->resubmit = true; /* from the first done(), while the pool stops */
    pthread_mutex_unlock(&s->gate);
    pool_stop(&s->p);
    assert_null(s->p);
    assert_int_equal(s->back, 5);
    /* The running one ended; of the rest the worker may have begun some before the stop. */
    assert_int_equal(s->done[0], 'r');
    assert_int_equal(strspn(s->done + 1, "n-"), 4);
    pool_stop(&s->p); /* harmless */
}

static void the_caller_keeps_its_signals(void **state)
{
    struct scene *s = *state;
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(pool_start(2, s->l, &s->p, &why), ST_OK);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int n = 1; n < 32; n++)
        assert_int_equal(sigismember(&before, n), sigismember(&after, n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(most_urgent_first, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(some_are_hurried, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(jobs_run_side_by_side, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(many_jobs_all_come_back, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(stopping_gives_every_job_back, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(the_caller_keeps_its_signals, open_scene, close_scene),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
