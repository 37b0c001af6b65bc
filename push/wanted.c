#include "push/wanted.h"

#include <inttypes.h>
#include <stdio.h>
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

bool wanted_share(const char *text, int *share, int *shares)
{
    int end = 0;
    bool ok = !text[0] || (sscanf(text, "%3d/%3d%n", share, shares, &end) == 2 && !text[end] &&
                           *share >= 1 && *share <= *shares);
    if (!ok || !text[0])
        *share = *shares = 1;
    return ok;
}

/* Numbers that an exposure skips would leave some agents without any. One without a number is the
 * first agent's. */
static bool wanted_part(const struct wanted *w, const struct camera *camera, int64_t number)
{
    int64_t counted = camera_groups(camera) ? number / camera->group_numbers : number;
    return w->shares <= 1 || (number < 0 ? 0 : counted % w->shares) == w->share - 1;
}

static int unwanted_ccd(const struct camera *camera, const struct survey *s)
{
    if (!camera_groups(camera) || s->ccd_fault[0])
        return 0;
    for (size_t i = 0; i < s->layout.count; i++)
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
    else if (!wanted_number(w, s->facts.expnum) && s->facts.expnum < 0)
        fault(why, ST_OK, "has no exposure number, so that [watch] first_exposure and last_exposure "
                          "leave it out");
    else if (!wanted_number(w, s->facts.expnum))
        fault(why, ST_OK, "exposure %" PRId64 " is outside of [watch] first_exposure and "
                          "last_exposure", s->facts.expnum);
    else if (!wanted_part(w, camera, s->facts.expnum))
        fault(why, ST_OK, "exposure %" PRId64 " is another agent's: [watch] share is %d/%d here",
              s->facts.expnum, w->share, w->shares);
    else if (ccd > 0)
        fault(why, ST_OK, "ccd %d is not one of those that the camera's profile ships", ccd);
    else
        return true;
    return false;
}
