/* The main thread's event loop: epoll over descriptors, timers and signals. All
 * callbacks run on the thread that calls loop_run. */
#ifndef SKYFERRY_LOOP_H
#define SKYFERRY_LOOP_H

#include <stdint.h>

#include "common/status.h"

struct loop;
struct loop_timer;

enum status loop_open(struct loop **out, struct fault *why);
void loop_close(struct loop **l);

/* Calls fn(ctx, fd) whenever fd is readable. The caller keeps the descriptor and
 * takes it out with loop_forget before closing it, also from inside a callback. */
enum status loop_read(struct loop *l, int fd, void (*fn)(void *ctx, int fd), void *ctx,
                      struct fault *why);
void loop_forget(struct loop *l, int fd);

/* A timer, disarmed at first. loop_timer_set: first call after `first_ms` (0: at
 * once, from the loop), then every `every_ms` (0: once only). Setting again re-arms;
 * first_ms < 0 disarms. A timer may be freed from any callback, and outlive its loop. */
struct loop_timer *loop_timer_new(struct loop *l, void (*fn)(void *ctx), void *ctx);
void loop_timer_set(struct loop_timer *t, int64_t first_ms, int64_t every_ms);
void loop_timer_free(struct loop_timer **t);

/* SIGHUP and SIGUSR1 wait for loop_signal from now on, and end nobody: to be called before a lock is
 * taken that tells others our process number, as they signal it at once. */
void loop_hold_signals(void);

/* Blocks the signal in this thread (so call it before threads start: they inherit)
 * and calls fn(ctx, signo) from the loop. It stays blocked after loop_close. */
enum status loop_signal(struct loop *l, int signo, void (*fn)(void *ctx, int signo), void *ctx,
                        struct fault *why);

/* Runs until loop_stop; ST_OK then, ST_FATAL when epoll itself fails. */
enum status loop_run(struct loop *l, struct fault *why);
void loop_stop(struct loop *l);

#endif
