#include "pull/adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bundle.h"
#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/placing.h"
#include "pull/intake.h"
#include "pull/part.h"
#include "pull/renew.h"

#define NAMES 100 /* versions of one name */

struct adopt_job {
    struct pool_job job;
    struct agent *a;
    void (*done)(void *a, const char *path);
    char path[PULL_PATH];
    bool ran;
    struct stat st;
    struct manifest m;
    struct receipt r;
    struct fault why;
};

enum status adopt_read(const char *path, struct manifest *m, struct receipt *out,
                       struct fault *why)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    memset(out, 0, sizeof *out);
    if (fd < 0)
        return fault_errno(why, ST_RETRY, "cannot open '%s'", path);
    enum status grade = fstat(fd, &st) == 0 ? bundle_index(fd, m, why)
                                            : fault_errno(why, ST_RETRY, "cannot read '%s'", path);
    /* The receipt is to speak of bytes on the disk, not of those that the kernel still holds. */
    if (grade == ST_OK && fsync(fd) != 0)
        grade = fault_errno(why, ST_RETRY, "cannot make '%s' durable", path);
    if (grade == ST_OK)
        grade = digest_fd(fd, -1, out->sha256, why);
    close(fd);
    if (grade != ST_OK)
        return grade;
    memcpy(out->id, out->sha256, sizeof out->id);
    memcpy(out->name, m->name, sizeof out->name);
    memcpy(out->source_name, m->source_name, sizeof out->source_name);
    memcpy(out->source_sha256, m->source_sha256, sizeof out->source_sha256);
    out->source_size = m->source_size;
    out->exact = manifest_is_exact(m);
    out->size = st.st_size;
    out->first_ns = out->stored_ns = clock_ns(st.st_mtim);
    return ST_OK;
}

/* Nobody proved these bytes before, and our receipt will say that they are whole: with one
 * damaged ccd the telescope could never be asked for it again. */
static enum status check_members(const char *path, const struct manifest *m, struct fault *why)
{
    struct buf bytes = {0};
    enum status st = ST_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fault_errno(why, ST_RETRY, "cannot open '%s'", path);
    for (size_t i = 0; st == ST_OK && i < m->count; i++) {
        bytes.len = 0;
        st = bundle_read(fd, &m->members[i], &bytes, why);
    }
    buf_free(&bytes);
    close(fd);
    return st;
}

static void run(struct pool_job *job)
{
    struct adopt_job *j = (struct adopt_job *)job;
    if (lstat(j->path, &j->st) != 0)
        j->why.grade = fault_errno(&j->why, ST_RETRY, "cannot look at '%s'", j->path);
    else
        j->why.grade = adopt_read(j->path, &j->m, &j->r, &j->why);
    if (j->why.grade == ST_OK)
        j->why.grade = check_members(j->path, &j->m, &j->why);
    j->ran = true;
}

/* "bundles/NIGHT/NAME.tar" below root: then it keeps its name, and NIGHT is the receipt's. */
static bool is_filed(const char *rel, char night[NIGHT_SIZE])
{
    const char *from = rel + strlen("bundles/"), *slash;
    if (strncmp(rel, "bundles/", strlen("bundles/")) != 0 || !(slash = strchr(from, '/')) ||
        strchr(slash + 1, '/'))
        return false;
    return pull_text(night, NIGHT_SIZE, "%.*s", (int)(slash - from), from) && night_valid(night);
}

/* Gives the file a name that nobody has, without ever replacing one. */
static enum status take_name(const char *from, const char *to, struct fault *why)
{
    struct stat st, old;
    if (link(from, to) == 0) {
        unlink(from);
        return ST_OK;
    }
    int err = errno;
    if (lstat(to, &st) == 0) {
        /* A crash between the two lines above leaves one file of two names. */
        if (lstat(from, &old) != 0 || old.st_ino != st.st_ino || old.st_dev != st.st_dev)
            return ST_REJECT;
        unlink(from);
        return ST_OK;
    }
    errno = err;
    if (errno != ENOENT && errno != EPERM && errno != EOPNOTSUPP && errno != EXDEV)
        return fault_errno(why, fs_write_grade(errno), "cannot file '%s' as '%s'", from, to);
    return fs_rename(from, to, why);
}

/* Does a receipt keep this name for another file, whose bundle somebody took away? */
static bool is_kept(const struct adopt_job *j, const char *tar)
{
    struct receipt r;
    struct fault none;
    return part_receipt(tar, &r, &none) == ST_OK &&
           strcmp(r.source_sha256, j->r.source_sha256) != 0;
}

/* Moves the tar to bundles/NIGHT/; rel becomes its new place. */
static enum status file_it(struct adopt_job *j, char rel[PULL_PATH], struct fault *why)
{
    char folder[PULL_PATH], to[PULL_PATH];
    pull_text(rel, PULL_PATH, "bundles/%s", j->r.night);
    pull_path(&j->a->s, rel, folder);
    enum status st = fs_mkdirs(folder, why);
    for (int n = 1; st == ST_OK && n < NAMES; n++) {
        char version[16] = "";
        if (n > 1)
            snprintf(version, sizeof version, "~%d", n);
        pull_text(rel, PULL_PATH, "bundles/%s/%s%s.tar", j->r.night, j->m.name, version);
        pull_path(&j->a->s, rel, to);
        enum status taken = is_kept(j, to) ? ST_REJECT : take_name(j->path, to, why);
        if (taken == ST_OK)
            return fs_sync_dir(folder, why);
        if (taken != ST_REJECT)
            return taken;
    }
    return st != ST_OK ? st : fault(why, ST_REJECT, "%s has %d versions already", j->m.name, NAMES);
}

static enum status write_receipt(struct adopt_job *j, const char *rel, struct fault *why)
{
    char path[PULL_PATH];
    struct buf text = {0};
    enum status st = ST_OK;
    pull_text(j->r.stored, sizeof j->r.stored, "%s", rel + strlen("bundles/"));
    pull_text(path, sizeof path, "%s/%.*s.receipt", j->a->s.root,
              (int)(strlen(rel) - strlen(".tar")), rel);
    if (!receipt_text(&j->r, &text))
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK)
        st = fs_write_file(path, text.data, text.len, false, why);
    buf_free(&text);
    return st;
}

/* A new row, or the one that was parked under the old name. */
static enum status catalogue_it(struct adopt_job *j, const char *old_rel, const char *rel,
                                struct fault *why)
{
    struct exposure x, old = {0};
    bool found = false;
    enum status st = catalogue_by_bundle(j->a->cat, old_rel, &old, &found, why);
    intake_from_receipt(rel, &j->r, &x);
    x.due_ns = clock_wall();
    if (st != ST_OK)
        return st;
    x.id = old.id;
    if (!found) {
        /* Noticed under its new name meanwhile: then it has its row. */
        st = catalogue_by_bundle(j->a->cat, rel, &old, &found, why);
        if (st == ST_OK && !found)
            st = renew_notice(j->a, rel, &j->r, &found, why);
        return st != ST_OK || found ? st : catalogue_add(j->a->cat, &x, why);
    }
    return catalogue_save(j->a->cat, &x, why);
}

/* Its name and its receipt; now: from its old place to its new one. */
static enum status name_it(struct adopt_job *j, char now[PULL_PATH], struct fault *why)
{
    struct receipt theirs;
    struct fault none;
    if (!is_filed(now, j->r.night)) {
        char by_time[NIGHT_SIZE];
        night_of(&j->a->s.rule, j->m.source_mtime_ns, by_time);
        placing_night(&j->a->s, &j->m.facts, by_time, j->r.night);
        enum status st = file_it(j, now, why);
        if (st != ST_OK)
            return st;
    } else if (part_receipt(j->path, &theirs, &none) == ST_OK &&
               strcmp(theirs.sha256, j->r.sha256) == 0) {
        j->r = theirs; /* a lane's, whose receipt was just behind it */
        return ST_OK;
    }
    crash_point("pull:adopt-filed");
    return write_receipt(j, now, why);
}

static enum status adopt(struct adopt_job *j, const char *rel, struct fault *why)
{
    char now[PULL_PATH];
    struct part_store store;
    int lock = -1;
    pull_part_store(&j->a->s, &store);
    pull_text(now, sizeof now, "%s", rel);
    enum status st = part_name_lock(&store, &lock, why);
    if (st == ST_OK)
        st = name_it(j, now, why);
    if (lock >= 0)
        close(lock);
    if (st == ST_OK)
        st = catalogue_it(j, rel, now, why);
    if (st == ST_OK)
        log_info(AT(.stage = "intake", .exposure = j->m.name), "'%s' came without a receipt: it "
                 "is a valid bundle, filed as %s", j->path, now);
    return st;
}

static enum status park(struct adopt_job *j, const char *rel, const struct fault *reason,
                        struct fault *why)
{
    struct exposure x, old = {0};
    struct receipt none = {.size = j->st.st_size};
    bool found = false;
    intake_from_receipt(rel, &none, &x);
    x.state = EX_PARKED;
    x.bundle_mtime_ns = clock_ns(j->st.st_mtim);
    x.stamp[STAMP_STORED] = x.bundle_mtime_ns;
    night_of(&j->a->s.rule, x.bundle_mtime_ns, x.night);
    pull_text(x.reason, sizeof x.reason, "%s", reason->text);
    log_error(AT(.stage = "intake", .exposure = x.name), "'%s' is no valid bundle and is left "
              "where it is: %s; copy it again or remove it", j->path, reason->text);
    enum status st = catalogue_by_bundle(j->a->cat, rel, &old, &found, why);
    if (st != ST_OK)
        return st;
    x.id = old.id;
    return found ? catalogue_save(j->a->cat, &x, why) : catalogue_add(j->a->cat, &x, why);
}

static void finish(struct pool_job *job)
{
    struct adopt_job *j = (struct adopt_job *)job;
    struct agent *a = j->a;
    const char *rel = j->path + strlen(a->s.root) + 1;
    struct fault why = j->why;
    enum status st = j->ran ? why.grade : ST_WAIT;
    if (st == ST_OK)
        st = adopt(j, rel, &why);
    if (st == ST_REJECT) {
        struct fault reason = why;
        st = park(j, rel, &reason, &why);
    }
    if (st == ST_FATAL)
        agent_trouble(a, &why);
    else if (st != ST_OK && j->ran) /* looked at again at the next rescan */
        log_warn(AT(.stage = "intake"), "%s", why.text);
    j->done(a, j->path);
    manifest_free(&j->m);
    free(j);
}

void adopt_begin(struct agent *a, const char *path, void (*done)(void *a, const char *path))
{
    struct adopt_job *j = calloc(1, sizeof *j);
    if (!j)
        return;
    j->job.run = run;
    j->job.done = finish;
    j->a = a;
    j->done = done;
    pull_text(j->path, sizeof j->path, "%s", path);
    pool_submit(a->pool, &j->job);
}
