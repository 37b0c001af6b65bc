/* `copycals`: one night's calibrations for another night (pull/copying.h). Rows first, then the
 * files: what a crash leaves is named by `verify` as missing, and the same command again makes it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "pull/commands.h"
#include "pull/copying.h"
#include "pull/lease.h"

#define FILTERS 64

struct copycals {
    const struct pull_settings *s;
    struct catalogue *cat;
    const char *from, *to, *ccds; /* nights; NULL: all ccds */
    unsigned kinds;               /* 1 << enum obstype */
    bool dry;
    bool seen[CAMERA_CCD_MAX + 1]; /* ccds of the night */
    char filters[FILTERS][sizeof((struct facts *)0)->filter]; /* of its exposures */
    int filter_count;
    struct exposure *exposures;    /* of the kinds wanted */
    size_t count, room;
    long made, there, own, refused;
    long way[FS_COPIED + 1];
    enum status st; /* why nothing goes on */
    struct fault *why;
};

static bool is_wanted(const struct copycals *c, int ccd)
{
    return !c->ccds || camera_list_has(c->ccds, ccd);
}

/* ---- files of one exposure, or one kind's masters ---- */

struct batch {
    struct copycals *c;
    struct copying *items;
    size_t count, room;
    char what[MEMBER_NAME + 16]; /* "bias exp_1" */
};

static bool add_item(struct batch *b, const struct copying *one)
{
    if (b->count == b->room) {
        size_t room = b->room ? 2 * b->room : 64;
        struct copying *bigger = realloc(b->items, room * sizeof *bigger);
        if (!bigger) {
            b->c->st = fault(b->c->why, ST_RETRY, "out of memory");
            return false;
        }
        b->items = bigger;
        b->room = room;
    }
    b->items[b->count++] = *one;
    return true;
}

/* Decides; says what is refused. False: enough. */
static bool consider(struct batch *b, struct copying *one)
{
    struct copycals *c = b->c;
    struct fault why;
    c->st = copying_decide(c->s, c->cat, one, &why);
    if (c->st != ST_OK) {
        *c->why = why;
        return false;
    }
    if (one->deed == DEED_REFUSE) {
        say_problem("%s, ccd %d: %s; the rest goes on", b->what, one->row.ccd, why.text);
        c->refused++;
    }
    return add_item(b, one);
}

static enum status put_rows(struct batch *b)
{
    struct copycals *c = b->c;
    enum status st = catalogue_begin(c->cat, c->why);
    if (st != ST_OK)
        return st;
    for (size_t i = 0; st == ST_OK && i < b->count; i++) {
        b->items[i].row.copied_ns = clock_wall();
        if (b->items[i].deed < DEED_OWN)
            st = catalogue_put_copy(c->cat, &b->items[i].row, c->why);
    }
    if (st == ST_OK)
        return catalogue_commit(c->cat, c->why);
    catalogue_rollback(c->cat);
    return st;
}

/* A full disk ends it all; anything else is this file's own trouble. */
static enum status make_one(struct batch *b, struct copying *one)
{
    struct copycals *c = b->c;
    struct fault why;
    enum status st = copying_make(c->s, one, &why);
    if (st == ST_OK) {
        c->made++;
        c->way[one->way]++;
        return ST_OK;
    }
    if (st == ST_WAIT) {
        *c->why = why;
        return st;
    }
    say_problem("%s, ccd %d: %s; the rest goes on", b->what, one->row.ccd, why.text);
    one->deed = DEED_REFUSE;
    c->refused++;
    return catalogue_drop_copy(c->cat, one->row.path, c->why);
}

static enum status make_all(struct batch *b)
{
    enum status st = put_rows(b);
    for (size_t i = 0; st == ST_OK && i < b->count; i++)
        if (b->items[i].deed == DEED_COPY || b->items[i].deed == DEED_RENEW)
            st = make_one(b, &b->items[i]);
    return st;
}

static void say_batch(const struct batch *b)
{
    static const char *const words[] = {"copied", "renewed", "there already",
                                        "of that night's own there", "refused"};
    int count[DEED_REFUSE + 1] = {0}, said = 0;
    for (size_t i = 0; i < b->count; i++)
        count[b->items[i].deed]++;
    printf("%s: ", b->what);
    for (int i = 0; i <= DEED_REFUSE; i++) {
        if (count[i] == 0)
            continue;
        printf("%s%d %s%s%s", said ? ", " : "", count[i], said ? "" : count[i] == 1 ? "ccd " : "ccds ",
               b->c->dry && i < DEED_THERE ? "to be " : "", words[i]);
        said++;
    }
    printf("%s\n", said ? "" : "no ccd to copy");
}

/* The end of a batch, also of one that could not be filled. */
static void finish_batch(struct batch *b)
{
    struct copycals *c = b->c;
    if (c->st == ST_OK && !c->dry)
        c->st = make_all(b);
    for (size_t i = 0; i < b->count; i++) {
        c->there += b->items[i].deed == DEED_THERE;
        c->own += b->items[i].deed == DEED_OWN;
        c->made += c->dry && b->items[i].deed < DEED_THERE;
    }
    if (c->st == ST_OK)
        say_batch(b);
    free(b->items);
}

/* ---- exposures ---- */

static void note_filter(struct copycals *c, const struct facts *f)
{
    for (int i = 0; i < c->filter_count; i++)
        if (strcmp(c->filters[i], f->filter) == 0)
            return;
    if (c->filter_count < FILTERS)
        memcpy(c->filters[c->filter_count++], f->filter, sizeof f->filter);
}

static bool take_ccd(struct batch *b, const struct exposure *x, const struct ccd *one)
{
    struct copycals *c = b->c;
    struct copying copy;
    if (!is_wanted(c, one->ccd))
        return true;
    if (one->state != CCD_PLACED) {
        say_problem("%s, ccd %d: it is %s%s%s; the rest goes on", b->what, one->ccd,
                    one->state == CCD_PARKED ? "parked" : "not placed yet",
                    one->reason[0] ? ": " : "", one->reason);
        c->refused++;
        return true;
    }
    if (copying_of(c->s, x, one, c->to, &copy.row, c->why) == ST_OK)
        return consider(b, &copy);
    say_problem("%s: %s; the rest goes on", b->what, c->why->text);
    c->there++;
    return false;
}

static void copy_exposure(struct copycals *c, const struct exposure *x, const struct ccd *ccds,
                          size_t count)
{
    struct batch b = {.c = c};
    enum obstype kind = camera_obstype(&c->s->camera, x->facts.obstype);
    snprintf(b.what, sizeof b.what, "%s %s", obstype_name(kind), x->name);
    if (count == 0 || x->state == EX_COMING) {
        say_problem("%s is %s; the rest goes on", b.what, exposure_state_name(x->state));
        c->refused++;
        return;
    }
    for (size_t i = 0; i < count && take_ccd(&b, x, &ccds[i]); i++)
        ;
    finish_batch(&b);
}

static void copy_exposures(struct copycals *c)
{
    for (size_t i = 0; c->st == ST_OK && i < c->count; i++) {
        struct ccd *ccds = NULL;
        size_t count = 0;
        c->st = catalogue_ccds(c->cat, c->exposures[i].id, &ccds, &count, c->why);
        if (c->st == ST_OK)
            copy_exposure(c, &c->exposures[i], ccds, count);
        free(ccds);
    }
}

/* Kept for later: while the catalogue is walked nothing can be written to it, when the daemon does. */
static bool keep_exposure(struct copycals *c, const struct exposure *x)
{
    if (c->count == c->room) {
        size_t room = c->room ? 2 * c->room : 16;
        struct exposure *bigger = realloc(c->exposures, room * sizeof *bigger);
        if (!bigger) {
            c->st = fault(c->why, ST_RETRY, "out of memory");
            return false;
        }
        c->exposures = bigger;
        c->room = room;
    }
    c->exposures[c->count++] = *x;
    return true;
}

static bool on_exposure(void *ctx, const struct exposure *x)
{
    struct copycals *c = ctx;
    struct ccd *ccds = NULL;
    size_t count = 0;
    note_filter(c, &x->facts);
    c->st = catalogue_ccds(c->cat, x->id, &ccds, &count, c->why);
    for (size_t i = 0; i < count; i++)
        if (ccds[i].ccd > 0 && ccds[i].ccd <= CAMERA_CCD_MAX)
            c->seen[ccds[i].ccd] = true;
    free(ccds);
    enum obstype kind = camera_obstype(&c->s->camera, x->facts.obstype);
    bool wanted = kind != OBS_SCIENCE && (c->kinds & 1u << kind);
    return c->st == ST_OK && (!wanted || keep_exposure(c, x));
}

/* ---- masters ---- */

/* "domeflat.g.master.fits": the filter of the night whose name, or whose first letter, that is. */
static void master_filter(const struct copycals *c, struct copy *row)
{
    const char *base = fs_basename(row->origin);
    const char *template = fs_basename(c->s->place[row->kind]);
    char word[256], clean[256];
    base += strcspn(template, "{");
    int len = (int)(strstr(base, ".master") ? strstr(base, ".master") - base : 0);
    snprintf(word, sizeof word, "%.*s", len, base);
    if (row->kind == OBS_FLAT)
        snprintf(row->filter, sizeof row->filter, "%.70s", word);
    for (int i = 0; row->kind == OBS_FLAT && i < c->filter_count; i++) {
        fs_name_clean(clean, sizeof clean, c->filters[i], "none");
        if (strcmp(clean, word) == 0 || (len == 1 && clean[0] == word[0]))
            snprintf(row->filter, sizeof row->filter, "%s", c->filters[i]);
    }
}

static bool take_master(struct batch *b, enum obstype kind, int ccd, const char *folder[2],
                        const char *name)
{
    struct copycals *c = b->c;
    struct copying copy = {.row = {.kind = kind, .ccd = ccd}};
    if (!copying_is_master(c->s, kind, name))
        return true;
    snprintf(copy.row.night, sizeof copy.row.night, "%s", c->to);
    if (!pull_text(copy.row.origin, sizeof copy.row.origin, "%s/%s", folder[0], name) ||
        !pull_text(copy.row.path, sizeof copy.row.path, "%s/%s", folder[1], name))
        return true;
    master_filter(c, &copy.row);
    return consider(b, &copy);
}

/* A folder that several ccds share is looked into once. */
static bool masters_in(struct batch *b, enum obstype kind, int ccd, char last[1024])
{
    struct copycals *c = b->c;
    char from[1024], to[1024], path[PULL_PATH];
    const char *folder[2] = {from, to};
    bool more = true;
    if (copying_folder(c->s, kind, c->from, ccd, from, sizeof from, c->why) != ST_OK ||
        copying_folder(c->s, kind, c->to, ccd, to, sizeof to, c->why) != ST_OK ||
        strcmp(from, to) == 0 || strcmp(from, last) == 0)
        return true;
    memcpy(last, from, sizeof from);
    pull_path(c->s, from, path);
    DIR *d = opendir(path);
    for (struct dirent *e; d && more && (e = readdir(d));)
        more = take_master(b, kind, ccd, folder, e->d_name);
    if (d)
        closedir(d);
    return more;
}

static void copy_masters(struct copycals *c, enum obstype kind)
{
    struct batch b = {.c = c};
    char last[1024] = "";
    snprintf(b.what, sizeof b.what, "%s masters", obstype_name(kind));
    for (int ccd = 1; ccd <= CAMERA_CCD_MAX; ccd++)
        if (c->seen[ccd] && is_wanted(c, ccd) && !masters_in(&b, kind, ccd, last))
            break;
    if (b.count > 0)
        finish_batch(&b);
    else
        free(b.items);
}

/* ---- the command ---- */

/* Is there anything at all? A list that names ccds which the night has not is answered, too. */
static void say_missing(struct copycals *c)
{
    if (c->filter_count == 0) { /* every exposure has one, if an empty one */
        say_problem("the catalogue has no exposure of %s; skyferry-pull status inventory --all lists "
                    "the nights", c->from);
        return;
    }
    for (int ccd = 1; c->ccds && ccd <= CAMERA_CCD_MAX; ccd++) {
        if (c->seen[ccd] || !camera_list_has(c->ccds, ccd))
            continue;
        say_problem("--ccd %s: %s has no ccd %d%s", c->ccds, c->from, ccd,
                    c->made + c->there ? "; the others are done" : "");
        c->refused++;
        return;
    }
    if (c->made + c->there + c->own + c->refused == 0)
        say_problem("%s has no calibrations of this kind", c->from);
}

static void say_sum(const struct copycals *c)
{
    static const char *const ways[] = {"sharing their blocks", "as hard links", "as copies"};
    printf("%s to %s: %ld file%s %s", c->from, c->to, c->made, c->made == 1 ? "" : "s",
           c->dry ? "would be copied" : "copied");
    for (int i = 0, said = 0; i <= FS_COPIED; i++)
        if (c->way[i])
            printf("%s%s", said++ ? " or " : ", ", ways[i]);
    printf(", %ld there already, %ld of that night's own, %ld refused\n", c->there, c->own,
           c->refused);
}

static enum status copy_all(struct copycals *c)
{
    struct catalogue_pick night = {.night = c->from, .oldest_first = true};
    enum status st = catalogue_each(c->cat, &night, on_exposure, c, c->why);
    if (st == ST_OK)
        copy_exposures(c);
    for (int kind = OBS_FLAT; st == ST_OK && c->st == ST_OK && kind <= OBS_BIAS; kind++)
        if (c->kinds & 1u << kind)
            copy_masters(c, (enum obstype)kind);
    return st == ST_OK ? c->st : st;
}

static int perform(struct copycals *c)
{
    struct lease_holder other;
    bool elsewhere = !c->dry && fs_lock_holder(c->s->lock) == 0 &&
                     lease_read(c->s->root, c->s->lease_seconds, &other) && !other.expired;
    enum status st = ST_OK;
    if (elsewhere)
        st = fault(c->why, ST_RETRY, "the daemon of this store runs on %s and has the catalogue: do it "
                   "there", other.host);
    else if (access(c->s->catalogue, F_OK) != 0)
        st = fault_errno(c->why, ST_RETRY, "no catalogue at '%s' (is [store] root right?)",
                         c->s->catalogue);
    if (st == ST_OK)
        st = catalogue_open(c->s->catalogue, c->dry, &c->cat, c->why);
    if (st == ST_OK)
        st = copy_all(c);
    catalogue_close(&c->cat);
    free(c->exposures);
    if (st != ST_OK) {
        say_problem("%s", c->why->text);
        return EXIT_FAILED;
    }
    say_missing(c);
    if (c->made + c->there + c->own + c->refused == 0)
        return EXIT_FAILED;
    say_sum(c);
    return c->refused ? EXIT_INCOMPLETE : EXIT_DONE;
}

static bool take_kinds(struct copycals *c, const char *words)
{
    for (const char *p = words; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        if (len == 4 && strncmp(p, "bias", len) == 0)
            c->kinds |= 1u << OBS_BIAS;
        else if (len == 4 && strncmp(p, "flat", len) == 0)
            c->kinds |= 1u << OBS_FLAT;
        else
            return false;
        p += len;
    }
    return c->kinds != 0;
}

int command_copycals(struct invocation *in)
{
    struct fault why = {0};
    struct copycals c = {.s = &in->s, .why = &why, .from = option_value(in, OPT_IN_NIGHT),
                         .to = option_value(in, OPT_OUT_NIGHT), .ccds = option_value(in, OPT_CCD),
                         .dry = option_value(in, OPT_DRY_RUN) != NULL};
    const char *kinds = option_value(in, OPT_KIND);
    if (!c.from || !c.to)
        say_problem("copycals: from which night to which? copycals -i utYYMMDD -o utYYMMDD");
    else if (!night_valid(c.from) || !night_valid(c.to))
        say_problem("'%s' is no night: write it as utYYMMDD", night_valid(c.from) ? c.to : c.from);
    else if (strcmp(c.from, c.to) == 0)
        say_problem("copycals: %s would be copied to itself", c.from);
    else if (c.ccds && (!*c.ccds || !camera_list_valid(c.ccds)))
        say_problem("--ccd '%s': give numbers and ranges, as in 1-31, 35", c.ccds);
    else if (!take_kinds(&c, kinds ? kinds : "bias,flat"))
        say_problem("--kind '%s': there are bias and flat", kinds);
    else
        return perform(&c);
    return EXIT_USAGE;
}
