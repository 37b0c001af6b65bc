/* Any number: for pauses that must not fall together and for names of passing files. Nothing
 * secret is made of it. Any thread; never waits. */
#ifndef SKYFERRY_RANDOM_H
#define SKYFERRY_RANDOM_H

unsigned random_number(void);

#endif
