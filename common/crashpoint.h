/* Places where a test may have the program die as if by kill -9. With the environment
 * variable SKYFERRY_CRASH_AT=NAME the process sends itself SIGKILL at crash_point(NAME);
 * with NAME:3 at the third passage. Without the variable it costs one comparison. The
 * stage engines call it before and after every durable step. */
#ifndef SKYFERRY_CRASHPOINT_H
#define SKYFERRY_CRASHPOINT_H

void crash_point(const char *name);

#endif
