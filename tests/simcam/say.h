/*
 * say.h - the one way that the simulated camera complains.
 */
#ifndef SIMCAM_SAY_H
#define SIMCAM_SAY_H

/* Print "simcam: ", the message and a line end on standard error. Any thread. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
