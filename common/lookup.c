#include "common/lookup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"

static bool is_kind(const char *path, mode_t kind)
{
    struct stat st;
    return stat(path, &st) == 0 && (st.st_mode & S_IFMT) == kind;
}

bool lookup_program(char *out, size_t size)
{
    /* What the kernel calls a file that is not there any more: proc_pid_exe(5). */
    static const char gone[] = " (deleted)";
    size_t tail = sizeof gone - 1;
    ssize_t n = readlink("/proc/self/exe", out, size);
    if (n <= 0 || (size_t)n >= size) {
        errno = n > 0 ? ENAMETOOLONG : errno;
        return false;
    }
    size_t len = (size_t)n;
    out[len] = '\0';
    if (access(out, X_OK) == 0)
        return true;
    if (len > tail && strcmp(out + len - tail, gone) == 0)
        out[len - tail] = '\0';
    return access(out, X_OK) == 0;
}

void lookup_config(const char *base, char *out, size_t size)
{
    const char *home = getenv("HOME");
    out[0] = '\0';
    if (home && home[0])
        snprintf(out, size, "%s/.config/skyferry/%s", home, base);
    if (out[0] && is_kind(out, S_IFREG))
        return;
    snprintf(out, size, "/etc/skyferry/%s", base);
    if (!is_kind(out, S_IFREG))
        out[0] = '\0';
}

static bool folder_beside(const char *file, const char *relative, char *out, size_t size)
{
    int len = (int)(fs_basename(file) - file);
    int n = snprintf(out, size, "%.*s%s", len, file, relative);
    return n > 0 && (size_t)n < size && is_kind(out, S_IFDIR);
}

bool lookup_folder(const char *name, const char *config, char *out, size_t size)
{
    static const char *const near[] = {"../share/skyferry/", "../../etc/",
                                       "../../../etc/"}; /* the last: a unit program's place */
    char program[PATH_MAX], relative[64];
    if (config[0] && folder_beside(config, name, out, size))
        return true;
    if (!lookup_program(program, sizeof program))
        return false;
    for (int i = 0; i < 3; i++) {
        snprintf(relative, sizeof relative, "%s%s", near[i], name);
        if (folder_beside(program, relative, out, size))
            return true;
    }
    return false;
}

bool lookup_camera(const char *profile, const char *config, struct camera *out,
                   struct config_report *r)
{
    char folder[PATH_MAX] = "";
    if (strchr(profile, '/') || lookup_folder("cameras", config, folder, sizeof folder))
        return camera_load(profile, folder, out, r);
    config_problem(r, "[camera] profile = %s: there is no folder cameras/ beside the configuration "
                      "file or near the program; give the profile's path", profile);
    return false;
}
