#include "common/fits_tpv.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/fits_private.h"

#define SIP_ORDER 9 /* most that the convention allows */
#define SIDE (SIP_ORDER + 1)
#define AXES 9 /* that a card of one digit can name */

/* c[p][q] is the coefficient of x^p y^q. */
struct poly {
    double c[SIDE][SIDE];
};

/* What a SIP header says: the two forward polynomials, in pixels, and the CD matrix. */
struct sip {
    struct poly forward[2]; /* A, B */
    int64_t order[2];       /* -1: no A_ORDER, B_ORDER */
    bool any;               /* there is a SIP card, or a CTYPE that says so */
    int axes;               /* that the header describes: two of the sky, and what else there is */
    double cd[AXES][AXES];
    bool has_cd;            /* as it stands; else made of CDELTi with PCi_j or CROTA2 */
};

/* ---- single cards ---- */

/* "A_2_1", "BP_ORDER", "B_DMAX" and the like. *axis 0 for A, 1 for B; *inverse for AP, BP;
 * *p is -1 for ORDER, -2 for DMAX. */
static bool sip_keyword(const char *key, int *axis, bool *inverse, int *p, int *q)
{
    if (key[0] != 'A' && key[0] != 'B')
        return false;
    *axis = key[0] == 'B';
    *inverse = key[1] == 'P';
    key += *inverse ? 2 : 1;
    *p = strcmp(key, "_ORDER") == 0 ? -1 : strcmp(key, "_DMAX") == 0 ? -2 : 0;
    *q = 0;
    if (*p < 0)
        return true;
    if (key[0] != '_' || !isdigit((unsigned char)key[1]) || key[2] != '_' ||
        !isdigit((unsigned char)key[3]) || key[4])
        return false;
    *p = key[1] - '0';
    *q = key[3] - '0';
    return true;
}

static bool is_sip_card(const char *card)
{
    char key[FITS_CARD + 1];
    int axis, p, q;
    bool inverse;
    fits_card_keyword(card, key);
    return sip_keyword(key, &axis, &inverse, &p, &q);
}

/* A finite number, whole or not. */
static bool number(const struct fits_header *h, const char *key, double *out)
{
    int64_t whole;
    if (fits_header_int(h, key, &whole))
        *out = (double)whole;
    else if (!fits_header_real(h, key, out))
        return false;
    return isfinite(*out);
}

/* The number or, where the card is missing, `missing`. */
static enum status number_or(const struct fits_header *h, const char *key, double missing,
                             double *out, struct fault *why)
{
    *out = missing;
    if (fits_header_find(h, key) >= 0 && !number(h, key, out))
        return fault(why, ST_REJECT, "%s is no number", key);
    return ST_OK;
}

/* PVi_m of the primary description: "PV1_12", not "PV1_12A". */
static bool is_pv(const char *key)
{
    return strncmp(key, "PV", 2) == 0 && (key[2] == '1' || key[2] == '2') && key[3] == '_' &&
           isdigit((unsigned char)key[4]) && key[4 + strspn(key + 4, "0123456789")] == '\0';
}

/* ---- reading SIP ---- */

static enum status take_card(const struct fits_header *h, size_t i, struct sip *s,
                             struct fault *why)
{
    char key[FITS_CARD + 1];
    int axis, p, q;
    bool inverse;
    double value;
    fits_card_keyword(h->cards + i * FITS_CARD, key);
    if (!sip_keyword(key, &axis, &inverse, &p, &q))
        return ST_OK;
    s->any = true;
    if (inverse || p == -2)
        return ST_OK; /* sky to pixel, and an estimate: TPV has neither */
    if (fits_header_find(h, key) != (long)i)
        return fault(why, ST_REJECT, "%s is there twice: which one holds is unclear", key);
    if (p == -1) {
        if (!fits_header_int(h, key, &s->order[axis]) || s->order[axis] < 0 ||
            s->order[axis] > SIP_ORDER)
            return fault(why, ST_REJECT, "%s is no whole number from 0 to %d", key, SIP_ORDER);
        return ST_OK;
    }
    if (!number(h, key, &value))
        return fault(why, ST_REJECT, "%s is no number", key);
    s->forward[axis].c[p][q] = value;
    return ST_OK;
}

static enum status check_orders(const struct sip *s, struct fault *why)
{
    for (int axis = 0; axis < 2; axis++) {
        char letter = (char)('A' + axis);
        if (s->order[axis] < 0)
            return fault(why, ST_REJECT, "%c_ORDER is missing: the SIP coefficients are not whole",
                         letter);
        for (int p = 0; p < SIDE; p++)
            for (int q = 0; q < SIDE; q++) {
                if (s->forward[axis].c[p][q] == 0)
                    continue;
                if (p + q > s->order[axis])
                    return fault(why, ST_REJECT, "%c_%d_%d is beyond %c_ORDER = %d", letter, p, q,
                                 letter, (int)s->order[axis]);
                if (p + q > FITS_TPV_DEGREE)
                    return fault(why, ST_REJECT, "%c_%d_%d has degree %d, and TPV ends at %d: fit "
                                 "a SIP of a lower order", letter, p, q, p + q, FITS_TPV_DEGREE);
            }
    }
    return ST_OK;
}

/* FITS standard 4.0, section 8.2: the most of NAXIS, WCSAXES and what other cards name. */
static int count_axes(const struct fits_header *h)
{
    static const char *const counts[] = {"NAXIS", "ZNAXIS", "WCSAXES"};
    static const char *const named[] = {"CTYPE", "CRPIX", "CRVAL", "CDELT"};
    int64_t axes = 2, value;
    for (int i = 0; i < 3; i++)
        if (fits_header_int(h, counts[i], &value) && value > axes)
            axes = value;
    for (int axis = 3; axis <= AXES; axis++)
        for (int i = 0; i < 4; i++) {
            char key[32];
            snprintf(key, sizeof key, "%s%d", named[i], axis);
            if (axis > axes && fits_header_find(h, key) >= 0)
                axes = axis;
        }
    return axes < AXES ? (int)axes : AXES;
}

/* The distortion moves behind the matrix: another axis must not meet it there. */
static enum status check_axes(const struct fits_header *h, struct sip *s, struct fault *why)
{
    s->axes = count_axes(h);
    for (int k = 0; k < 2 * AXES * AXES; k++) {
        int i = k / 2 % AXES, j = k / 2 / AXES;
        char key[32];
        double value;
        if ((i < 2) == (j < 2))
            continue;
        snprintf(key, sizeof key, "%s%d_%d", k % 2 ? "PC" : "CD", i + 1, j + 1);
        if (number_or(h, key, 0, &value, why) != ST_OK)
            return ST_REJECT;
        if (value != 0)
            return fault(why, ST_REJECT, "%s mixes the sky's axes with another one, which TPV would "
                         "distort, too", key);
    }
    return ST_OK;
}

/* Beside CDi_j of the sky's axes one that is missing counts as 0, where CDELTi and PCi_j had made
 * it 1. */
static enum status read_other_axes(const struct fits_header *h, struct sip *s, struct fault *why)
{
    for (int i = 2; i < s->axes; i++)
        for (int j = 2; j < s->axes; j++) {
            char key[32];
            double delt, pc;
            snprintf(key, sizeof key, "CDELT%d", i + 1);
            if (number_or(h, key, 1, &delt, why) != ST_OK)
                return ST_REJECT;
            snprintf(key, sizeof key, "PC%d_%d", i + 1, j + 1);
            if (number_or(h, key, i == j, &pc, why) != ST_OK)
                return ST_REJECT;
            s->cd[i][j] = delt * pc;
        }
    return ST_OK;
}

/* The linear part, as CDi_j, as CDELTi with PCi_j, or with the old CROTA2. */
static enum status read_matrix(const struct fits_header *h, struct sip *s, struct fault *why)
{
    double delt[2], turn = 0, pc;
    bool has_cd = false, has_pc = false;
    char key[32];
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "CD%d_%d", i / 2 + 1, i % 2 + 1);
        has_cd |= fits_header_find(h, key) >= 0;
        if (number_or(h, key, 0, &s->cd[i / 2][i % 2], why) != ST_OK)
            return ST_REJECT;
        snprintf(key, sizeof key, "PC%d_%d", i / 2 + 1, i % 2 + 1);
        has_pc |= fits_header_find(h, key) >= 0;
    }
    if (has_cd && has_pc)
        return fault(why, ST_REJECT, "there are CDi_j and PCi_j: only one of them may be");
    s->has_cd = has_cd;
    if (has_cd)
        return ST_OK;
    if (fits_header_find(h, "CDELT1") < 0 || fits_header_find(h, "CDELT2") < 0)
        return fault(why, ST_REJECT, "there is neither CD1_1 nor CDELT1 and CDELT2: the pixels' "
                     "scale is missing");
    if (number_or(h, "CDELT1", 1, &delt[0], why) != ST_OK ||
        number_or(h, "CDELT2", 1, &delt[1], why) != ST_OK ||
        number_or(h, "CROTA2", 0, &turn, why) != ST_OK)
        return ST_REJECT;
    if (has_pc)
        turn = 0;
    turn *= M_PI / 180;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            snprintf(key, sizeof key, "PC%d_%d", i + 1, j + 1);
            if (number_or(h, key, i == j, &pc, why) != ST_OK)
                return ST_REJECT;
            s->cd[i][j] = has_pc ? delt[i] * pc
                          : i == j ? delt[i] * cos(turn)
                                   : (i ? delt[0] : -delt[1]) * sin(turn);
        }
    return read_other_axes(h, s, why);
}

/* ---- what must hold besides ---- */

static enum status check_ctypes(const struct fits_header *h, struct fault *why)
{
    static const char *const pairs[][2] = {{"RA--", "DEC-"}, {"GLON", "GLAT"}, {"ELON", "ELAT"}};
    char ctype[2][72];
    for (int i = 0; i < 2; i++) {
        char key[8];
        snprintf(key, sizeof key, "CTYPE%d", i + 1);
        if (!fits_header_text(h, key, ctype[i], sizeof ctype[i]))
            return fault(why, ST_REJECT, "there are SIP cards but no %s", key);
        if (strlen(ctype[i]) != 12 || strcmp(ctype[i] + 4, "-TAN-SIP") != 0)
            return fault(why, ST_REJECT, "there are SIP cards, but %s is '%s' and not one of "
                         "...-TAN-SIP", key, ctype[i]);
    }
    for (int i = 0; i < 3; i++)
        if (strncmp(ctype[0], pairs[i][0], 4) == 0 && strncmp(ctype[1], pairs[i][1], 4) == 0)
            return ST_OK;
    return fault(why, ST_REJECT, "CTYPE1 = '%s' with CTYPE2 = '%s': TPV takes a longitude on the "
                 "first axis and its latitude on the second", ctype[0], ctype[1]);
}

static enum status check_units(const struct fits_header *h, struct fault *why)
{
    static const char *const needed[] = {"CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2"};
    double value;
    char text[72];
    for (int i = 0; i < 4; i++)
        if (!number(h, needed[i], &value))
            return fault(why, ST_REJECT, "%s is missing or no number", needed[i]);
    for (int i = 0; i < 2; i++) {
        const char *key = i ? "CUNIT2" : "CUNIT1";
        if (fits_header_text(h, key, text, sizeof text) && text[0] && strcmp(text, "deg") != 0)
            return fault(why, ST_REJECT, "%s is '%s'; TPV's polynomials are in deg", key, text);
    }
    return ST_OK;
}

/* A second distortion would no longer be where the first one needs it. */
static enum status check_others(const struct fits_header *h, struct fault *why)
{
    for (size_t i = 0; i < h->count; i++) {
        char key[FITS_CARD + 1], text[72];
        fits_card_keyword(h->cards + i * FITS_CARD, key);
        if (is_pv(key))
            return fault(why, ST_REJECT, "%s stands beside the SIP cards: two distortions, of "
                         "which one is left over; remove it", key);
        if (strncmp(key, "CPDIS", 5) == 0 || strncmp(key, "CQDIS", 5) == 0 ||
            strncmp(key, "D2IMDIS", 7) == 0)
            return fault(why, ST_REJECT, "%s is a second distortion, which TPV cannot hold", key);
        if (strncmp(key, "CTYPE", 5) == 0 && isalpha((unsigned char)key[6]) &&
            fits_header_text(h, key, text, sizeof text) && strstr(text, "-SIP"))
            return fault(why, ST_REJECT, "%s = '%s' needs the SIP cards, too, and there would be "
                         "none", key, text);
    }
    return ST_OK;
}

static bool says_sip(const struct fits_header *h)
{
    char text[72];
    return (fits_header_text(h, "CTYPE1", text, sizeof text) && strstr(text, "-SIP")) ||
           (fits_header_text(h, "CTYPE2", text, sizeof text) && strstr(text, "-SIP"));
}

static enum status read_sip(const struct fits_header *h, struct sip *s, struct fault *why)
{
    enum status st = ST_OK;
    *s = (struct sip){.order = {-1, -1}, .any = says_sip(h)};
    for (size_t i = 0; st == ST_OK && i < h->count; i++)
        st = take_card(h, i, s, why);
    if (st != ST_OK || !s->any)
        return st;
    if ((st = check_ctypes(h, why)) == ST_OK && (st = check_orders(s, why)) == ST_OK &&
        (st = check_units(h, why)) == ST_OK && (st = check_others(h, why)) == ST_OK &&
        (st = check_axes(h, s, why)) == ST_OK)
        st = read_matrix(h, s, why);
    return st;
}

/* ---- the polynomials ---- */

static void multiply_add(struct poly *to, const struct poly *a, const struct poly *b, double factor)
{
    for (int p = 0; p < SIDE; p++)
        for (int q = 0; q < SIDE - p; q++)
            for (int i = 0; a->c[p][q] != 0 && i < SIDE - p; i++)
                for (int j = 0; j < SIDE - q; j++)
                    to->c[p + i][q + j] += factor * a->c[p][q] * b->c[i][j];
}

/* f(u, v) with u and v, linear in (xi, eta), filled in: a polynomial in (xi, eta). */
static struct poly substitute(const struct poly *f, double const inverse[2][2])
{
    struct poly out = {0}, power_u = {.c[0][0] = 1};
    struct poly u = {.c[1][0] = inverse[0][0], .c[0][1] = inverse[0][1]};
    struct poly v = {.c[1][0] = inverse[1][0], .c[0][1] = inverse[1][1]};
    for (int p = 0; p <= FITS_TPV_DEGREE; p++) {
        struct poly term = power_u, next = {0};
        for (int q = 0; q <= FITS_TPV_DEGREE - p; q++) {
            struct poly more = {0};
            for (int i = 0; i < SIDE; i++)
                for (int j = 0; j < SIDE; j++)
                    out.c[i][j] += f->c[p][q] * term.c[i][j];
            multiply_add(&more, &term, &v, 1);
            term = more;
        }
        multiply_add(&next, &power_u, &u, 1);
        power_u = next;
    }
    return out;
}

/* xi' and eta' as polynomials in (xi, eta): the CD matrix over (u + A, v + B). REJECT when
 * the matrix cannot be inverted. */
static enum status make_tpv(const struct sip *s, struct poly out[2], struct fault *why)
{
    double det = s->cd[0][0] * s->cd[1][1] - s->cd[0][1] * s->cd[1][0];
    double size = fabs(s->cd[0][0] * s->cd[1][1]) + fabs(s->cd[0][1] * s->cd[1][0]);
    if (!isnormal(det) || fabs(det) < 1e-10 * size)
        return fault(why, ST_REJECT, "the CD matrix cannot be inverted (its determinant is %g)",
                     det);
    const double inverse[2][2] = {{s->cd[1][1] / det, -s->cd[0][1] / det},
                                  {-s->cd[1][0] / det, s->cd[0][0] / det}};
    struct poly shift[2] = {substitute(&s->forward[0], inverse),
                            substitute(&s->forward[1], inverse)};
    for (int axis = 0; axis < 2; axis++) {
        out[axis] = (struct poly){0};
        out[axis].c[axis == 0][axis == 1] = 1;
        for (int p = 0; p < SIDE; p++)
            for (int q = 0; q < SIDE; q++) {
                double *c = &out[axis].c[p][q];
                *c += s->cd[axis][0] * shift[0].c[p][q] + s->cd[axis][1] * shift[1].c[p][q];
                if (!isfinite(*c))
                    return fault(why, ST_REJECT, "the coefficients leave the range of numbers");
            }
    }
    return ST_OK;
}

/* ---- the new header ---- */

/* TPV counts by degree, and within it by falling power of the axis's own coordinate; after each
 * odd degree one number is for a power of r. */
static bool add_pv(struct fits_header *h, int axis, const struct poly *f)
{
    static const int first[] = {0, 1, 4, 7, 12, 17, 24, 31};
    for (int degree = 0; degree <= FITS_TPV_DEGREE; degree++)
        for (int other = 0; other <= degree; other++) {
            char key[32];
            double c = axis ? f->c[other][degree - other] : f->c[degree - other][other];
            snprintf(key, sizeof key, "PV%d_%d", axis + 1, first[degree] + other);
            /* A missing PVi_1 would count as 1. */
            if ((c != 0 || degree < 2) && !fits_header_add_real(h, key, c, "TPV distortion"))
                return false;
        }
    return true;
}

/* A keyword of this form, where '#' stands for a digit. */
static bool has_form(const char *card, const char *form)
{
    char key[FITS_CARD + 1];
    fits_card_keyword(card, key);
    for (size_t i = 0; form[i]; i++)
        if (form[i] == '#' ? !isdigit((unsigned char)key[i]) : key[i] != form[i])
            return false;
    return key[strlen(form)] == '\0';
}

/* What would no longer be right. wcslib 7.12 takes CROTA2 beside TPV for something else, and no
 * standard has it beside CDi_j: the matrix is said as these. ZHECKSUM is the sum of the image's header as it was before compression. */
static bool is_overtaken(const struct sip *s, const char *card)
{
    return has_form(card, "CROTA#") || has_form(card, "ZHECKSUM") ||
           (!s->has_cd && (has_form(card, "CDELT#") || has_form(card, "PC#_#")));
}

static bool add_distortion(struct fits_header *h, const struct sip *s, const struct poly f[2])
{
    for (int k = 0; !s->has_cd && k < AXES * AXES; k++) {
        int i = k / AXES, j = k % AXES;
        char key[32];
        snprintf(key, sizeof key, "CD%d_%d", i + 1, j + 1);
        if (((i < 2 && j < 2) || s->cd[i][j] != 0) &&
            !fits_header_add_real(h, key, s->cd[i][j], "of CDELTi and the rotation"))
            return false;
    }
    return add_pv(h, 0, &f[0]) && add_pv(h, 1, &f[1]);
}

static bool rename_ctype(struct fits_header *out, const char *card)
{
    char copy[FITS_CARD + 1];
    snprintf(copy, sizeof copy, "%.80s", card);
    char *at = strstr(copy, "-TAN-SIP");
    if (!at)
        return fits_header_append(out, card); /* a second one, which nobody reads */
    /* Eight characters are the least that a text has; what follows keeps its columns. */
    memcpy(at, "-TPV'   ", 8);
    char *quote = at + 8 + strspn(at + 8, " ");
    if (*quote == '\'')
        *quote = ' ';
    return fits_header_append(out, copy);
}

static bool write_cards(const struct fits_header *in, const struct sip *s, const struct poly f[2],
                        struct fits_header *out)
{
    bool ok = true, given = false;
    for (size_t i = 0; ok && i < in->count; i++) {
        const char *card = in->cards + i * FITS_CARD;
        if (fits_card_is(card, "CTYPE1") || fits_card_is(card, "CTYPE2")) {
            ok = rename_ctype(out, card);
        } else if (is_sip_card(card)) {
            ok = given || add_distortion(out, s, f);
            given = true;
        } else if (!is_overtaken(s, card)) {
            ok = fits_header_append(out, card);
        }
    }
    return ok;
}

enum status fits_tpv_header(const struct fits_header *in, struct fits_header *out, bool *converted,
                            struct fault *why)
{
    struct sip s;
    struct poly f[2];
    *out = (struct fits_header){0};
    *converted = false;
    enum status st = read_sip(in, &s, why);
    if (st != ST_OK || !s.any)
        return st;
    st = make_tpv(&s, f, why);
    if (st != ST_OK)
        return st;
    if (!write_cards(in, &s, f, out)) {
        fits_header_free(out);
        return fault(why, ST_RETRY, "no memory for a header of %zu cards", in->count);
    }
    *converted = true;
    return ST_OK;
}

bool fits_tpv_write(const struct fits_header *changed, uint32_t datasum, struct buf *out)
{
    size_t at = out->len;
    if (!fits_header_write(changed, out))
        return false;
    long index = fits_header_find(changed, "CHECKSUM");
    if (index < 0)
        return true;
    unsigned char *head = out->data + at;
    char card[FITS_CARD + 1];
    /* Its 16 characters are zeros while the sum is made. */
    snprintf(card, sizeof card, "%-80.80s", "CHECKSUM= '0000000000000000'   / HDU checksum");
    memcpy(head + (size_t)index * FITS_CARD, card, FITS_CARD);
    fits_sum_header(head, out->len - at, (size_t)index, datasum);
    return true;
}
