/* What `check` finds, with real directories, keys made by ssh-keygen, and sockets: each
 * problem is told with its remedy, and counted where it belongs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/fsutil.h"
#include "push/check.h"
#include "push/journal.h"
#include "push/key_file.h"
#include "push/spool.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct config config;
static struct fault why;
static char *told;
static size_t told_len;

#define OK(call)                                    \
    do {                                            \
        enum status st_ = (call);                   \
        if (st_ != ST_OK)                           \
            fail_msg("%s: %s", #call, why.text);    \
    } while (0)

static int set_up(void **state)
{
    (void)state;
    if (scratch_make(&scratch) != 0)
        return -1;
    memset(&config, 0, sizeof config);
    struct settings *s = &config.set;
    scratch_path(&scratch, "data", s->directory);
    scratch_path(&scratch, "spool", s->spool);
    scratch_path(&scratch, "key", s->identity);
    scratch_path(&scratch, "known_hosts", s->known_hosts);
    snprintf(s->pattern, sizeof s->pattern, "*.fits *.fits.fz");
    snprintf(s->host, sizeof s->host, "127.0.0.1");
    snprintf(s->user, sizeof s->user, "observer");
    s->recursive = true;
    s->port = 2222;
    snprintf(s->lanes, sizeof s->lanes, "4");
    snprintf(s->congestion, sizeof s->congestion, "system");
    s->connect_timeout_s = s->line_silence_s = 5;
    s->quota_gib = 0.001;
    return mkdir(s->directory, 0777);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    free(told);
    told = NULL;
    return 0;
}

static void begin(struct check_report *r)
{
    free(told);
    told = NULL;
    *r = (struct check_report){.to = open_memstream(&told, &told_len)};
    assert_non_null(r->to);
}

/* Ends the report: counts and no line too long, but for commands. */
static void ends(struct check_report *r, int ok, int warnings, int failures, int far_failures)
{
    fclose(r->to);
    if (r->ok != ok || r->warnings != warnings || r->failures != failures ||
        r->far_failures != far_failures)
        fail_msg("%d ok, %d warnings, %d + %d failures in:\n%s", r->ok, r->warnings, r->failures,
                 r->far_failures, told);
    for (const char *line = told; *line;) {
        size_t len = strcspn(line, "\n");
        bool command = strncmp(line, "      ", 6) == 0 && line[6] != ' ';
        if (len > 79 && !command)
            fail_msg("%zu columns: %.*s", len, (int)len, line);
        line += len + (line[len] == '\n');
    }
}

/* In what was told, words count, not where the lines break. */
static void shows(const char *part)
{
    size_t n = 0;
    char *flat = calloc(1, told_len + 1);
    assert_non_null(flat);
    for (const char *p = told; *p; p++)
        if ((*p != ' ' && *p != '\n') || (n > 0 && flat[n - 1] != ' '))
            flat[n++] = *p == '\n' ? ' ' : *p;
    if (!strstr(flat, part))
        fail_msg("no \"%s\" in:\n%s", part, told);
    free(flat);
}

static void touch(const char *name, const char *words)
{
    char path[4096];
    OK(fs_write_file(scratch_path(&scratch, name, path), words, strlen(words), false, &why));
}

static void make_directory(const char *name)
{
    char path[4096];
    OK(fs_mkdirs(scratch_path(&scratch, name, path), &why));
}

/* A /proc with these limits. */
static const char *limits(const char *watches, char path[4096])
{
    make_directory("proc/sys/fs/inotify");
    touch("proc/sys/fs/inotify/max_user_watches", watches);
    touch("proc/sys/fs/inotify/max_user_instances", "128\n");
    return scratch_path(&scratch, "proc", path);
}

/* ---- the watched directory ---- */

static void a_sound_directory(void **state)
{
    struct check_report r;
    char proc[4096];
    (void)state;
    make_directory("data/night/later");
    make_directory("data/.hidden/below");
    touch("data/a.fits", "x");
    touch("data/b.txt", "x");
    touch("data/.c.fits", "x");
    touch("data/night/later/d.fits.fz", "x");
    touch("data/.hidden/below/e.fits", "x");
    begin(&r);
    check_watch(&config, limits("8\n", proc), &r);
    ends(&r, 2, 0, 0, 0);
    shows(": 2 files of *.fits *.fits.fz in it now");
    shows("ok inotify 3 directories to watch, of at most 8");
    config.set.recursive = false;
    begin(&r);
    check_watch(&config, proc, &r);
    ends(&r, 2, 0, 0, 0);
    shows(": 1 file of *.fits *.fits.fz in it now");
    shows("ok inotify 1 directory to watch, of at most 8");
    /* Links: a folder of another disk counts, a second name and a way back do not. */
    char link[4096];
    config.set.recursive = true;
    make_directory("disk2");
    touch("disk2/f.fits", "x");
    assert_int_equal(symlink("../disk2", scratch_path(&scratch, "data/linked", link)), 0);
    assert_int_equal(symlink("night", scratch_path(&scratch, "data/again.fits", link)), 0);
    assert_int_equal(symlink("..", scratch_path(&scratch, "data/night/up", link)), 0);
    begin(&r);
    check_watch(&config, proc, &r);
    ends(&r, 2, 0, 0, 0);
    shows(": 3 files of *.fits *.fits.fz in it now");
    shows("ok inotify 4 directories to watch, of at most 8");
}

static void too_many_directories(void **state)
{
    struct check_report r;
    char proc[4096];
    (void)state;
    for (char name[] = "data/a"; name[5] < 'g'; name[5]++)
        make_directory(name); /* 7 in all */
    begin(&r);
    check_watch(&config, limits("8\n", proc), &r);
    ends(&r, 1, 1, 0, 0);
    shows("warn inotify 7 directories are to be watched, and the kernel allows 8");
    shows("sudo sysctl fs.inotify.max_user_watches=524288");
    begin(&r);
    check_watch(&config, limits("12\n", proc), &r);
    ends(&r, 2, 0, 0, 0);
    begin(&r);
    check_watch(&config, "/nonexistent", &r);
    ends(&r, 1, 1, 0, 0);
    shows("cannot be read; 7 are needed");
}

/* It is easily left behind when the camera becomes another one. */
static void a_pattern_before_the_profiles(void **state)
{
    struct check_report r;
    (void)state;
    touch("data/a.fit", "x");
    snprintf(config.camera.pattern, sizeof config.camera.pattern, "*.fit");
    begin(&r);
    check_watch(&config, "/proc", &r);
    ends(&r, 2, 1, 0, 0);
    shows("[watch] pattern = *.fits *.fits.fz goes before that of the camera's profile, *.fit");
    shows(": 0 files of *.fits *.fits.fz in it now");
    config.set.pattern[0] = '\0';
    begin(&r);
    check_watch(&config, "/proc", &r);
    ends(&r, 2, 0, 0, 0);
    shows(": 1 file of *.fit in it now");
}

static void wrong_directories(void **state)
{
    struct check_report r;
    (void)state;
    snprintf(config.set.pattern, sizeof config.set.pattern, "  ");
    strncat(config.set.directory, "/gone", 6);
    begin(&r);
    check_watch(&config, "/proc", &r);
    ends(&r, 0, 0, 2, 0);
    shows("[watch] pattern is empty");
    shows("/data/gone: No such file or directory Mount it, make it,");
    touch("data/gone", "x");
    begin(&r);
    check_watch(&config, "/proc", &r);
    ends(&r, 0, 0, 2, 0);
    shows("/data/gone: is not a directory");
    config.set.directory[0] = '\0';
    begin(&r);
    check_watch(&config, "/proc", &r);
    ends(&r, 0, 0, 2, 0);
    shows("FAIL watch no directory to watch Set [watch] directory, or give --data-dir DIR.");
}

static void unreadable_directories(void **state)
{
    struct check_report r;
    char path[4096], proc[4096];
    (void)state;
    if (geteuid() == 0) {
        print_message("skipped: root can read everything\n");
        skip();
    }
    limits("1000\n", proc);
    make_directory("data/closed");
    chmod(scratch_path(&scratch, "data/closed", path), 0);
    begin(&r);
    check_watch(&config, proc, &r);
    chmod(path, 0700);
    ends(&r, 2, 1, 0, 0);
    shows("warn watch 1 directory below cannot be read: ");
    chmod(config.set.directory, 0);
    begin(&r);
    check_watch(&config, proc, &r);
    chmod(config.set.directory, 0700);
    ends(&r, 0, 0, 1, 0);
    shows("/data: Permission denied");
}

/* ---- the spool ---- */

/* A scratch folder on tmpfs is rightly warned of: then there is one warning more. */
static int memory_disk(void)
{
    bool remote;
    return strcmp(fs_kind(scratch.dir, &remote), "tmpfs") == 0;
}

static void a_sound_spool_is_made(void **state)
{
    struct check_report r;
    char path[4096];
    struct stat st;
    (void)state;
    begin(&r);
    check_spool(&config, &r);
    ends(&r, 3, memory_disk(), 0, 0);
    shows(") can be written ");
    shows("bundles may take 0.001 GiB, files there take 0.00 now");
    shows("ok journal none yet; the agent makes it");
    assert_int_equal(stat(scratch_path(&scratch, "spool", path), &st), 0);
    assert_int_equal(rmdir(path), 0); /* and nothing was left in it */
}

static void journal_and_agent_are_told(void **state)
{
    struct check_report r;
    struct journal *j = NULL;
    struct spool s;
    char path[4096];
    (void)state;
    OK(spool_open(config.set.spool, &s, &why));
    OK(journal_open(config.set.spool, false, &j, &why));
    struct exposure e = {.path = "/data/a.fits", .name = "a"};
    exposure_restart(&e, &(struct identity){10, 20, 30}, 40);
    OK(journal_add(j, &e, &why));
    begin(&r);
    check_spool(&config, &r);
    ends(&r, 3, memory_disk(), 0, 0);
    shows("is in use by an agent, pid ");
    shows("ok journal 0 exposures delivered, 1 on their way, 0 parked");
    e.state = EXPOSURE_PARKED;
    OK(journal_save(j, &e, &why));
    begin(&r);
    check_spool(&config, &r);
    ends(&r, 2, 1 + memory_disk(), 0, 0);
    shows("1 parked skyferry-push status tells why");
    journal_close(&j);
    spool_close(&s);
    OK(fs_write_file(scratch_path(&scratch, "spool/" JOURNAL_NAME, path),
                     "this is no database at all, is it?", 34, false, &why));
    begin(&r);
    check_spool(&config, &r);
    ends(&r, 2, memory_disk(), 1, 0);
    shows("FAIL journal ");
    shows("stop the agent and move it away");
}

static void quota_beyond_the_disk(void **state)
{
    struct check_report r;
    (void)state;
    config.set.quota_gib = 1e6;
    begin(&r);
    check_spool(&config, &r);
    ends(&r, 2, 1 + memory_disk(), 0, 0);
    shows("quota_gib = 1e+06 would use ");
    shows("lower quota_gib.");
}

static void wrong_spools(void **state)
{
    struct check_report r;
    (void)state;
    snprintf(config.set.spool, sizeof config.set.spool, "%.4000s/spool", config.set.directory);
    begin(&r);
    check_spool(&config, &r);
    ends(&r, 0, 0, 1, 0);
    shows("/data/spool lies in the watched directory Name a place outside of it");
    assert_int_equal(access(config.set.spool, F_OK), -1);
    touch("file", "x");
    scratch_path(&scratch, "file/spool", config.set.spool);
    begin(&r);
    check_spool(&config, &r);
    ends(&r, 0, 0, 1, 0);
    shows("Not a directory");
    shows("[spool] directory.");
}

/* ---- the key ---- */

/* Runs a program; its output's first 500 bytes. -1 when it cannot be started. */
static int run(char *const argv[], char out[500])
{
    int fds[2], end = 0;
    size_t len = 0;
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(fds[1]);
    for (ssize_t n; len < 499 && (n = read(fds[0], out + len, 499 - len)) > 0;)
        len += (size_t)n;
    out[len] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &end, 0), pid);
    return WIFEXITED(end) && WEXITSTATUS(end) != 127 ? WEXITSTATUS(end) : -1;
}

static void make_key(const char *type, const char *passphrase)
{
    char out[500];
    unlink(config.set.identity);
    char *argv[] = {"ssh-keygen", "-q", "-t", (char *)type, "-N", (char *)passphrase, "-C", "",
                    "-f", config.set.identity, NULL};
    int code = run(argv, out);
    if (code == -1) {
        print_message("skipped: no ssh-keygen here\n");
        skip();
    }
    assert_int_equal(code, 0);
}

static void a_sound_key(void **state)
{
    struct check_report r;
    struct key_file k;
    char out[500];
    (void)state;
    make_key("ed25519", "");
    begin(&r);
    assert_true(check_identity(&config, &r));
    ends(&r, 1, 0, 0, 0);
    shows(": Ed25519, no passphrase, SHA256:");
    OK(key_file_read(config.set.identity, &k, &why));
    assert_string_equal(k.type, "ssh-ed25519");
    assert_false(k.locked);
    char *argv[] = {"ssh-keygen", "-l", "-f", config.set.identity, NULL};
    assert_int_equal(run(argv, out), 0);
    char *second = strchr(out, ' ') + 1; /* 256 SHA256:... comment (ED25519) */
    second[strcspn(second, " ")] = '\0';
    assert_string_equal(k.fingerprint, second);
    chmod(config.set.identity, 0640);
    begin(&r);
    assert_true(check_identity(&config, &r));
    ends(&r, 0, 0, 1, 0);
    shows("can be read by others (mode 640) chmod 600 ");
}

static void a_key_with_a_passphrase(void **state)
{
    struct check_report r;
    (void)state;
    make_key("ed25519", "secret");
    begin(&r);
    assert_false(check_identity(&config, &r));
    ends(&r, 0, 0, 1, 0);
    shows("has a passphrase, and at night nobody is there to type it");
    shows("ssh-keygen -p -N '' -f ");
}

static void a_key_of_another_type(void **state)
{
    struct check_report r;
    (void)state;
    make_key("ecdsa", "");
    begin(&r);
    assert_false(check_identity(&config, &r));
    ends(&r, 0, 0, 1, 0);
    shows("is a key of type ecdsa-sha2-nistp256; only Ed25519 is supported");
}

static void files_that_are_no_key(void **state)
{
    static const struct {
        const char *words, *told;
    } cases[] = {
        {"", "it is empty"},
        {"hello\n", "it is no private key"},
        {"ssh-ed25519 AAAA me\n", "it is a public key"},
        {"PuTTY-User-Key-File-3: ssh-ed25519\n", "puttygen can export it"},
        {"-----BEGIN RSA PRIVATE KEY-----\n", "another format"},
        {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n", "damaged"},
        {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA////\n"
         "-----END OPENSSH PRIVATE KEY-----\n", "damaged"},
        {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb*\n-----END OPENSSH PRIVATE KEY-----\n",
         "damaged"},
    };
    struct check_report r;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        touch("key", cases[i].words);
        begin(&r);
        assert_false(check_identity(&config, &r));
        ends(&r, 0, 0, 1, 0);
        shows(cases[i].told);
        shows("Name the private key's file in [ship] identity.");
    }
    scratch_path(&scratch, "later/key", config.set.identity);
    begin(&r);
    assert_false(check_identity(&config, &r));
    ends(&r, 0, 0, 1, 0);
    shows("/later/key: No such file or directory");
    shows("/later ssh-keygen -t ed25519 -N '' -f ");
    shows("mkdir -p -m 700 ");
}

/* Every cut of a sound key is refused, none is read past its end (ASan looks on). */
static void cut_keys(void **state)
{
    struct buf whole = {0};
    struct key_file k;
    char path[4096];
    (void)state;
    make_key("ed25519", "");
    OK(fs_read_file(config.set.identity, 65536, &whole, &why));
    scratch_path(&scratch, "cut", path);
    for (size_t len = 40; len < 110; len++) { /* the public key ends after that */
        char text[400];
        int n = snprintf(text, sizeof text, "%.*s\n-----END OPENSSH PRIVATE KEY-----\n", (int)len,
                         (char *)whole.data);
        OK(fs_write_file(path, text, (size_t)n, false, &why));
        assert_int_equal(key_file_read(path, &k, &why), ST_REJECT);
        assert_string_equal(why.text, "it begins like a private key, but is damaged");
    }
    buf_free(&whole);
}

/* ---- the far end's key ---- */

static void known_hosts_are_searched(void **state)
{
    static const struct {
        const char *words;
        int port;
        bool found;
        const char *told;
    } cases[] = {
        {"[127.0.0.1]:2222 ssh-ed25519 AAAA\n", 2222, true, "the key of 127.0.0.1 is pinned "},
        {"[127.0.0.1]:2222 ssh-ed25519 AAAA", 2223, false, "has no key of 127.0.0.1 port 2223"},
        {"# a\n\nlogin,127.0.0.1 ssh-ed25519 AAAA x\n", 22, true, "pinned "},
        {"login,127.0.0.11,127.0.0 ssh-ed25519 AAAA x\n", 22, false, "ssh-keyscan -t ed25519 127"},
        {"127.0.0.1 ssh-rsa AAAA\n", 22, true, "(no Ed25519 key"},
        {"@revoked 127.0.0.1 ssh-ed25519 AAAA\n", 22, false, "has no key"},
        {"#127.0.0.1 ssh-ed25519 AAAA\n127.0.0.1 ssh-ed25519\n", 22, false, "has no key"},
        {"|1|c2FsdA==|aGFzaA== ssh-ed25519 AAAA\n", 22, true, "1 hashed name, the connection"},
        {"", 2222, false, "ssh-keyscan -t ed25519 -p 2222 127.0.0.1 >> "},
    };
    struct check_report r;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        touch("known_hosts", cases[i].words);
        config.set.port = cases[i].port;
        begin(&r);
        assert_int_equal(check_known_hosts(&config, &r), cases[i].found);
        ends(&r, cases[i].found, 0, !cases[i].found, 0);
        shows(cases[i].told);
    }
    unlink(config.set.known_hosts);
    begin(&r);
    assert_false(check_known_hosts(&config, &r));
    ends(&r, 0, 0, 1, 0);
    shows("No such file or directory");
    shows("ssh-keygen -lf ");
}

/* ---- the far end ---- */

static int listening(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&at, size) == 0 && listen(fd, 4) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static void nobody_listens(void **state)
{
    struct check_report r;
    (void)state;
    close(listening(&config.set.port));
    begin(&r);
    check_far_end(&config, &r);
    ends(&r, 0, 0, 0, 1);
    shows("FAIL network 127.0.0.1 port ");
    shows("Connection refused");
    shows("does sshd listen there");
}

static void something_else_listens(void **state)
{
    struct check_report r;
    (void)state;
    make_key("ed25519", "");
    touch("known_hosts", "127.0.0.1 ssh-ed25519 AAAA\n");
    int fd = listening(&config.set.port);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        for (;;) {
            int line = accept(fd, NULL, NULL);
            (void)!write(line, "220 mail.example ESMTP\r\n", 24);
            close(line);
        }
    }
    begin(&r);
    check_far_end(&config, &r);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fd);
    ends(&r, 1, 0, 0, 1);
    shows("ok network 127.0.0.1 port ");
    shows("FAIL far end ");
    shows("ssh -v -T -o IdentitiesOnly=yes -i ");
    shows("observer@127.0.0.1");
}

static int command(void)
{
    int end = 0;
    char path[4096];
    struct buf b = {0};
    scratch_path(&scratch, "out", path);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (!freopen(path, "w", stdout))
            _exit(99);
        _exit(check_command(&config));
    }
    assert_int_equal(waitpid(pid, &end, 0), pid);
    assert_true(WIFEXITED(end));
    OK(fs_read_file(path, 1 << 20, &b, &why));
    assert_true(buf_append(&b, "", 1));
    free(told);
    told = (char *)b.data;
    told_len = b.len;
    return WEXITSTATUS(end);
}

static void exit_status_tells(void **state)
{
    (void)state;
    make_key("ed25519", "");
    close(listening(&config.set.port));
    touch("known_hosts", "127.0.0.1 ssh-ed25519 AAAA\n");
    assert_int_equal(command(), EXIT_UNREACHABLE);
    shows(" 0 problems here, 1 with the far end, ");
    config.set.directory[0] = '\0';
    assert_int_equal(command(), EXIT_FAILED);
    shows(" 1 problem here, 1 with the far end, ");
    config.set.host[0] = '\0';
    unlink(config.set.identity);
    assert_int_equal(command(), EXIT_FAILED);
    shows("no directory to watch");
    shows("no host is named");
    shows("ssh-keygen -t ed25519");
    shows("warn far end not tried: first mend what is above");
    shows(" 3 problems here, 0 with the far end, ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sound_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_directories, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pattern_before_the_profiles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_directories, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unreadable_directories, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sound_spool_is_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(journal_and_agent_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quota_beyond_the_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_spools, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sound_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_with_a_passphrase, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_of_another_type, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_that_are_no_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cut_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(known_hosts_are_searched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_listens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(something_else_listens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(exit_status_tells, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
