/* The nouns of the far side as the catalogue holds them: an exposure (one bundle), its ccds
 * (one image each, one FITS file once placed), its jobs (one run over a group of ccds) and
 * what a job measured. Plain values without pointers, copied freely, owned by whoever
 * declares them; only the main thread reads and writes them through pull/catalogue.h. */
#ifndef SKYFERRY_PULL_EXPOSURE_H
#define SKYFERRY_PULL_EXPOSURE_H

#include "common/camera.h"
#include "common/manifest.h"
#include "common/night.h"

/* EX_COMING: its bundle still grows in incoming/ and ccds of it are placed already (pull/early.h);
 * all of that is withdrawn unless it becomes stored. */
enum exposure_state { EX_STORED, EX_PLACED, EX_WORKING, EX_DONE, EX_PARKED, EX_COMING, EX_STATES };

/* When what happened, ns since 1970 UTC; 0: unknown. The first three by push's clock. */
enum stamp {
    STAMP_CLOSED,  /* the source file's last change */
    STAMP_NOTICED, /* push saw it */
    STAMP_ENCODED, /* its bundle was complete */
    STAMP_FIRST,   /* pull got the first byte */
    STAMP_STORED,  /* durable here, receipt given */
    STAMP_INDEXED, /* its manifest is in the catalogue */
    STAMP_PLACED,  /* every ccd is a FITS file, or parked */
    STAMP_DONE,    /* every job ended */
    STAMP_RENEWED, /* every placed file got the exact pixels that followed lossy ones */
    STAMPS
};
extern const char *const stamp_names[STAMPS];

/* Are the placed pixels those of the source file, bit for bit? Stored as numbers. */
enum exactness {
    EXACT_NO,
    EXACT_COMING, /* `bundle` is the exact one that followed; lossy files are still placed */
    EXACT_YES
};

struct exposure {
    int64_t id;
    char bundle[512];          /* below root: "bundles/ut170316/NAME.tar"; EX_COMING:
                                * "incoming/NAME.ID8.part"; "gone/...": see pull/retire.h */
    char name[MEMBER_NAME];    /* the bundle's stem: NAME or NAME~2 */
    char night[NIGHT_SIZE];
    enum exposure_state state;
    int attempts;              /* of the step that the state waits for */
    int64_t due_ns;            /* not before this */
    char reason[512];          /* parked: why; else the last failure, "" when all is well */
    bool force;                /* replace placed files of other content */
    enum exactness exact;
    int64_t stamp[STAMPS];
    char source_name[MEMBER_NAME], source_sha256[DIGEST_HEX];
    int64_t source_size, raw_size; /* raw: of all pixels and other HDUs, uncompressed */
    char bundle_sha256[DIGEST_HEX];
    int64_t bundle_size, bundle_mtime_ns; /* mtime 0: before its receipt was made */
    struct facts facts;
    /* Of a camera that writes one file a ccd (pull/visit.h). A file's row names its visit's; a
     * visit's row has no bundle of its own, and visit_ccds > 0. */
    int64_t visit; /* 0: none */
    int visit_ccd; /* which ccd of the visit a file holds */
    int visit_ccds, visit_coming; /* of the visit, as in common/manifest.h */
    /* counts, kept by catalogue_count */
    int ccds, placed, jobs, jobs_done, faults; /* faults: ccds parked and jobs failed */
};

/* A bundle of an exposure besides `bundle`. */
enum bundle_role {
    BUNDLE_NEXT,  /* the exact one: taken up as soon as the exposure rests */
    BUNDLE_FORMER /* the lossy one whose place the exact one took */
};

struct other_bundle {
    char path[512]; /* below root */
    int64_t exposure;
    enum bundle_role role;
    char sha256[DIGEST_HEX];
    int64_t size, stored_ns;
};

enum ccd_state { CCD_WAITING, CCD_PLACED, CCD_PARKED };

struct quality { /* NaN: not measured */
    double background, noise, saturated, stars, fwhm;
    char error[256]; /* why the job could not measure this ccd */
};

struct ccd {
    int64_t id, exposure, job; /* job: 0 none */
    int ccd, hdu;
    char extname[72], member[MEMBER_NAME], codec[16];
    double qstep;
    enum ccd_state state;
    char reason[512];
    char path[1024];           /* below root, when placed */
    int64_t size, placed_ns;   /* of the file */
    char datasum[24], checksum[24]; /* its cards: what verify compares */
    char made_from[DIGEST_HEX]; /* of an exposure that is coming: manifest_digest of what the file
                                 * was made from; "" when the whole manifest stands behind it.
                                 * Waiting, with a path: about to be placed there (also by a job:
                                 * [decode] where). */
    struct quality quality;
    char bundle[512];          /* of its exposure; only read */
};

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_DRY };

struct job {
    int64_t id, exposure;
    int number;             /* 1...: "q1" */
    enum job_state state;
    int attempts;           /* begun so far */
    int64_t due_ns, started_ns, ended_ns;
    char folder[512];       /* below root: "jobs/ut170316/NAME/q1" */
    char handle[128];       /* the runner's name for the running one */
    char reason[512];       /* how it ended */
    /* What a batch system says of it; empty with the local runner. */
    char batch[32];         /* "1234_2" */
    char batch_state[24];   /* "PENDING", "RUNNING", "COMPLETED", ... */
    char node[64];
    int exit_status;        /* of the last run; -1: none known */
};

#endif
