/*
 * halt.h - waiting that SIGINT and SIGTERM can end.
 *
 * The signals are blocked and seen through a signalfd, waits are on a timerfd, so nothing is interrupted half way and nothing
 * polls. Only the main thread uses a struct halt; open it before other threads start, so that they inherit the mask.
 */
#ifndef SIMCAM_HALT_H
#define SIMCAM_HALT_H

#include <stdbool.h>
#include <stdint.h>

struct halt {
    int signals, timer;         /* descriptors, -1 when closed */
};

/* Block the signals and open the descriptors; 0, or -1 with errno. */
int halt_open(struct halt *h);

/* Monotonic microseconds. */
int64_t halt_now(void);

/* Wait until that moment of halt_now (the past: only look); true when a stop is asked for, now or before. */
bool halt_wait(const struct halt *h, int64_t until);

/* Close; harmless on a struct that halt_open failed to open. */
void halt_close(struct halt *h);

#endif
