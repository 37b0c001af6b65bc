#include "push/check.h"

#include <errno.h>
#include <fts.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "common/watch_inner.h"
#include "push/journal.h"
#include "push/screen.h"
#include "push/spool.h"

#define INDENT 19 /* of the words behind "FAIL  known_hosts  " */
#define GIB (1024.0 * 1024 * 1024)
#define LEAST_FREE (1LL << 30) /* less cannot take one whole exposure of the larger cameras */

/* ---- findings ---- */

static void say(FILE *to, const char *first, const char *fmt, va_list args)
{
    char words[2048];
    vsnprintf(words, sizeof words, fmt, args);
    screen_say(to, INDENT, first, words);
}

void check_say(struct check_report *r, enum check_level level, const char *subject,
               const char *fmt, ...)
{
    static const char *const words[] = {"ok", "warn", "FAIL", "FAIL"};
    int *const counters[] = {&r->ok, &r->warnings, &r->failures, &r->far_failures};
    char first[64];
    va_list args;
    va_start(args, fmt);
    snprintf(first, sizeof first, "%-4s  %-11s  ", words[level], subject);
    say(r->to, first, fmt, args);
    va_end(args);
    ++*counters[level];
}

void check_remedy(struct check_report *r, const char *fmt, ...)
{
    char first[INDENT + 1];
    va_list args;
    va_start(args, fmt);
    snprintf(first, sizeof first, "%*s", INDENT, "");
    say(r->to, first, fmt, args);
    va_end(args);
}

/* Never broken into lines: it is there to be copied. */
void check_type(struct check_report *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("      ", r->to);
    vfprintf(r->to, fmt, args);
    fputc('\n', r->to);
    va_end(args);
}

/* ---- the watched directory ---- */

struct tree {
    long directories, files; /* those that match the pattern */
    long unreadable;
    char first_unreadable[512];
};

static void count_directory(void *ctx, const char *path)
{
    struct tree *t = ctx;
    (void)path;
    t->directories++;
}

static void count_file(void *ctx, const char *path)
{
    struct tree *t = ctx;
    (void)path;
    t->files++;
}

static void count_unreadable(void *ctx, const char *path, int err)
{
    struct tree *t = ctx;
    (void)err;
    t->directories--;
    if (t->unreadable++ == 0)
        snprintf(t->first_unreadable, sizeof t->first_unreadable, "%s", path);
}

/* By the watch's own walk. */
static void count_tree(const struct config *c, struct tree *out)
{
    struct walker w = {.recursive = c->set.recursive, .patterns = settings_pattern(c),
                       .enter = count_directory, .file = count_file,
                       .unreadable = count_unreadable, .ctx = out};
    memset(out, 0, sizeof *out);
    watch_tree(&w, c->set.directory);
}

static bool directory_usable(const struct settings *s, struct check_report *r)
{
    struct stat st;
    const char *what = NULL;
    if (s->directory[0] == '\0') {
        check_say(r, CHECK_FAIL, "watch", "no directory to watch");
        check_remedy(r, "Set [watch] directory, or give --data-dir DIR.");
        return false;
    }
    if (stat(s->directory, &st) != 0)
        what = strerror(errno);
    else if (!S_ISDIR(st.st_mode))
        what = "is not a directory";
    else if (access(s->directory, R_OK | X_OK) != 0)
        what = strerror(errno);
    if (!what)
        return true;
    check_say(r, CHECK_FAIL, "watch", "%s: %s", s->directory, what);
    check_remedy(r, "Mount it, make it, or let this account read it; or name the right one in "
                    "[watch] directory.");
    return false;
}

static long read_limit(const char *proc, const char *name)
{
    char path[4200];
    struct buf text = {0};
    long value = -1;
    snprintf(path, sizeof path, "%.4000s/sys/fs/inotify/%s", proc, name);
    if (fs_read_file(path, 64, &text, NULL) == ST_OK && buf_append(&text, "", 1))
        value = strtol((char *)text.data, NULL, 10);
    buf_free(&text);
    return value;
}

static void check_instances(const char *proc, struct check_report *r)
{
    long limit = read_limit(proc, "max_user_instances");
    int fd = inotify_init1(IN_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        return;
    }
    check_say(r, CHECK_FAIL, "inotify", "the kernel gives no more of it to this account: %s (limit "
              "%ld)", strerror(errno), limit);
    check_remedy(r, "End what else uses it, or raise the limit (in /etc/sysctl.d for good):");
    check_type(r, "sudo sysctl fs.inotify.max_user_instances=%ld", limit > 256 ? 2 * limit : 512);
}

static void check_watches(const char *proc, const struct tree *t, struct check_report *r)
{
    long limit = read_limit(proc, "max_user_watches");
    if (limit < 0) {
        check_say(r, CHECK_WARN, "inotify", "the limit of watched directories cannot be read; %ld "
                  "are needed", t->directories);
    } else if (t->directories > limit / 4 * 3) {
        check_say(r, CHECK_WARN, "inotify", "%ld directories are to be watched, and the kernel "
                  "allows %ld for all programs of this account; in those left over, new files are "
                  "found a few seconds late", t->directories, limit);
        check_remedy(r, "Raise the limit (in /etc/sysctl.d for good):");
        check_type(r, "sudo sysctl fs.inotify.max_user_watches=%ld",
                   t->directories > 262144 ? 2 * t->directories : 524288);
    } else {
        check_say(r, CHECK_OK, "inotify", "%ld director%s to watch, of at most %ld", t->directories,
                  t->directories == 1 ? "y" : "ies", limit);
    }
}

void check_watch(const struct config *c, const char *proc, struct check_report *r)
{
    const struct settings *s = &c->set;
    struct tree t;
    bool remote = false;
    const char *pattern = settings_pattern(c);
    if (pattern[strspn(pattern, " \t")] == '\0') {
        check_say(r, CHECK_FAIL, "watch", "[watch] pattern is empty: no file would ever be sent");
        check_remedy(r, "The usual one is: *.fits *.fits.fz");
    }
    if (c->camera.pattern[0] && strcmp(pattern, c->camera.pattern) != 0) {
        check_say(r, CHECK_WARN, "watch", "[watch] pattern = %s goes before that of the camera's "
                  "profile, %s", pattern, c->camera.pattern);
        check_remedy(r, "Leave it empty, unless this is meant.");
    }
    if (!directory_usable(s, r))
        return;
    const char *kind = fs_kind(s->directory, &remote);
    count_tree(c, &t);
    check_say(r, CHECK_OK, "watch", "%s (%s): %ld file%s of %s in it now", s->directory, kind,
              t.files, t.files == 1 ? "" : "s", pattern);
    if (t.unreadable > 0) {
        check_say(r, CHECK_WARN, "watch", "%ld director%s below cannot be read: %s", t.unreadable,
                  t.unreadable == 1 ? "y" : "ies", t.first_unreadable);
        check_remedy(r, "Let this account read it, or nothing in it is ever sent.");
    }
    check_instances(proc, r);
    if (remote) {
        check_say(r, CHECK_WARN, "watch", "%s tells nothing of files that other machines write: "
                  "they are found by looking every few seconds", kind);
        check_remedy(r, "Run the agent on the machine whose disk it is, if that is possible.");
    } else {
        check_watches(proc, &t, r);
    }
}

/* ---- the spool ---- */

/* Tried for real: permissions alone do not tell of read-only mounts and full disks. */
static bool spool_writable(const struct settings *s, struct check_report *r)
{
    struct fs_draft draft = {.fd = -1};
    struct fault why;
    char path[4200];
    snprintf(path, sizeof path, "%.4000s/check", s->spool);
    enum status st = fs_mkdirs(s->spool, &why);
    if (st == ST_OK)
        st = fs_draft_open(&draft, path, &why);
    if (st == ST_OK && fs_write_all(draft.fd, "skyferry\n", 9) != 0)
        st = fault_errno(&why, ST_RETRY, "cannot write '%s'", path);
    fs_draft_drop(&draft);
    if (st == ST_OK)
        return true;
    check_say(r, CHECK_FAIL, "spool", "%s", why.text);
    check_remedy(r, "Let this account write there, free some space, or name another directory in "
                    "[spool] directory.");
    return false;
}

static int64_t bytes_below(const char *directory)
{
    char *const roots[] = {(char *)directory, NULL};
    int64_t sum = 0;
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    for (FTSENT *e; walk && (e = fts_read(walk));)
        if (e->fts_info == FTS_F)
            sum += (int64_t)e->fts_statp->st_size;
    if (walk)
        fts_close(walk);
    return sum;
}

static void check_room(const struct settings *s, struct check_report *r)
{
    int64_t room = fs_free_bytes(s->spool);
    double quota = s->quota_gib * GIB, used = (double)bytes_below(s->spool);
    if (room < 0)
        check_say(r, CHECK_WARN, "space", "cannot be told: %s", strerror(errno));
    else if (room < LEAST_FREE && used < quota)
        check_say(r, CHECK_WARN, "space", "only %.2f GiB free for bundles in %s; exposures wait "
                  "while there is none", (double)room / GIB, s->spool);
    else if ((double)room + used < quota)
        check_say(r, CHECK_WARN, "space", "%.1f GiB free, but [spool] quota_gib = %g would use "
                  "%.1f more; exposures wait when the disk is full", (double)room / GIB,
                  s->quota_gib, (quota - used) / GIB);
    else
        check_say(r, CHECK_OK, "space", "%.1f GiB free; bundles may take %g GiB, files there take "
                  "%.2f now", (double)room / GIB, s->quota_gib, used / GIB);
    if (room >= 0 && (double)room + used < quota)
        check_remedy(r, "Free some space there, move the spool to a larger disk, or lower "
                        "quota_gib.");
}

static void check_journal(const struct settings *s, struct check_report *r)
{
    char path[4200];
    struct journal *j = NULL;
    struct journal_counts n;
    struct fault why;
    snprintf(path, sizeof path, "%.4000s/" JOURNAL_NAME, s->spool);
    if (access(path, F_OK) != 0) {
        check_say(r, CHECK_OK, "journal", "none yet; the agent makes it");
        return;
    }
    enum status st = journal_open(s->spool, true, &j, &why);
    if (st == ST_OK)
        st = journal_count(j, 0, &n, &why);
    if (st != ST_OK) {
        check_say(r, CHECK_FAIL, "journal", "%s", why.text);
        check_remedy(r, "If it is damaged: stop the agent and move it away. A new one finds all "
                        "files again; the far end takes none twice.");
    } else {
        long long moving = n.rows[EXPOSURE_SEEN] + n.rows[EXPOSURE_READY] +
                           n.rows[EXPOSURE_SENDING] + n.rows[EXPOSURE_PARTIAL], parked = n.rows[EXPOSURE_PARKED];
        check_say(r, parked ? CHECK_WARN : CHECK_OK, "journal", "%lld exposures delivered, %lld on "
                  "their way, %lld parked",
                  (long long)(n.rows[EXPOSURE_STORED] + n.rows[EXPOSURE_DONE]), moving, parked);
        if (parked)
            check_remedy(r, "skyferry-push status tells why, and what to do.");
    }
    journal_close(&j);
}

void check_spool(const struct config *c, struct check_report *r)
{
    const struct settings *s = &c->set;
    size_t len = strlen(s->directory);
    bool remote = false;
    if (len > 0 && strncmp(s->spool, s->directory, len) == 0 &&
        (s->spool[len] == '/' || s->spool[len] == '\0')) {
        check_say(r, CHECK_FAIL, "spool", "%s lies in the watched directory", s->spool);
        check_remedy(r, "Name a place outside of it in [spool] directory.");
        return;
    }
    if (!spool_writable(s, r))
        return;
    const char *kind = fs_kind(s->spool, &remote);
    long pid = spool_holder(s->spool);
    if (pid)
        check_say(r, CHECK_OK, "spool", "%s (%s) is in use by an agent, pid %ld", s->spool, kind,
                  pid);
    else
        check_say(r, CHECK_OK, "spool", "%s (%s) can be written", s->spool, kind);
    if (remote) {
        check_say(r, CHECK_WARN, "spool", "the journal is a database, and on %s its locks are not "
                  "to be trusted", kind);
        check_remedy(r, "Name a directory on a disk of this machine in [spool] directory.");
    } else if (strcmp(kind, "tmpfs") == 0 || strcmp(kind, "ramfs") == 0) {
        check_say(r, CHECK_WARN, "spool", "%s is memory: after a restart of the machine the "
                  "journal is gone", kind);
        check_remedy(r, "Name a directory on a disk of this machine in [spool] directory.");
    }
    check_room(s, r);
    check_journal(s, r);
}

/* ---- all of it ---- */

static void sum_up(const struct check_report *r)
{
    int bad = r->failures + r->far_failures;
    const char *plural = r->warnings == 1 ? "" : "s";
    if (bad > 0)
        fprintf(r->to, "\n%d problem%s here, %d with the far end, %d warning%s.\n", r->failures,
                r->failures == 1 ? "" : "s", r->far_failures, r->warnings, plural);
    else if (r->warnings > 0)
        fprintf(r->to, "\nReady, with %d warning%s.\n", r->warnings, plural);
    else
        fprintf(r->to, "\nReady.\n");
}

int check_command(const struct config *c)
{
    struct check_report r = {.to = stdout};
    check_say(&r, CHECK_OK, "settings", "%s; camera %s, site %s",
              c->file[0] ? c->file : "no file, the defaults alone", c->camera.name,
              c->set.site_name);
    check_codec(c, &r);
    check_watch(c, "/proc", &r);
    check_spool(c, &r);
    bool usable = check_host(c, &r);
    usable = check_identity(c, &r) && usable;
    usable = check_known_hosts(c, &r) && usable;
    fflush(stdout); /* what follows may take a while */
    if (usable)
        check_far_end(c, &r);
    else
        check_say(&r, CHECK_WARN, "far end", "not tried: first mend what is above");
    sum_up(&r);
    if (fflush(stdout) != 0 || ferror(stdout) || r.failures > 0)
        return EXIT_FAILED;
    return r.far_failures > 0 ? EXIT_UNREACHABLE : EXIT_DONE;
}
