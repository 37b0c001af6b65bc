#include "common/stage.h"

/* Seconds after the n-th RETRY (n from 1), doubled each time up to retry_max. */
static int64_t back_off_ms(const struct stage_row *row, int n)
{
    int64_t most = row->retry_max > row->retry_seconds ? row->retry_max : row->retry_seconds;
    int64_t seconds = row->retry_seconds;
    while (--n > 0 && seconds > 0 && seconds < most)
        seconds *= 2;
    return (seconds < most ? seconds : most) * 1000;
}

/* Takes off up to a quarter, so that items which failed together do not return together. */
static int64_t jittered(int64_t ms, unsigned random)
{
    return ms - ms / 4 * (int64_t)(random % 1001) / 1000;
}

struct stage_verdict stage_decide(const struct stage_row *row, enum status grade, int attempts,
                                  unsigned random)
{
    struct stage_verdict v = {.state = row->state, .attempts = attempts};
    switch (grade) {
    case ST_OK:
        v.state = row->on_ok;
        v.attempts = 0;
        break;
    case ST_RETRY:
        v.attempts = attempts + 1;
        if (row->attempts != STAGE_FOREVER && v.attempts >= row->attempts) {
            v.state = row->on_reject;
            v.gave_up = 1;
        } else {
            v.delay_ms = jittered(back_off_ms(row, v.attempts), random);
        }
        break;
    case ST_REJECT:
        v.state = row->on_reject;
        break;
    case ST_WAIT:
    case ST_FATAL: /* not ours to judge: the item stays where it is */
        v.delay_ms = (int64_t)row->wait_seconds * 1000;
        break;
    }
    return v;
}
