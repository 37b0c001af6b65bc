#include "camera.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rng.h"

/* Pitch of the CCDs on the focal plane in DECam's pixels (33.8 mm and 63.9 mm at 15 um): gaps of 206 and 163 pixels. */
static const double pitch_x = 2254.4 / 2048.0, pitch_y = 4259.33 / 4096.0;
static const int rows_of_mosaic = 7;

/* The columns of the focal plane from S to N: CCDs in each, and the number in the name of the first. */
static const struct {
    char half;
    int ccds, first;
} mosaic_columns[] = {
    {'S', 3, 29}, {'S', 4, 25}, {'S', 5, 20}, {'S', 6, 14}, {'S', 6, 8}, {'S', 7, 1},
    {'N', 7, 1}, {'N', 6, 8}, {'N', 6, 14}, {'N', 5, 20}, {'N', 4, 25}, {'N', 3, 29},
};
#define COLUMNS (int)(sizeof(mosaic_columns) / sizeof(mosaic_columns[0]))

static const struct filter filters[] = {
    {"u", "u DECam c0006 3500.0 1000.0", 24.9, -1.2, 0.3},
    {"g", "g DECam SDSS c0001 4720.0 1520.0", 26.5, 0.0, 1.0},
    {"r", "r DECam SDSS c0002 6415.0 1480.0", 26.6, 1.0, 2.5},
    {"i", "i DECam SDSS c0003 7835.0 1470.0", 26.5, 1.3, 5.0},
    {"z", "z DECam SDSS c0004 9260.0 1520.0", 26.3, 1.45, 10.0},
    {"Y", "Y DECam c0005 10095.0 1130.0", 25.2, 1.5, 12.0},
    {"VR", "VR DECam c0007 6300.0 2600.0", 27.1, 0.7, 4.0},
};

const struct filter *
filter_find(const char *name)
{
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
        if (strcmp(filters[i].name, name) == 0)
            return &filters[i];
    return NULL;
}

static long
at_least(long value, long least)
{
    return value > least ? value : least;
}

void
camera_init(struct camera *c, long width, long height, int ccds, uint64_t seed)
{
    *c = (struct camera){.width = width, .height = height, .ccds = ccds, .seed = seed};
    c->prescan = at_least(lround((double)width * 6.0 / 2160.0), 1);
    c->overscan = lround((double)width * 50.0 / 2160.0);
    /* A reduction trims a few pixels off each end of the overscan: leave it some, as long as half the frame is data. */
    if (c->overscan < 16)
        c->overscan = width >= 80 ? 16 : width / 4 - c->prescan;
    c->overscan_rows = at_least(lround((double)height * 50.0 / 4146.0), 1);
    c->data_width = width - 2 * (c->prescan + c->overscan);
    c->data_height = height - c->overscan_rows;
}

double
camera_field_radius(const struct camera *c)
{
    return 6.0 * pitch_x * (double)c->data_width;
}

/* Name the CCD and find its place in the mosaic. */
static void
place(struct ccd *ccd)
{
    int index = ccd->number - 1;

    for (int i = 0; i < COLUMNS; i++) {
        if (index < mosaic_columns[i].ccds) {
            ccd->south = mosaic_columns[i].half == 'S';
            ccd->column = i + 1;
            ccd->row2 = rows_of_mosaic - mosaic_columns[i].ccds + 2L * index;
            (void)snprintf(ccd->name, sizeof(ccd->name), "%c%d", mosaic_columns[i].half, mosaic_columns[i].first + index);
            return;
        }
        index -= mosaic_columns[i].ccds;
    }
    ccd->column = COLUMNS + 1 + index / rows_of_mosaic;
    ccd->row2 = 2L * (index % rows_of_mosaic);
    (void)snprintf(ccd->name, sizeof(ccd->name), "X%d", ccd->number);
}

/* An amplifier's share of the raw frame, from the outer edge inwards: prescan, overscan, data. */
static void
amplifier_sections(const struct camera *c, const struct ccd *ccd, struct amplifier *a)
{
    const long edge = c->prescan + c->overscan, half = c->data_width / 2;
    const long y1 = ccd->data.y1, y2 = ccd->data.y2;

    if (a->left) {
        a->prescan = (struct section){1, c->prescan, y1, y2};
        a->overscan = (struct section){c->prescan + 1, edge, y1, y2};
        a->data = (struct section){edge + 1, edge + half, y1, y2};
    } else {
        a->data = (struct section){edge + half + 1, edge + c->data_width, y1, y2};
        a->overscan = (struct section){a->data.x2 + 1, a->data.x2 + c->overscan, y1, y2};
        a->prescan = (struct section){a->overscan.x2 + 1, c->width, y1, y2};
    }
    a->postscan = (struct section){a->data.x1, a->data.x2, 1, c->overscan_rows};
    if (!ccd->south) {
        a->postscan.y1 = c->data_height + 1;
        a->postscan.y2 = c->height;
    }
}

/* Levels within the range that DECam's headers show. */
static void
amplifier_levels(struct amplifier *a, struct rng *r)
{
    a->bias = 1500.0 + 500.0 * rng_uniform(r);
    a->gain = 3.9 + 0.8 * rng_uniform(r);
    a->read_noise = 6.2 + 1.4 * rng_uniform(r);
    a->saturation = floor(42000.0 + 6000.0 * rng_uniform(r));
}

void
camera_ccd(const struct camera *c, int number, struct ccd *ccd)
{
    const double middle = 0.5 * (double)(COLUMNS + 1);
    struct rng r;
    double x, y;

    *ccd = (struct ccd){.number = number, .dead = number == c->dead_ccd, .key = rng_hash(c->seed, (uint64_t)number)};
    place(ccd);
    ccd->data.x1 = c->prescan + c->overscan + 1;
    ccd->data.x2 = c->prescan + c->overscan + c->data_width;
    ccd->data.y1 = ccd->south ? c->overscan_rows + 1 : 1;
    ccd->data.y2 = ccd->data.y1 + c->data_height - 1;
    ccd->left = ccd->south ? 1 : 0;

    rng_seed(&r, ccd->key);
    ccd->efficiency = 0.95 + 0.1 * rng_uniform(&r);
    for (int i = 0; i < 2; i++) {
        ccd->amp[i].name = i == 0 ? 'A' : 'B';
        ccd->amp[i].left = i == ccd->left;
        amplifier_sections(c, ccd, &ccd->amp[i]);
        amplifier_levels(&ccd->amp[i], &r);
    }
    x = ((double)ccd->column - middle) * pitch_x * (double)c->data_width;
    y = 0.5 * (double)(ccd->row2 - (rows_of_mosaic - 1)) * pitch_y * (double)c->data_height;
    ccd->crpix1 = 0.5 * (double)(ccd->data.x1 + ccd->data.x2) - x;
    ccd->crpix2 = 0.5 * (double)(ccd->data.y1 + ccd->data.y2) - y;
}
