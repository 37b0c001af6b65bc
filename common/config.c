#include "common/config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLANKS " \t\r\n\f\v"

void config_problem(struct config_report *r, const char *fmt, ...)
{
    char line[8192];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    buf_printf(&r->text, "%s\n", line);
    r->count++;
}

/* ---- the nearest word ---- */

static int fold(char c)
{
    return c == '_' ? '-' : tolower((unsigned char)c);
}

/* Edits (insert, delete, replace, swap neighbours) that turn a into b, Damerau 1964. */
static int distance(const char *a, const char *b)
{
    enum { LONGEST = 48 };
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST)
        return 2 * LONGEST;
    int row[3][LONGEST + 1]; /* two rows back, one back, this one; by i modulo 3 */
    for (size_t j = 0; j <= m; j++)
        row[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);
            int best = up[j - 1] + !same;
            best = up[j] + 1 < best ? up[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]) && up2[j - 2] + 1 < best)
                best = up2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *config_nearer(const char *word, const char *candidate, const char *best)
{
    int d = distance(word, candidate);
    size_t longer = strlen(word) > strlen(candidate) ? strlen(word) : strlen(candidate);
    if (d > 1 + (int)longer / 4)
        return best;
    return best && distance(word, best) <= d ? best : candidate;
}

/* ---- one value into its place ---- */

struct place {
    const struct setting *row;
    void *target;
    const char *where; /* "FILE:LINE" or "--option" */
    struct config_report *r;
};

static const struct setting *find(const struct setting *rows, const char *section,
                                  const char *key)
{
    for (const struct setting *s = rows; s->key; s++)
        if (strcmp(s->section, section) == 0 && strcmp(s->key, key) == 0)
            return s;
    return NULL;
}

static void wrong(const struct place *p, const char *value, const char *what)
{
    char allowed[512];
    config_allowed(p->row, allowed, sizeof allowed);
    config_problem(p->r, "%s: [%s] %s = %.100s %s; give %s", p->where, p->row->section,
                   p->row->key, value, what, allowed);
}

static void put_number(const struct place *p, const char *value)
{
    bool whole = p->row->type == SET_INT;
    char *end;
    errno = 0;
    /* strtod alone would also take "inf", "nan" and hexadecimal. */
    double x = strtod(value, &end);
    if (!*value || *end || strspn(value, "+-.0123456789eE") != strlen(value) || !isfinite(x)) {
        wrong(p, value, "is not a number");
        return;
    }
    if (whole && x != floor(x)) {
        wrong(p, value, "is not a whole number");
        return;
    }
    bool ranged = p->row->min < p->row->max;
    if ((ranged && (x < p->row->min || x > p->row->max)) ||
        (whole && (x < INT32_MIN || x > INT32_MAX))) {
        wrong(p, value, "is out of range");
        return;
    }
    void *to = (char *)p->target + p->row->offset;
    if (whole) {
        assert(p->row->size == sizeof(int));
        *(int *)to = (int)x;
    } else {
        assert(p->row->size == sizeof(double));
        *(double *)to = x;
    }
}

static void put_bool(const struct place *p, const char *value)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    assert(p->row->size == sizeof(bool));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *(bool *)((char *)p->target + p->row->offset) = i % 2 == 1;
            return;
        }
    }
    wrong(p, value, "is neither yes nor no");
}

static void put_text(const struct place *p, const char *value)
{
    size_t len = strlen(value);
    if (len >= p->row->size) {
        config_problem(p->r, "%s: [%s] %s is %zu characters long; give at most %zu", p->where,
                       p->row->section, p->row->key, len, p->row->size - 1);
        return;
    }
    if (len > 1 && strchr("\"'", value[0]) && value[len - 1] == value[0]) {
        config_problem(p->r, "%s: [%s] %s = %.100s: the quotes would become part of the value; "
                       "leave them out", p->where, p->row->section, p->row->key, value);
        return;
    }
    memcpy((char *)p->target + p->row->offset, value, len + 1);
}

static void put_path(const struct place *p, const char *value)
{
    char path[8192];
    const char *home = "";
    if (value[0] == '~' && (value[1] == '/' || !value[1])) {
        home = getenv("HOME");
        if (!home || !*home) {
            config_problem(p->r, "%s: [%s] %s = %.100s needs the environment variable HOME, which "
                           "is not set; give the whole path", p->where, p->row->section,
                           p->row->key, value);
            return;
        }
        value++;
    }
    snprintf(path, sizeof path, "%s%s", home, value);
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        path[--len] = '\0';
    put_text(p, path);
}

/* A word may be any of the choices "a|b|c"; *nearest gets the likely one (owned by the
 * caller's buffer `copy`). */
static bool chosen(const char *choices, const char *value, char *copy, size_t size,
                   const char **nearest)
{
    snprintf(copy, size, "%s", choices);
    char *save = NULL;
    for (char *c = strtok_r(copy, "|", &save); c; c = strtok_r(NULL, "|", &save)) {
        if (strcmp(c, value) == 0)
            return true;
        *nearest = config_nearer(value, c, *nearest);
    }
    return false;
}

static void put_choice(const struct place *p, const char *value)
{
    char copy[512], what[600];
    const char *nearest = NULL;
    if (chosen(p->row->choices, value, copy, sizeof copy, &nearest)) {
        put_text(p, value);
        return;
    }
    snprintf(what, sizeof what, "is not known%s%s%s", nearest ? " (did you mean " : "",
             nearest ? nearest : "", nearest ? "?)" : "");
    wrong(p, value, what);
}

static void put(const struct place *p, const char *value)
{
    if (!p->row->fallback && !*value && p->row->min <= p->row->max) {
        config_problem(p->r, "%s: [%s] %s is empty; %s", p->where, p->row->section, p->row->key,
                       p->row->sentence);
        return;
    }
    switch (p->row->type) {
    case SET_TEXT:
        put_text(p, value);
        break;
    case SET_PATH:
        put_path(p, value);
        break;
    case SET_INT:
    case SET_REAL:
        put_number(p, value);
        break;
    case SET_BOOL:
        put_bool(p, value);
        break;
    case SET_CHOICE:
        put_choice(p, value);
        break;
    }
}

/* ---- names that are not in the table ---- */

static void unknown_section(const struct setting *rows, const char *section, const char *where,
                            struct config_report *r)
{
    struct buf all = {0};
    const char *nearest = NULL;
    for (const struct setting *s = rows; s->key; s++) {
        nearest = config_nearer(section, s->section, nearest);
        if (s == rows || strcmp(s->section, s[-1].section) != 0)
            buf_printf(&all, "%s[%s]", all.len ? ", " : "", s->section);
    }
    if (nearest)
        config_problem(r, "%s: unknown section [%.60s]; did you mean [%s]?", where, section,
                       nearest);
    else
        config_problem(r, "%s: unknown section [%.60s]; there are %s", where, section,
                       all.data ? (char *)all.data : "none");
    buf_free(&all);
}

static bool known_section(const struct setting *rows, const char *section)
{
    for (const struct setting *s = rows; s->key; s++)
        if (strcmp(s->section, section) == 0)
            return true;
    return false;
}

static void unknown_key(const struct setting *rows, const char *section, const char *key,
                        const char *where, struct config_report *r)
{
    const char *nearest = NULL, *home = NULL;
    for (const struct setting *s = rows; s->key; s++) {
        if (strcmp(s->section, section) == 0)
            nearest = config_nearer(key, s->key, nearest);
        else if (strcmp(s->key, key) == 0)
            home = s->section;
    }
    if (nearest)
        config_problem(r, "%s: unknown key '%.60s' in [%s]; did you mean '%s'?", where, key,
                       section, nearest);
    else if (home)
        config_problem(r, "%s: [%s] has no key '%.60s'; move it to [%s]", where, section, key,
                       home);
    else
        config_problem(r, "%s: unknown key '%.60s' in [%s]; remove it, or see --dump-config for "
                       "all keys", where, key, section);
}

bool config_set(const struct setting *rows, void *target, const char *section, const char *key,
                const char *value, const char *where, struct config_report *r)
{
    int before = r->count;
    const struct setting *row = find(rows, section, key);
    if (row)
        put(&(struct place){row, target, where, r}, value);
    else if (known_section(rows, section))
        unknown_key(rows, section, key, where, r);
    else
        unknown_section(rows, section, where, r);
    return r->count == before;
}

/* ---- the file ---- */

/* inih splits lines into sections, keys and comments. Lines are handed to it one by one, and
 * values taken from our copy of the line, for three reasons: its handler is not told the
 * line's number, it cuts lines at 200 characters, and it drops what follows " ;" in silence. */
struct reading {
    FILE *in;
    const char *file;
    int line;
    char *raw; /* getline's */
    size_t raw_size;
    char *text;       /* the line without blanks at its ends, inside raw */
    bool awaited;     /* the line should be a key and has not come to `take` yet */
    bool known;       /* the section is in the table */
    bool in_section;
    int *first;       /* per row: the line that set it, or 0 */
    const struct setting *rows;
    void *target;
    struct config_report *r;
    char where[4200];
};

static char *trim(char *s)
{
    s += strspn(s, BLANKS);
    size_t len = strlen(s);
    while (len && strchr(BLANKS, s[len - 1]))
        s[--len] = '\0';
    return s;
}

/* Where a trailing comment would start, or NULL. */
static const char *comment_in(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((*c == ';' || *c == '#') && c > text && isblank((unsigned char)c[-1]))
            return c;
    return NULL;
}

static void read_section(struct reading *p)
{
    p->in_section = true;
    char name[256];
    const char *end = strchr(p->text, ']');
    if (!end) {
        p->known = false;
        config_problem(p->r, "%s: '%.60s' does not end in ']'; write [name]", p->where, p->text);
        return;
    }
    snprintf(name, sizeof name, "%.*s", (int)(end - p->text - 1), p->text + 1);
    p->known = known_section(p->rows, name);
    if (!p->known)
        unknown_section(p->rows, name, p->where, p->r);
    if (end[1] && comment_in(end + 1) != end + 1 + strspn(end + 1, " \t"))
        config_problem(p->r, "%s: '%.60s' after the section would be ignored; put it on a line of "
                       "its own", p->where, trim((char *)end + 1));
}

static void say_unread(struct reading *p)
{
    if (p->awaited)
        config_problem(p->r, "%s: '%.60s' is not 'key = value'; complete or remove it", p->where,
                       p->text);
    p->awaited = false;
}

static char *next_line(char *out, int room, void *stream)
{
    struct reading *p = stream;
    say_unread(p);
    ssize_t n = getline(&p->raw, &p->raw_size, p->in);
    if (n < 0)
        return NULL;
    p->line++;
    snprintf(p->where, sizeof p->where, "%s:%d", p->file, p->line);
    if (strlen(p->raw) != (size_t)n) {
        config_problem(p->r, "%s: holds a zero byte; this is not a text file", p->where);
        return NULL;
    }
    char *raw = p->raw;
    if (p->line == 1 && strncmp(raw, "\xef\xbb\xbf", 3) == 0)
        raw += 3; /* an editor's byte order mark */
    p->text = trim(raw);
    if (p->text[0] == '[')
        read_section(p);
    else if (p->text[0] && !strchr(";#", p->text[0]))
        p->awaited = true;
    snprintf(out, (size_t)room, "%s\n", p->text);
    return out;
}

static void read_key(struct reading *p, const struct setting *row, char *value)
{
    int *first = &p->first[row - p->rows];
    if (*first) {
        config_problem(p->r, "%s: [%s] %s was given in line %d already; keep one of them", p->where,
                       row->section, row->key, *first);
        return;
    }
    *first = p->line;
    const char *comment = comment_in(value);
    if (comment) {
        config_problem(p->r, "%s: '%.60s' after the value of %s is neither value nor comment; put "
                       "comments on a line of their own", p->where, comment, row->key);
        return;
    }
    put(&(struct place){row, p->target, p->where, p->r}, trim(value));
}

static int take(void *user, const char *section, const char *key, const char *value)
{
    struct reading *p = user;
    (void)value;
    p->awaited = false;
    if (!p->in_section) {
        config_problem(p->r, "%s: '%.60s' stands before any [section]; move it below one", p->where,
                       key);
        return 1;
    }
    char *sep = strpbrk(p->text, "=:");
    if (!p->known || !sep)
        return 1; /* said at the section's line */
    const struct setting *row = find(p->rows, section, key);
    if (row)
        read_key(p, row, sep + 1);
    else
        unknown_key(p->rows, section, key, p->where, p->r);
    return 1;
}

static size_t row_count(const struct setting *rows)
{
    size_t n = 0;
    while (rows[n].key)
        n++;
    return n;
}

/* A plain file, else NULL with errno 0: a pipe would be waited for, a device has no end. A directory
 * fails at the first read. */
static FILE *open_plain(const char *file)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    bool other = fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
    FILE *in = other ? NULL : fdopen(fd, "r");
    if (!in)
        close(fd);
    if (other)
        errno = 0;
    return in;
}

static void read_file(struct reading *p)
{
    p->in = open_plain(p->file);
    int c = p->in ? getc(p->in) : EOF;
    if (!p->in || (c == EOF && ferror(p->in))) {
        config_problem(p->r, "%s: cannot be read: %s; %s", p->file,
                       errno ? strerror(errno) : "it is no plain file", p->r->advice ? p->r->advice
                       : "name the right file with --config, or write one (--dump-config prints all "
                         "keys)");
        goto out;
    }
    if (c != EOF)
        ungetc(c, p->in);
    ini_parse_stream(next_line, p, take, p);
    if (ferror(p->in))
        config_problem(p->r, "%s: reading stopped after line %d: %s", p->file, p->line,
                       strerror(errno));
    for (size_t i = 0; p->rows[i].key; i++) {
        const struct setting *s = &p->rows[i];
        if (!s->fallback && !p->first[i])
            config_problem(p->r, "%s: [%s] %s is missing (%s); add a line '%s = ...' below [%s]",
                           p->file, s->section, s->key, s->sentence, s->key, s->section);
    }
out:
    if (p->in)
        fclose(p->in);
    free(p->raw);
}

bool config_load(const char *file, const struct setting *rows, void *target,
                 struct config_report *r)
{
    for (const struct setting *s = rows; s->key; s++) {
        if (s->fallback)
            put(&(struct place){s, target, "default", r}, s->fallback);
        else
            memset((char *)target + s->offset, 0, s->size);
        if (!s->fallback && !file)
            config_problem(r, "no configuration file: [%s] %s is missing (%s); name a file with "
                           "--config", s->section, s->key, s->sentence);
    }
    if (!file)
        return r->count == 0;
    struct reading p = {.file = file, .rows = rows, .target = target, .r = r};
    p.first = calloc(row_count(rows) + 1, sizeof *p.first);
    if (!p.first)
        config_problem(r, "%s: out of memory", file);
    else
        read_file(&p);
    free(p.first);
    return r->count == 0;
}
