/*
 * when.h - dates of exposures, and the little spherical astronomy that a header needs.
 *
 * A date is a count of microseconds of UTC since 1970 (struct-free, so that it can be added to). The observatory is Cerro
 * Tololo. No function keeps state.
 */
#ifndef SIMCAM_WHEN_H
#define SIMCAM_WHEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WHEN_SECOND 1000000LL
#define WHEN_TEXT 32            /* room for any text that when_format makes */

extern const double when_longitude_east, when_latitude;         /* of the observatory, degrees */

/* Read YYYY-MM-DDThh:mm:ss[.ffffff] (UTC, an optional Z); false when it is not such a date. */
bool when_parse(const char *text, int64_t *date);

/* Write a date by a strftime format; %f in it becomes six digits of microseconds. */
void when_format(int64_t date, const char *format, char text[WHEN_TEXT]);

/* The Modified Julian Date. */
double when_mjd(int64_t date);

/* Local mean sidereal time at the observatory, degrees in [0, 360). */
double when_sidereal(int64_t date);

/* The hour angle of ra at date, degrees in (-180, 180]. */
double when_hour_angle(int64_t date, double ra);

/* Zenith distance in degrees of a place at an hour angle (degrees). */
double when_zenith_distance(double hour_angle, double dec);

#endif
