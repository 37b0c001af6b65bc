#include "optics.h"

#include <math.h>

#define DEGREE (M_PI / 180.0)

static const double radial_term = -0.0015;      /* moves a star 1.1 degrees out by 7 arcsec, as DECam's corrector does */

void
optics_init(struct optics *o, double ra, double dec, double pixel_arcsec, bool tpv)
{
    o->ra = ra;
    o->dec = dec;
    o->sin_dec = sin(dec * DEGREE);
    o->cos_dec = cos(dec * DEGREE);
    o->scale = pixel_arcsec / 3600.0;
    o->distortion = tpv ? radial_term : 0.0;
}

/* The r with r (1 + k r^2) = distorted, by Newton's method: the distortion is small, so it converges in a few steps. */
static double
undistort(const struct optics *o, double distorted)
{
    double r = distorted;

    for (int i = 0; i < 20; i++) {
        const double step = (r * (1.0 + o->distortion * r * r) - distorted) / (1.0 + 3.0 * o->distortion * r * r);

        r -= step;
        if (fabs(step) < 1e-14)
            break;
    }
    return r;
}

bool
optics_to_plane(const struct optics *o, double ra, double dec, double *x, double *y)
{
    const double d_ra = (ra - o->ra) * DEGREE;
    const double sin_d = sin(dec * DEGREE), cos_d = cos(dec * DEGREE);
    const double cos_c = o->sin_dec * sin_d + o->cos_dec * cos_d * cos(d_ra);
    double xi, eta, distorted, shrink = 1.0;

    if (cos_c <= 0.01)
        return false;
    xi = cos_d * sin(d_ra) / cos_c / DEGREE;
    eta = (o->cos_dec * sin_d - o->sin_dec * cos_d * cos(d_ra)) / cos_c / DEGREE;
    distorted = hypot(xi, eta);
    if (o->distortion < 0.0 && distorted > 9.0)
        return false;                           /* past the fold of the polynomial there is no inverse */
    if (distorted > 0.0)
        shrink = undistort(o, distorted) / distorted;
    *x = -eta * shrink / o->scale;
    *y = xi * shrink / o->scale;
    return true;
}

void
optics_to_sky(const struct optics *o, double x, double y, double *ra, double *dec)
{
    double xi = y * o->scale, eta = -x * o->scale;
    const double stretch = 1.0 + o->distortion * (xi * xi + eta * eta);
    double down, turn;

    xi *= stretch * DEGREE;
    eta *= stretch * DEGREE;
    down = o->cos_dec - eta * o->sin_dec;
    turn = atan2(xi, down) / DEGREE;
    *ra = fmod(o->ra + turn + 360.0, 360.0);
    *dec = atan2(o->sin_dec + eta * o->cos_dec, hypot(xi, down)) / DEGREE;
}
