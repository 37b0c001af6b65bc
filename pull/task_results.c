#include "pull/task_results.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"


/* ---- what the command is given ---- */

static enum status write_job(const struct task_decode *d, const struct job_order *o,
                             const struct task_place *p, struct fault *why)
{
    json_t *root = task_load(o->folder, "job.json", NULL), *list = json_object_get(root, "ccds");
    if (!json_is_array(list)) {
        json_decref(root);
        return fault(why, ST_RETRY, "cannot read '%s'", o->job_file);
    }
    for (size_t i = json_array_size(list); i-- > 0;) {
        json_t *one = json_array_get(list, i);
        int ccd = (int)task_int(one, "ccd"), hdu = (int)task_int(one, "hdu");
        const char *fits = task_decode_fits(d, ccd, hdu);
        if (task_decode_is_parked(d, ccd, hdu))
            json_array_remove(list, i);
        else if (fits)
            task_set(one, "fits", fits);
    }
    task_set(root, "result", p->result_file);
    enum status st = task_save(task_decode_scratch(d), "job.json", root, false, why);
    json_decref(root);
    return st;
}

/* text with every `from` in it become `to`; malloc'ed. */
static char *replaced(const char *text, const char *from, const char *to)
{
    struct buf out = {0};
    size_t len = strlen(from);
    bool ok = true;
    for (const char *p = text; ok && *p;) {
        bool is = len && strncmp(p, from, len) == 0;
        ok = is ? buf_append(&out, to, strlen(to)) : buf_append(&out, p, 1);
        p += is ? len : 1;
    }
    if (ok && buf_append(&out, "", 1))
        return (char *)out.data;
    buf_free(&out);
    return NULL;
}

static bool move_argument(struct task_place *p, int i, const struct job_order *o)
{
    char *half = replaced(o->argv[i], o->job_file, p->job_file);
    p->argv[i] = half ? replaced(half, o->result_file, p->result_file) : NULL;
    free(half);
    return p->argv[i] != NULL;
}

enum status task_place_make(const struct task_decode *d, const struct job_order *o,
                            struct task_place *out, struct fault *why)
{
    const char *scratch = task_decode_scratch(d);
    int most = (int)(sizeof out->argv / sizeof out->argv[0]) - 1;
    memset(out, 0, sizeof *out);
    if (!pull_text(out->work, sizeof out->work, "%s/work", scratch) ||
        !pull_text(out->job_file, sizeof out->job_file, "%s/job.json", scratch) ||
        !pull_text(out->result_file, sizeof out->result_file, "%s/work/result.json", scratch))
        return fault(why, ST_REJECT, "the scratch folder's name is too long: '%s'", scratch);
    for (int i = 0; i < most && o->argv[i]; i++)
        if (!move_argument(out, i, o)) {
            task_place_free(out);
            return fault(why, ST_RETRY, "out of memory");
        }
    enum status st = write_job(d, o, out, why);
    if (st != ST_OK)
        task_place_free(out);
    return st;
}

void task_place_free(struct task_place *p)
{
    for (char **arg = p->argv; *arg; arg++)
        free(*arg);
    memset(p->argv, 0, sizeof p->argv);
}

/* ---- what it leaves ---- */

/* Names in the job's folder that are the task's and the daemon's. */
static bool is_taken(const char *rel)
{
    static const char *const names[] = {"job.json", "task.json",  "claim.json", "ended.json",
                                        "end.json", "out",        "err",        "task.out",
                                        "task.err", "slurm.out"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(rel, names[i]) == 0)
            return true;
    return false;
}

static enum status bring(const char *path, const char *folder, const char *rel, struct fault *why)
{
    char to[PULL_PATH], above[PULL_PATH];
    struct fs_draft draft = {.fd = -1};
    if (!pull_text(to, sizeof to, "%s/%s", folder, rel))
        return fault(why, ST_REJECT, "the name of what the job left is too long: '%.200s'", rel);
    pull_text(above, sizeof above, "%.*s", (int)(fs_basename(to) - to), to);
    int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0)
        return fault_errno(why, ST_RETRY, "cannot open '%s'", path);
    enum status st = fs_mkdirs(above, why);
    if (st == ST_OK)
        st = fs_draft_open(&draft, to, why);
    if (st == ST_OK)
        st = fs_draft_fill(&draft, from, why);
    if (st == ST_OK)
        st = fs_draft_publish(&draft, false, why);
    fs_draft_drop(&draft);
    close(from);
    return st;
}

/* A draft that the job itself left is nothing to keep. */
static bool is_hidden_part(const char *name)
{
    size_t len = strlen(name);
    return name[0] == '.' && len > 5 && strcmp(name + len - 5, ".part") == 0;
}

enum status task_bring_back(const char *work, const char *folder, struct fault *why)
{
    char *const roots[] = {(char *)work, NULL};
    char result[PULL_PATH] = "";
    size_t len = strlen(work) + 1;
    enum status st = ST_OK;
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    if (!walk)
        return fault_errno(why, ST_RETRY, "cannot look through '%s'", work);
    for (FTSENT *e; st == ST_OK && (e = fts_read(walk));) {
        if (e->fts_info != FTS_F || is_taken(e->fts_path + len) || is_hidden_part(e->fts_name))
            continue;
        if (strcmp(e->fts_path + len, "result.json") == 0)
            pull_text(result, sizeof result, "%s", e->fts_path);
        else
            st = bring(e->fts_path, folder, e->fts_path + len, why);
    }
    fts_close(walk);
    if (st == ST_OK && result[0])
        st = bring(result, folder, "result.json", why);
    return st == ST_OK ? ST_OK : fault_within(why, "the job's files cannot be brought back from "
                                                   "the scratch: ");
}
