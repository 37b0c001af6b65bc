/* The part of `check` that is about the line: our key, the far end's key, and the far end. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "push/check.h"
#include "push/key_file.h"
#include "push/lane_net.h"

#define FILE_MAX (1u << 20)
#define GIB (1024.0 * 1024 * 1024)
#define FAR_LEAST (10 * GIB)
#define CHANNEL_WINDOW (2.0 * 1024 * 1024) /* of OpenSSH's server: so much a round trip */

bool check_host(const struct config *c, struct check_report *r)
{
    if (c->set.host[0])
        return true;
    check_say(r, CHECK_FAIL, "far end", "no host is named");
    check_remedy(r, "Set [ship] host, or give --ssh-host HOST.");
    return false;
}

/* A file's directory may have to be made before the command that makes the file. */
static void type_mkdir(struct check_report *r, const char *path)
{
    char directory[4096];
    int len = (int)(fs_basename(path) - path);
    if (len <= 1)
        return;
    snprintf(directory, sizeof directory, "%.*s", len - 1, path);
    if (access(directory, F_OK) != 0)
        check_type(r, "mkdir -p -m 700 %s", directory);
}

/* ---- our key ---- */

static void tell_new_key(const char *path, struct check_report *r)
{
    check_remedy(r, "Make a key of its own for skyferry, then put the .pub file's line into "
                    "~/.ssh/authorized_keys at the far end, as skyferry-pull check says there:");
    type_mkdir(r, path);
    check_type(r, "ssh-keygen -t ed25519 -N '' -f %s", path);
}

static bool key_sound(const char *path, const struct key_file *k, struct check_report *r)
{
    if (strcmp(k->type, "ssh-ed25519") != 0) {
        check_say(r, CHECK_FAIL, "identity", "%s is a key of type %s; only Ed25519 is supported",
                  path, k->type);
        check_remedy(r, "Name another file in [ship] identity, and make it:");
        check_type(r, "ssh-keygen -t ed25519 -N '' -f %s_ed25519", path);
        return false;
    }
    if (k->locked) {
        check_say(r, CHECK_FAIL, "identity", "%s has a passphrase, and at night nobody is there to "
                  "type it", path);
        check_remedy(r, "Take it away (the far end lets this key do nothing but deliver):");
        check_type(r, "ssh-keygen -p -N '' -f %s", path);
        return false;
    }
    return true;
}

bool check_identity(const struct config *c, struct check_report *r)
{
    const char *path = c->set.identity;
    struct key_file key;
    struct fault why;
    struct stat st;
    if (stat(path, &st) != 0) {
        check_say(r, CHECK_FAIL, "identity", "%s: %s", path, strerror(errno));
        tell_new_key(path, r);
        return false;
    }
    enum status grade = key_file_read(path, &key, &why);
    if (grade != ST_OK) {
        check_say(r, CHECK_FAIL, "identity", "%s: %s", path, why.text);
        check_remedy(r, grade == ST_REJECT ? "Name the private key's file in [ship] identity."
                                           : "Let this account, and no other, read it.");
        return false;
    }
    if (!key_sound(path, &key, r))
        return false;
    if (st.st_mode & 077) {
        check_say(r, CHECK_FAIL, "identity", "%s can be read by others (mode %03o)", path,
                  (unsigned)(st.st_mode & 0777));
        check_type(r, "chmod 600 %s", path);
        return true;
    }
    check_say(r, CHECK_OK, "identity", "%s: Ed25519, no passphrase, %s", path, key.fingerprint);
    return true;
}

/* ---- the far end's key ---- */

struct pinned {
    int plain, hashed;
    bool ed25519;
};

/* As libssh2 compares: with the port, and without it whatever the port is. */
static bool names_host(const char *names, const char *host, int port)
{
    char exact[300];
    snprintf(exact, sizeof exact, "[%s]:%d", host, port);
    for (size_t len; *names; names += len + (names[len] == ',')) {
        len = strcspn(names, ",");
        bool plain = strlen(host) == len && strncmp(names, host, len) == 0;
        if (plain || (strlen(exact) == len && strncmp(names, exact, len) == 0))
            return true;
    }
    return false;
}

/* sshd(8), SSH_KNOWN_HOSTS FILE FORMAT; lines with a @marker are not used by the lanes. */
static void look_at_line(char *line, const struct settings *s, struct pinned *out)
{
    char *rest = NULL, *names = strtok_r(line, " \t\r", &rest);
    char *type = names ? strtok_r(NULL, " \t\r", &rest) : NULL;
    char *key = type ? strtok_r(NULL, " \t\r", &rest) : NULL;
    if (!key || names[0] == '#' || names[0] == '@')
        return;
    if (names[0] == '|') {
        out->hashed++;
    } else if (names_host(names, s->host, s->port)) {
        out->plain++;
        out->ed25519 |= strcmp(type, "ssh-ed25519") == 0;
    }
}

static enum status read_pinned(const struct settings *s, struct pinned *out, struct fault *why)
{
    struct buf text = {0};
    memset(out, 0, sizeof *out);
    enum status st = fs_read_file(s->known_hosts, FILE_MAX, &text, why);
    if (st == ST_OK && !buf_append(&text, "", 1))
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK) {
        for (char *line = (char *)text.data, *next; line; line = next) {
            next = strchr(line, '\n');
            if (next)
                *next++ = '\0';
            look_at_line(line, s, out);
        }
    }
    buf_free(&text);
    return st;
}

static void tell_keyscan(const struct settings *s, struct check_report *r)
{
    char port[32] = "";
    check_remedy(r, "Fetch its key, and compare the fingerprint with what the far end's people "
                    "publish:");
    if (s->port != 22)
        snprintf(port, sizeof port, "-p %d ", s->port);
    type_mkdir(r, s->known_hosts);
    check_type(r, "ssh-keyscan -t ed25519 %s%s >> %s", port, s->host, s->known_hosts);
    check_type(r, "ssh-keygen -lf %s", s->known_hosts);
}

bool check_known_hosts(const struct config *c, struct check_report *r)
{
    const struct settings *s = &c->set;
    struct pinned found;
    struct fault why;
    if (read_pinned(s, &found, &why) != ST_OK) {
        check_say(r, CHECK_FAIL, "known_hosts", "%s", why.text);
        if (s->host[0])
            tell_keyscan(s, r);
        return false;
    }
    if (!s->host[0])
        return false;
    if (found.plain == 0 && found.hashed == 0) {
        check_say(r, CHECK_FAIL, "known_hosts", "%s has no key of %s port %d", s->known_hosts,
                  s->host, s->port);
        tell_keyscan(s, r);
        return false;
    }
    if (found.plain == 0)
        check_say(r, CHECK_OK, "known_hosts", "%s: %d hashed name%s, the connection will tell",
                  s->known_hosts, found.hashed, found.hashed == 1 ? "" : "s");
    else
        check_say(r, CHECK_OK, "known_hosts", "%s: the key of %s is pinned%s", s->known_hosts,
                  s->host, found.ed25519 ? "" : " (no Ed25519 key, which is the best choice)");
    return true;
}

/* ---- the connection ---- */

static void tell_pace(const struct settings *s, double ms, struct check_report *r)
{
    int lanes = settings_lanes(s);
    double mbit = ms > 0 ? lanes * CHANNEL_WINDOW * 8 / 1e6 / (ms / 1e3) : 1e9;
    if (ms < 0)
        check_say(r, CHECK_OK, "network", "%s port %d answers", s->host, s->port);
    else if (lanes > 0 && mbit < 1000)
        check_say(r, CHECK_OK, "network", "%s port %d answers; round trip %.0f ms, at which %d "
                  "connection%s carr%s at most %.0f Mbit/s ([ship] lanes)", s->host, s->port, ms,
                  lanes, lanes == 1 ? "" : "s", lanes == 1 ? "ies" : "y", mbit);
    else
        check_say(r, CHECK_OK, "network", "%s port %d answers; round trip %.2f ms", s->host,
                  s->port, ms);
}

static void tell_congestion(const struct settings *s, int fd, struct check_report *r)
{
    char name[16];
    net_congestion(fd, name);
    if (strcmp(s->congestion, "system") == 0 || strcmp(s->congestion, name) == 0 || !name[0])
        return;
    check_say(r, CHECK_WARN, "congestion", "this machine does not give us %s; %s is used, which "
              "fills a long or lossy line less well", s->congestion, name);
    check_remedy(r, "As root: modprobe tcp_%s, and add %s to sysctl "
                    "net.ipv4.tcp_allowed_congestion_control; or set [ship] congestion = system",
                 s->congestion, s->congestion);
}

static bool reach(const struct settings *s, struct check_report *r)
{
    struct net_target to = {.host = s->host, .port = s->port, .silence_s = s->line_silence_s,
                            .knock_ns = NS_PER_S, .congestion = s->congestion};
    struct net_pulse pulse;
    struct fault why;
    int fd = -1;
    int64_t deadline = clock_mono() + s->connect_timeout_s * NS_PER_S;
    if (net_connect(&to, deadline, -1, &fd, &why) != ST_OK) {
        check_say(r, CHECK_FAR_FAIL, "network", "%s", why.text);
        check_remedy(r, "Are [ship] host and port right, is this machine's network up, does sshd "
                        "listen there, and does no firewall on the way refuse it?");
        return false;
    }
    net_pulse(fd, &pulse);
    tell_pace(s, pulse.rtt_ns > 0 ? (double)pulse.rtt_ns / NS_PER_MS : -1, r);
    tell_congestion(s, fd, r);
    close(fd);
    return true;
}

static void tell_ssh(const struct lane_options *o, struct check_report *r)
{
    check_remedy(r, "What SSH itself says (end it with ctrl-C):");
    if (o->sftp) {
        check_type(r, "sftp -v -o IdentitiesOnly=yes -i %s -o UserKnownHostsFile=%s -P %d %s@%s",
                   o->identity, o->known_hosts, o->port, o->user, o->host);
        return;
    }
    check_type(r, "ssh -v -T -o IdentitiesOnly=yes -i %s -o UserKnownHostsFile=%s -p %d %s@%s",
               o->identity, o->known_hosts, o->port, o->user, o->host);
}

/* What the greeting over SFTP has tried: the subsystem, a file in the folder, its rename and its
 * way to the disk; and whether skyferry-pull is at work behind it. */
static void tell_drops(const struct lane_options *o, const struct wire_hello *h,
                       struct check_report *r)
{
    bool renames = strstr(h->server, "posix-rename"), syncs = strstr(h->server, "fsync");
    check_say(r, CHECK_OK, "sftp", "the drop folder '%s' can be written; %s, %s",
              o->sftp_directory, renames ? "posix-rename" : "no posix-rename: a name that is taken is "
              "removed first", syncs ? "fsync" : "no fsync: skyferry-pull alone does it");
    if (h->quiet_s == 0) {
        check_say(r, CHECK_OK, "drops", "taken by %s, protocol %d, store '%s'", h->software,
                  h->protocol, h->agent);
        return;
    }
    if (h->quiet_s < 0)
        check_say(r, CHECK_WARN, "drops", "skyferry-pull does not run behind this folder");
    else
        check_say(r, CHECK_WARN, "drops", "skyferry-pull does not run there: no sign of life for "
                  "%d s", h->quiet_s);
    check_remedy(r, "Exposures land and wait, none counts as delivered. Start skyferry-pull run there, "
                    "with [store] drops naming this very folder.");
}

void check_far_end(const struct config *c, struct check_report *r)
{
    struct lane_options o;
    struct wire_hello hello = {0};
    struct buf none = {0};
    struct fault why;
    if (!reach(&c->set, r))
        return;
    settings_lane(&c->set, &o);
    int64_t begun = clock_mono();
    enum status st = lane_ask(&o, NULL, &hello, &none, &why);
    buf_free(&none);
    if (st != ST_OK) {
        check_say(r, CHECK_FAR_FAIL, "far end", "%s", why.text);
        tell_ssh(&o, r);
        return;
    }
    double took = (double)(clock_mono() - begun) / NS_PER_S;
    if (o.sftp) {
        check_say(r, CHECK_OK, "far end", "%s@%s was let in, by SFTP, after %.1f s", o.user, o.host,
                  took);
        tell_drops(&o, &hello, r);
    } else {
        check_say(r, CHECK_OK, "far end", "%s, protocol %d, store '%s'; %s@%s was let in after "
                  "%.1f s", hello.software, hello.protocol, hello.agent, o.user, o.host, took);
    }
    if (o.sftp && hello.quiet_s != 0 && !strstr(hello.server, "statvfs"))
        return; /* nobody tells the space */
    double room = (double)hello.free_bytes;
    check_say(r, room < FAR_LEAST ? CHECK_WARN : CHECK_OK, "far space", "%.1f GiB free for bundles "
              "and FITS files there", room / GIB);
    if (room < FAR_LEAST)
        check_remedy(r, "Ask the far end to make room; while there is none, exposures wait here.");
}
