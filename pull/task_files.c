#include "pull/task_files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"

#define MAX_FILE ((size_t)16 << 20)

static void file_in(const char *folder, const char *name, char out[PULL_PATH])
{
    pull_text(out, PULL_PATH, "%s/%s", folder, name);
}

json_t *task_load(const char *folder, const char *name, struct fault *why)
{
    char path[PULL_PATH];
    struct buf text = {0};
    json_error_t error;
    json_t *root = NULL;
    file_in(folder, name, path);
    if (fs_read_file(path, MAX_FILE, &text, why) == ST_OK) {
        root = json_loadb((const char *)text.data, text.len, 0, &error);
        if (!root)
            fault(why, ST_RETRY, "'%s' is no JSON: line %d: %s", path, error.line, error.text);
    }
    buf_free(&text);
    return root;
}

enum status task_save(const char *folder, const char *name, json_t *root, bool keep,
                      struct fault *why)
{
    char path[PULL_PATH];
    file_in(folder, name, path);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    enum status st = text ? fs_write_file(path, text, strlen(text), keep, why)
                          : fault(why, ST_RETRY, "out of memory for '%s'", path);
    free(text);
    return st;
}

const char *task_text(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

void task_set(json_t *o, const char *key, const char *text)
{
    json_object_set_new(o, key, json_string(text));
}

int64_t task_int(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

void task_last_line(const char *path, char *out, size_t size)
{
    char tail[512];
    out[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof tail - 1 ? end - (off_t)sizeof tail + 1 : 0;
    ssize_t n = fd < 0 ? 0 : pread(fd, tail, sizeof tail - 1, from);
    if (fd >= 0)
        close(fd);
    while (n > 0 && (unsigned char)tail[n - 1] <= ' ')
        n--;
    if (n <= 0)
        return;
    tail[n] = '\0';
    for (char *p = tail; *p; p++)
        if ((unsigned char)*p < ' ' && *p != '\n')
            *p = '?';
    const char *line = strrchr(tail, '\n');
    pull_text(out, size, "%s", line ? line + 1 : tail);
}
