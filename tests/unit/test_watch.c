/* The watch on real directories: what is there at start, what comes by every road, trees
 * that move, vanish and return, a queue that overflows, a kernel limit that is reached. */
#include "common/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "tests/unit/scratch.h"

#define MANY 40000 /* files at most in the flood */

struct scene {
    struct scratch scratch;
    char root[600], log[4096];
    struct loop *l;
    struct loop_timer *limit;
    struct watch *w;
    struct watch_options options;
    char seen[8192];     /* "C:sub/x.fits F:a.fits ", below root */
    const char *awaited; /* run() ends when this is in `seen` */
    bool timed_out;
    unsigned char met[MANY]; /* of the flood, too many to name */
};

static struct fault why;

static void seen(void *ctx, const char *path, enum watch_hint hint)
{
    struct scene *s = ctx;
    size_t root = strlen(s->root);
    assert_int_equal(strncmp(path, s->root, root), 0);
    assert_int_equal(path[root], '/');
    int n;
    size_t len = strlen(s->seen);
    if (sscanf(path + root, "/flood%d.fits", &n) == 1) {
        assert_in_range(n, 0, MANY - 1);
        s->met[n] = 1;
        return;
    }
    snprintf(s->seen + len, sizeof s->seen - len, "%c:%s ", hint == WATCH_CLOSED ? 'C' : 'F',
             path + root + 1);
    if (s->awaited && strstr(s->seen, s->awaited))
        loop_stop(s->l);
}

static void give_up(void *ctx)
{
    struct scene *s = ctx;
    s->timed_out = true;
    loop_stop(s->l);
}

/* Runs the loop until `awaited` was seen or the time is over (then false). */
static bool run(struct scene *s, const char *awaited, int ms)
{
    s->awaited = awaited;
    s->timed_out = false;
    if (awaited && strstr(s->seen, awaited))
        return true;
    loop_timer_set(s->limit, ms, 0);
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    loop_timer_set(s->limit, -1, 0);
    return !s->timed_out;
}

static void start(struct scene *s)
{
    assert_int_equal(watch_open(s->l, &s->options, seen, s, &s->w, &why), ST_OK);
}

static int set_up(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    if (scratch_make(&s->scratch) < 0)
        return -1;
    snprintf(s->root, sizeof s->root, "%s/data", s->scratch.dir);
    scratch_path(&s->scratch, "log", s->log);
    mkdir(s->root, 0755);
    struct log_options lo = {.agent = "push", .file = s->log, .quiet_terminal = 1};
    if (log_open(&lo, &why) != ST_OK || loop_open(&s->l, &why) != ST_OK)
        return -1;
    s->limit = loop_timer_new(s->l, give_up, s);
    s->options = (struct watch_options){.directory = s->root, .patterns = "*.fits *.fits.fz",
                                        .recursive = true, .rescan_seconds = 3600,
                                        .stage = "watch"};
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    watch_close(&s->w);
    assert_null(s->w);
    loop_timer_free(&s->limit);
    loop_close(&s->l);
    log_close();
    scratch_remove(&s->scratch);
    free(s);
    return 0;
}

static const char *below(const struct scene *s, const char *name, char out[4096])
{
    snprintf(out, 4096, "%s/%s", s->root, name);
    return out;
}

static void put(const struct scene *s, const char *name)
{
    char path[4096];
    int fd = open(below(s, name, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

static void make(const struct scene *s, const char *name)
{
    char path[4096];
    assert_int_equal(mkdir(below(s, name, path), 0755), 0);
}

static void move(const struct scene *s, const char *from, const char *to)
{
    char a[4096], b[4096];
    assert_int_equal(rename(below(s, from, a), below(s, to, b)), 0);
}

static int log_lines_with(const struct scene *s, const char *words)
{
    struct buf text = {0};
    int n = 0;
    assert_int_equal(fs_read_file(s->log, 1 << 20, &text, &why), ST_OK);
    buf_printf(&text, "%s", "");
    for (const char *c = (char *)text.data; (c = strstr(c, words)) != NULL; c++)
        n++;
    buf_free(&text);
    return n;
}

static void what_is_there_at_start(void **state)
{
    struct scene *s = *state;
    char target[4096], link[4096];
    make(s, "n1");
    make(s, "n1/deep");
    make(s, ".hidden");
    put(s, "b.fits");
    put(s, "a.fits.fz");
    put(s, "a.txt");
    put(s, ".c.fits");
    put(s, "n1/d.fits");
    put(s, "n1/deep/e.fits");
    put(s, ".hidden/f.fits");
    assert_int_equal(symlink("b.fits", below(s, "link.fits", link)), 0);
    assert_int_equal(symlink(below(s, "n1", target), below(s, "dir.fits", link)), 0);
    assert_int_equal(symlink("nowhere", below(s, "dangling.fits", link)), 0);
    assert_int_equal(mkfifo(below(s, "pipe.fits", link), 0600), 0);
    s->options.directory = link;
    snprintf(link, sizeof link, "%s///", s->root); /* trailing slashes do not matter */
    start(s);
    assert_string_equal(s->seen, ""); /* from the loop, not from the open */
    assert_true(run(s, "n1/deep/e.fits", 20000));
    const char *all = "F:a.fits.fz F:b.fits F:link.fits F:n1/d.fits F:n1/deep/e.fits ";
    assert_string_equal(s->seen, all);
    int directories = 0;
    assert_true(watch_has_events(s->w, &directories));
    assert_int_equal(directories, 3);
    s->seen[0] = '\0';
    watch_scan(s->w); /* all again: the receiver remembers */
    assert_string_equal(s->seen, all);
    watch_has_events(s->w, &directories);
    assert_int_equal(directories, 3);
}

static void closed_moved_and_linked(void **state)
{
    struct scene *s = *state;
    char a[4096], b[4096];
    start(s);
    run(s, NULL, 20);
    put(s, "w.fits");
    assert_true(run(s, "C:w.fits ", 20000));
    put(s, "tmp.part");
    move(s, "tmp.part", "m.fits");
    assert_true(run(s, "C:m.fits ", 20000));
    put(s, ".tmp.fits");
    move(s, ".tmp.fits", "h.fits");
    assert_true(run(s, "C:h.fits ", 20000));
    put(s, "linked.part");
    assert_int_equal(link(below(s, "linked.part", a), below(s, "l.fits", b)), 0);
    assert_true(run(s, "F:l.fits ", 20000));
    /* Opened, written and still open: not a word until it is closed. */
    int fd = open(below(s, "slow.fits", a), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_false(run(s, "slow.fits", 60));
    close(fd);
    assert_true(run(s, "C:slow.fits ", 20000));
    put(s, "notes.txt");
    make(s, ".hidden");
    put(s, ".hidden/notes.fits");
    assert_int_equal(unlink(below(s, "w.fits", a)), 0);
    assert_false(run(s, "notes", 30));
    assert_string_equal(s->seen, "C:w.fits C:m.fits C:h.fits F:l.fits C:slow.fits ");
}

/* An SFTP server renames by link and unlink: when the event is read only one name is left. */
static void renamed_by_link_and_unlink(void **state)
{
    struct scene *s = *state;
    char a[4096], b[4096];
    for (int created = 0; created < 2; created++) {
        s->options.created = created;
        start(s);
        run(s, NULL, 20);
        put(s, created ? "two.part" : "one.part");
        below(s, created ? "two.part" : "one.part", a);
        below(s, created ? "two.fits" : "one.fits", b);
        assert_int_equal(link(a, b), 0);
        assert_int_equal(unlink(a), 0);
        assert_int_equal(run(s, created ? "F:two.fits " : "F:one.fits ", created ? 20000 : 60),
                         created);
        watch_close(&s->w);
    }
}

/* Writes a file a little later, while the loop sleeps, and notes when it closed it. */
struct writer {
    char path[4096];
    int64_t closed;
};

static void *write_later(void *arg)
{
    struct writer *wr = arg;
    nanosleep(&(struct timespec){.tv_nsec = 3 * NS_PER_MS}, NULL);
    int fd = open(wr->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (write(fd, "x", 1) != 1)
        return NULL;
    wr->closed = clock_mono();
    close(fd);
    return NULL;
}

static void noticed_within_milliseconds(void **state)
{
    struct scene *s = *state;
    start(s);
    int64_t worst = 0, best = INT64_MAX;
    run(s, NULL, 20);
    for (int i = 0; i < 20; i++) {
        char name[32], wanted[40];
        struct writer wr;
        pthread_t thread;
        snprintf(name, sizeof name, "n%d.fits", i);
        snprintf(wanted, sizeof wanted, "C:%s ", name);
        below(s, name, wr.path);
        assert_int_equal(pthread_create(&thread, NULL, write_later, &wr), 0);
        assert_true(run(s, wanted, 20000));
        int64_t noticed = clock_mono();
        pthread_join(thread, NULL);
        int64_t took = noticed - wr.closed;
        worst = took > worst ? took : worst;
        best = took < best ? took : best;
    }
    print_message("close to callback: best %.3f ms, worst %.3f ms of 20\n",
                  (double)best / NS_PER_MS, (double)worst / NS_PER_MS);
    assert_true(best < 20 * NS_PER_MS);
}

static void directories_made_and_moved_in(void **state)
{
    struct scene *s = *state;
    char a[4096], b[4096];
    start(s);
    run(s, NULL, 20);
    /* All of it before the loop runs again, so that no watch is in place yet. */
    make(s, "night");
    make(s, "night/x");
    make(s, "night/x/y");
    put(s, "night/x/y/early.fits");
    assert_true(run(s, "F:night/x/y/early.fits ", 20000));
    put(s, "night/x/y/late.fits");
    assert_true(run(s, "C:night/x/y/late.fits ", 20000));
    /* A tree moved in from outside. */
    assert_int_equal(mkdir(scratch_path(&s->scratch, "outside", a), 0755), 0);
    assert_int_equal(mkdir(scratch_path(&s->scratch, "outside/in", a), 0755), 0);
    scratch_path(&s->scratch, "outside/in/o.fits", a);
    assert_int_equal(close(open(a, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)), 0);
    scratch_path(&s->scratch, "outside", a);
    assert_int_equal(rename(a, below(s, "moved", b)), 0);
    assert_true(run(s, "F:moved/in/o.fits ", 20000));
    put(s, "moved/in/p.fits");
    assert_true(run(s, "C:moved/in/p.fits ", 20000));
    int directories = 0;
    watch_has_events(s->w, &directories);
    assert_int_equal(directories, 6);
}

static void a_directory_renamed_inside_keeps_reporting(void **state)
{
    struct scene *s = *state;
    make(s, "old");
    make(s, "old/in");
    make(s, "older"); /* begins like "old" and must stay */
    start(s);
    run(s, NULL, 20);
    move(s, "old", "new");
    run(s, NULL, 50);
    put(s, "new/in/a.fits");
    assert_true(run(s, "C:new/in/a.fits ", 20000));
    put(s, "older/b.fits");
    assert_true(run(s, "C:older/b.fits ", 20000));
    assert_null(strstr(s->seen, ":old/"));
    char a[4096], b[4096];
    assert_int_equal(unlink(below(s, "older/b.fits", a)), 0);
    assert_int_equal(rmdir(below(s, "older", a)), 0);
    run(s, NULL, 50);
    int directories = 0;
    watch_has_events(s->w, &directories);
    assert_int_equal(directories, 3); /* root, new, new/in */
    assert_int_equal(rename(below(s, "new", a), scratch_path(&s->scratch, "out", b)), 0);
    run(s, NULL, 50);
    watch_has_events(s->w, &directories);
    assert_int_equal(directories, 1); /* what was moved out is no longer ours */
}

static void flat_means_flat(void **state)
{
    struct scene *s = *state;
    s->options.recursive = false;
    make(s, "sub");
    put(s, "sub/a.fits");
    put(s, "b.fits");
    start(s);
    run(s, "b.fits", 2000);
    make(s, "sub2");
    put(s, "sub2/c.fits");
    put(s, "sub/d.fits");
    assert_false(run(s, "sub", 60));
    assert_string_equal(s->seen, "F:b.fits ");
}

static void a_vanished_directory_is_said_once_and_found_again(void **state)
{
    struct scene *s = *state;
    s->options.rescan_seconds = 1;
    assert_int_equal(rmdir(s->root), 0);
    start(s);
    run(s, NULL, 1200);
    assert_int_equal(log_lines_with(s, "cannot read the directory"), 1);
    assert_int_equal(mkdir(s->root, 0755), 0);
    put(s, "a.fits");
    assert_true(run(s, "F:a.fits ", 20000)); /* by the rescan */
    put(s, "b.fits");
    assert_true(run(s, "C:b.fits ", 20000)); /* by an event */
    /* Moved away: the old place is empty now, and files in the new one are not ours. */
    char away[4096], inside[4096];
    assert_int_equal(rename(s->root, scratch_path(&s->scratch, "away", away)), 0);
    run(s, NULL, 50);
    assert_int_equal(log_lines_with(s, "cannot read the directory"), 2);
    scratch_path(&s->scratch, "away/c.fits", inside);
    assert_int_equal(close(open(inside, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)), 0);
    assert_int_equal(mkdir(s->root, 0755), 0);
    put(s, "d.fits");
    assert_true(run(s, "F:d.fits ", 20000));
    assert_null(strstr(s->seen, "c.fits"));
    assert_int_equal(log_lines_with(s, "cannot read the directory"), 2);
    assert_int_equal(log_lines_with(s, "which is back"), 1); /* at first it had never been there */
    /* Replaced between two looks of the loop: only the new one counts. */
    assert_int_equal(rename(s->root, scratch_path(&s->scratch, "away2", away)), 0);
    assert_int_equal(mkdir(s->root, 0755), 0);
    put(s, "e.fits");
    assert_true(run(s, "F:e.fits ", 20000));
    int directories = 0;
    watch_has_events(s->w, &directories);
    assert_int_equal(directories, 1);
}

static void a_lost_event_is_made_good_by_the_rescan(void **state)
{
    struct scene *s = *state;
    char a[4096], b[4096], part[4096];
    s->options.rescan_seconds = 1;
    /* A link to a file of another place changes there, where nobody watches. */
    scratch_path(&s->scratch, "elsewhere", part);
    assert_int_equal(symlink(part, below(s, "late.fits", a)), 0);
    start(s);
    assert_false(run(s, "late.fits", 100));
    assert_int_equal(close(open(scratch_path(&s->scratch, "elsewhere", b),
                                O_WRONLY | O_CREAT | O_CLOEXEC, 0644)), 0);
    assert_true(run(s, "F:late.fits ", 20000));
}

static long queue_length(void)
{
    char text[32] = "";
    int fd = open("/proc/sys/fs/inotify/max_queued_events", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

static void an_overflow_loses_nothing(void **state)
{
    struct scene *s = *state;
    long room = queue_length();
    int files = (int)(room / 2 + 1000); /* two events each: created, closed */
    if (room <= 0 || files > MANY) {
        print_message("skipped: the kernel's queue holds %ld events\n", room);
        skip();
    }
    start(s);
    run(s, NULL, 20);
    for (int i = 0; i < files; i++) {
        char name[32];
        snprintf(name, sizeof name, "flood%d.fits", i);
        put(s, name);
    }
    put(s, "last.fits");
    assert_true(run(s, "last.fits", 10000));
    run(s, NULL, 20);
    for (int i = 0; i < files; i++)
        assert_int_equal(s->met[i], 1);
    assert_int_equal(log_lines_with(s, "more changes below"), 1);
}

/* In a user namespace of its own, where the limit of watches may be set: room for two. */
static int with_two_watches(struct scene *s)
{
    if (unshare(CLONE_NEWUSER) < 0)
        return 77;
    int fd = open("/proc/sys/user/max_inotify_watches", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "2\n", 2) != 2)
        return 77;
    close(fd);
    int directories = 0;
    start(s);
    if (!run(s, "F:c/3.fits ", 2000))
        return 1;
    if (watch_has_events(s->w, &directories) || directories != 2)
        return 2;
    put(s, "c/4.fits"); /* unwatched: only a rescan finds it, sooner than in an hour */
    if (!run(s, "F:c/4.fits ", 8000))
        return 3;
    return log_lines_with(s, "sysctl fs.inotify.max_user_watches=") == 1 ? 0 : 4;
}

static void too_few_watches_fall_back_to_looking(void **state)
{
    struct scene *s = *state;
    make(s, "a");
    make(s, "b");
    make(s, "c");
    put(s, "c/3.fits");
    pid_t child = fork();
    if (child == 0)
        _exit(with_two_watches(s));
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("skipped: no user namespace to set the limit in\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A receiver that takes 0.1 ms a file: the loop has its turn all the same. The gaps between two
 * turns are of this thread's own time, so that what else runs on the machine does not matter. */
struct beat {
    struct scene *s;
    struct loop_timer *timer;
    int64_t last, longest;
    int files, turns;
    bool made;
};

static void slow(void *ctx, const char *path, enum watch_hint hint)
{
    struct beat *b = ctx;
    (void)hint;
    int64_t end = clock_thread_cpu() + NS_PER_MS / 10;
    while (clock_thread_cpu() < end)
        ;
    b->files++;
    if (strstr(path, "/made/"))
        loop_stop(b->s->l);
}

static void on_beat(void *ctx)
{
    struct beat *b = ctx;
    int64_t now = clock_thread_cpu();
    b->longest = now - b->last > b->longest ? now - b->last : b->longest;
    b->last = now;
    b->turns++;
    if (b->files > 0 && !b->made) { /* while it is scanned */
        make(b->s, "made");
        put(b->s, "made/x.fits");
        b->made = true;
    }
}

static void a_large_tree_blocks_nobody(void **state)
{
    struct scene *s = *state;
    struct beat b = {.s = s};
    char name[64];
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%05d.fits", i);
        put(s, name);
    }
    b.timer = loop_timer_new(s->l, on_beat, &b);
    assert_int_equal(watch_open(s->l, &s->options, slow, &b, &s->w, &why), ST_OK);
    loop_timer_set(b.timer, 0, 1);
    b.last = clock_thread_cpu();
    run(s, NULL, 20000);
    loop_timer_free(&b.timer);
    assert_int_equal(b.files, 3001);
    print_message("3000 files, 0.3 s: %d turns, the longest %.1f ms\n", b.turns,
                  (double)b.longest / NS_PER_MS);
    assert_true(b.turns > 10);
    assert_true(b.longest < 50 * NS_PER_MS);
}

static void an_unreadable_directory_is_said_once(void **state)
{
    struct scene *s = *state;
    char path[4096];
    if (geteuid() == 0) {
        print_message("skipped: root may read everything\n");
        skip();
    }
    make(s, "shut");
    put(s, "z.fits");
    assert_int_equal(chmod(below(s, "shut", path), 0), 0);
    start(s);
    assert_true(run(s, "F:z.fits ", 20000));
    watch_scan(s->w);
    watch_scan(s->w);
    assert_int_equal(log_lines_with(s, "shut: Permission denied"), 1);
    assert_int_equal(chmod(below(s, "shut", path), 0755), 0);
    watch_scan(s->w);
    put(s, "shut/in.fits");
    assert_true(run(s, "C:shut/in.fits ", 20000));
}

/* A folder of another disk, tied in while we watch; and gone when its link is. */
static void a_linked_directory(void **state)
{
    struct scene *s = *state;
    char disk[4096], file[4200], link[4096];
    int directories = 0;
    mkdir(scratch_path(&s->scratch, "disk", disk), 0755);
    make(s, "own");
    start(s);
    run(s, NULL, 100);
    assert_int_equal(symlink(disk, below(s, "night", link)), 0);
    assert_int_equal(symlink("..", below(s, "own/loop", link)), 0);
    run(s, NULL, 100);
    assert_true(watch_has_events(s->w, &directories));
    assert_int_equal(directories, 3);
    snprintf(file, sizeof file, "%s/a.fits", disk);
    assert_int_equal(fs_write_file(file, "x", 1, false, &why), ST_OK);
    assert_true(run(s, "C:night/a.fits", 20000));
    /* Inside a folder that comes anew, and there at once. */
    char moved[4096], disk2[4096];
    mkdir(scratch_path(&s->scratch, "coming", moved), 0755);
    mkdir(scratch_path(&s->scratch, "disk2", disk2), 0755);
    assert_int_equal(symlink(disk2, scratch_path(&s->scratch, "coming/far", link)), 0);
    snprintf(file, sizeof file, "%s/b.fits", disk2);
    assert_int_equal(fs_write_file(file, "x", 1, false, &why), ST_OK);
    assert_int_equal(rename(moved, below(s, "coming", link)), 0);
    assert_true(run(s, "F:coming/far/b.fits", 20000));
    assert_null(strstr(s->seen, "loop"));
    assert_int_equal(unlink(below(s, "night", link)), 0);
    watch_scan(s->w);
    watch_has_events(s->w, &directories);
    assert_int_equal(directories, 4); /* data, own, coming, coming/far */
    s->seen[0] = '\0';
    snprintf(file, sizeof file, "%s/c.fits", disk);
    assert_int_equal(fs_write_file(file, "x", 1, false, &why), ST_OK);
    run(s, NULL, 100);
    assert_string_equal(s->seen, "");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_linked_directory), T(what_is_there_at_start), T(closed_moved_and_linked), T(renamed_by_link_and_unlink), T(noticed_within_milliseconds),
        T(directories_made_and_moved_in),
        T(a_directory_renamed_inside_keeps_reporting), T(flat_means_flat),
        T(a_vanished_directory_is_said_once_and_found_again),
        T(a_lost_event_is_made_good_by_the_rescan), T(an_overflow_loses_nothing),
        T(a_large_tree_blocks_nobody), T(too_few_watches_fall_back_to_looking), T(an_unreadable_directory_is_said_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
