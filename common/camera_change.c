/* Two versions of a camera's profile: what differs, and what of it may change while an agent runs. */
#include "common/camera.h"

#include <string.h>

/* Which files of an exposure are waited for, and how long: no file reads otherwise for it. */
static bool is_of_waiting(const struct setting *row)
{
    static const char *const keys[] = {"ccds", "bad_ccds", "wait_seconds", "partial"};
    if (strcmp(row->section, "camera") == 0)
        return strcmp(row->key, "ccds") == 0;
    for (size_t i = 0; strcmp(row->section, "group") == 0 && i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(row->key, keys[i]) == 0)
            return true;
    return false;
}

static bool same(const struct setting *row, const struct camera *a, const struct camera *b)
{
    const char *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;
    if (row->type == SET_TEXT || row->type == SET_CHOICE)
        return strcmp(x, y) == 0; /* bytes past the end of the text may differ */
    return memcmp(x, y, row->size) == 0;
}

static void append(const struct setting *row, const struct camera *c, struct buf *text)
{
    const char *at = (const char *)c + row->offset;
    buf_printf(text, "%s.%s=", row->section, row->key);
    buf_append(text, at, row->type == SET_TEXT || row->type == SET_CHOICE ? strlen(at) : row->size);
    buf_append(text, "\n", 1);
}

void camera_digest(const struct camera *c, enum camera_part part, char out[DIGEST_HEX])
{
    struct buf text = {0};
    for (const struct setting *row = camera_settings; row->key; row++)
        if (part == CAMERA_ALL || (!is_of_waiting(row) && strcmp(row->key, "pattern") != 0))
            append(row, c, &text);
    digest_bytes(text.data, text.len, out);
    buf_free(&text);
}

static bool takes_live(const struct setting *row, const struct camera *a, const struct camera *b)
{
    return camera_groups(a) && camera_groups(b) && is_of_waiting(row);
}

void camera_changes(const struct camera *before, const struct camera *after, struct buf *live,
                    struct buf *restart)
{
    for (const struct setting *row = camera_settings; row->key; row++) {
        struct buf *to = takes_live(row, before, after) ? live : restart;
        if (!same(row, before, after))
            buf_printf(to, "%s%s.%s", to->len ? " " : "", row->section, row->key);
    }
}

void camera_take_live(struct camera *to, const struct camera *from)
{
    for (const struct setting *row = camera_settings; row->key; row++)
        if (takes_live(row, to, from))
            memcpy((char *)to + row->offset, (const char *)from + row->offset, row->size);
}
