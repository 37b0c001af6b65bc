/* push.conf as rows (common/config.h), and everything that follows from it: the camera
 * profile, the rule for nights, what the lanes need. Loaded once at start, again at
 * SIGHUP; options of the command line and the environment lie on top of the file each
 * time. All problems are collected, none stops the search for the next. */
#ifndef SKYFERRY_SETTINGS_H
#define SKYFERRY_SETTINGS_H

#include "common/camera.h"
#include "common/fidelity.h"
#include "common/config.h"
#include "common/log.h"
#include "common/night.h"
#include "push/lane.h"
#include "push/order.h"
#include "push/timetable.h"
#include "push/wanted.h"

struct settings {
    /* [watch] */
    char directory[4096], pattern[512], proposals[512], share[16];
    int first_exposure, last_exposure;
    bool recursive;
    int rescan_s, give_up_s, watch_silence_s;
    double settle_s;
    /* [camera] */
    char profile[4096];
    /* [site] */
    char site_name[64];
    double longitude_deg;
    char night_rollover[16];
    /* [codec] */
    char method[16];
    double qstep, ratio, ratio_max, noise, q;
    char max_error[32], exact[64], masks[4096];
    bool lossless;
    int threads;
    /* [ship] */
    char mode[16], priority[64];
    int batch_size, window;
    char host[256], user[64], identity[4096], known_hosts[4096];
    char lanes[16], congestion[16];
    int lanes_max;
    int port, lane_window_kib, chunk_kib, connect_timeout_s, line_silence_s;
    int command_timeout_s;
    char rate[TIMETABLE_TEXT];
    char transport[8], sftp_directory[1024];
    /* [sweep] */
    bool later;
    char later_method[16], later_when[8];
    /* [spool] */
    char spool[4096];
    double quota_gib;
    /* [log] */
    char log_level[8], log_file[4096], log_format[8];
};

extern const struct setting settings_rows[];

/* One value that overrides the file's. Texts stay the caller's. */
struct override {
    const char *section, *key, *value;
    const char *where; /* "--qs", "environment QS" */
};

struct settings_source {
    const char *file; /* NULL: none, defaults */
    struct override over[32];
    int count;
};

/* Which files are to be shipped. */
void settings_wanted(const struct settings *s, struct wanted *out);

/* What a command is going to need; other gaps are not held against it. */
enum settings_need { NEED_SPOOL = 1, NEED_WATCH = 2, NEED_FAR_END = 4 };

struct config {
    char file[4096]; /* "" when there was none */
    struct settings set;
    struct camera camera;
    struct night_rule night;
    struct order_policy policy;
};

/* Loads the file (none named: the first of ~/.config/skyferry/push.conf and
 * /etc/skyferry/push.conf that exists, or defaults alone), lays the overrides on top, loads the camera profile and checks what rows cannot
 * say. Returns r->count == 0. */
bool settings_load(const struct settings_source *from, unsigned needs, struct config *out,
                   struct config_report *r);

/* File names that are exposures: [watch] pattern, or where that is empty the profile's. */
const char *settings_pattern(const struct config *c);

/* Names ("codec.qstep") of the keys that differ, blank-separated: those that take effect
 * for later exposures at once, and those that need a restart. */
void settings_changes(const struct settings *before, const struct settings *after,
                      struct buf *live, struct buf *restart);

/* Takes the values of the former kind. */
void settings_take_live(struct settings *to, const struct settings *from);

/* How a bundle is addressed and encoded, as the modules take it. With method auto method and
 * ratio are left to whoever chooses (settings_auto). */
void settings_codec(const struct settings *s, struct fidelity *out);
bool settings_auto(const struct settings *s);
/* The largest ratio that auto may choose; 0: no loss at all. */
double settings_ratio_max(const struct settings *s);
/* The same for the exact data that follow a lossy delivery. */
void settings_exact_codec(const struct settings *s, struct fidelity *out);
/* Do they follow when the line is idle? In the sweep? */
bool settings_exact_idle(const struct settings *s);
bool settings_exact_sweep(const struct settings *s);
/* [ship] lanes as a number; 0: auto. */
int settings_lanes(const struct settings *s);
void settings_lane(const struct settings *s, struct lane_options *out);
void settings_log(const struct settings *s, struct log_options *out);     /* texts: point into s */

#endif
