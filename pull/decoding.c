#include "pull/decoding.h"

#include <stdio.h>
#include <string.h>

#include "common/fsutil.h"
#include "common/log.h"

#define NAME "decoding.json"
#define NEWS 0.3
#define FILE_MAX 65536

void decoding_count(struct decoding_tally *t, const char *codec, int64_t cpu_ns,
                    int64_t file_bytes, int64_t member_bytes)
{
    int i = 0;
    while (i < t->count && strcmp(t->by[i].codec, codec) != 0)
        i++;
    if (i == WIRE_DECODERS)
        return;
    struct decoded *d = &t->by[i];
    if (i == t->count)
        snprintf(t->by[t->count++].codec, sizeof d->codec, "%s", codec);
    d->cpu_ns += cpu_ns;
    d->file_bytes += file_bytes;
    d->member_bytes += member_bytes;
}

static struct wire_decoder *decoder_of(struct wire_decoding *d, const char *codec)
{
    for (int i = 0; i < d->count; i++)
        if (strcmp(d->by[i].codec, codec) == 0)
            return &d->by[i];
    if (d->count == WIRE_DECODERS)
        return NULL;
    struct wire_decoder *fresh = &d->by[d->count++];
    *fresh = (struct wire_decoder){.ns = 0};
    snprintf(fresh->codec, sizeof fresh->codec, "%s", codec);
    return fresh;
}

void decoding_blend(struct wire_decoding *d, const struct decoding_tally *t)
{
    for (int i = 0; i < t->count; i++) {
        const struct decoded *one = &t->by[i];
        if (one->cpu_ns <= 0 || one->file_bytes <= 0 || one->member_bytes <= 0)
            continue;
        struct wire_decoder *to = decoder_of(d, one->codec);
        if (!to)
            continue;
        double ns = 2 * (double)one->cpu_ns / (double)one->file_bytes;
        double ratio = (double)one->file_bytes / (double)one->member_bytes;
        double share = to->ns > 0 ? NEWS : 1;
        to->ns += share * (ns - to->ns);
        to->ratio += share * (ratio - to->ratio);
    }
}

void decoding_read(const char *state, struct wire_decoding *out)
{
    struct buf text = {0};
    char path[4200];
    *out = (struct wire_decoding){.threads = 0};
    snprintf(path, sizeof path, "%.4100s/" NAME, state);
    if (fs_read_file(path, FILE_MAX, &text, NULL) == ST_OK)
        wire_decoding_parse(text.data, text.len, out, NULL);
    buf_free(&text);
}

void decoding_note(const char *state, int threads, const struct decoding_tally *t)
{
    struct wire_decoding d;
    struct buf text = {0};
    struct fault why = {.text = "out of memory"};
    char path[4200];
    if (t->count == 0)
        return;
    decoding_read(state, &d);
    d.threads = threads;
    decoding_blend(&d, t);
    snprintf(path, sizeof path, "%.4100s/" NAME, state);
    if (!wire_decoding_text(&d, &text) ||
        fs_write_file(path, text.data, text.len, false, &why) != ST_OK)
        log_debug(AT(.stage = "placed"), "what decoding costs is not noted: %s", why.text);
    buf_free(&text);
}
