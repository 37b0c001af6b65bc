#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fsutil.h"
#include "common/log.h"
#include "push/commands.h"
#include "push/deliver.h"
#include "push/held.h"

#define LIST_MAX (16u << 20)

struct send {
    const struct config *config;
    const struct send_options *o;
    struct deliver *deliver;
    /* Delivered already, as far as the journal knows: the far end is asked. */
    struct wire_have *known;
    char (*paths)[4096];
    size_t known_count, known_room;
    int64_t there, failed;
};

static void cannot(struct send *s, const char *file, const char *what)
{
    fprintf(stderr, "skyferry-push: %s: %s\n", file, what);
    s->failed++;
}

static bool remember_known(struct send *s, const struct exposure *e)
{
    if (s->known_count == s->known_room) {
        size_t room = s->known_room ? 2 * s->known_room : 16;
        void *known = realloc(s->known, room * sizeof *s->known);
        if (known)
            s->known = known;
        void *paths = realloc(s->paths, room * sizeof *s->paths);
        if (paths)
            s->paths = paths;
        if (!known || !paths)
            return false;
        s->known_room = room;
    }
    struct wire_have *h = &s->known[s->known_count];
    memset(h, 0, sizeof *h);
    snprintf(h->name, sizeof h->name, "%s", e->name);
    snprintf(h->date_obs, sizeof h->date_obs, "%s", e->facts.date_obs);
    h->mtime_ns = e->file.mtime_ns;
    h->source_size = e->file.size;
    memcpy(h->source_sha256, e->source_sha256, sizeof h->source_sha256);
    memcpy(s->paths[s->known_count++], e->path, sizeof e->path);
    return true;
}

static void add_file(struct send *s, const char *given)
{
    struct exposure now, row;
    struct fault why;
    char path[4096];
    bool found = false;
    if (!deliver_path(s->config, given, path)) {
        cannot(s, given, "no such directory");
        return;
    }
    enum status st = ST_OK;
    if (intake_fill(&now, path, 0))
        st = journal_by_version(deliver_journal(s->deliver), path, &now.file, &row, &found, &why);
    if (st == ST_OK && found && row.state == EXPOSURE_DONE && row.source_sha256[0] &&
        remember_known(s, &row))
        return;
    if (st == ST_OK)
        st = deliver_add(s->deliver, path, ORIGIN_SEND, false, &why);
    if (st != ST_OK)
        cannot(s, given, why.text);
}

/* A name without folder may mean a file of the watched directory. */
static void add_line(struct send *s, char *line)
{
    char below[8300];
    struct exposure e;
    size_t len = strcspn(line, "\r\n");
    while (len && (line[len - 1] == ' ' || line[len - 1] == '\t'))
        len--;
    line[len] = '\0';
    line += strspn(line, " \t");
    if (!line[0])
        return;
    snprintf(below, sizeof below, "%s/%.4000s", s->config->set.directory, line);
    bool elsewhere = line[0] != '/' && !intake_fill(&e, line, 0) && intake_fill(&e, below, 0);
    add_file(s, elsewhere ? below : line);
}

static bool add_list(struct send *s, const char *list)
{
    struct buf text = {0};
    struct fault why;
    char *save = NULL;
    bool ok = fs_read_file(list, LIST_MAX, &text, &why) == ST_OK && buf_append(&text, "", 1);
    if (!ok)
        fprintf(stderr, "skyferry-push: the list %s: %s\n", list, why.text);
    for (char *line = ok ? strtok_r((char *)text.data, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save))
        add_line(s, line);
    buf_free(&text);
    return ok;
}

/* Those that the far end has lost are queued again. */
static enum status ask_known(struct send *s, struct fault *why)
{
    struct lane_options lane;
    struct wire_hello hello;
    enum status st = ST_OK;
    bool *held = calloc(s->known_count + 1, sizeof *held);
    if (!held)
        return fault(why, ST_RETRY, "out of memory");
    settings_lane(&s->config->set, &lane);
    if (lane.connect_timeout_s > s->o->timeout_s)
        lane.connect_timeout_s = s->o->timeout_s;
    if (s->known_count > 0)
        st = held_ask(&lane, s->known, held, s->known_count, &hello, why);
    for (size_t i = 0; i < s->known_count && st == ST_OK; i++) {
        if (held[i]) {
            printf("%s: delivered already\n", s->known[i].name);
            s->there++;
        } else if (deliver_add(s->deliver, s->paths[i], ORIGIN_SEND, true, why) != ST_OK) {
            cannot(s, s->paths[i], why->text);
        }
    }
    free(held);
    return st;
}

static bool print_rest(void *ctx, const struct exposure *e)
{
    (void)ctx;
    printf("%s: %s%s%s\n", e->path, exposure_state_names[e->state], e->reason[0] ? ": " : "",
           e->reason);
    return true;
}

static int report(struct send *s, const struct deliver_result *r)
{
    struct fault why;
    int code = deliver_exit(r);
    if (r->delivered < r->asked && deliver_rest(s->deliver, print_rest, NULL, &why) != ST_OK)
        fprintf(stderr, "skyferry-push: %s\n", why.text);
    printf("delivered %" PRId64 " of %" PRId64 "\n", r->delivered + s->there,
           r->asked + s->there + s->failed);
    if (r->unreachable)
        fprintf(stderr, "skyferry-push: the far end cannot be reached: %s; what is not delivered "
                        "stays in the queue of skyferry-push run\n", r->trouble.text);
    else if (r->trouble.grade != ST_OK && code != EXIT_DONE)
        fprintf(stderr, "skyferry-push: %s\n", r->trouble.text);
    return code == EXIT_DONE && s->failed > 0 ? EXIT_INCOMPLETE : code;
}

int send_command(const struct config *c, const struct send_options *o)
{
    struct send s = {.config = c, .o = o};
    struct deliver_result result = {0};
    struct fault why;
    int code = EXIT_FAILED;
    if (deliver_open(c, &s.deliver, &why) != ST_OK) {
        fprintf(stderr, "skyferry-push: %s\n", why.text);
        return EXIT_FAILED;
    }
    for (int i = 0; i < o->count; i++)
        add_file(&s, o->files[i]);
    if (o->list && !add_list(&s, o->list))
        goto out;
    if (ask_known(&s, &why) != ST_OK) {
        fprintf(stderr, "skyferry-push: the far end cannot be reached: %s\n", why.text);
        code = EXIT_UNREACHABLE;
        goto out;
    }
    deliver_wait(s.deliver, o->timeout_s, &result);
    code = report(&s, &result);
out:
    deliver_close(&s.deliver);
    free(s.known);
    free(s.paths);
    return code;
}
