/* Somebody else's part, looked at while `receive` fills it: which bytes are there, and what became
 * of it. Opened read-only, never locked, so that it holds nobody up; what is read of the part has
 * to be proven by its digests. Main thread; the descriptor may be shared with workers (pread). */
#ifndef SKYFERRY_PART_VIEW_H
#define SKYFERRY_PART_VIEW_H

#include "common/bundle.h"
#include "pull/part_map.h"

enum view_state {
    VIEW_GROWS,
    VIEW_SEALED, /* committed: all of it is there, it has or gets its name in bundles/ */
    VIEW_ANEW,   /* what had come was wrong and was dropped; it grows again from nothing */
    VIEW_GONE    /* given up, or stored before under another name */
};

struct part_view;

/* "DIR/NAME.ID8.map" and the part beside it. WAIT: one of them is not there (yet). REJECT: the
 * name does not go with the id in the map. */
enum status part_view_open(const char *map_path, struct part_view **out, struct fault *why);
/* Takes in what came since the last look. After ANEW and GONE only close makes sense. */
enum view_state part_view_look(struct part_view *v);
const struct map_head *part_view_head(const struct part_view *v);
int part_view_fd(const struct part_view *v);
struct bundle_reach part_view_reach(const struct part_view *v);
bool part_view_has(const struct part_view *v, int64_t from, int64_t to);
void part_view_close(struct part_view **v);

#endif
