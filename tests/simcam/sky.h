/*
 * sky.h - a fixed synthetic sky.
 *
 * The sphere is cut into bands of declination and each band into cells of about 0.02 degrees; a hash of band and cell
 * seeds the stars in it. Nothing is stored, and any pointing, in any exposure of any run, sees the same stars at the same
 * places with the same magnitudes. Counts follow N(<m) ~ 10^(0.28 m), about 40,000 per square degree to g = 24.2, which is
 * what a short exposure away from the Milky Way shows. Reentrant; no memory is kept.
 */
#ifndef SIMCAM_SKY_H
#define SIMCAM_SKY_H

struct star {
    double ra, dec;             /* degrees, ICRS */
    double mag_g;               /* g magnitude */
    double colour;              /* g - r */
};

typedef void sky_visit(void *arg, const struct star *star);

/* Show every star within (at least) radius degrees of ra, dec (degrees) to visit; some beyond the radius are shown too. */
void sky_cone(double ra, double dec, double radius, sky_visit *visit, void *arg);

#endif
