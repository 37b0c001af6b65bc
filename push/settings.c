#include "push/settings.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "common/lookup.h"

#define AT_(member) SETTING_AT(struct settings, member)

const struct setting settings_rows[] = {
    {"watch", "directory", SET_PATH, AT_(directory), "", 0, 0, NULL, NULL,
     "The directory in which new exposures appear; must be given here or with --data-dir."},
    {"watch", "pattern", SET_TEXT, AT_(pattern), "", 0, 0, NULL, NULL,
     "File names that are exposures: shell patterns, separated by blanks; empty: those of the "
     "camera's profile."},
    {"watch", "proposals", SET_TEXT, AT_(proposals), "", 0, 0, NULL, NULL,
     "Only exposures of these proposals are shipped, by their headers, with commas between; "
     "empty: of any."},
    {"watch", "first_exposure", SET_INT, AT_(first_exposure), "0", 0, INT_MAX, NULL, NULL,
     "Only exposures from this number (or visit) on are shipped; 0: from any."},
    {"watch", "last_exposure", SET_INT, AT_(last_exposure), "0", 0, INT_MAX, NULL, NULL,
     "Only exposures up to this number (or visit) are shipped; 0: up to any."},
    {"watch", "share", SET_TEXT, AT_(share), "", 0, 0, NULL, NULL,
     "Where several agents on several machines watch the same files, the part that this one ships: "
     "1/6 to 6/6 for six, by exposure number (visits are counted, not their numbers); empty: all."},
    {"watch", "recursive", SET_BOOL, AT_(recursive), "yes", 0, 0, NULL, NULL,
     "Look into sub-directories as well."},
    {"watch", "rescan_seconds", SET_INT, AT_(rescan_s), "10", 1, 3600, NULL, "s",
     "How often the directory is read anew, for files that no event told of."},
    {"watch", "settle_seconds", SET_REAL, AT_(settle_s), "2", 0, 3600, NULL, "s",
     "A file that nobody was seen to close counts as finished after so long without a change."},
    {"watch", "give_up_seconds", SET_INT, AT_(give_up_s), "150", 1, 86400, NULL, "s",
     "An incomplete file that has not changed for so long is parked, until it changes."},
    {"watch", "silence_seconds", SET_INT, AT_(watch_silence_s), "60", 0, 86400, NULL, "s",
     "Warn when no new exposure came for so long, once per such interval; 0: never."},
    {"camera", "profile", SET_PATH, AT_(profile), "decam", 0, 0, NULL, NULL,
     "The camera: a file of the folder cameras/ without its .conf, or a path."},
    {"site", "name", SET_TEXT, AT_(site_name), "CTIO", 0, 0, NULL, NULL,
     "The telescope's site, for messages."},
    {"site", "longitude_deg", SET_REAL, AT_(longitude_deg), "-70.8", -180, 360, NULL,
     "degrees east", "The site's longitude: a night begins at its local noon."},
    {"site", "night_rollover", SET_TEXT, AT_(night_rollover), "noon", 0, 0, NULL, NULL,
     "noon, or the UTC time HH:MM at which the next night's name begins to hold."},
    {"codec", "method", SET_CHOICE, AT_(method), "htj2k", 0, 0,
     "htj2k|jp2|jxl|rice|quantized|original|auto", NULL,
     "How pixels travel: htj2k (fast JPEG 2000), jp2 (JPEG 2000 that every tool reads), jxl "
     "(lossless, the smallest), rice (lossless FITS tiles), quantized (the FITS standard's own "
     "lossy tiles, which any FITS reader opens), original (the file's bytes as they stand), or "
     "auto: of htj2k, jxl, rice and original what makes the newest exposure whole at the far end "
     "soonest."},
    {"codec", "ratio", SET_REAL, AT_(ratio), "0", 0, FIDELITY_RATIO_MAX, NULL, "16-bit bytes / bytes sent",
     "How many times smaller an exposure becomes, 3 to 40; each ccd's steps follow its sky noise; "
     "of ratio, noise and qstep at most one may be set, and with none of them it is 10 "
     "(quantized: q)."},
    {"codec", "ratio_max", SET_REAL, AT_(ratio_max), "10", FIDELITY_RATIO_MIN, FIDELITY_RATIO_MAX,
     NULL, "16-bit bytes / bytes sent",
     "Of method auto only, in place of ratio: the largest ratio that it may choose; with noise set "
     "it is the ratio at which that error is reached."},
    {"codec", "noise", SET_REAL, AT_(noise), "0", 0, 1, NULL, "rms error / sky noise",
     "In place of ratio: how large the error is, in units of each ccd's sky noise (0.3 is about "
     "5:1); 0: not set."},
    {"codec", "qstep", SET_REAL, AT_(qstep), "0", 0, 0.1, NULL, "of the 16-bit range",
     "In place of ratio: one quantisation step for all wavelet bands and all ccds of htj2k and jp2 "
     "(0.00003 is about 7:1 on dark DECam frames, 0.00007 about 20:1); 0: not set."},
    {"codec", "q", SET_REAL, AT_(q), "1", 0.1, 100, NULL, "noise / step",
     "How fine quantized is without ratio and noise, as fpack's -q: its step is the sky noise "
     "divided by this; smaller means smaller files and more noise."},
    {"codec", "max_error", SET_TEXT, AT_(max_error), "", 0, 0, NULL, "ADU, or sky noise",
     "No delivered pixel differs from the raw one by more: a number of ADU, or with an s behind it "
     "of sky noise (4s); pixels that would travel exactly; empty: no such bound."},
    {"codec", "exact", SET_TEXT, AT_(exact), "", 0, 0, NULL, NULL,
     "Pixels that must arrive exactly, whatever the codec does to others: any of saturated, "
     "overscan (as the camera's profile names it) and masked, with commas between; empty: none."},
    {"codec", "masks", SET_PATH, AT_(masks), "", 0, 0, NULL, NULL,
     "For exact = masked: a directory of bad-pixel masks, N.fits or N.fits.fz for ccd N, as large "
     "as the ccd and not 0 where a pixel is masked; a ccd without a usable one is sent without "
     "loss."},
    {"codec", "lossless", SET_BOOL, AT_(lossless), "no", 0, 0, NULL, NULL,
     "htj2k and jp2 without any loss, qstep is not used then; rice in place of quantized; auto "
     "chooses among jxl, rice and original, which never have any."},
    {"codec", "threads", SET_INT, AT_(threads), "0", 0, 256, NULL, NULL,
     "Threads that encode ccds; 0: one for each processor."},
    {"ship", "mode", SET_CHOICE, AT_(mode), "adaptive", 0, 0, "adaptive|parallel|serial|batch",
     NULL,
     "Order: adaptive (as they arrive while the line keeps up, newest first while it does not), "
     "parallel (the newest at once, beside it the others as they arrived), serial (newest first, "
     "one at a time), batch (the newest batch_size together, then the next)."},
    {"ship", "priority", SET_TEXT, AT_(priority), "science calibration backfill", 0, 0, NULL, NULL,
     "What goes before what, whatever its age: science, calibration (flats and biases by the "
     "camera's profile) and backfill (what a sweep asks for), each once; exact data that follow "
     "come after all."},
    {"ship", "batch_size", SET_INT, AT_(batch_size), "4", 1, 64, NULL, "exposures",
     "How many exposures a batch holds."},
    {"ship", "window", SET_INT, AT_(window), "2", 1, 64, NULL, "exposures",
     "How many exposures are under way at the same time in order of arrival; in parallel mode the "
     "newest is one more."},
    {"ship", "transport", SET_CHOICE, AT_(transport), "ssh", 0, 0, "ssh|sftp", NULL,
     "How exposures get there: ssh (the key runs skyferry-pull receive), or sftp (for far ends "
     "that allow SFTP only: they are dropped into a folder that skyferry-pull run watches)."},
    {"ship", "sftp_directory", SET_TEXT, AT_(sftp_directory), "skyferry-drops", 0, 0, NULL, NULL,
     "With transport = sftp: the drop folder as SFTP shows it, relative to where the login begins "
     "unless absolute; it is [store] drops of pull.conf."},
    {"ship", "host", SET_TEXT, AT_(host), "", 0, 0, NULL, NULL,
     "The far end: the machine on which skyferry-pull receives; must be given here or with "
     "--ssh-host."},
    {"ship", "port", SET_INT, AT_(port), "22", 1, 65535, NULL, NULL, "Its SSH port."},
    {"ship", "user", SET_TEXT, AT_(user), "", 0, 0, NULL, NULL,
     "The account there; empty: the name of the account here."},
    {"ship", "identity", SET_PATH, AT_(identity), "~/.config/skyferry/id_ed25519", 0, 0, NULL,
     NULL, "The private key (Ed25519, without passphrase) that the far end knows."},
    {"ship", "known_hosts", SET_PATH, AT_(known_hosts), "~/.config/skyferry/known_hosts", 0, 0,
     NULL, NULL, "Our own known_hosts file: only the host keys in it are accepted."},
    {"ship", "lanes", SET_CHOICE, AT_(lanes), "auto", 0, 0,
     "auto|1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16", "connections",
     "How many SSH connections share the load; auto: as many as it takes "
     "to fill the line, found out from its round trip and what they carry."},
    {"ship", "lanes_max", SET_INT, AT_(lanes_max), "16", 1, 16, NULL, "connections",
     "With lanes = auto never more than so many."},
    {"ship", "congestion", SET_CHOICE, AT_(congestion), "bbr", 0, 0, "bbr|cubic|system", NULL,
     "TCP's congestion control for what we send: bbr keeps a long or lossy line full and needs no "
     "warming up after a pause; cubic yields more to others on a shared line; system: the "
     "machine's own choice, which also stands in for one that the kernel does not give us."},
    {"ship", "lane_window_kib", SET_INT, AT_(lane_window_kib), "4096", 64, 65536, NULL, "KiB",
     "Bytes that may be under way and not yet acknowledged on one connection."},
    {"ship", "chunk_kib", SET_INT, AT_(chunk_kib), "256", 16, 2048, NULL, "KiB",
     "Bytes that are sent and acknowledged as one, at most; on a thin line fewer."},
    {"ship", "rate_mbit", SET_TEXT, AT_(rate), "", 0, 0, NULL, "Mbit/s",
     "All connections together send no more: a number (0.1 to 100000), or numbers with the times "
     "of the UTC day at which they hold, as 300, 50 06:00-18:00 (300 at all other times; without "
     "it no limit then); empty: no limit."},
    {"ship", "connect_timeout_seconds", SET_INT, AT_(connect_timeout_s), "30", 1, 600, NULL, "s",
     "A connection that is not up after so long is given up and tried again."},
    {"ship", "silence_seconds", SET_INT, AT_(line_silence_s), "30", 2, 3600, NULL, "s",
     "A connection on which nothing came for so long, though an answer is due, is dead."},
    {"ship", "command_timeout_seconds", SET_INT, AT_(command_timeout_s), "60", 1, 86400, NULL,
     "s", "send and sweep give up after so long without a single connection."},
    {"sweep", "lossless", SET_BOOL, AT_(later), "no", 0, 0, NULL, NULL,
     "Lossless later: after a lossy delivery the exact data follow and take its place."},
    {"sweep", "lossless_method", SET_CHOICE, AT_(later_method), "jxl", 0, 0,
     "jxl|rice|htj2k|jp2|original", NULL,
     "How the exact data travel: as [codec] method, htj2k and jp2 without loss."},
    {"sweep", "lossless_when", SET_CHOICE, AT_(later_when), "both", 0, 0, "sweep|idle|both", NULL,
     "When they follow: in the sweep, on an idle line while the agent runs (one exposure at a "
     "time, behind every new one), or both."},
    {"spool", "directory", SET_PATH, AT_(spool), "~/.local/state/skyferry/push", 0, 0, NULL, NULL,
     "Where the journal and the bundles under way are kept; a local disk."},
    {"spool", "quota_gib", SET_REAL, AT_(quota_gib), "20", 0.001, 1e6, NULL, "GiB",
     "Bundles may take so much room; beyond it exposures wait for their turn."},
    {"log", "level", SET_CHOICE, AT_(log_level), "info", 0, 0, "debug|info|warn|error", NULL,
     "The least important line that is logged."},
    {"log", "file", SET_PATH, AT_(log_file), "", 0, 0, NULL, NULL,
     "A log file, with strftime fields (skyferry-push_%Y%m%d_%H:%M:%S.log); empty: standard "
     "error only."},
    {"log", "format", SET_CHOICE, AT_(log_format), "text", 0, 0, "text|json", NULL,
     "Log lines as text or as one JSON object each."},
    {.key = NULL},
};

/* ---- checks that rows cannot say ---- */

static void make_absolute(char *path, size_t size)
{
    char here[PATH_MAX], whole[2 * PATH_MAX];
    if (path[0] == '\0' || path[0] == '/' || !getcwd(here, sizeof here))
        return;
    snprintf(whole, sizeof whole, "%s/%s", here, path);
    if (strlen(whole) < size)
        memcpy(path, whole, strlen(whole) + 1);
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t")] == '\0';
}

const char *settings_pattern(const struct config *c)
{
    return is_blank(c->set.pattern) ? c->camera.pattern : c->set.pattern;
}

static void check_watch(const struct config *c, struct config_report *r)
{
    const struct settings *s = &c->set;
    struct stat st;
    size_t len = strlen(s->directory);
    if (len == 0) {
        config_problem(r, "no directory to watch: set [watch] directory, give --data-dir DIR, or "
                          "set DATA_DIR");
        return;
    }
    if (stat(s->directory, &st) != 0)
        config_problem(r, "[watch] directory %s: %s; make it, or name the right one",
                       s->directory, strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        config_problem(r, "[watch] directory %s is not a directory", s->directory);
    if (strncmp(s->spool, s->directory, len) == 0 && (s->spool[len] == '/' || !s->spool[len]))
        config_problem(r, "[spool] directory %s lies in the watched directory %s; choose a place "
                          "outside of it", s->spool, s->directory);
    if (is_blank(settings_pattern(c)))
        config_problem(r, "[watch] pattern is empty, and that of the camera's profile, too: no file "
                          "would ever be sent; the usual one is *.fits *.fits.fz");
}

static void check_far_end(const struct settings *s, struct config_report *r)
{
    if (s->host[0] == '\0')
        config_problem(r, "no far end: set [ship] host, or give --ssh-host HOST");
    if (access(s->identity, R_OK) != 0)
        config_problem(r, "[ship] identity %s: %s; make a key with: ssh-keygen -t ed25519 -N '' "
                          "-f %s", s->identity, strerror(errno), s->identity);
    if (access(s->known_hosts, R_OK) != 0)
        config_problem(r, "[ship] known_hosts %s: %s; write the far end's host key into it, for "
                          "instance with: ssh-keyscan -t ed25519 HOST (compare the key with the "
                          "far end's administrator)", s->known_hosts, strerror(errno));
}

static void check_site(struct config *c, struct config_report *r)
{
    if (!night_rule_parse(c->set.night_rollover, c->set.longitude_deg, &c->night))
        config_problem(r, "[site] night_rollover = '%s' is neither noon nor a time HH:MM of the "
                          "UTC day, such as 22:30", c->set.night_rollover);
}

/* Is it a directory whose files can be opened? errno says why not. */
static bool can_enter(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return false;
    }
    return access(path, R_OK | X_OK) == 0;
}

/* Which of the three says how lossy; given twice is a contradiction, but a command line's word
 * stands in for the file's. */
static void check_fidelity(struct config *c, const struct settings_source *from,
                           struct config_report *r)
{
    struct settings *s = &c->set;
    static const char *const keys[] = {"ratio", "noise", "qstep"};
    double *values[] = {&s->ratio, &s->noise, &s->qstep};
    bool over[3] = {false}, any = false;
    int set = 0;
    for (int i = 0; i < from->count; i++)
        for (int k = 0; k < 3; k++)
            if (strcmp(from->over[i].section, "codec") == 0 &&
                strcmp(from->over[i].key, keys[k]) == 0 && *values[k] > 0)
                over[k] = any = true;
    for (int k = 0; k < 3; k++) {
        if (any && !over[k])
            *values[k] = 0;
        set += *values[k] > 0;
    }
    if (set > 1)
        config_problem(r, "[codec] ratio, noise and qstep exclude one another: keep the one that "
                          "you mean and remove the others");
    if (s->ratio > 0 && s->ratio < FIDELITY_RATIO_MIN)
        config_problem(r, "[codec] ratio = %g is out of range: give a number from %g to %g, or 0 "
                          "for none", s->ratio, FIDELITY_RATIO_MIN, FIDELITY_RATIO_MAX);
    if (strcmp(s->method, "quantized") == 0 && s->ratio > 9)
        config_problem(r, "[codec] ratio = %g is beyond what quantized reaches; give at most 9, or "
                          "method = htj2k", s->ratio);
    if (settings_auto(s) && (s->ratio > 0 || s->qstep > 0))
        config_problem(r, "[codec] method = auto chooses the loss by itself: remove %s; ratio_max "
                          "or noise say how much it may choose", s->ratio > 0 ? "ratio" : "qstep");
    struct fidelity f;
    if (!fidelity_parse_bound(s->max_error, &f.max_error, &f.max_in_noise))
        config_problem(r, "[codec] max_error = '%s' is neither a number of ADU above 0 (3.5) nor "
                          "one of sky noise (4s)", s->max_error);
    if (!fidelity_parse_exact(s->exact, &f.exact))
        config_problem(r, "[codec] exact = '%s': only saturated, overscan and masked are known, "
                          "with commas between", s->exact);
    else if (f.exact & EXACT_MASKED && !s->masks[0])
        config_problem(r, "[codec] exact = masked needs masks, the directory of the bad-pixel "
                          "masks");
    else if (f.exact & EXACT_MASKED && !can_enter(s->masks))
        config_problem(r, "[codec] masks = '%s', where exact = masked finds the bad-pixel masks: "
                          "%s",
                       s->masks, strerror(errno));
}

static void check_rate(const struct settings *s, struct config_report *r)
{
    struct timetable t;
    struct fault why;
    if (timetable_parse(s->rate, &t, &why) != ST_OK)
        config_problem(r, "[ship] rate_mbit = '%s': %s", s->rate, why.text);
}

static void fill_policy(const struct settings *s, struct order_policy *p, struct config_report *r)
{
    if (!order_priority_parse(s->priority, p->rank))
        config_problem(r, "[ship] priority = '%s': give science, calibration and backfill, each "
                          "once, in the order in which they are to go", s->priority);
    if (!order_mode_parse(s->mode, &p->mode))
        p->mode = ORDER_ADAPTIVE;
    p->batch_size = s->batch_size;
    p->window = s->window;
}

void settings_wanted(const struct settings *s, struct wanted *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->proposals, s->proposals, sizeof out->proposals);
    out->first = s->first_exposure;
    out->last = s->last_exposure;
    wanted_share(s->share, &out->share, &out->shares);
}

bool settings_load(const struct settings_source *from, unsigned needs, struct config *out,
                   struct config_report *r)
{
    int before = r->count;
    memset(out, 0, sizeof *out);
    if (from->file)
        snprintf(out->file, sizeof out->file, "%s", from->file);
    else
        lookup_config("push.conf", out->file, sizeof out->file);
    config_load(out->file[0] ? out->file : NULL, settings_rows, &out->set, r);
    for (int i = 0; i < from->count; i++) {
        const struct override *o = &from->over[i];
        config_set(settings_rows, &out->set, o->section, o->key, o->value, o->where, r);
    }
    make_absolute(out->set.directory, sizeof out->set.directory);
    make_absolute(out->set.spool, sizeof out->set.spool);
    if (needs & NEED_SPOOL && out->set.spool[0] == '\0')
        config_problem(r, "[spool] directory is empty; name a directory on a local disk");
    lookup_camera(out->set.profile, out->file, &out->camera, r);
    if (needs & NEED_WATCH)
        check_watch(out, r);
    if (needs & NEED_FAR_END)
        check_far_end(&out->set, r);
    if (!wanted_share(out->set.share, &(int){0}, &(int){0}))
        config_problem(r, "[watch] share = '%s': give this agent's part and the number of agents, "
                          "as in 2/6, or nothing", out->set.share);
    check_site(out, r);
    check_fidelity(out, from, r);
    check_rate(&out->set, r);
    fill_policy(&out->set, &out->policy, r);
    return r->count == before;
}

/* ---- what changed at a reload ---- */

static bool is_live(const struct setting *row)
{
    static const char *const keys[] = {
        "watch.settle_seconds", "watch.give_up_seconds", "watch.proposals",
        "watch.first_exposure", "watch.last_exposure", "watch.share", "watch.silence_seconds", "ship.mode",
        "ship.priority", "ship.batch_size", "ship.window", "ship.rate_mbit", "codec.method",
        "codec.ratio", "codec.ratio_max",
        "codec.noise", "codec.qstep", "codec.max_error", "codec.exact", "codec.masks", "codec.q",
        "codec.lossless",
        "sweep.lossless", "sweep.lossless_method", "sweep.lossless_when", "spool.quota_gib",
        "log.level",
    };
    char name[128];
    snprintf(name, sizeof name, "%s.%s", row->section, row->key);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(name, keys[i]) == 0)
            return true;
    return false;
}

static bool same_value(const struct setting *row, const struct settings *a,
                       const struct settings *b)
{
    const char *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;
    switch (row->type) {
    case SET_TEXT:
    case SET_PATH:
    case SET_CHOICE:
        return strcmp(x, y) == 0; /* bytes past the end of the text may differ */
    default:
        return memcmp(x, y, row->size) == 0;
    }
}

void settings_changes(const struct settings *before, const struct settings *after,
                      struct buf *live, struct buf *restart)
{
    for (const struct setting *row = settings_rows; row->key; row++) {
        if (same_value(row, before, after))
            continue;
        struct buf *to = is_live(row) ? live : restart;
        buf_printf(to, "%s%s.%s", to->len ? " " : "", row->section, row->key);
    }
}

void settings_take_live(struct settings *to, const struct settings *from)
{
    for (const struct setting *row = settings_rows; row->key; row++)
        if (is_live(row))
            memcpy((char *)to + row->offset, (const char *)from + row->offset, row->size);
}

/* ---- for the modules below ---- */

void settings_codec(const struct settings *s, struct fidelity *out)
{
    memset(out, 0, sizeof *out); /* compared and hashed as a whole */
    snprintf(out->method, sizeof out->method, "%s", s->method);
    out->lossless = s->lossless;
    out->qstep = s->qstep;
    out->ratio = s->ratio;
    out->noise = s->noise;
    out->q = s->q;
    out->pace = 1;
    fidelity_parse_bound(s->max_error, &out->max_error, &out->max_in_noise);
    fidelity_parse_exact(s->exact, &out->exact);
    memcpy(out->masks, s->masks, sizeof out->masks);
}

bool settings_auto(const struct settings *s)
{
    return strcmp(s->method, "auto") == 0;
}

double settings_ratio_max(const struct settings *s)
{
    struct fidelity f = {.method = "htj2k", .noise = s->noise};
    if (s->lossless)
        return 0;
    return s->noise > 0 ? fmin(fidelity_rung(&f), FIDELITY_RATIO_MAX) : s->ratio_max;
}

void settings_exact_codec(const struct settings *s, struct fidelity *out)
{
    memset(out, 0, sizeof *out);
    snprintf(out->method, sizeof out->method, "%s", s->later_method);
    out->lossless = true;
}

bool settings_exact_idle(const struct settings *s)
{
    return s->later && strcmp(s->later_when, "sweep") != 0;
}

bool settings_exact_sweep(const struct settings *s)
{
    return s->later && strcmp(s->later_when, "idle") != 0;
}

int settings_lanes(const struct settings *s)
{
    return (int)strtol(s->lanes, NULL, 10);
}

void settings_lane(const struct settings *s, struct lane_options *out)
{
    char machine[64] = "unknown";
    memset(out, 0, sizeof *out);
    gethostname(machine, sizeof machine - 1);
    memcpy(out->host, s->host, sizeof out->host);
    memcpy(out->user, s->user, sizeof out->user);
    const struct passwd *me = out->user[0] ? NULL : getpwuid(getuid());
    if (me)
        snprintf(out->user, sizeof out->user, "%s", me->pw_name);
    memcpy(out->identity, s->identity, sizeof out->identity);
    memcpy(out->known_hosts, s->known_hosts, sizeof out->known_hosts);
    memcpy(out->congestion, s->congestion, sizeof out->congestion);
    out->port = s->port;
    out->connect_timeout_s = s->connect_timeout_s;
    out->silence_s = s->line_silence_s;
    out->sftp = strcmp(s->transport, "sftp") == 0;
    memcpy(out->sftp_directory, s->sftp_directory, sizeof out->sftp_directory);
    snprintf(out->agent, sizeof out->agent, "%.60s pid %ld", machine, (long)getpid());
}

void settings_log(const struct settings *s, struct log_options *out)
{
    int level = log_level_parse(s->log_level);
    *out = (struct log_options){.agent = "push", .file = s->log_file,
                                .level = level < 0 ? LOG_INFO : (enum log_level)level,
                                .json = strcmp(s->log_format, "json") == 0};
}
