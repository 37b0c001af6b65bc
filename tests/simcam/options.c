#include "options.h"

#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "header.h"
#include "number.h"
#include "say.h"
#include "when.h"

enum kind { GROUP, FLAG, INTEGER, REAL, TEXT, CHOICE, SIZE, FIELD };

/* One option: where its value goes, what may be in it, and what --help says. */
struct row {
    const char *name, *argument;
    enum kind kind;
    size_t target;
    double least, most;
    const char *choices;        /* separated by blanks */
    const char *help;
};

#define AT(member) offsetof(struct options, member)

static const struct row rows[] = {
    {"Files", NULL, GROUP, 0, 0, 0, NULL, NULL},
    {"out", "DIR", TEXT, AT(out), 0, 0, NULL, "directory for the exposures (required)"},
    {"subdir", "NAME", TEXT, AT(subdir), 0, 0, NULL, "write into DIR/NAME, made when missing"},
    {"layout", "L", CHOICE, AT(layout), 0, 0, "decam hsc",
        "decam: a file with all CCDs; hsc: plain FITS files HSCAnnnnnnkk, one a CCD, 52 to each of the two numbers of a visit, "
        "which --expnum, an even number, begins and --count counts by two (decam)"},
    {"format", "F", CHOICE, AT(format), 0, 0, "fits fz", "fits, or fz: tile-compressed (fz)"},
    {"style", "S", CHOICE, AT(style), 0, 0, "direct slow split rename",
        "direct: as it is made; slow: in pieces through one descriptor; split: in pieces, reopened each time; "
        "rename: hidden .NAME.tmp, then renamed (direct)"},
    {"write-seconds", "SEC", REAL, AT(write_seconds), 0, 86400, NULL, "how long slow and split take for a file (10)"},
    {"prefix", "TEXT", TEXT, AT(prefix), 0, 0, NULL, "file names start with TEXT (DECam_)"},
    {"name-pattern", "PAT", TEXT, AT(name_pattern), 0, 0, NULL, "file name with one %d or %0Nd for EXPNUM (DECam_%08d)"},
    {"force", NULL, FLAG, AT(force), 0, 0, NULL, "replace files that are there already"},
    {"no-checksum", NULL, FLAG, AT(no_checksum), 0, 0, NULL, "write no CHECKSUM and DATASUM"},
    {"truth", "FILE", TEXT, AT(truth), 0, 0, NULL,
        "CSV of the stars placed: ccd,x,y,ra,dec,mag,flux_adu,saturated,expnum"},
    {"quiet", NULL, FLAG, AT(quiet), 0, 0, NULL, "do not print the path of each finished file"},

    {"Exposures", NULL, GROUP, 0, 0, 0, NULL, NULL},
    {"type", "T", CHOICE, AT(type), 0, 0, "object flat bias", "object, flat (dome) or bias (object)"},
    {"object", "NAME", TEXT, AT(object), 0, 0, NULL, "OBJECT of the field (FieldA)"},
    {"ra", "DEG", REAL, AT(ra), 0, 360, NULL, "pointing; by default the name decides"},
    {"dec", "DEG", REAL, AT(dec), -90, 90, NULL, "pointing; by default the name decides"},
    {"filter", "F", TEXT, AT(filter), 0, 0, NULL, "u g r i z Y VR (g)"},
    {"exptime", "SEC", REAL, AT(exptime), 0, 36000, NULL, "exposure time (object 20, flat 10, bias 0)"},
    {"night", "SPEC", TEXT, AT(night), 0, 0, NULL,
        "a plan, in place of --type, --object, --ra, --dec and --filter: items bias[:N], flat:FILTER[:N[:SEC]], "
        "object:NAME:FILTER[:N[:SEC]] separated by commas"},
    {"program", "FILE", TEXT, AT(program), 0, 0, NULL,
        "the same from a file: an item a line, lines 'field NAME RA DEC', # comments"},
    {"field", "N:RA:DEC", FIELD, 0, 0, 0, NULL, "place of a field named in a plan, degrees; repeatable"},
    {"count", "N", INTEGER, AT(count), 0, 1e9, NULL,
        "exposures in all, a plan repeating; 0: until stopped (1, or the plan once)"},
    {"cadence", "SEC", REAL, AT(cadence), 0, 86400, NULL, "seconds from one start to the next; 0: at once (0)"},
    {"expnum", "N", INTEGER, AT(expnum), 0, 99999999, NULL, "EXPNUM of the first (123456)"},
    {"date-obs", "ISO", TEXT, AT(date_obs), 0, 0, NULL,
        "DATE-OBS of the first (2024-04-05T00:30:00.251372); each next is exposure and 20.483261 s of readout later"},
    {"propid", "ID", TEXT, AT(propid), 0, 0, NULL, "PROPID (2024A-0000)"},
    {"observer", "NAME", TEXT, AT(observer), 0, 0, NULL, "OBSERVER (Simulated)"},

    {"Camera and sky", NULL, GROUP, 0, 0, 0, NULL, NULL},
    {"ccds", "N", INTEGER, AT(ccds), 1, CAMERA_MOST_CCDS, NULL, "image extensions (62)"},
    {"size", "WxH", SIZE, AT(width), CAMERA_SMALLEST, CAMERA_LARGEST, NULL, "raw pixels of each, with overscan (2160x4146)"},
    {"dead-ccd", "N", INTEGER, AT(dead_ccd), 0, CAMERA_MOST_CCDS, NULL, "CCDNUM of a CCD that sees no light"},
    {"wcs", "W", CHOICE, AT(wcs), 0, 0, "tan tpv", "projection: tan, or tpv with distortion (tpv)"},
    {"pointing-error", "ASEC", REAL, AT(pointing_error), 0, 3600, NULL,
        "how far the header's pointing is off, in a direction new each time (0)"},
    {"seeing", "ASEC", REAL, AT(seeing), 0.3, 10, NULL, "FWHM of the stars, arcseconds (1.1)"},
    {"sky", "ADU", REAL, AT(sky), 0, 60000, NULL, "sky background (dark sky: 1 ADU/s in g)"},
    {"seed", "N", INTEGER, AT(seed), 0, 1e9, NULL, "of the camera and its noise; the stars are always the same (1)"},
    {"threads", "N", INTEGER, AT(threads), 1, 256, NULL, "threads (as many as processors)"},
    {"help", NULL, FLAG, AT(help), 0, 0, NULL, "this text"},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* What holds when nothing is said. Values that depend on others stay unset until all are read. */
static void
set_defaults(struct options *o)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);

    *o = (struct options){.format = FORMAT_FZ, .write_seconds = 10.0, .prefix = NULL, .name_pattern = NULL,
        .date_obs = "2024-04-05T00:30:00.251372", .propid = "2024A-0000", .observer = "Simulated",
        .object = NULL, .ra = OPTIONS_UNSET, .dec = OPTIONS_UNSET, .exptime = OPTIONS_UNSET, .count = -1,
        .expnum = 123456, .ccds = 62, .width = 2160, .height = 4146, .wcs = WCS_TPV, .seeing = 1.1,
        .sky = OPTIONS_UNSET, .seed = 1, .threads = processors > 0 && processors <= 256 ? processors : 2};
}

/* The place of a word in a list separated by blanks, or -1. */
static long
choice_index(const char *choices, const char *word)
{
    const size_t n = strlen(word);
    long index = 0;

    for (const char *p = choices; *p != '\0'; index++) {
        const size_t length = strcspn(p, " ");

        if (length == n && strncmp(p, word, n) == 0)
            return index;
        p += length + (p[length] == ' ');
    }
    return -1;
}

/* WIDTHxHEIGHT into the two numbers that lie side by side in struct options. */
static bool
parse_size(const struct row *row, const char *text, long size[2])
{
    char first[16];
    const size_t n = strcspn(text, "xX");

    if (text[n] == '\0' || n >= sizeof(first))
        return false;
    memcpy(first, text, n);
    first[n] = '\0';
    return number_long(first, (long)row->least, (long)row->most, &size[0])
        && number_long(text + n + 1, (long)row->least, (long)row->most, &size[1]);
}

/* Store one option's value; false, with the reason said, when it is none. */
static bool
set(struct options *o, const struct row *row, const char *text)
{
    void *target = (char *)o + row->target;
    char why[PLAN_WHY];
    bool good = true;

    switch (row->kind) {
    case GROUP:
        break;
    case FLAG:
        *(bool *)target = true;
        break;
    case INTEGER:
        if (!(good = number_long(text, (long)row->least, (long)row->most, target)))
            complain("--%s %s: an integer from %.0f to %.0f is needed", row->name, text, row->least, row->most);
        break;
    case REAL:
        if (!(good = number_double(text, row->least, row->most, target)))
            complain("--%s %s: a number from %g to %g is needed", row->name, text, row->least, row->most);
        break;
    case TEXT:
        *(const char **)target = text;
        break;
    case CHOICE:
        *(long *)target = choice_index(row->choices, text);
        if (!(good = *(long *)target >= 0))
            complain("--%s %s: one of these is needed: %s", row->name, text, row->choices);
        break;
    case SIZE:
        if (!(good = parse_size(row, text, target)))
            complain("--%s %s: WIDTHxHEIGHT is needed, each %.0f to %.0f", row->name, text, row->least, row->most);
        break;
    case FIELD:
        if (!(good = plan_parse_field(&o->plan, text, why) == 0))
            complain("--%s: %s", row->name, why);
        break;
    }
    return good;
}

/* Read argv by the table; how many problems. */
static int
read_arguments(struct options *o, int argc, char *argv[])
{
    struct option known[ROWS + 1] = {{0}};
    int problems = 0, n = 0, c;

    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].kind != GROUP)
            known[n++] = (struct option){rows[i].name, rows[i].kind == FLAG ? no_argument : required_argument, NULL,
                (int)i + 256};
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (c < 256 || !set(o, &rows[c - 256], optarg))
            problems++;                         /* said by getopt_long or by set */
    }
    for (; optind < argc; optind++, problems++)
        complain("%s: not an option", argv[optind]);
    return problems;
}

/* Text that may stand in a header card. */
static int
check_card_text(const char *name, const char *text, size_t most)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < ' ' || *p > '~') {
            complain("--%s: a header holds printable ASCII only", name);
            return 1;
        }
    }
    if (strlen(text) > most) {
        complain("--%s: at most %zu characters", name, most);
        return 1;
    }
    return 0;
}

/* A pattern holds one %d, maybe %0Nd, no other %, and is a plain file name. */
static int
check_pattern(const char *pattern)
{
    const char *percent = strchr(pattern, '%'), *p = percent;

    if (strchr(pattern, '/') != NULL || pattern[0] == '.' || strlen(pattern) > 150) {
        complain("--name-pattern %s: a plain file name is needed", pattern);
        return 1;
    }
    if (p != NULL)
        p += 1 + strspn(p + 1, "0123456789");
    if (p == NULL || *p != 'd' || p - percent > 3 || strchr(p, '%') != NULL) {
        complain("--name-pattern %s: exactly one %%d or %%0Nd (N up to 9) is needed", pattern);
        return 1;
    }
    return 0;
}

/* Everything that becomes part of a path; how many problems. */
static int
check_names(struct options *o)
{
    int problems = 0;

    if (o->out == NULL || o->out[0] == '\0') {
        complain("--out DIR is needed");
        return 1;
    }
    if (o->subdir != NULL && (o->subdir[0] == '/' || o->subdir[0] == '\0' || strstr(o->subdir, "..") != NULL)) {
        complain("--subdir %s: a relative path without .. is needed", o->subdir);
        problems++;
    }
    if (snprintf(o->directory, sizeof(o->directory), "%s%s%s", o->out, o->subdir != NULL ? "/" : "",
            o->subdir != NULL ? o->subdir : "") >= (int)sizeof(o->directory)) {
        complain("--out: the path is too long");
        problems++;
    }
    if (o->name_pattern != NULL)
        problems += check_pattern(o->name_pattern);
    if (o->name_pattern != NULL && o->prefix != NULL) {
        complain("--name-pattern is the whole name: --prefix has no place in it");
        problems++;
    }
    if (o->prefix == NULL)
        o->prefix = "DECam_";
    if (strchr(o->prefix, '/') != NULL || o->prefix[0] == '.' || strlen(o->prefix) > 150) {
        complain("--prefix %s: the start of a plain file name is needed", o->prefix);
        problems++;
    }
    return problems;
}

/* The plan of a run that gave none: one item. */
static int
single_item(struct options *o)
{
    struct plan_item item = {.kind = (enum exposure_kind)o->type, .count = 1, .exptime = -1.0};
    char why[PLAN_WHY];

    item.filter = filter_find(o->filter != NULL ? o->filter : "g");
    if (item.filter == NULL) {
        complain("--filter %s: one of these is needed: u g r i z Y VR", o->filter);
        return 1;
    }
    if (o->object == NULL)
        o->object = o->type == EXPOSURE_BIAS ? "bias" : o->type == EXPOSURE_FLAT ? "dome flat" : "FieldA";
    if (check_card_text("object", o->object, PLAN_NAME - 4) != 0)
        return 1;
    if ((o->ra > OPTIONS_UNSET) != (o->dec > OPTIONS_UNSET)) {
        complain("--ra and --dec go together");
        return 1;
    }
    (void)snprintf(item.object, PLAN_NAME, "%s", o->object);
    if ((o->ra > OPTIONS_UNSET && plan_add_field(&o->plan, o->object, o->ra < 360.0 ? o->ra : 0.0, o->dec, why) != 0)
        || plan_add(&o->plan, &item, why) != 0) {
        complain("%s", why);
        return 1;
    }
    return 0;
}

/* The plan from whichever options gave it; how many problems. */
static int
make_plan(struct options *o)
{
    char why[PLAN_WHY];
    int problems = 0;

    if (o->night == NULL && o->program == NULL)
        problems = single_item(o);
    else if (o->type != 0 || o->object != NULL || o->ra > OPTIONS_UNSET || o->dec > OPTIONS_UNSET || o->filter != NULL) {
        complain("--night and --program say what --type, --object, --ra, --dec and --filter would");
        problems++;
    }
    if (o->program != NULL && plan_read(&o->plan, o->program, why) != 0) {
        complain("--program: %s", why);
        problems++;
    }
    if (o->night != NULL && plan_parse(&o->plan, o->night, why) != 0) {
        complain("--night: %s", why);
        problems++;
    }
    if (problems == 0 && plan_length(&o->plan) == 0) {
        complain("--program %s: there is no exposure in it", o->program);
        problems++;
    }
    plan_resolve(&o->plan);
    if (o->count < 0)
        o->count = plan_length(&o->plan);
    return problems;
}

int
options_parse(struct options *o, int argc, char *argv[])
{
    int problems;

    set_defaults(o);
    problems = read_arguments(o, argc, argv);
    if (o->help)
        return 0;
    problems += check_names(o);
    problems += check_card_text("propid", o->propid, 60);
    problems += check_card_text("observer", o->observer, 60);
    if (!when_parse(o->date_obs, &o->start)) {
        complain("--date-obs %s: YYYY-MM-DDThh:mm:ss[.ffffff] is needed", o->date_obs);
        problems++;
    }
    if (o->layout == LAYOUT_HSC && (o->ccds > 2 * HSC_HALF || o->expnum % 2 != 0 || o->expnum > 999998)) {
        complain("--layout hsc: at most %d ccds, and --expnum an even number up to 999998", 2 * HSC_HALF);
        problems++;
    }
    if (o->dead_ccd > o->ccds) {
        complain("--dead-ccd %ld: there are only %ld", o->dead_ccd, o->ccds);
        problems++;
    }
    problems += make_plan(o);
    return problems == 0 ? 0 : -1;
}

void
options_file_root(const struct options *o, long expnum, char root[OPTIONS_ROOT])
{
    const char *percent = o->name_pattern != NULL ? strchr(o->name_pattern, '%') : NULL;

    if (percent == NULL) {
        (void)snprintf(root, OPTIONS_ROOT, "%s%08ld", o->prefix, expnum);
        return;
    }
    /* The width is taken out of the pattern by hand, so that no format comes from outside. */
    const char *end = strchr(percent, 'd');
    const int width = (int)strtol(percent + 1, NULL, 10);
    (void)snprintf(root, OPTIONS_ROOT, percent[1] == '0' ? "%.*s%0*ld%s" : "%.*s%*ld%s", (int)(percent - o->name_pattern),
        o->name_pattern, width, expnum, end + 1);
}

/* Print text from a column on, broken at blanks to 79 characters; the first line starts where the cursor is. */
static void
print_wrapped(FILE *to, const char *text, int column)
{
    int at = column;

    while (*text != '\0') {
        const int n = (int)strcspn(text, " ");

        if (at > column && at + 1 + n > 79)
            at = fprintf(to, "\n%*s", column, "") - 1;
        else if (at > column)
            at += fprintf(to, " ");
        at += fprintf(to, "%.*s", n, text);
        text += n + (text[n] == ' ');
    }
    (void)fputc('\n', to);
}

void
options_help(FILE *to)
{
    char left[64];

    (void)fputs("simcam - a simulated DECam-like camera that feeds a directory with exposures\n\n"
        "usage: simcam --out DIR [option ...]\n", to);
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];

        if (row->kind == GROUP) {
            (void)fprintf(to, "\n%s (defaults in brackets):\n", row->name);
            continue;
        }
        (void)snprintf(left, sizeof(left), "--%s%s%s", row->name, row->argument != NULL ? " " : "",
            row->argument != NULL ? row->argument : "");
        (void)fprintf(to, "  %-22s ", left);
        print_wrapped(to, row->help, 25);
    }
    (void)fputs("\nThe files depend on nothing but the arguments: the same arguments, with any\n"
        "number of threads, give the same bytes.\n\n"
        "examples:\n"
        "  simcam --out night                        one full exposure, about 0.3 GB\n"
        "  simcam --out night --count 0 --cadence 30 one every 30 s until stopped\n"
        "  simcam --out t --ccds 4 --size 256x512 --format fits --style slow\n"
        "  simcam --out t --field A:150.1:2.2 --style rename \\\n"
        "      --night bias:3,flat:g:3,object:A:g:4:20,object:B:r:4\n\n"
        "exit status: 0 done or stopped by SIGINT or SIGTERM, 1 failed, 2 bad usage\n", to);
}

void
options_free(struct options *o)
{
    plan_free(&o->plan);
}
