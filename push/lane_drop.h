/* The other dialect of a talk (push/lane_talk.h): the same jobs and events over plain SFTP, for
 * a far end that allows nothing else. Bundles are written into a drop folder under hidden names,
 * several lanes side by side, and named when whole; skyferry-pull run takes them and answers by
 * files that are fetched here (common/drop.h, skyferry-drop(5)). Nothing here waits: every
 * request has a function that takes its answer, and drops_tick does what time asks for.
 * Called by lane_talk.c with a talk whose `drops` is set; the lane's thread only. */
#ifndef SKYFERRY_LANE_DROP_H
#define SKYFERRY_LANE_DROP_H

#include "push/lane_talk_inner.h"

/* The first bytes to send are INIT. directory: the drop folder, as the server is to be asked for
 * it. False when memory is out. */
bool drops_new(struct talk *t, const char *directory);
void drops_free(struct drops **d);

void drops_job(struct talk *t, struct lane_job *job);
/* As talk_input. */
enum status drops_input(struct talk *t, const unsigned char *bytes, size_t count,
                        struct fault *why);
/* All that was to be sent is: the next chunk's bytes are made. */
void drops_fill(struct talk *t);
/* Looks for answers when their time has come; clock_mono of the next time. */
int64_t drops_tick(struct talk *t, int64_t now);
/* Nothing new is begun any more; what is due is heard. */
void drops_bye(struct talk *t);
void drops_ping(struct talk *t);
size_t drops_due(const struct talk *t);

#endif
