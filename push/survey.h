/* What a file is, found out by reading its headers only: the HDUs and where they lie, how
 * many images, which ccd each of them is, and the exposure's facts. Settle, encode and
 * sweep all ask this one question. Any thread; the result owns an open descriptor. */
#ifndef SKYFERRY_SURVEY_H
#define SKYFERRY_SURVEY_H

#include "common/camera.h"
#include "common/fits.h"
#include "push/exposure.h"

struct survey {
    int fd;               /* open for reading; -1 after a failure to open */
    struct identity file; /* of what fd refers to */
    struct fits_file layout;
    int *ccd;             /* for each HDU: its ccd number, 0 for HDUs without image; owned */
    int images;
    struct facts facts;
    char group[CAMERA_GROUP]; /* of a camera whose exposures are several files; "": not said */
    char ccd_fault[240];      /* of such a camera: why an image's own ccd is not known, and so
                                 only guessed in `ccd`; "": it is */
};

/* OK; WAIT: the file ends before its last HDU does; RETRY: it cannot be read now (permissions,
 * a read error); REJECT: it is gone, no regular file, or no FITS. `out` is set as far as
 * it was found out (fd >= 0: `file` is) and is freed by survey_free in every case. */
enum status survey_file(const char *path, const struct camera *camera, struct survey *out,
                        struct fault *why);
void survey_free(struct survey *s);

/* Of its plane, not compressed. */
int64_t survey_image_bytes(const struct fits_hdu *hdu);

/* Is the file behind fd, or the one that has its path now, another version than `file`? A
 * path that is gone is no change: fd still holds the version that was whole. */
bool survey_changed(int fd, const char *path, const struct identity *file);

/* Gives every image a number of its own: stated[i] (from the header; < 1: none) where it is
 * the first to state it, else the HDU's index where that is > 0 and free, else the next
 * free number. stated[i] == 0 means "no image" and stays 0. */
void survey_number(const int *stated, int *ccd, size_t count);

#endif
