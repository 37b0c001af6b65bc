#include "header.h"

#include <math.h>
#include <stdio.h>

#include "when.h"

static const char *const obstypes[] = {"object", "dome flat", "zero"};

/* A card whose value is a date in the given form. */
static void
add_date(struct cards *c, const char *key, int64_t date, const char *format, const char *comment)
{
    char text[WHEN_TEXT];

    when_format(date, format, text);
    cards_text(c, key, text, comment);
}

/* Sexagesimal, as the telescope's control system writes angles; per is 15 for hours, 1 for degrees. */
static void
add_angle(struct cards *c, const char *key, double degrees, double per, const char *comment)
{
    char text[32];
    long ms = lround(fabs(degrees) / per * 3600.0e3);
    const char *sign = degrees < 0.0 ? "-" : "";

    if (per > 1.0 && sign[0] == '\0')
        ms %= 24L * 3600000L;
    (void)snprintf(text, sizeof(text), "%s%02ld:%02ld:%02ld.%03ld", sign, ms / 3600000, ms / 60000 % 60, ms / 1000 % 60,
        ms % 1000);
    cards_text(c, key, text, comment);
}

/* The checksum cards that hdu_seal fills. The dates are those of the exposure: a true clock would change the bytes. */
static void
add_checksum(const struct exposure *e, struct cards *c)
{
    char stamp[WHEN_TEXT], comment[64];

    if (!e->checksum)
        return;
    when_format(e->start, "%Y-%m-%dT%H:%M:%S", stamp);
    (void)snprintf(comment, sizeof(comment), "HDU checksum updated %s", stamp);
    cards_text(c, "CHECKSUM", "0000000000000000", comment);
    (void)snprintf(comment, sizeof(comment), "data unit checksum updated %s", stamp);
    cards_text(c, "DATASUM", "0         ", comment);
}

/* What a FITS reader must see first, and what kind of file this is. */
static void
add_structure(const struct exposure *e, struct cards *c)
{
    cards_flag(c, "SIMPLE", true, "file does conform to FITS standard");
    cards_int(c, "BITPIX", 16, "number of bits per data pixel");
    cards_int(c, "NAXIS", 0, "number of data axes");
    cards_flag(c, "EXTEND", true, "FITS dataset may contain extensions");
    cards_int(c, "NEXTEND", e->camera.ccds, "Number of extensions");
    cards_text(c, "PROCTYPE", "raw", "Data processing level");
    cards_text(c, "PRODTYPE", "image", "Data product type");
    cards_real(c, "PIXSCAL1", CAMERA_PIXEL_ARCSEC, 6, "[arcsec/pixel] Pixel scale, axis 1");
    cards_real(c, "PIXSCAL2", CAMERA_PIXEL_ARCSEC, 6, "[arcsec/pixel] Pixel scale, axis 2");
}

/*
 * The observatory. The real headers call OBS-LONG an east longitude but give the west one; the value is kept, the comment
 * put right.
 */
static void
add_site(struct cards *c)
{
    cards_real(c, "OBS-LONG", -when_longitude_east, 7, "[deg] Observatory west longitude");
    cards_text(c, "TELESCOP", "CTIO 4.0-m telescope", "Telescope name");
    cards_text(c, "OBSERVAT", "CTIO", "Observatory name");
    cards_real(c, "OBS-LAT", when_latitude, 7, "[deg] Observatory latitude");
    cards_real(c, "OBS-ELEV", 2215.0, 6, "[m] Observatory elevation");
    cards_text(c, "INSTRUME", "DECam", "Instrument used to obtain these data");
}

/* When: the dark time is longer than the exposure by what the shutter and the clearing take. */
static void
add_times(const struct exposure *e, struct cards *c)
{
    cards_real(c, "EXPREQ", e->exptime, 8, "[s] Requested exposure duration");
    cards_real(c, "EXPTIME", e->exptime, 8, "[s] Exposure duration");
    cards_real(c, "DARKTIME", e->exptime + 0.8952999, 10, "[s] Dark time");
    add_date(c, "OBSID", e->start, "ct4m%Y%m%dt%H%M%S", "Unique Observation ID");
    add_date(c, "DATE-OBS", e->start, "%Y-%m-%dT%H:%M:%S.%f", "UTC epoch");
    add_date(c, "TIME-OBS", e->start, "%H:%M:%S.%f", "Time of observation start (UTC)");
    cards_real(c, "MJD-OBS", when_mjd(e->start), 13, "MJD of observation start");
    add_date(c, "OPENSHUT", e->start, "%Y-%m-%dT%H:%M:%S.%f", "Time when shutter opened (UTC)");
    cards_text(c, "TIMESYS", "UTC", "Time system");
}

/* What was observed, by whom and for which proposal: the keywords that name and place the files. */
static void
add_programme(const struct exposure *e, struct cards *c)
{
    cards_int(c, "EXPNUM", e->number, "DECam exposure number");
    cards_text(c, "OBJECT", e->object, "Object name");
    cards_text(c, "OBSTYPE", obstypes[e->kind], "Observation type");
    cards_text(c, "CAMSHUT", e->kind == EXPOSURE_BIAS ? "Closed" : "Open", "Camera shutter at exposure start");
    cards_text(c, "PROGRAM", "Simulated exposures", "Current observing program");
    cards_text(c, "OBSERVER", e->observer, "Observer name(s)");
    cards_text(c, "PROPOSER", "Simulated", "Proposal Principal Investigator");
    cards_text(c, "PROPID", e->propid, "Proposal ID");
    cards_text(c, "EXCLUDED", "", "DECam components not used for this frame");
    cards_text(c, "FILTER", e->filter->title, "Unique filter identifier");
}

/* Where the telescope says it points, and how high that is above the horizon. */
static void
add_pointing(const struct exposure *e, struct cards *c)
{
    const double ha = when_hour_angle(e->start, e->header_ra);
    const double zd = when_zenith_distance(ha, e->header_dec);
    /* A plan need not wait for its fields to rise: below 20 degrees the air mass stays at its value there. */
    const double airmass = 1.0 / cos(fmin(zd, 70.0) * M_PI / 180.0);

    cards_text(c, "RADESYS", "ICRS", "Telescope coordinate system");
    cards_real(c, "TELEQUIN", 2000.0, 6, "Equinox of telescope coordinates");
    cards_text(c, "TELSTAT", "Track", "Telescope tracking status");
    add_angle(c, "RA", e->header_ra, 15.0, "[HH:MM:SS] Target RA");
    add_angle(c, "DEC", e->header_dec, 1.0, "[DD:MM:SS] Target DEC");
    add_angle(c, "TELRA", e->header_ra, 15.0, "[HH:MM:SS] Telescope RA");
    add_angle(c, "TELDEC", e->header_dec, 1.0, "[DD:MM:SS] Telescope DEC");
    add_angle(c, "HA", ha, 15.0, "[HH:MM:SS] Telescope hour angle");
    cards_real(c, "ZD", floor(zd * 100.0 + 0.5) / 100.0, 6, "[deg] Telescope zenith distance");
    add_angle(c, "LST", when_sidereal(e->start), 15.0, "LST at observation start (HH:MM:SS)");
    cards_real(c, "AIRMASS", floor(airmass * 100.0 + 0.5) / 100.0, 5, "Airmass");
}

void
header_primary(const struct exposure *e, struct cards *c)
{
    const int64_t half_day = 12LL * 3600 * WHEN_SECOND;
    const int64_t local = (int64_t)(when_longitude_east / 15.0 * 3600.0) * WHEN_SECOND;
    char stamp[WHEN_TEXT], text[CARD_SIZE];

    add_structure(e, c);
    (void)snprintf(text, sizeof(text), "%.56s.fits", e->root);
    cards_text(c, "FILENAME", text, "Filename");
    add_site(c);
    add_times(e, c);
    add_programme(e, c);
    add_pointing(e, c);
    cards_real(c, "SEEING", e->seeing_arcsec, 5, "[arcsec] FWHM of the simulated stars");
    cards_real(c, "SKYLEVEL", e->kind == EXPOSURE_OBJECT ? e->sky_adu : 0.0, 6, "[adu] Simulated sky background");
    cards_flag(c, "SIMULATE", true, "Made by a simulated camera");
    when_format(e->start + 90 * WHEN_SECOND, "%Y-%m-%dT%H:%M:%S.%f", stamp);
    (void)snprintf(text, sizeof(text), "HIERARCH time_recorded = '%s'", stamp);
    cards_whole(c, text);
    cards_text(c, "DTSITE", "ct", "observatory location");
    cards_text(c, "DTTELESC", "ct4m", "telescope identifier");
    cards_text(c, "DTINSTRU", "decam", "instrument identifier");
    add_date(c, "DTCALDAT", e->start + local - half_day, "%Y-%m-%d", "calendar date from observing schedule");
    cards_text(c, "DTPROPID", e->propid, "observing proposal ID");
    add_checksum(e, c);
}

/* A section keyword in the usual brackets. */
static void
add_section(struct cards *c, const char *key, const struct section *s, const char *comment)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "[%ld:%ld,%ld:%ld]", s->x1, s->x2, s->y1, s->y2);
    cards_text(c, key, text, comment);
}

/* The same keyword for either amplifier: base name, letter. */
static void
add_amp_section(struct cards *c, const char *base, char amp, const struct section *s, const char *what)
{
    char key[16], comment[64];

    (void)snprintf(key, sizeof(key), "%s%c", base, amp);
    (void)snprintf(comment, sizeof(comment), "%s amp %c", what, amp);
    add_section(c, key, s, comment);
}

/* A section of the raw frame as one of the trimmed CCD, or of the mosaic when shifted by the CCD's place there. */
static struct section
shifted(const struct section *s, long dx, long dy)
{
    return (struct section){s->x1 + dx, s->x2 + dx, s->y1 + dy, s->y2 + dy};
}

/* The eight sections of one amplifier. */
static void
add_amplifier(const struct ccd *ccd, const struct amplifier *a, const struct section *mosaic, struct cards *c)
{
    const struct section on_ccd = shifted(&a->data, 1 - ccd->data.x1, 1 - ccd->data.y1);
    const struct section tile = shifted(&on_ccd, mosaic->x1 - 1, mosaic->y1 - 1);
    struct section order = on_ccd;              /* in read order: towards the amplifier's corner */

    if (!a->left) {
        order.x1 = on_ccd.x2;
        order.x2 = on_ccd.x1;
    }
    if (ccd->south) {
        order.y1 = on_ccd.y2;
        order.y2 = on_ccd.y1;
    }
    add_amp_section(c, "TRIMSEC", a->name, &a->data, "Good section from");
    add_amp_section(c, "DETSEC", a->name, &tile, "Detector display tile for");
    add_amp_section(c, "CCDSEC", a->name, &on_ccd, "CCD section from");
    add_amp_section(c, "AMPSEC", a->name, &order, "CCD section in read order for");
    add_amp_section(c, "DATASEC", a->name, &a->data, "Data section from");
    add_amp_section(c, "BIASSEC", a->name, &a->overscan, "Overscan from");
    add_amp_section(c, "PRESEC", a->name, &a->prescan, "Prescan from");
    add_amp_section(c, "POSTSEC", a->name, &a->postscan, "Postscan from");
}

/* What turns an amplifier's numbers into electrons. */
static void
add_levels(const struct amplifier *a, struct cards *c)
{
    char key[16], comment[64];

    (void)snprintf(key, sizeof(key), "GAIN%c", a->name);
    (void)snprintf(comment, sizeof(comment), "[electrons/adu] Gain for amp %c", a->name);
    cards_real(c, key, a->gain, 12, comment);
    (void)snprintf(key, sizeof(key), "RDNOISE%c", a->name);
    (void)snprintf(comment, sizeof(comment), "[electrons] Read noise for amp %c", a->name);
    cards_real(c, key, a->read_noise, 12, comment);
    (void)snprintf(key, sizeof(key), "SATURAT%c", a->name);
    (void)snprintf(comment, sizeof(comment), "[adu] Saturation for amp %c", a->name);
    cards_real(c, key, a->saturation, 8, comment);
}

/*
 * The WCS of the raw frame, overscan included: all CCDs share CRVAL, CRPIX is the optical axis as seen from each. The PV terms
 * not written are zero by the convention.
 */
static void
add_wcs(const struct exposure *e, const struct ccd *ccd, struct cards *c)
{
    const char *const cubic[] = {"PV1_7", "PV1_9", "PV2_7", "PV2_9"};

    cards_text(c, "RADESYS", "ICRS", "World coordinate reference frame");
    cards_real(c, "EQUINOX", 2000.0, 6, "[yr] Equinox of WCS");
    cards_text(c, "CTYPE1", e->tpv ? "RA---TPV" : "RA---TAN", "Coordinate type");
    cards_text(c, "CTYPE2", e->tpv ? "DEC--TPV" : "DEC--TAN", "Coordinate type");
    cards_text(c, "CUNIT1", "deg", "Axis unit");
    cards_text(c, "CUNIT2", "deg", "Axis unit");
    cards_real(c, "CRVAL1", e->header_ra, 15, "[deg] WCS Reference Coordinate (RA)");
    cards_real(c, "CRVAL2", e->header_dec, 15, "[deg] WCS Reference Coordinate (DEC)");
    cards_real(c, "CRPIX1", ccd->crpix1, 14, "Coordinate Reference axis 1");
    cards_real(c, "CRPIX2", ccd->crpix2, 14, "Coordinate Reference axis 2");
    cards_real(c, "CD1_1", 0.0, 6, "World coordinate transformation matrix");
    cards_real(c, "CD1_2", e->optics.scale, 14, "World coordinate transformation matrix");
    cards_real(c, "CD2_1", -e->optics.scale, 14, "World coordinate transformation matrix");
    cards_real(c, "CD2_2", 0.0, 6, "World coordinate transformation matrix");
    if (!e->tpv)
        return;
    cards_real(c, "PV1_1", 1.0, 6, "PV distortion coefficient");
    cards_real(c, "PV2_1", 1.0, 6, "PV distortion coefficient");
    for (int i = 0; i < 4; i++)
        cards_real(c, cubic[i], e->optics.distortion, 12, "PV distortion coefficient");
}

/* What makes the extension an unsigned 16-bit image of that CCD. */
static void
add_image_structure(const struct exposure *e, const struct ccd *ccd, struct cards *c)
{
    cards_text(c, "XTENSION", "IMAGE", "IMAGE extension");
    cards_int(c, "BITPIX", 16, "number of bits per data pixel");
    cards_int(c, "NAXIS", 2, "number of data axes");
    cards_int(c, "NAXIS1", e->camera.width, "length of data axis 1");
    cards_int(c, "NAXIS2", e->camera.height, "length of data axis 2");
    cards_int(c, "PCOUNT", 0, "required keyword; must = 0");
    cards_int(c, "GCOUNT", 1, "required keyword; must = 1");
    cards_int(c, "BZERO", 32768, "offset data range to that of unsigned short");
    cards_int(c, "BSCALE", 1, "default scaling factor");
    cards_text(c, "BUNIT", "adu", "Brightness units for pixel array");
    cards_text(c, "EXTNAME", ccd->name, "extension name");
    cards_flag(c, "INHERIT", true, "Inherits PHDU header");
    cards_int(c, "CCDNUM", ccd->number, "CCD number");
    cards_text(c, "DETPOS", ccd->name, "detector position ID");
    cards_int(c, "WCSAXES", 2, "WCS Dimensionality");
}

void
header_extension(const struct exposure *e, const struct ccd *ccd, struct cards *c)
{
    const struct camera *k = &e->camera;
    const long columns = k->ccds > 62 ? 14 + (k->ccds - 62) / 7 : 14;
    const struct section whole = {1, columns * (k->data_width * 2100 / 2048), 1, 7 * (k->data_height * 4150 / 4096)};
    const struct section chip = {1, k->data_width, 1, k->data_height};
    const struct section mosaic = shifted(&chip, ccd->column * k->data_width, ccd->row2 * k->data_height / 2);

    add_image_structure(e, ccd, c);
    add_section(c, "DETSIZE", &whole, "Detector size");
    add_section(c, "TRIMSEC", &ccd->data, "Good section");
    add_section(c, "DATASEC", &ccd->data, "Data section to display");
    add_section(c, "DETSEC", &mosaic, "Location of this CCD on Focal Plane");
    add_section(c, "CCDSEC", &chip, "CCD section to display");
    for (int i = 0; i < 2; i++)
        add_amplifier(ccd, &ccd->amp[i], &mosaic, c);
    for (int i = 0; i < 2; i++)
        add_levels(&ccd->amp[i], c);
    cards_int(c, "CCDBIN1", 1, "Pixel binning, axis 1");
    cards_int(c, "CCDBIN2", 1, "Pixel binning, axis 2");
    add_wcs(e, ccd, c);
    cards_real(c, "LTV1", (double)(ccd->data.x1 - 1), 8, "Detector to image transformation");
    cards_real(c, "LTV2", (double)(ccd->data.y1 - 1), 8, "Detector to image transformation");
    cards_real(c, "LTM1_1", 1.0, 6, "Detector to image transformation");
    cards_real(c, "LTM2_2", 1.0, 6, "Detector to image transformation");
    cards_flag(c, "VALIDA", !ccd->dead, "Data from amp A is valid");
    cards_flag(c, "VALIDB", !ccd->dead, "Data from amp B is valid");
    add_checksum(e, c);
}

void
header_frame(const struct exposure *e, const struct ccd *ccd, char frame[HSC_FRAME])
{
    const int index = ccd->number - 1;

    (void)snprintf(frame, HSC_FRAME, "HSCA%06ld%02d", (e->number + index / HSC_HALF) % 1000000, index % HSC_HALF);
}

/* What and when, under the names that Subaru's archive has for it. */
static void
add_subaru(const struct exposure *e, const struct ccd *ccd, struct cards *c)
{
    static const char *const types[] = {"OBJECT", "DOMEFLAT", "BIAS"};
    char frame[HSC_FRAME], text[CARD_SIZE];

    header_frame(e, ccd, frame);
    cards_text(c, "FRAMEID", frame, "Image sequential number");
    (void)snprintf(text, sizeof(text), "HSCE%08ld", e->number);
    cards_text(c, "EXP-ID", text, "Exposure identifier");
    cards_int(c, "DET-ID", ccd->number - 1, "ID of the detector used for this data");
    cards_text(c, "INSTRUME", "Hyper Suprime-Cam", "Name of instrument");
    cards_text(c, "TELESCOP", "Subaru", "Telescope/System which Inst. is attached");
    cards_text(c, "OBJECT", e->object, "Target Description");
    cards_text(c, "DATA-TYP", types[e->kind], "Type / Characteristics of this data");
    cards_text(c, "PROP-ID", e->propid, "Proposal ID");
    cards_text(c, "OBSERVER", e->observer, "Name(s) of observer(s)");
    (void)snprintf(text, sizeof(text), "HSC-%s", e->filter->name);
    cards_text(c, "FILTER01", text, "Filter name/ID");
    cards_real(c, "EXPTIME", e->exptime, 8, "Total integration time of the frame (sec)");
    add_date(c, "DATE-OBS", e->start, "%Y-%m-%d", "Observation start date (yyyy-mm-dd)");
    add_date(c, "UT-STR", e->start, "%H:%M:%S.%f", "UTC at exposure start");
    cards_real(c, "MJD-STR", when_mjd(e->start), 13, "MJD at exposure start");
    cards_flag(c, "SIMULATE", true, "Made by a simulated camera");
}

void
header_single(const struct exposure *e, const struct ccd *ccd, struct cards *c)
{
    char key[16];

    cards_flag(c, "SIMPLE", true, "file does conform to FITS standard");
    cards_int(c, "BITPIX", 16, "number of bits per data pixel");
    cards_int(c, "NAXIS", 2, "number of data axes");
    cards_int(c, "NAXIS1", e->camera.width, "length of data axis 1");
    cards_int(c, "NAXIS2", e->camera.height, "length of data axis 2");
    cards_int(c, "BZERO", 32768, "offset data range to that of unsigned short");
    cards_int(c, "BSCALE", 1, "default scaling factor");
    cards_text(c, "BUNIT", "ADU", "Unit of original pixel values");
    add_subaru(e, ccd, c);
    for (int i = 0; i < 4; i++) {
        (void)snprintf(key, sizeof(key), "T_GAIN%d", i + 1);
        cards_real(c, key, ccd->amp[i / 2].gain, 6, "Gain of a channel (e-/ADU)");
    }
    add_wcs(e, ccd, c);
    add_checksum(e, c);
}
