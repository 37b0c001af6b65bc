#include <string.h>

#include "push/check.h"
#include "push/mask.h"

/* Settings that the method, or lossless, takes no notice of. */
static void check_idle_settings(const struct settings *s, const struct fidelity *f,
                                struct check_report *r)
{
    bool exact = fidelity_is_exact(f);
    bool quantized = strcmp(s->method, "quantized") == 0;
    const char *set = s->ratio > 0 ? "ratio" : s->noise > 0 ? "noise" : s->qstep > 0 ? "qstep" : NULL;
    if (exact && (set || s->max_error[0] || s->exact[0]))
        check_say(r, CHECK_WARN, "codec", "%s without loss: [codec] %s has no effect", s->method,
                  set ? set : s->max_error[0] ? "max_error" : "exact");
    else if (quantized && s->qstep > 0)
        check_say(r, CHECK_WARN, "codec", "quantized has its step by q, ratio or noise: [codec] qstep "
                  "has no effect");
    else if (!quantized && s->q != 1)
        check_say(r, CHECK_WARN, "codec", "[codec] q is for quantized: it has no effect on %s",
                  s->method);
}

static void check_masks(const struct config *c, const struct fidelity *f, struct check_report *r)
{
    int missing = 0, first = 0;
    if (!(f->exact & EXACT_MASKED))
        return;
    for (int ccd = 1; ccd <= c->camera.ccds; ccd++)
        if (!mask_is_there(f->masks, ccd) && missing++ == 0)
            first = ccd;
    if (missing == 0)
        return;
    check_say(r, CHECK_WARN, "masks", "%s: %d of %d ccds have none, the first is ccd %d", f->masks,
              missing, c->camera.ccds, first);
    check_remedy(r, "They will be sent without loss, about three times as large. Put N.fits or "
                    "N.fits.fz there for ccd N.");
}

void check_codec(const struct config *c, struct check_report *r)
{
    struct fidelity f;
    char text[200];
    settings_codec(&c->set, &f);
    fidelity_text(&f, settings_ratio_max(&c->set), text, sizeof text);
    check_say(r, CHECK_OK, "codec", "%s", text);
    check_idle_settings(&c->set, &f, r);
    check_masks(c, &f, r);
}
