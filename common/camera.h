/* What differs between cameras is data: etc/cameras/NAME.conf says which header keys
 * hold the facts of an exposure, how many ccds to expect and how obstypes are spelled.
 * Header values are hostile input: facts are cut to size and stripped of control
 * characters here, and made into file names only by fs_name_clean. */
#ifndef SKYFERRY_CAMERA_H
#define SKYFERRY_CAMERA_H

#include "common/config.h"
#include "common/digest.h"
#include "common/fits.h"

struct camera {
    char name[64];
    char key_expnum[72], key_object[72], key_filter[72], key_obstype[72], key_date_obs[72],
        key_exptime[72], key_propid[72], key_ccd[72]; /* header keywords */
    char key_data_section[72], key_amplifier_section[256], key_overscan_section[256],
        key_saturate[256], key_gain[256], key_read_noise[256]; /* of a ccd: common/regions */
    int ccds;            /* image HDUs that an exposure has; 0: any number */
    char flat_words[256], bias_words[256]; /* OBSTYPE spellings, comma-separated, case ignored */
    bool expnum_from_name; /* when the header has none: see camera_expnum_from_name */
    char pattern[512];     /* file names that are exposures, where [watch] pattern is empty */
    int ccd_offset;        /* added to the header's ccd number: ours begin at 1 */
    double pixel_scale;    /* arcsec; 0: unknown */
    /* A camera that writes one file a ccd: which files make one exposure (camera_group.c). */
    char key_group[72]; /* "": every file is an exposure */
    int group_digits, group_numbers, group_wait_s;
    char group_ccds[512], group_bad[512], group_partial[8];
    char job_ccds[512], job_bad[512]; /* which ccds get jobs */
};

#define CAMERA_GROUP 88 /* room for the name of an exposure that consists of several files */
#define CAMERA_CCD_MAX 9999

enum obstype { OBS_SCIENCE, OBS_FLAT, OBS_BIAS };

/* Facts of one exposure. Empty text, 0 or NaN: the header does not say. */
struct facts {
    char object[72], filter[72], obstype[72], propid[72], date_obs[40];
    int64_t expnum;    /* -1: missing */
    int64_t date_ns;   /* parsed DATE-OBS; INT64_MIN: missing or unreadable */
    double exptime;    /* s */
};

/* The rows of a profile file, also used for docs. */
extern const struct setting camera_settings[];

/* Loads profile NAME from DIR/NAME.conf, or a path when NAME holds a '/'. Every key of [camera]
 * and [keys] must stand in it, so that no other camera's are taken for granted; [group] is for
 * cameras that write one file a ccd. */
bool camera_load(const char *name, const char *directory, struct camera *out,
                 struct config_report *r);

/* Reads the facts: each keyword is looked for in the primary header, then in `first`
 * (the first image's header; NULL: none). */
void camera_facts(const struct camera *c, const struct fits_header *primary,
                  const struct fits_header *first, struct facts *out);

/* The ccd number of an image HDU: the key's value plus ccd_offset when that is 1..9999, else -1. */
int camera_ccd(const struct camera *c, const struct fits_header *image);

/* The last run of four or more digits in a file's name (DECam_00123456.fits.fz: 123456);
 * -1 when there is none or the profile forbids it. */
int64_t camera_expnum_from_name(const struct camera *c, const char *file_name);

enum obstype camera_obstype(const struct camera *c, const char *obstype_word);

/* Is text one of the comma-separated words, blanks around it and case aside? */
bool camera_word_listed(const char *words, const char *text);

/* ---- one profile and another (camera_change.c) ---- */

enum camera_part {
    CAMERA_ALL,    /* everything that the profile says */
    CAMERA_READING /* what is read from a file: without which ccds are waited for, and how long */
};
void camera_digest(const struct camera *c, enum camera_part part, char out[DIGEST_HEX]);
/* Names ("group.bad_ccds") of the keys that differ, blank-separated: those that may change while
 * an agent runs, which are those of waiting where an exposure is several files, and the others. */
void camera_changes(const struct camera *before, const struct camera *after, struct buf *live,
                    struct buf *restart);
/* Takes the values of the former kind. */
void camera_take_live(struct camera *to, const struct camera *from);

/* ---- one file a ccd ---- */

/* Do several files make one exposure? */
bool camera_groups(const struct camera *c);
/* Which exposure a file belongs to, from its headers as for camera_facts: the text before the
 * digits of [group] key, and their number without the last `digits` of them, rounded down to a
 * multiple of `numbers` ("HSCA00123457" with 2 and 2: "HSCA1234", number 1234). False: the headers
 * do not say. */
bool camera_group(const struct camera *c, const struct fits_header *primary,
                  const struct fits_header *first, char name[CAMERA_GROUP], int64_t *number);
/* Is this ccd one of those that make the exposure: listed, and not bad? */
bool camera_group_wants(const struct camera *c, int ccd);
/* All of them at once; returns how many there are. */
int camera_group_ccds(const struct camera *c, unsigned char wanted[CAMERA_CCD_MAX + 1]);
/* "3, 7 and 60 more": those of them that `has` (by ccd, CAMERA_CCD_MAX + 1) lacks; how many. */
int camera_group_missing(const struct camera *c, const unsigned char *has, char *words, size_t size);
/* Why camera_ccd finds no number in this header, in words. */
void camera_ccd_fault(const struct camera *c, const struct fits_header *image, char *out,
                      size_t size);
/* The same for any list of numbers and ranges, "1-104, 110"; an empty one holds none. */
bool camera_list_has(const char *list, int ccd);
bool camera_list_valid(const char *list);
/* Does a ccd get a job ([jobs] of the profile)? */
bool camera_job_wants(const struct camera *c, int ccd);
/* What the rows cannot say of [group] and [jobs]: problems are reported. */
void camera_group_check(const struct camera *c, const char *file, struct config_report *r);

#endif
