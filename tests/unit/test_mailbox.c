/* Mail from many threads arrives whole, each poster's in order, and the descriptor is
 * readable exactly while mail waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/mailbox.h"

#define POSTERS 6
#define LETTERS 5000

struct letter {
    struct mail mail;
    int from, number;
};

static bool readable(const struct mailbox *box)
{
    struct pollfd p = {.fd = mailbox_fd(box), .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

static struct letter *write_letter(int from, int number)
{
    struct letter *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    l->mail.kind = from + 100;
    l->from = from;
    l->number = number;
    return l;
}

static void flag_follows_the_queue(void **state)
{
    (void)state;
    struct mailbox *box = mailbox_new();
    assert_non_null(box);
    assert_false(readable(box));
    assert_null(mailbox_take(box));
    mailbox_post(box, &write_letter(1, 1)->mail);
    mailbox_post(box, &write_letter(1, 2)->mail);
    assert_true(readable(box));
    for (int i = 1; i <= 2; i++) {
        assert_true(readable(box));
        struct letter *l = (struct letter *)mailbox_take(box);
        assert_int_equal(l->number, i);
        assert_int_equal(l->mail.kind, 101);
        assert_null(l->mail.next);
        free(l);
    }
    assert_false(readable(box));
    assert_null(mailbox_take(box));
    mailbox_post(box, &write_letter(1, 3)->mail);
    assert_true(readable(box));
    mailbox_free(&box); /* frees the letter that waits: ASan would tell */
    assert_null(box);
    mailbox_free(&box);
}

struct poster {
    struct mailbox *box;
    int number;
};

static void *post_all(void *arg)
{
    const struct poster *p = arg;
    for (int i = 0; i < LETTERS; i++)
        mailbox_post(p->box, &write_letter(p->number, i)->mail);
    return NULL;
}

static void many_posters(void **state)
{
    (void)state;
    struct mailbox *box = mailbox_new();
    assert_non_null(box);
    pthread_t threads[POSTERS];
    struct poster posters[POSTERS];
    int next[POSTERS] = {0}, total = 0;
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){box, i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    while (total < POSTERS * LETTERS) {
        struct pollfd p = {.fd = mailbox_fd(box), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1); /* no letter without the flag */
        struct letter *l = (struct letter *)mailbox_take(box);
        assert_non_null(l); /* no flag without a letter */
        assert_int_equal(l->number, next[l->from]++);
        free(l);
        total++;
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_false(readable(box));
    mailbox_free(&box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flag_follows_the_queue),
        cmocka_unit_test(many_posters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
