/* Which exposure goes next: the modes as policies over one durable queue. They change
 * order and concurrency only; every exposure has its turn in the end. Functions over plain
 * values, no clocks: the flow calls order_arrange whenever something came, is ready or done.
 *
 * Newest first, in serial and parallel mode and in adaptive mode while it falls behind: what
 * the line takes up next is the newest exposure, so that it arrives as on an empty line
 * whatever waits; the others, the backlog, have all the time that this leaves. With more
 * coming than the line carries that needs two rules. An exposure that came as the newest is
 * finished before a younger one is begun, once ORDER_OVERTAKE of its bytes are out: else each
 * would be overtaken in the middle, and none ever arrive. And only one that the line took up
 * in time has this right, within ORDER_TIMELY of the time that it needs: whatever waited
 * longer is backlog, and gives way to the next that comes at once. So an exposure waits for
 * the line for at most a tenth of its own time, or lets a younger one be the newest.
 * Where a camera writes one file a ccd the exposure is all of them, from the first to the last:
 * half of one is worth nothing, so its files never have turns of their own.
 * The latency of the newest is, of every exposure that had no younger one stored before it,
 * close of file to receipt. */
#ifndef SKYFERRY_ORDER_H
#define SKYFERRY_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/camera.h"

enum order_mode {
    ORDER_PARALLEL, /* the newest, beside it the others in order of arrival, `window` at a time */
    ORDER_SERIAL,   /* newest first, one at a time; the next is made ready meanwhile */
    ORDER_BATCH,    /* the newest `batch_size` together; the next round when all are done */
    ORDER_ADAPTIVE, /* in order of arrival while there is time in hand, else as serial */
    ORDER_LIST,     /* not a policy: the forerunner's word for `send --list` */
    ORDER_SWEEP     /* not a policy: the forerunner's word for `sweep` */
};

/* A whole word or its letter, case ignored: p parallel, s serial, b batch bundle, a adaptive,
 * l list, e sweep endofnight end-of-night "end of night". False for all else. */
bool order_mode_parse(const char *word, enum order_mode *out);
extern const char order_mode_words[]; /* for messages: "parallel (p), serial (s), ..." */
bool order_is_policy(enum order_mode mode);
const char *order_mode_word(enum order_mode mode); /* of a policy: "serial" */

/* Kinds of exposures; each goes before or behind all of another kind, newest or not. */
enum order_kind { ORDER_SCIENCE, ORDER_CALIBRATION, ORDER_BACKFILL, ORDER_KINDS };
extern const char *const order_kind_words[ORDER_KINDS];
/* "science calibration backfill", each once, in any order: rank[kind], 0 goes first. */
bool order_priority_parse(const char *words, int rank[ORDER_KINDS]);

#define ORDER_OVERTAKE 0.4 /* of its bytes: with less of them out it can be overtaken */
#define ORDER_TIMELY 0.1   /* of the time that it needs */
#define ORDER_IN_A_ROW 2   /* so often, before one is finished all the same */

struct order_policy {
    enum order_mode mode; /* one of the first four */
    int batch_size, window;
    int rank[ORDER_KINDS];
};

/* One exposure, of one file or of several: what is asked for its turn is never a part of one. */
struct order_item {
    int64_t id;       /* order of arrival; of several files: the first one's */
    char group[CAMERA_GROUP]; /* the exposure's name where it is several files; else "" */
    int files;        /* of it, that wait or are under way */
    int64_t date_ns;  /* DATE-OBS; INT64_MIN: unknown, then mtime_ns counts; as id, the first file's */
    int64_t mtime_ns;
    int64_t came_ns;  /* when it was found whole, by the clock of `now` */
    int64_t file_bytes, bundle_bytes; /* of these files; the latter 0 while none is encoded */
    int64_t open_bytes; /* of the files that are not encoded */
    enum order_kind kind;
    bool begun;       /* is under way, or was before a restart */
    bool exact;       /* exact data that follow a delivery: behind every exposure */
    /* Of those under way: */
    bool under_way;
    int carried;      /* so many of its files are */
    bool flowing;     /* the first of its bytes can go */
    bool drained;     /* all its bytes are on their way: waits for the receipt alone */
    int64_t first_ns; /* when the line got its first bytes; 0: not yet */
    double wire_bytes; /* of all its bundles, by the best guess; of several files: also of those
                          that are stored already */
    double out;       /* the share of these that the line has got */
    double need_s;    /* how long it takes alone; 0: not known */
    /* Found out by order_arrange: */
    bool newest;      /* goes as the newest: nothing younger ever went */
    bool turn;        /* is under way from now on, if it is not yet */
    int place;        /* in the order, from 0 */
};

/* What the line is at, from call to call. Start with ORDER_LINE_NEW. */
struct order_line {
    int64_t id;      /* what goes first; 0: nothing yet */
    bool guarded;    /* it came as the newest, and in time */
    int overtakings; /* since one was finished last */
    int64_t youngest[ORDER_KINDS]; /* of what went first so far */
    bool behind;     /* adaptive mode: falls behind */
};
#define ORDER_LINE_NEW ((struct order_line){.youngest = {INT64_MIN, INT64_MIN, INT64_MIN}})

/* Sorts items (all that wait and all under way; no exact data) into the order in which the
 * processors and the line serve them, and says whose turn it is. */
void order_arrange(const struct order_policy *p, struct order_line *line, struct order_item *items,
                   size_t count, int64_t now_ns);

/* Sorts exact data: begun ones first, then by the mode. */
void order_exact(const struct order_policy *p, struct order_item *items, size_t count);

/* ---- adaptive ---- */

struct order_load {
    int exposures;    /* not yet sent */
    double line_s;    /* what the line, or the processors, need for them; 0: not known */
    double cadence_s; /* one comes every so often; 0: not known */
};
/* behind: as it was. It takes four times as much to fall behind as to catch up. */
bool order_falls_behind(bool behind, const struct order_load *l);
/* "falling behind: 7 exposures, 12 min of line, a new one every 40 s; newest first" */
void order_load_text(bool behind, const struct order_load *l, char *out, size_t size);

#endif
