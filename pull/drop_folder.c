/* The rest of the drop folder's life: questions are answered, what nobody needs is removed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "pull/drop_take.h"

#define PATH 4096
#define DAY 86400

static bool join(const struct drop_order *o, const char *file, char out[PATH])
{
    return snprintf(out, PATH, "%s/%s", o->folder, file) < PATH;
}

enum status drop_put(const char *path, const struct buf *text, struct fault *why)
{
    return fs_write_shared(path, text, 0644, why);
}

/* ---- questions ---- */

static enum status read_question(const char *path, struct buf *text, struct fault *why)
{
    enum status st = fs_read_plain(path, WIRE_MAX, text, why);
    return st == ST_RETRY && errno == ENOENT ? fault(why, ST_WAIT, "%s", "") : st;
}

static enum status look_up(const struct drop_order *o, const struct buf *text, struct buf *answer,
                           struct fault *why)
{
    struct wire_have *asked = NULL;
    bool *held = NULL;
    size_t count = 0;
    enum status st = wire_have_parse(text->data, text->len, &asked, &count, why);
    if (st == ST_OK && !(held = calloc(count + 1, sizeof *held)))
        st = fault(why, ST_RETRY, "out of memory");
    for (size_t i = 0; st == ST_OK && i < count; i++)
        st = part_holds(&o->store, &asked[i], &held[i], why);
    if (st == ST_OK && !wire_held_text(held, count, answer))
        st = fault(why, ST_RETRY, "out of memory");
    free(held);
    free(asked);
    return st;
}

enum status drop_answer(const struct drop_order *o, const char *file, struct fault *why)
{
    struct buf text = {0}, answer = {0};
    char name[MEMBER_NAME], id8[9], reply[DROP_NAME], path[PATH], ask[PATH];
    why->text[0] = '\0';
    if (drop_name_parse(file, name, id8) != DROP_ASK || !join(o, file, ask) ||
        !drop_name(DROP_ANSWER, name, "", reply) || !join(o, reply, path))
        return fault(why, ST_WAIT, "%s", "");
    enum status st = read_question(ask, &text, why);
    if (st == ST_WAIT)
        return st;
    if (st == ST_OK)
        st = look_up(o, &text, &answer, why);
    if (st != ST_OK)
        wire_refused_text(why, "have", &answer);
    struct fault failed;
    if (drop_put(path, &answer, &failed) != ST_OK)
        st = (*why = failed).grade;
    (void)!unlink(ask);
    buf_free(&text);
    buf_free(&answer);
    return st;
}

/* ---- what is no longer needed ---- */

static bool exists(const char *root, const char *stored, int stem, const char *end)
{
    char path[PATH];
    struct stat st;
    return snprintf(path, sizeof path, "%s/bundles/%.*s%s", root, stem, stored, end) < PATH &&
           lstat(path, &st) == 0;
}

/* A receipt is worth nothing once the bundle is gone; one whose exact data have taken its place is
 * not gone. */
static bool is_void(const struct drop_order *o, const char *path)
{
    struct buf text = {0};
    struct receipt r;
    bool is_void = false;
    if (fs_read_plain(path, DROP_SIDE_MAX, &text, NULL) == ST_OK &&
        receipt_parse(text.data, text.len, &r, NULL) == ST_OK) {
        int stem = (int)(strlen(r.stored) - strlen(".tar"));
        is_void = !exists(o->store.root, r.stored, stem, ".tar") &&
                  !exists(o->store.root, r.stored, stem, ".exact.tar");
    }
    buf_free(&text);
    return is_void;
}

static bool is_spent(const struct drop_order *o, const char *path, enum drop_kind kind,
                     const struct stat *st, int days)
{
    time_t age = time(NULL) - st->st_mtime;
    if (kind == DROP_ASK || kind == DROP_ANSWER || kind == DROP_NONE)
        return age > DAY;
    if (kind == DROP_TAR)
        return false; /* whole: it is taken, or somebody must look why not */
    return age > (time_t)days * DAY || (kind == DROP_RECEIPT && is_void(o, path));
}

/* What tells of a bundle stays as long as the bundle waits. */
static bool has_tar(const struct drop_order *o, const char *name, const char *id8)
{
    char file[DROP_NAME], path[PATH];
    struct stat st;
    return drop_name(DROP_TAR, name, id8, file) && join(o, file, path) && lstat(path, &st) == 0;
}

int drop_expire(const struct drop_order *o, int days)
{
    int gone = 0;
    DIR *d = opendir(o->folder);
    if (!d)
        return 0;
    for (struct dirent *e; (e = readdir(d));) {
        char name[MEMBER_NAME], id8[9], path[PATH];
        struct stat st;
        enum drop_kind kind = drop_name_parse(e->d_name, name, id8);
        bool ours = kind != DROP_NONE || strncmp(e->d_name, ".probe-", 7) == 0 ||
                    strncmp(e->d_name, ".ask-", 5) == 0;
        if (ours && join(o, e->d_name, path) && lstat(path, &st) == 0 && S_ISREG(st.st_mode) &&
            is_spent(o, path, kind, &st, days) &&
            !(kind == DROP_SIDE && has_tar(o, name, id8)) && unlink(path) == 0)
            gone += kind == DROP_PART;
    }
    closedir(d);
    fs_sweep_drafts(o->folder);
    return gone;
}
