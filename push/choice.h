/* method = auto: which codec and ratio make the newest exposure whole at the far end soonest,
 * within the loss allowed. A model of three stages: encoding and sending go side by side, decoding
 * begins when the bundle is there:
 *   time = max(encode CPU / threads here, bytes / line rate) + decode CPU / threads there
 * The CPU costs are those of a reference machine (choice.c) times how much slower this one and
 * the far one were seen to be. Pure arithmetic, no clocks and no files; main thread. */
#ifndef SKYFERRY_CHOICE_H
#define SKYFERRY_CHOICE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/fidelity.h"

/* The methods of the model. One factor for each, as no machine is in all of them alike; were
 * there one for all, a change of method would change the factor, and that the method again. */
#define CHOICE_METHODS 4
int choice_method(const char *name); /* its index; -1: the model does not know it */

/* What was measured; 0: not yet. */
struct conditions {
    double line; /* bytes a second */
    /* CPU time over the reference machine's, of encoding and decoding, by method. */
    double near[CHOICE_METHODS], far[CHOICE_METHODS];
    int near_threads, far_threads;
};
/* The factor of a method; the mean of the others while it was not measured, 0 when none was. */
double choice_factor(const double by[CHOICE_METHODS], const char *method);

/* What is to be sent. */
struct freight {
    double pixels;       /* of all images, two bytes each */
    double file_bytes;   /* as it stands */
    bool tiled;          /* it is tile-compressed already */
};

struct choice {
    char method[16];
    double ratio;                 /* htj2k: wanted; else 0 */
    double encode, line, decode, whole; /* s */
};

/* The best candidate: of those within a twentieth of the shortest time, the least lossy.
 * ratio_max is the largest loss allowed (a ratio; 0: none at all). `before` (method "": none)
 * stays while it is allowed, costs at most a sixth more time than the shortest, and what would
 * take its place is no less lossy. Without a line rate: htj2k at 10:1 or ratio_max, or the
 * smallest exact form that needs little CPU. */
void choice_make(const struct conditions *c, const struct freight *f, double ratio_max,
                 const struct choice *before, struct choice *out);
/* The shortest time of those allowed that are of another kind, exact where `best` is lossy. */
void choice_rival(const struct conditions *c, const struct freight *f, double ratio_max,
                  const struct choice *best, struct choice *out);
/* The time that one method would take; line: 0 while the rate is not known. */
void choice_time(const struct conditions *c, const struct freight *f, struct choice *io);

/* Reference CPU ns that encoding and decoding this choice take: what was spent over this is the
 * method's conditions.near or .far. */
double choice_encode_cost(const struct choice *x, const struct freight *f);
double choice_decode_cost(const struct choice *x, const struct freight *f);

/* "htj2k 8:1", "rice" */
void choice_name(const struct choice *x, char *out, size_t size);
/* "htj2k 8:1: 9.1 s (encode 6.2, line 9.0, decode 2.0)" */
void choice_text(const struct choice *x, char *out, size_t size);

#endif
