/* Words for a terminal of 80 columns. Reasons and names quote files, headers and far ends, which
 * may hold anything: nothing in them steers the terminal, and what is too long for a line
 * goes on in the next. Used by the commands that print (status, check); no state. */
#ifndef SKYFERRY_PUSH_SCREEN_H
#define SKYFERRY_PUSH_SCREEN_H

#include <stdio.h>

#define SCREEN_COLUMNS 79

/* Prints `first` as it is, then `words` wrapped, lines after the first indented. */
void screen_say(FILE *to, int indent, const char *first, const char *words);

#endif
