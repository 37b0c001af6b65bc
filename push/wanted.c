#include "push/wanted.h"

#include <inttypes.h>
#include <string.h>

static bool wanted_proposal(const struct wanted *w, const char *proposal)
{
    return !w->proposals[0] || camera_word_listed(w->proposals, proposal);
}

/* Without a number no bound can be kept. */
static bool wanted_number(const struct wanted *w, int64_t number)
{
    return (w->first == 0 || number >= w->first) &&
           (w->last == 0 || (number >= 0 && number <= w->last));
}

static int unwanted_ccd(const struct camera *camera, const struct survey *s)
{
    for (size_t i = 0; i < s->layout.count && camera_groups(camera); i++)
        if (s->ccd[i] > 0 && !camera_group_wants(camera, s->ccd[i]))
            return s->ccd[i];
    return 0;
}

bool wanted_file(const struct wanted *w, const struct camera *camera, const struct survey *s,
                 struct fault *why)
{
    int ccd = unwanted_ccd(camera, s);
    if (!wanted_proposal(w, s->facts.propid))
        fault(why, ST_OK, "of proposal %s, which is not one of [watch] proposals",
              s->facts.propid[0] ? s->facts.propid : "(its header names none)");
    else if (!wanted_number(w, s->facts.expnum))
        fault(why, ST_OK, "exposure %" PRId64 " is outside of [watch] first_exposure and "
                          "last_exposure", s->facts.expnum);
    else if (ccd > 0)
        fault(why, ST_OK, "ccd %d is not one of those that the camera's profile ships", ccd);
    else
        return true;
    return false;
}
