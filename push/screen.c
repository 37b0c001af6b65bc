#include "push/screen.h"

#include <string.h>

#include "common/config.h"

/* C0, DEL, and C1 as UTF-8 has it (0xc2 0x80-0x9f). */
static bool is_control(unsigned char c, unsigned char before)
{
    return c < 0x20 || c == 0x7f || (before == 0xc2 && c >= 0x80 && c < 0xa0);
}

static void append_plain(struct buf *out, const char *words, int longest)
{
    unsigned char before = 0;
    int run = 0;
    for (const char *p = words; *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool begins = (c & 0xc0) != 0x80; /* a character, not the rest of one */
        run = c == ' ' ? 0 : run + 1;
        if (run > longest && begins) {
            buf_printf(out, " ");
            run = 1;
        }
        buf_printf(out, "%c", is_control(c, before) ? '?' : c);
        before = c;
    }
}

void screen_say(FILE *to, int indent, const char *first, const char *words)
{
    struct buf plain = {0}, lines = {0};
    char space[SCREEN_COLUMNS];
    snprintf(space, sizeof space, "%*s", indent, "");
    append_plain(&plain, words, SCREEN_COLUMNS - indent - 3);
    config_wrap(&lines, plain.data ? (char *)plain.data : "", space, (int)strlen(first));
    fprintf(to, "%s%s", first, lines.data ? (char *)lines.data : "\n");
    buf_free(&plain);
    buf_free(&lines);
}
