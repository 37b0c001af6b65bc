/* One ccd from its member to its name, in the two halves of pull/place_file.h: decoded into memory
 * and written as a draft, then made durable and named. Shared by the step that places a stored
 * bundle (pull/fanout.c) and by the way that places one which still grows (pull/early.c). Worker
 * threads run the halves; the struct belongs to one job at a time. */
#ifndef SKYFERRY_PULL_MAKING_H
#define SKYFERRY_PULL_MAKING_H

#include "pull/place_file.h"
#include "pull/unpack.h"

struct making {
    /* given; outlives the halves */
    const struct unpack_source *source;
    const struct member *member;
    struct place_file file;
    /* made */
    bool unproven;
    int64_t size, cpu, part[UNPACK_PARTS]; /* cpu: ns, of it `part` */
    char datasum[24], checksum[24];
    struct fault why; /* grade ST_OK, or why this half failed */
};

void making_draft(struct making *m);
void making_name(struct making *m);

#endif
