/* A queue between threads that a poll loop can wait on: workers post messages,
 * the main thread takes them when the eventfd is readable. Messages are single
 * allocations (malloc) handed over whole: after mailbox_post the poster must not
 * touch them, after mailbox_take the taker owns and frees them. */
#ifndef SKYFERRY_MAILBOX_H
#define SKYFERRY_MAILBOX_H

#include <stdbool.h>

struct mailbox;

/* First member of every message. */
struct mail {
    struct mail *next;
    int kind; /* the receiver's own numbering */
};

struct mailbox *mailbox_new(void); /* NULL: out of memory or descriptors */
int mailbox_fd(const struct mailbox *box);           /* readable while mail waits */
void mailbox_post(struct mailbox *box, struct mail *m); /* any thread, never blocks long */
struct mail *mailbox_take(struct mailbox *box);      /* NULL when empty; never blocks */
/* Frees what is still queued with free(). Only when no thread can post any more. */
void mailbox_free(struct mailbox **box);

#endif
