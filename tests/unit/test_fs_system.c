/* Leftovers of dead processes go and those of living ones stay; locks die with their
 * process; space and kind agree with the kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "tests/unit/scratch.h"

static struct scratch dir;

/* A path in the scratch folder; good for the few names of one test. */
static const char *at(const char *name)
{
    static char paths[8][4096];
    static int next;
    next = (next + 1) % 8;
    return scratch_path(&dir, name, paths[next]);
}

static bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void holds(const char *path, const char *want)
{
    struct buf b = {0};
    struct fault why;
    assert_int_equal(fs_read_file(path, 1 << 20, &b, &why), ST_OK);
    assert_int_equal(b.len, strlen(want));
    assert_memory_equal(b.data, want, b.len);
    buf_free(&b);
}

static void put(const char *path, const char *text)
{
    struct fault why;
    assert_int_equal(fs_write_file(path, text, strlen(text), false, &why), ST_OK);
}

/* ---- leftovers and locks ---- */

/* A pid that belonged to a process of ours and is free now. */
static pid_t dead_pid(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return pid;
}

static void make(const char *name, bool old)
{
    int fd = open(at(name), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    struct timespec when[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    if (old)
        assert_int_equal(futimens(fd, when), 0);
    close(fd);
}

static void sweeps_what_is_dead(void **state)
{
    (void)state;
    struct fault why;
    bool remote;
    char young[80], deep[80], mine[80], old[80], held[80];
    long dead = dead_pid(), me = getpid();
    assert_int_equal(fs_mkdirs(at("sweep/a/b"), &why), ST_OK);
    snprintf(young, sizeof young, "sweep/.x.fits.%ld.0.part", dead);
    snprintf(deep, sizeof deep, "sweep/a/b/.y.%ld.12.part", dead);
    snprintf(mine, sizeof mine, "sweep/.z.%ld.0.part", me);
    snprintf(old, sizeof old, "sweep/.old.%ld.0.part", me);
    snprintf(held, sizeof held, "sweep/.held.%ld.0.part", me);
    make(young, false);
    make(deep, false);
    make(mine, false);
    make(old, true);
    make(held, true);
    static const char *const others[] = {"sweep/.part", "sweep/a.1.0.part", "sweep/.x.part",
                                         "sweep/.x.1.part", "sweep/.x.y.0.part", "sweep/.1.0.part",
                                         "sweep/.x.1.0.parts", "sweep/.x.1..part",
                                         "sweep/.x.99999999999999999999.0.part"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        make(others[i], true);
    int fd = open(at(held), O_RDWR);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    fs_sweep_drafts(at("sweep"));
    close(fd);
    fs_kind(dir.dir, &remote);
    if (!remote) {
        assert_false(there(at(young)));
        assert_false(there(at(deep)));
    }
    assert_true(there(at(mine)));
    assert_false(there(at(old)));
    assert_true(there(at(held)));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!there(at(others[i])))
            fail_msg("swept: %s", others[i]);
    fs_sweep_drafts(at("no such folder"));
}

static void a_killed_writer_leaves_nothing(void **state)
{
    (void)state;
    struct fault why;
    bool remote;
    int ready[2];
    assert_int_equal(fs_mkdirs(at("killed"), &why), ST_OK);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct fs_draft d;
        fs_draft_open(&d, at("killed/exposure.tar"), NULL);
        fs_write_all(d.fd, "half", 4);
        fs_write_all(ready[1], d.temp, sizeof d.temp);
        for (;;)
            pause();
    }
    char temp[4096];
    close(ready[1]);
    for (size_t got = 0; got < sizeof temp;) {
        ssize_t n = read(ready[0], temp + got, sizeof temp - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
    close(ready[0]);
    fs_sweep_drafts(at("killed"));
    assert_true(there(temp)); /* its writer lives */
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    fs_sweep_drafts(at("killed"));
    fs_kind(dir.dir, &remote);
    assert_true(remote || !there(temp));
    assert_false(there(at("killed/exposure.tar")));
}

static void locks(void **state)
{
    (void)state;
    struct fault why;
    int fd, second;
    char want[64];
    snprintf(want, sizeof want, "%ld\n", (long)getpid());
    put(at("lock"), "999999999 stale text\n");
    assert_int_equal(fs_lock(at("lock"), &fd, &why), ST_OK);
    holds(at("lock"), want);
    pid_t pid = fork();
    if (pid == 0) {
        close(fd);
        enum status st = fs_lock(at("lock"), &second, &why);
        snprintf(want, sizeof want, "pid %ld)", (long)getppid());
        _exit(st == ST_WAIT && second == -1 && strstr(why.text, want) ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    assert_int_equal(fs_lock(at("lock"), &second, &why), ST_WAIT);
    close(fd);
    assert_int_equal(fs_lock(at("lock"), &second, &why), ST_OK);
    close(second);
    assert_int_equal(fs_lock(at("no/lock"), &second, &why), ST_RETRY);
    assert_int_equal(second, -1);
}

static void a_lock_dies_with_its_process(void **state)
{
    (void)state;
    struct fault why;
    int fd;
    pid_t pid = fork();
    if (pid == 0)
        _exit(fs_lock(at("orphan"), &fd, &why) == ST_OK ? 0 : 1);
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    assert_int_equal(fs_lock(at("orphan"), &fd, &why), ST_OK);
    close(fd);
}

/* ---- the system ---- */

static void space(void **state)
{
    (void)state;
    struct statvfs s;
    int64_t free_bytes = fs_free_bytes(dir.dir);
    assert_int_equal(statvfs(dir.dir, &s), 0);
    int64_t total = (int64_t)s.f_blocks * (int64_t)s.f_frsize;
    assert_true(free_bytes > 0 && free_bytes <= total);
    assert_int_equal(fs_free_bytes(at("not there")), -1);
}

/* Against the kernel's own list of mounts. A folder may be mounted over: the last one counts. */
static void kinds(void **state)
{
    (void)state;
    static const struct {
        const char *kernel, *ours;
        bool remote;
    } known[] = {
        {"ext4", "ext4", false},   {"ext3", "ext4", false},       {"xfs", "xfs", false},
        {"btrfs", "btrfs", false}, {"tmpfs", "tmpfs", false},     {"overlay", "overlay", false},
        {"proc", "unknown", false},{"9p", "9p", true},            {"nfs", "nfs", true},
        {"nfs4", "nfs", true},     {"fuse.sshfs", "fuse", true},
    };
    static const char *const places[] = {"/", "/proc", "/dev/shm", "/tmp", "/run"};
    bool remote;
    int seen = 0;
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        char type[64] = "";
        FILE *mounts = setmntent("/proc/self/mounts", "r");
        assert_non_null(mounts);
        for (struct mntent *m; (m = getmntent(mounts));)
            if (strcmp(m->mnt_dir, places[p]) == 0)
                snprintf(type, sizeof type, "%s", m->mnt_type);
        endmntent(mounts);
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            if (strcmp(type, known[i].kernel) != 0)
                continue;
            assert_string_equal(fs_kind(places[p], &remote), known[i].ours);
            assert_int_equal(remote, known[i].remote);
            seen++;
        }
    }
    assert_true(seen > 0);
    remote = true;
    assert_string_equal(fs_kind(at("not there"), &remote), "unknown");
    assert_false(remote);
}

static int set_up(void **state)
{
    (void)state;
    return scratch_make(&dir);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sweeps_what_is_dead),
        cmocka_unit_test(a_killed_writer_leaves_nothing),
        cmocka_unit_test(locks),
        cmocka_unit_test(a_lock_dies_with_its_process),
        cmocka_unit_test(space),
        cmocka_unit_test(kinds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
