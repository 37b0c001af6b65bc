#include "common/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t lock;
    struct mail *head, *tail;
    int fd;
};

struct mailbox *mailbox_new(void)
{
    struct mailbox *box = calloc(1, sizeof *box);
    if (!box)
        return NULL;
    box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (box->fd < 0 || pthread_mutex_init(&box->lock, NULL) != 0) {
        if (box->fd >= 0)
            close(box->fd);
        free(box);
        return NULL;
    }
    return box;
}

int mailbox_fd(const struct mailbox *box)
{
    return box->fd;
}

/* The eventfd counts 1 while the queue is not empty, so it is touched only when the queue
 * begins or ends, and under the lock: otherwise a take could clear the sign of a newer post. */
static void raise_flag(const struct mailbox *box)
{
    uint64_t one = 1;
    while (write(box->fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void lower_flag(const struct mailbox *box)
{
    uint64_t count;
    while (read(box->fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

void mailbox_post(struct mailbox *box, struct mail *m)
{
    m->next = NULL;
    pthread_mutex_lock(&box->lock);
    if (box->tail)
        box->tail->next = m;
    else
        box->head = m;
    box->tail = m;
    if (box->head == m)
        raise_flag(box);
    pthread_mutex_unlock(&box->lock);
}

struct mail *mailbox_take(struct mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    struct mail *m = box->head;
    if (m) {
        box->head = m->next;
        if (!box->head) {
            box->tail = NULL;
            lower_flag(box);
        }
        m->next = NULL;
    }
    pthread_mutex_unlock(&box->lock);
    return m;
}

void mailbox_free(struct mailbox **box)
{
    if (!*box)
        return;
    struct mail *m;
    while ((m = mailbox_take(*box)))
        free(m);
    close((*box)->fd);
    pthread_mutex_destroy(&(*box)->lock);
    free(*box);
    *box = NULL;
}
