/*
 * optics.h - from the sky to the focal plane and back.
 *
 * A gnomonic projection about the pointing, with or without the small radial distortion that a TPV header describes:
 * xi' = xi (1 + k r^2), eta' = eta (1 + k r^2), r^2 = xi^2 + eta^2, all in degrees (PVi_1 = 1, PVi_7 = PVi_9 = k; the TPV
 * convention of the FITS registry, Calabretta et al.). Plane positions X, Y are unbinned pixels from the optical axis, X along
 * a CCD's rows and Y along its columns, turned on the sky as DECam's are: Y grows to the east, X to the south.
 * Plain values, no memory; any thread may use one struct optics at once.
 */
#ifndef SIMCAM_OPTICS_H
#define SIMCAM_OPTICS_H

#include <stdbool.h>

struct optics {
    double ra, dec;             /* the optical axis, degrees */
    double sin_dec, cos_dec;
    double scale;               /* degrees a pixel on the axis */
    double distortion;          /* k, per square degree; 0 for a TAN header */
};

/* Point the telescope; pixel_arcsec is the scale on the axis, tpv asks for the distortion. */
void optics_init(struct optics *o, double ra, double dec, double pixel_arcsec, bool tpv);

/* Where a place on the sky (degrees) falls; false when it is not in the half sphere before the telescope. */
bool optics_to_plane(const struct optics *o, double ra, double dec, double *x, double *y);

/* The place on the sky (degrees) of a position on the plane. */
void optics_to_sky(const struct optics *o, double x, double y, double *ra, double *dec);

#endif
