/* A season in a store, for tests/scale/bench: rows through the catalogue's own module, bundles
 * that have a name, a size and a receipt but no bytes on disk; and the two measurements that
 * need the modules themselves.
 *   scale-season CONFIG fill N    exposures until the store holds N, CCDS ccds each
 *   scale-season CONFIG place N   N new ccds, each as one that arrives, ms: median, slowest,
 *                                 mean processor time
 *   scale-season CONFIG have PROGRAM N
 *                                 a night of N exposures asked of `PROGRAM receive`: round trips,
 *                                 seconds, how many are held */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "pull/catalogue.h"
#include "pull/part_store.h"
#include "pull/settings.h"

#define CCDS 62
#define NIGHT_EXPOSURES 1000
#define BUNDLE_SIZE ((int64_t)161 << 20)

static struct pull_settings settings;
static struct part_store store;
static struct catalogue *cat;
static struct fault why;

#define MUST(call)                                                                               \
    do {                                                                                         \
        if ((call) != ST_OK) {                                                                   \
            fprintf(stderr, "scale-season: %s\n", why.text);                                     \
            exit(1);                                                                             \
        }                                                                                        \
    } while (0)

static void need(bool fine, const char *what)
{
    if (fine)
        return;
    fprintf(stderr, "scale-season: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- exposure number n of the season ---- */

static void make_open(int n, struct wire_open *o)
{
    int night = n / NIGHT_EXPOSURES, s = n % NIGHT_EXPOSURES;
    memset(o, 0, sizeof *o);
    snprintf(o->name, sizeof o->name, "c4d_%06d_ooi_g_v1", 600000 + n);
    snprintf(o->date_obs, sizeof o->date_obs, "%04d-%02d-%02dT%02d:%02d:%02d", 2016 + night / 336,
             1 + night / 28 % 12, 1 + night % 28, 1 + s / 150, s / 3 % 60, s % 3 * 20);
}

static void make_receipt(int n, struct receipt *r)
{
    struct wire_open o;
    make_open(n, &o);
    memset(r, 0, sizeof *r);
    digest_bytes(o.name, strlen(o.name), r->source_sha256);
    memcpy(r->sha256, r->source_sha256, sizeof r->sha256);
    memcpy(r->id, r->source_sha256, sizeof r->id - 1);
    memcpy(r->name, o.name, sizeof r->name);
    store_night(&store, &o, r->night);
    snprintf(r->stored, sizeof r->stored, "%s/%.120s.tar", r->night, o.name);
    snprintf(r->source_name, sizeof r->source_name, "%.120s.fits.fz", o.name);
    r->size = BUNDLE_SIZE;
    r->source_size = 2 * BUNDLE_SIZE;
    r->noticed_ns = r->encoded_ns = r->first_ns = r->stored_ns = 1472700000000000000 + n;
}

static void make_exposure(int n, const struct receipt *r, struct exposure *x)
{
    memset(x, 0, sizeof *x);
    x->state = EX_DONE;
    snprintf(x->bundle, sizeof x->bundle, "bundles/%s", r->stored);
    memcpy(x->name, r->name, sizeof x->name);
    memcpy(x->night, r->night, sizeof x->night);
    for (int i = 0; i < STAMP_RENEWED; i++)
        x->stamp[i] = r->stored_ns + i;
    memcpy(x->source_name, r->source_name, sizeof x->source_name);
    memcpy(x->source_sha256, r->source_sha256, sizeof x->source_sha256);
    memcpy(x->bundle_sha256, r->sha256, sizeof x->bundle_sha256);
    x->source_size = r->source_size;
    x->raw_size = 7 * BUNDLE_SIZE;
    x->bundle_size = r->size;
    x->facts = (struct facts){.object = "Field", .filter = "g DECam SDSS c0001 4720.0 1520.0",
                              .obstype = "object", .propid = "2016B-0001", .expnum = 600000 + n,
                              .date_ns = r->stored_ns, .exptime = 30};
}

static void make_ccd(const struct exposure *x, int k, struct ccd *c)
{
    memset(c, 0, sizeof *c);
    c->exposure = x->id;
    c->ccd = c->hdu = k;
    c->state = CCD_PLACED;
    snprintf(c->extname, sizeof c->extname, "N%d", k);
    snprintf(c->member, sizeof c->member, "%02d_N%d.j2c", k, k);
    snprintf(c->codec, sizeof c->codec, "htj2k");
    c->qstep = 0.00003;
    snprintf(c->path, sizeof c->path, "workspace/%s/%d/%.150s_%02d.fits", x->night, k, x->name, k);
    c->size = 17916480;
    c->placed_ns = x->stamp[STAMP_PLACED];
    snprintf(c->datasum, sizeof c->datasum, "%lld", (long long)(1234567890 + x->id * CCDS + k));
    snprintf(c->checksum, sizeof c->checksum, "aZ3bb21baZ2ba11b");
}

/* ---- filling ---- */

static void make_files(const struct receipt *r)
{
    char path[STORE_PATH], beside[STORE_PATH];
    struct buf text = {0};
    MUST(store_path(&store, path, &why, "bundles/%s", r->stored));
    snprintf(beside, sizeof beside, "%.*s.receipt", (int)(strlen(path) - 4), path);
    need(receipt_text(r, &text), "receipt");
    /* A hundred thousand fsyncs are not what is measured. */
    int tar = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int side = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    need(tar >= 0 && side >= 0, path);
    /* As old as the row says: a younger one would be looked into. */
    struct timespec old[2] = {{.tv_sec = 1472600000}, {.tv_sec = 1472600000}};
    need(ftruncate(tar, r->size) == 0 && futimens(tar, old) == 0 &&
         fs_write_all(side, text.data, text.len) == 0, path);
    close(tar);
    close(side);
    buf_free(&text);
}

static void fill_one(int n)
{
    struct receipt r;
    struct exposure x;
    struct ccd c;
    make_receipt(n, &r);
    make_files(&r);
    make_exposure(n, &r, &x);
    MUST(catalogue_add(cat, &x, &why));
    int64_t jobs[(CCDS + 14) / 15];
    for (int q = 0; q < (CCDS + 14) / 15; q++) {
        struct job j = {.exposure = x.id, .number = q + 1, .state = JOB_DONE, .attempts = 1};
        snprintf(j.folder, sizeof j.folder, "jobs/%s/%.150s/q%d", x.night, x.name, q + 1);
        MUST(catalogue_put_job(cat, &j, &why));
        jobs[q] = j.id;
    }
    for (int k = 1; k <= CCDS; k++) {
        make_ccd(&x, k, &c);
        c.job = jobs[(k - 1) / 15];
        MUST(catalogue_put_ccd(cat, &c, &why));
    }
    MUST(catalogue_count(cat, x.id, &why));
}

static bool count_one(void *ctx, const struct exposure *x)
{
    (void)x;
    ++*(int *)ctx;
    return true;
}

static int fill(int upto)
{
    struct catalogue_pick all = {0};
    int n = 0;
    char path[STORE_PATH];
    struct receipt r;
    MUST(catalogue_each(cat, &all, count_one, &n, &why));
    for (; n < upto; n++) {
        if (n % NIGHT_EXPOSURES == 0) {
            make_receipt(n, &r);
            MUST(store_path(&store, path, &why, "bundles/%s", r.night));
            MUST(fs_mkdirs(path, &why));
        }
        MUST(catalogue_begin(cat, &why));
        do
            fill_one(n);
        while (++n % 250 && n < upto);
        n--;
        MUST(catalogue_commit(cat, &why));
    }
    return 0;
}

/* ---- placing ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What the daemon's main thread does with the catalogue for a ccd of an exposure that is coming:
 * whose name is that, the row, the counts, durable. */
static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* The one exposure that is coming, without a ccd. */
static void begin_coming(struct exposure *x)
{
    struct receipt r;
    if (x->id)
        MUST(catalogue_remove(cat, x->id, &why));
    make_receipt(999999, &r);
    make_exposure(999999, &r, x);
    x->state = EX_COMING;
    MUST(catalogue_add(cat, x, &why));
}

static void place_one(const struct exposure *x, int number)
{
    struct ccd c;
    int64_t owner;
    make_ccd(x, number, &c);
    MUST(catalogue_path_owner(cat, c.path, &owner, &why));
    need(owner == 0, c.path);
    MUST(catalogue_begin(cat, &why));
    MUST(catalogue_put_ccd(cat, &c, &why));
    MUST(catalogue_count(cat, x->id, &why));
    MUST(catalogue_commit(cat, &why));
}

static int place(int n)
{
    struct exposure x = {0};
    double *ms = calloc((size_t)n, sizeof *ms), cpu = 0;
    need(ms != NULL, "place");
    for (int i = 0; i < n; i++) {
        if (i % CCDS == 0)
            begin_coming(&x);
        double cpu_before = cpu_ms();
        int64_t start = clock_mono();
        place_one(&x, 1 + i % CCDS);
        ms[i] = (double)(clock_mono() - start) / NS_PER_MS;
        cpu += cpu_ms() - cpu_before;
    }
    MUST(catalogue_remove(cat, x.id, &why));
    qsort(ms, (size_t)n, sizeof *ms, by_value);
    printf("%.2f %.2f %.3f\n", ms[n / 2], ms[n - 1], cpu / n);
    free(ms);
    return 0;
}

/* ---- the sweep's question ---- */

struct line {
    int to, from;
    int trips;
    struct buf in;
};

/* One question and its answer. */
static void ask(struct line *l, enum wire_type type, const struct buf *body, struct wire_frame *f)
{
    struct buf out = {0};
    size_t used = 0;
    need(wire_put(&out, type, 0, body->data, (uint32_t)body->len), "frame");
    need(fs_write_all(l->to, out.data, out.len) == 0, "cannot write to receive");
    buf_free(&out);
    l->trips++;
    buf_consume(&l->in, l->in.len);
    while (wire_take(l->in.data, l->in.len, f, &used, &why) == ST_WAIT) {
        need(buf_reserve(&l->in, 65536), "memory");
        ssize_t got = read(l->from, l->in.data + l->in.len, 65536);
        need(got > 0, "receive gave no answer");
        l->in.len += (size_t)got;
    }
}

static pid_t start_receive(const char *config, const char *program, struct line *l)
{
    int to[2], from[2];
    need(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0, "pipe");
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        execl(program, program, "-c", config, "receive", (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    l->to = to[1];
    l->from = from[0];
    return pid;
}

static int have(const char *config, const char *program, int n)
{
    struct wire_have *asked = calloc((size_t)n, sizeof *asked);
    bool *held = calloc((size_t)n, sizeof *held);
    struct wire_hello h = {.protocol = WIRE_VERSION, .software = "scale", .agent = "scale"};
    struct buf hello = {0}, question = {0};
    struct line l = {0};
    struct wire_frame f;
    int sum = 0;
    need(asked && held, "memory");
    for (int i = 0; i < n; i++) {
        struct receipt r;
        struct wire_open o;
        make_receipt(i, &r);
        make_open(i, &o);
        memcpy(asked[i].name, o.name, sizeof asked[i].name);
        memcpy(asked[i].date_obs, o.date_obs, sizeof asked[i].date_obs);
        memcpy(asked[i].source_sha256, r.source_sha256, sizeof asked[i].source_sha256);
        asked[i].source_size = r.source_size;
    }
    int64_t start = clock_mono();
    pid_t pid = start_receive(config, program, &l);
    need(wire_hello_text(&h, &hello) && wire_have_text(asked, (size_t)n, &question), "memory");
    ask(&l, WIRE_HELLO, &hello, &f);
    ask(&l, WIRE_HAVE, &question, &f);
    MUST(wire_held_parse(f.payload, f.length, held, (size_t)n, &why));
    double seconds = (double)(clock_mono() - start) / NS_PER_S;
    for (int i = 0; i < n; i++)
        sum += held[i];
    close(l.to);
    waitpid(pid, NULL, 0);
    printf("%d %.3f %d\n", l.trips, seconds, sum);
    close(l.from);
    buf_free(&l.in);
    buf_free(&hello);
    buf_free(&question);
    free(asked);
    free(held);
    return 0;
}

int main(int argc, char **argv)
{
    struct config_report report = {0};
    struct pull_overrides o = {.config = argc > 3 ? argv[1] : NULL};
    int n = argc > 3 ? atoi(argv[argc - 1]) : 0, code;
    if (n <= 0 || !pull_settings_load(&o, &settings, &report)) {
        fprintf(stderr, "scale-season: CONFIG fill|place N, or CONFIG have PROGRAM N: %.*s\n",
                (int)report.text.len, report.text.len ? (const char *)report.text.data : "");
        return 2;
    }
    pull_part_store(&settings, &store);
    if (strcmp(argv[2], "have") == 0)
        return have(argv[1], argv[3], n);
    MUST(fs_mkdirs(settings.state, &why));
    MUST(catalogue_open(settings.catalogue, false, &cat, &why));
    code = strcmp(argv[2], "fill") == 0 ? fill(n) : place(n);
    catalogue_close(&cat);
    return code;
}
