/* Where a program's files lie when nobody says: itself, its configuration, and the camera profiles.
 * The same rule for both agents, called at start, at a reload, and where the program is named. */
#ifndef SKYFERRY_LOOKUP_H
#define SKYFERRY_LOOKUP_H

#include "common/camera.h"

/* The running program's own path, to be named or run again. Where an upgrade has replaced the file
 * meanwhile it is the new one's. False, with errno set, while there is no program there. */
bool lookup_program(char *out, size_t size);

/* The first of ~/.config/skyferry/BASE and /etc/skyferry/BASE that is a file; "" when
 * neither is. base: "push.conf". */
void lookup_config(const char *base, char *out, size_t size);

/* A folder of files that come with the program ("cameras", "jobs"): beside the configuration file
 * (config may be ""), else share/skyferry/NAME or, in a build tree, etc/NAME near the program. */
bool lookup_folder(const char *name, const char *config, char *out, size_t size);

/* Loads a camera profile: a path when it holds a '/', else PROFILE.conf of the folder
 * cameras/ beside the configuration file (config may be ""), else of share/skyferry/cameras
 * or, in a build tree, etc/cameras near the program. Problems go to r; true: none. */
bool lookup_camera(const char *profile, const char *config, struct camera *out,
                   struct config_report *r);

#endif
