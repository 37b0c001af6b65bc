#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "push/agent.h"
#include "push/commands.h"

struct run {
    struct config config; /* as last loaded */
    const struct settings_source *source;
    struct agent *agent;
    struct watch *watch;
    int64_t start_mono, warned_mono;
};

/* Once per interval without anything new, counted from the last new exposure or warning. */
static void check_silence(struct run *r)
{
    struct flow_state s;
    int64_t now = clock_mono(), since = r->start_mono;
    int64_t limit = r->config.set.watch_silence_s * NS_PER_S;
    flow_state(agent_flow(r->agent), &s);
    if (s.last_new_mono > since)
        since = s.last_new_mono;
    int64_t from = r->warned_mono > since ? r->warned_mono : since;
    if (limit == 0 || now - from < limit)
        return;
    r->warned_mono = now;
    log_warn(AT(.stage = "watch"), "no new exposure for %lld s in %s",
             (long long)((now - since) / NS_PER_S), r->config.set.directory);
}

static void on_tick(void *ctx)
{
    check_silence(ctx);
}

static void log_report(const struct config_report *report)
{
    char *text = report->text.data ? strndup((char *)report->text.data, report->text.len) : NULL;
    char *save = NULL;
    for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save))
        log_error(NULL, "%s", line);
    log_error(NULL, "the configuration was not reloaded: %d problem%s; the old one stays in force",
              report->count, report->count == 1 ? "" : "s");
    free(text);
}

static void take_over(struct run *r, struct config *now)
{
    struct buf live = {0}, restart = {0};
    struct log_options log;
    struct fault why;
    struct flow_state s;
    struct fidelity codec;
    char fidelity[200];
    settings_changes(&r->config.set, &now->set, &live, &restart);
    if (strcmp(r->config.set.profile, now->set.profile) == 0)
        camera_changes(&r->config.camera, &now->camera, &live, &restart);
    /* A mode set by `skyferry-push mode` stays, unless the file says another one now. */
    flow_state(agent_flow(r->agent), &s);
    if (strcmp(now->set.mode, r->config.set.mode) == 0)
        now->policy.mode = s.mode;
    flow_reconfigure(agent_flow(r->agent), now);
    settings_log(&now->set, &log);
    if (log_open(&log, &why) != ST_OK)
        log_warn(NULL, "%s; the old log stays", why.text);
    settings_codec(&now->set, &codec);
    fidelity_text(&codec, settings_ratio_max(&now->set), fidelity, sizeof fidelity);
    log_info(NULL, "configuration reloaded; in force now: %s (codec %s)",
             live.len ? (char *)live.data : "nothing new", fidelity);
    if (restart.len)
        log_warn(NULL, "changed, but only in force after a restart: %s", (char *)restart.data);
    r->config = *now;
    buf_free(&live);
    buf_free(&restart);
}

static void on_reload(void *ctx)
{
    struct run *r = ctx;
    struct config_report report = {0};
    struct config *now = malloc(sizeof *now);
    if (!now)
        log_error(NULL, "the configuration was not reloaded: out of memory");
    else if (settings_load(r->source, NEED_SPOOL | NEED_FAR_END, now, &report))
        take_over(r, now);
    else
        log_report(&report);
    buf_free(&report.text);
    free(now);
}

int run_command(const struct config *c, const struct settings_source *source)
{
    struct run r = {.config = *c, .source = source, .start_mono = clock_mono()};
    struct agent_options o = {.config = c, .ctx = &r, .reload = on_reload, .tick = on_tick};
    struct watch_options w = {.directory = c->set.directory, .patterns = settings_pattern(c),
                              .recursive = c->set.recursive, .rescan_seconds = c->set.rescan_s,
                              .stage = "watch"};
    struct fidelity codec;
    char fidelity[200];
    struct fault why;
    enum status st = agent_open(&o, &r.agent, &why);
    if (st != ST_OK)
        goto out;
    settings_codec(&c->set, &codec);
    fidelity_text(&codec, settings_ratio_max(&c->set), fidelity, sizeof fidelity);
    log_info(NULL, "skyferry-push %s: %s mode, codec %s, far end %s, spool %s", SKYFERRY_VERSION,
             c->set.mode, fidelity, c->set.host, c->set.spool);
    st = watch_open(agent_loop(r.agent), &w, flow_intake, agent_flow(r.agent), &r.watch, &why);
    if (st == ST_OK)
        st = agent_run(r.agent, &why);
out:
    if (st != ST_OK)
        log_error(NULL, "%s", why.text);
    watch_close(&r.watch);
    agent_close(&r.agent);
    return st == ST_OK ? EXIT_DONE : EXIT_FAILED;
}
