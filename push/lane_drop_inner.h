/* The inside of the SFTP dialect, for lane_drop*.c: lane_drop.c matches answers with requests
 * and fetches small files, lane_drop_greet.c looks at the server and the folder,
 * lane_drop_stream.c carries a bundle's bytes, lane_drop_commit.c names it and waits for the
 * receipt, lane_drop_have.c asks what is held. */
#ifndef SKYFERRY_LANE_DROP_INNER_H
#define SKYFERRY_LANE_DROP_INNER_H

#include "common/clock.h"
#include "common/drop.h"
#include "push/lane_drop.h"
#include "push/sftp.h"

#define DROP_PATH 1280
#define NEVER INT64_MAX

struct awaited;
/* Takes a request's answer. Anything but OK ends the lane. */
typedef enum status answer_fn(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                              struct fault *why);
struct awaited {
    uint32_t id;
    answer_fn *fn;
    int64_t bundle, value; /* whose it is, as fn knows them */
};

/* A small file being read as a whole. */
struct fetch;
typedef enum status fetched_fn(struct talk *t, const struct fetch *f, struct fault *why);
struct fetch {
    struct fetch *next;
    int64_t number, bundle;
    fetched_fn *done;
    bool found;          /* else: there is no such file, or it cannot be read */
    struct sftp_handle handle;
    struct buf text;
};

struct chunk {
    struct chunk *next;
    int64_t number, bundle, offset;
    uint32_t length;
    int fd;
    int left;            /* WRITEs without answer; < 0: not begun */
    bool failed;
    char words[160];     /* why */
};

enum drop_stage {
    STREAM_LOOK,    /* is there a receipt, a named bundle, a part with its map? */
    STREAM_OPENING, /* part and map get their handles */
    STREAM_OPEN,    /* chunks go out */
    STREAM_DROPPED, /* found under its name: only the answer is missing */
    STREAM_SIDE,    /* commit: the side-car is opened */
    STREAM_WRITE,   /*         and written; the part is on its disk */
    STREAM_NAME,    /*         the side-car and then the bundle get their names */
    STREAM_ANSWER,  /* committed: the answer is looked for */
    STREAM_ENDED    /* answered; `why` when it was refused */
};

struct stream {
    struct stream *next;
    int64_t bundle;
    struct wire_open open;
    enum drop_stage stage;
    int pending;               /* answers before the next step */
    struct sftp_handle part, map, side;
    int64_t tar_size, part_size; /* of what was found under these names; -1: nothing */
    int64_t side_size;           /* what a side-car that was found says; -1: none */
    struct extent *have;
    size_t have_count;
    struct receipt receipt;
    bool has_receipt;
    bool committing;           /* asked for before the handles were there */
    struct fault why;          /* grade ST_OK: nothing went wrong */
    struct wire_commit commit;
    unsigned replaced;         /* bit kind: its rename was tried before */
    int64_t since, look_at;    /* STREAM_ANSWER: clock_mono of its begin, of the next look */
    bool looked;               /* once at least */
};

/* Files that have served, to be removed when the journal surely knows the receipt. */
struct litter {
    struct litter *next;
    int64_t due;
    char receipt[DROP_NAME];
};

/* The first of them is being asked. */
struct question {
    struct question *next;
    int64_t number;            /* answers to what an earlier one asked are not this one's */
    char name[16];             /* X of ask-X.json */
    char *text;
    int pending;
    bool asked;
    struct sftp_handle handle;
    int64_t since, look_at;
};

struct drops {
    char directory[1024];
    struct sftp_server server;
    uint32_t last_id;
    int64_t last_number;
    struct awaited *awaited;   /* in the order of asking */
    size_t awaited_count, awaited_room;
    uint32_t piece;            /* bytes of one WRITE */
    bool ending;               /* nothing new is begun */
    bool starved;              /* memory was out: the lane must end */
    struct fetch *fetches;
    struct stream *streams;
    struct chunk *chunks;      /* in the order of posting */
    struct litter *litter;
    struct question *questions; /* in the order of posting */
    unsigned char *block;      /* a chunk's bytes */
    size_t block_size;
    /* the greeting */
    int greeting;              /* answers before LANE_UP */
    char probe[32];
    struct sftp_handle probe_handle;
    int64_t here_mtime, far_mtime, free_bytes;
    struct buf far_text;
    struct wire_hello hello;
    /* skyferry-pull's sign of life */
    int64_t beat_mono;         /* when far-end.json was last seen fresh; 0: never */
    int64_t beat_look, beat_told; /* clock_mono of the next look, of the last one's answer */
    bool beat_asked;
    bool nobody;               /* a bundle was given up for want of it: whoever waits is told */
};

/* Registers the answer of the request that is about to be appended; its id. */
uint32_t drops_await(struct talk *t, answer_fn *fn, int64_t bundle, int64_t value);
/* Notes that memory was out for a request. */
void drops_note(struct talk *t, bool appended);
/* One request with its answer's function: DROPS_ASK(t, fn, bundle, value, sftp_open, path, flags) */
#define DROPS_ASK(t, fn, bundle, value, request, ...) \
    drops_note(t, request(&(t)->out, drops_await(t, fn, bundle, value), __VA_ARGS__))
/* An answer that does not matter. */
answer_fn drops_ignore;

/* DIRECTORY/file. */
void drops_path(const struct talk *t, const char *file, char out[DROP_PATH]);
/* ... of a bundle's file. */
void drops_file(const struct talk *t, enum drop_kind kind, const struct wire_open *o,
                char out[DROP_PATH]);
void drops_remove(struct talk *t, enum drop_kind kind, const struct wire_open *o);
void drops_close_handle(struct talk *t, struct sftp_handle *h);

/* Reads a file of at most DROP_SIDE_MAX bytes (an answer to HAVE: WIRE_MAX), then calls done. */
void drops_fetch(struct talk *t, const char *file, int64_t bundle, fetched_fn *done);

struct lane_event *drops_event(struct talk *t, enum lane_event_kind kind, int64_t bundle);
void drops_post(struct talk *t, struct lane_event *e); /* NULL: memory was out */
void drops_refuse(struct talk *t, int64_t bundle, const struct fault *why);

/* lane_drop_greet.c */
enum status drops_greet(struct talk *t, const struct sftp_reply *version, struct fault *why);
bool drops_is_alive(const struct drops *d, int64_t now);
void drops_beat(struct talk *t, int64_t now); /* looks at far-end.json when it is time to */

/* lane_drop_stream.c */
struct stream *drops_stream(const struct talk *t, int64_t bundle);
void drops_open_stream(struct talk *t, const struct lane_job *job);
void drops_chunk(struct talk *t, const struct lane_job *job);
void drops_end_stream(struct talk *t, int64_t bundle, bool abort);
/* The receipt that was to be removed is waited for anew. */
void drops_keep_receipt(struct talk *t, const struct wire_open *o);
void drops_free_stream(struct stream *s);
void drops_fail_stream(struct talk *t, struct stream *s, const struct fault *why);
/* For the server's answer r; a mere failure is the full disk's where there is no room. */
void drops_fail_for(struct talk *t, struct stream *s, const struct sftp_reply *r,
                    const struct fault *why);

/* lane_drop_commit.c */
void drops_commit(struct talk *t, struct stream *s, const struct wire_commit *c);
int64_t drops_answer_tick(struct talk *t, struct stream *s, int64_t now);
/* A fetched receipt or refusal into the stream; false when it is neither. */
bool drops_take_receipt(struct stream *s, const struct fetch *f);
void drops_post_receipt(struct talk *t, struct stream *s);

/* lane_drop_have.c */
void drops_have(struct talk *t, char **text);
int64_t drops_have_tick(struct talk *t, int64_t now);
void drops_free_question(struct question **q); /* takes it off its list */

#endif
