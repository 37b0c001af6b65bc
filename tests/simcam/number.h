/*
 * number.h - numbers from text, whole or not at all: no trailing letters, no overflow, no value outside its range.
 */
#ifndef SIMCAM_NUMBER_H
#define SIMCAM_NUMBER_H

#include <stdbool.h>

/* True, and *value set, when text is an integer within least and most. */
bool number_long(const char *text, long least, long most, long *value);

/* True, and *value set, when text is a finite number within least and most. */
bool number_double(const char *text, double least, double most, double *value);

#endif
