/*
 * deliver.h - how a file appears in the watched directory.
 *
 * direct: written under its name as it is made. slow: the same through one open descriptor, in pieces spread over some seconds.
 * split: like slow, but closed and opened again between the pieces. rename: written under a hidden temporary name, .NAME.tmp,
 * and renamed when whole. A file that is abandoned (error, stop) is removed. Main thread only.
 */
#ifndef SIMCAM_DELIVER_H
#define SIMCAM_DELIVER_H

#include <stdbool.h>
#include <stddef.h>

#include "halt.h"

enum deliver_style { DELIVER_DIRECT, DELIVER_SLOW, DELIVER_SPLIT, DELIVER_RENAME };

struct deliver_options {
    const char *directory;
    enum deliver_style style;
    double write_seconds;       /* for slow and split */
    bool force;                 /* replace a file of that name */
};

struct delivery;

/*
 * Begin a file that will come in parts delivery_write calls. 0, or -1 when it cannot be (said on standard error). The options
 * and halt must outlive the delivery; the name is copied.
 */
int delivery_open(const struct deliver_options *o, const struct halt *halt, const char *name, int parts, struct delivery **d);

/* Write the next part; 0, 1 when a stop was asked for meanwhile, -1 on error (said). */
int delivery_write(struct delivery *d, const unsigned char *bytes, size_t size);

/* The whole file is written: give it its name. 0 or -1 (said); *d is gone either way. */
int delivery_finish(struct delivery **d);

/* Give up and remove what there is; NULL is harmless. */
void delivery_abandon(struct delivery **d);

/* The path that the file has, or will have. */
const char *delivery_path(const struct delivery *d);

#endif
