/* A private OpenSSH server for test_push_lane: on a free loopback port, with throw-away keys,
 * whose only user key runs this test program as a fake far end. Works as root and as an
 * ordinary user. */
#ifndef SKYFERRY_SSHD_FIXTURE_H
#define SKYFERRY_SSHD_FIXTURE_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "push/lane.h"
#include "tests/unit/fake_far.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static pid_t sshd_pid;
static int sshd_port;
static char self[4096], sshd_path[4096];

static inline const char *at(const char *name)
{
    static char paths[8][4096];
    static int next;
    next = (next + 1) % 8;
    return scratch_path(&dir, name, paths[next]);
}

static inline void put_file(const char *name, const char *fmt, ...)
{
    struct buf b = {0};
    struct fault why;
    char text[8192];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assert_int_equal(fs_write_file(at(name), text, strlen(text), false, &why), ST_OK);
    assert_int_equal(chmod(at(name), 0600), 0);
    buf_free(&b);
}

/* The text of a file of the folder, its last newline cut. */
static inline const char *get_file(const char *name)
{
    static char texts[4][4096];
    static int next;
    struct buf b = {0};
    struct fault why;
    char *text = texts[next = (next + 1) % 4];
    assert_int_equal(fs_read_file(at(name), 4000, &b, &why), ST_OK);
    memcpy(text, b.data, b.len);
    text[b.len] = '\0';
    text[strcspn(text, "\n")] = '\0';
    buf_free(&b);
    return text;
}

static inline void run(char *const argv[])
{
    int end = -1;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        execvp(argv[0], argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &end, 0), pid);
    assert_int_equal(end, 0);
}

static inline void make_key(const char *name, char *type, char *passphrase)
{
    char path[4096];
    snprintf(path, sizeof path, "%s", at(name));
    run((char *[]){"ssh-keygen", "-q", "-t", type, "-N", passphrase, "-C", "test", "-f", path,
                   NULL});
}

static inline bool find_sshd(void)
{
    const char *path = getenv("PATH");
    char all[4096];
    snprintf(all, sizeof all, "%s:/usr/sbin:/sbin", path ? path : "");
    for (char *save = NULL, *p = strtok_r(all, ":", &save); p; p = strtok_r(NULL, ":", &save)) {
        snprintf(sshd_path, sizeof sshd_path, "%s/sshd", p);
        if (p[0] == '/' && access(sshd_path, X_OK) == 0)
            return true;
    }
    return false;
}

/* A listening socket on a free loopback port, kept (to answer nothing) or closed again. */
static inline int free_port(int *kept)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    if (kept) {
        assert_int_equal(listen(fd, 1), 0);
        *kept = fd;
    } else {
        close(fd);
    }
    return ntohs(a.sin_port);
}

static inline bool answers_at(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[4] = "";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = connect(fd, (struct sockaddr *)&a, sizeof a) == 0 && read(fd, text, 3) == 3 &&
               strcmp(text, "SSH") == 0;
    close(fd);
    return yes;
}

static inline void short_sleep(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
}

static inline void sshd_stop(void)
{
    if (sshd_pid <= 0)
        return;
    kill(sshd_pid, SIGTERM);
    waitpid(sshd_pid, NULL, 0);
    sshd_pid = 0;
}

static inline bool sshd_try(void)
{
    sshd_pid = fork();
    if (sshd_pid == 0) {
        execl(sshd_path, sshd_path, "-D", "-f", at("sshd_config"), "-E", at("sshd.log"), NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && waitpid(sshd_pid, NULL, WNOHANG) == 0; i++) {
        if (answers_at(sshd_port))
            return true;
        short_sleep();
    }
    sshd_stop();
    return false;
}

/* Lines given come first and so win. */
static inline void sshd_start(const char *lines)
{
    if (geteuid() == 0)
        mkdir("/run/sshd", 0755);
    for (int i = 0; i < 20; i++) {
        sshd_port = free_port(NULL);
        put_file("sshd_config",
                 "%s\nListenAddress 127.0.0.1\nPort %d\nHostKey %s\nAuthorizedKeysFile %s\n"
                 "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
                 "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
                 "SetEnv HOME=%s\n", /* no ~/.bashrc has a part in the test */
                 lines, sshd_port, at("host_key"), at("authorized_keys"), dir.dir);
        if (sshd_try())
            return;
    }
    fail_msg("a private sshd could not be started: %s", get_file("sshd.log"));
}

static inline bool relay_bytes(int from, int to)
{
    char piece[4096];
    ssize_t n = read(from, piece, sizeof piece);
    return n > 0 && fs_write_all(to, piece, (size_t)n) == 0;
}

static inline void relay_main(int listening)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)sshd_port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int near = accept(listening, NULL, NULL), far = socket(AF_INET, SOCK_STREAM, 0);
    if (near < 0 || connect(far, (struct sockaddr *)&a, sizeof a) != 0)
        _exit(1);
    for (bool up = true; up;) {
        struct pollfd p[2] = {{.fd = near, .events = POLLIN}, {.fd = far, .events = POLLIN}};
        poll(p, 2, -1);
        if (p[0].revents)
            up = relay_bytes(near, far);
        if (up && p[1].revents)
            up = relay_bytes(far, near);
        nanosleep(&(struct timespec){.tv_nsec = 500 * 1000}, NULL);
    }
    _exit(0);
}

/* A thin line to the server, for one connection: a few MB/s and small buffers, so that the
 * sender's socket is full most of the time. *port is where it begins. */
static inline pid_t relay_start(int *port)
{
    int listening, small = 16384;
    *port = free_port(&listening);
    setsockopt(listening, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    pid_t pid = fork();
    if (pid == 0)
        relay_main(listening);
    close(listening);
    return pid;
}

static inline void relay_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* What the user's key runs from now on. */
static inline void far_is(const char *mode)
{
    put_file("authorized_keys", "restrict,command=\"%s far '%s' '%s'\" %s\n", self, mode, dir.dir,
             get_file("user_key.pub"));
    unlink(at("bytes"));
    unlink(at("bye"));
    unlink(at("session"));
}

static inline void pin_at(int port, const char *public_key)
{
    char type[64], key[2048];
    assert_int_equal(sscanf(get_file(public_key), "%63s %2047s", type, key), 2);
    put_file("known_hosts", "# pinned\n\n[127.0.0.1]:%d %s %s\n", port, type, key);
}

static inline void pin(const char *public_key)
{
    pin_at(sshd_port, public_key);
}

static inline struct lane_options to_far(void)
{
    struct lane_options o = {.port = sshd_port, .connect_timeout_s = 20, .silence_s = 20};
    struct passwd *me = getpwuid(geteuid());
    assert_non_null(me);
    snprintf(o.host, sizeof o.host, "127.0.0.1");
    snprintf(o.user, sizeof o.user, "%s", me->pw_name);
    snprintf(o.identity, sizeof o.identity, "%s", at("user_key"));
    snprintf(o.known_hosts, sizeof o.known_hosts, "%s", at("known_hosts"));
    snprintf(o.agent, sizeof o.agent, "test:1");
    return o;
}

/* False, with a word printed, where there is no OpenSSH. */
static inline bool sshd_prepare(void)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0 || scratch_make(&dir) != 0)
        return false;
    self[n] = '\0';
    if (!find_sshd()) {
        printf("# skipped: no sshd here (Debian: openssh-server)\n");
        return false;
    }
    make_key("host_key", "ed25519", "");
    make_key("other_host_key", "ed25519", "");
    make_key("ecdsa_host_key", "ecdsa", "");
    make_key("user_key", "ed25519", "");
    make_key("locked_key", "ed25519", "secret");
    return true;
}

#endif
