/* The part of fsutil that makes names from outside safe. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/fsutil.h"

#define NAME_MAX_SAFE 200

/* Not isalnum(): a locale must not change what a file is called. */
static bool plain(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("._+~-", c));
}

bool fs_name_ok(const char *name)
{
    if (!name || name[0] == '.' || name[0] == '-')
        return false;
    size_t len = 0;
    while (plain(name[len]))
        if (++len > NAME_MAX_SAFE)
            return false;
    return len > 0 && name[len] == '\0';
}

void fs_name_clean(char *out, size_t size, const char *text, const char *fallback)
{
    size_t most = size > NAME_MAX_SAFE + 1 ? NAME_MAX_SAFE : size - 1;
    size_t len = 0;
    bool kept = false, in_run = false;
    for (const char *p = text ? text : ""; *p && len < most; p++) {
        /* A '.' or '-' is not allowed to lead, so there it counts as another character. */
        bool ok = plain(*p) && (kept || (*p != '.' && *p != '-'));
        if (ok)
            out[len++] = *p;
        else if (!in_run)
            out[len++] = '_';
        in_run = !ok;
        kept = kept || ok;
    }
    out[len] = '\0';
    if (!kept)
        snprintf(out, size, "%s", fallback);
}

/* Why rel may not be joined, or NULL when it may. */
static const char *bad_relative(const char *rel)
{
    if (rel[0] == '\0')
        return "it is empty";
    if (rel[0] == '/')
        return "it is absolute";
    for (const char *p = rel; *p; p++)
        if (iscntrl((unsigned char)*p))
            return "it holds a control character";
    for (const char *p = rel;; p++) {
        size_t len = strcspn(p, "/");
        if (len == 0)
            return "it holds an empty component";
        if (p[0] == '.' && (len == 1 || (len == 2 && p[1] == '.')))
            return "it holds a '.' or '..' component";
        p += len;
        if (*p == '\0')
            return NULL;
    }
}

/* Shown in a message: no control characters, cut short. */
static void show(char out[80], const char *text)
{
    snprintf(out, 80, "%s", text);
    for (char *p = out; *p; p++)
        if (iscntrl((unsigned char)*p))
            *p = '?';
}

enum status fs_join(char *out, size_t size, const char *root, const char *rel, struct fault *why)
{
    char shown[80];
    show(shown, rel);
    const char *reason = bad_relative(rel);
    if (reason)
        return fault(why, ST_REJECT, "path '%s' is refused: %s", shown, reason);
    if (root[0] == '\0')
        return fault(why, ST_REJECT, "path '%s' has no folder to stand in", shown);
    size_t len = strlen(root);
    while (len > 0 && root[len - 1] == '/')
        len--;
    if (len + 1 + strlen(rel) >= size)
        return fault(why, ST_REJECT, "path '%s' is too long", shown);
    snprintf(out, size, "%.*s/%s", (int)len, root, rel);
    return ST_OK;
}

const char *fs_basename(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "";
}
