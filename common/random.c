#include "common/random.h"

#include <sys/random.h>

#include "common/clock.h"

unsigned random_number(void)
{
    unsigned n = 0;
    /* So early after boot that there are none yet: the clock will do. */
    if (getrandom(&n, sizeof n, GRND_NONBLOCK) != (ssize_t)sizeof n)
        n = (unsigned)clock_mono();
    return n;
}
