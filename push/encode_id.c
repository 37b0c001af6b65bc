/* The name of an encoding: all that decides the bundle's bytes. */
#include <inttypes.h>

#include "common/buf.h"
#include "push/encode.h"

void encode_id(const struct exposure *e, const struct camera *camera,
               const struct fidelity *codec, char id[DIGEST_HEX])
{
    struct buf text = {0};
    struct visit v;
    char profile[DIGEST_HEX];
    camera_digest(camera, CAMERA_READING, profile);
    exposure_visit(e, camera, &v);
    buf_printf(&text,
               "skyferry bundle %d with rows, software %s\n%s\n%" PRId64 " %" PRId64 " %" PRId64 "\n"
               "%s %d %.17g %.17g %.17g %.17g\n%.17g %d %u %.17g %s\n%s %s\n%s",
               MANIFEST_FORMAT, SKYFERRY_VERSION, e->path, e->file.size, e->file.mtime_ns,
               e->file.inode, codec->method, codec->lossless, codec->qstep, codec->ratio,
               codec->noise, codec->q, codec->max_error, codec->max_in_noise, codec->exact,
               codec->pace, codec->masks, camera->name, profile,
               e->exact ? "exact data\n" : "");
    if (v.name[0])
        buf_printf(&text, "visit %s %d %d %d\n", v.name, v.ccd, v.ccds, v.coming);
    digest_bytes(text.data, text.len, id);
    buf_free(&text);
}
