/* What unpacking costs here, so that push can choose a codec by the time it takes on both sides:
 * the daemon counts the CPU time of each exposure's ccds by codec and keeps the smoothed figures
 * in STATE/decoding.json, from where `skyferry-pull receive` puts them into WELCOME. Nothing
 * depends on them; a file that is missing or broken is as none. */
#ifndef SKYFERRY_DECODING_H
#define SKYFERRY_DECODING_H

#include "common/wire.h"

/* Of one exposure. Start with {0}; main thread. */
struct decoding_tally {
    int count;
    struct decoded {
        char codec[16];
        int64_t cpu_ns, file_bytes, member_bytes;
    } by[WIRE_DECODERS];
};

/* One ccd more: a FITS file of so many bytes out of a member of so many. */
void decoding_count(struct decoding_tally *t, const char *codec, int64_t cpu_ns,
                    int64_t file_bytes, int64_t member_bytes);

/* The exposure's figures into those of before: each counts three tenths. */
void decoding_blend(struct wire_decoding *d, const struct decoding_tally *t);

/* Blends them into the file of this folder, durably. A failure is logged only. */
void decoding_note(const char *state, int threads, const struct decoding_tally *t);

/* threads is 0 when there is no such file. */
void decoding_read(const char *state, struct wire_decoding *out);

#endif
