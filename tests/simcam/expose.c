#include "expose.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "detector.h"
#include "hdu.h"
#include "header.h"
#include "say.h"
#include "scene.h"

const char expose_truth_heading[] = "ccd,x,y,ra,dec,mag,flux_adu,saturated,expnum\n";

/* A finished CCD, waiting for its turn in the file. */
struct slot {
    bool ready, failed;
    struct hdu hdu;
    struct placed_star *stars;  /* owned */
    size_t star_count;
};

/* What the threads share; every member from next on is under the mutex. */
struct work {
    const struct exposure *exposure;
    pthread_mutex_t mutex;
    pthread_cond_t made, room;
    int next;                   /* CCD index to be taken */
    int written;                /* CCDs whose slots are free again */
    int window;
    bool stop;
    struct slot *slots;
};

/* Read the scene out into an HDU of its own, sealed, and compressed if the exposure is to be. */
static int
make_hdu(const struct exposure *e, const struct ccd *ccd, const struct scene *scene, struct hdu *hdu)
{
    const size_t size = (size_t)e->camera.width * (size_t)e->camera.height * sizeof(uint16_t);
    struct cards cards = {0};
    uint16_t *pixels = NULL;
    char why[128] = "out of memory";
    int result = -1;

    if (e->single)
        header_single(e, ccd, &cards);
    else
        header_extension(e, ccd, &cards);
    if (hdu_create(hdu, &cards, size, &pixels) != 0)
        goto out;
    detector_read(scene, e, ccd, pixels);
    hdu_seal(hdu);
    if (!e->compress || hdu_compress(hdu, why, sizeof(why)) == 0)
        result = 0;
out:
    if (result != 0) {
        complain("ccd %s: %s", ccd->name, why);
        hdu_free(hdu);
    }
    cards_free(&cards);
    return result;
}

/* All that a worker does for one CCD; a failure is said here and marked in the slot. */
static void
make_ccd(const struct exposure *e, int index, struct scene *scene, struct slot *slot)
{
    struct ccd ccd;

    camera_ccd(&e->camera, index + 1, &ccd);
    *slot = (struct slot){.ready = true, .failed = true};
    if (scene_build(scene, e, &ccd) != 0) {
        complain("ccd %s: out of memory", ccd.name);
        return;
    }
    if (make_hdu(e, &ccd, scene, &slot->hdu) != 0)
        return;
    slot->failed = false;
    if (scene->star_count == 0)
        return;
    /* The scene's list goes with the CCD; the scene grows a new one. */
    slot->stars = scene->stars;
    slot->star_count = scene->star_count;
    scene->stars = NULL;
    scene->star_room = 0;
}

/* Take the next CCD as soon as the window has room for it; -1 when there is none left or the work stops. */
static int
take(struct work *w)
{
    int index = -1;

    pthread_mutex_lock(&w->mutex);
    while (!w->stop && w->next < w->exposure->camera.ccds && w->next - w->written >= w->window)
        pthread_cond_wait(&w->room, &w->mutex);
    if (!w->stop && w->next < w->exposure->camera.ccds)
        index = w->next++;
    pthread_mutex_unlock(&w->mutex);
    return index;
}

/* A worker's life: a CCD after the other into the window. Without memory it still answers for those that it takes. */
static void *
worker(void *arg)
{
    struct work *w = arg;
    struct scene scene;
    struct slot slot;
    const bool able = scene_open(&scene, &w->exposure->camera) == 0;

    for (int index; (index = take(w)) >= 0;) {
        if (able)
            make_ccd(w->exposure, index, &scene, &slot);
        else
            slot = (struct slot){.ready = true, .failed = true};
        pthread_mutex_lock(&w->mutex);
        w->slots[index % w->window] = slot;
        pthread_cond_broadcast(&w->made);
        pthread_mutex_unlock(&w->mutex);
    }
    if (!able)
        complain("out of memory");
    scene_close(&scene);
    return NULL;
}

/* Wait for a CCD and take it out of its slot. */
static struct slot
collect(struct work *w, int index)
{
    struct slot *place = &w->slots[index % w->window], slot;

    pthread_mutex_lock(&w->mutex);
    while (!place->ready)
        pthread_cond_wait(&w->made, &w->mutex);
    slot = *place;
    *place = (struct slot){0};
    pthread_mutex_unlock(&w->mutex);
    return slot;
}

/* A slot is empty again; with stop, nobody takes another CCD. */
static void
make_room(struct work *w, bool stop)
{
    pthread_mutex_lock(&w->mutex);
    w->written++;
    w->stop = w->stop || stop;
    pthread_cond_broadcast(&w->room);
    pthread_mutex_unlock(&w->mutex);
}

static void
slot_free(struct slot *slot)
{
    hdu_free(&slot->hdu);
    free(slot->stars);
    *slot = (struct slot){0};
}

/* The placed stars of one CCD as lines of the truth file. */
static int
write_truth(FILE *truth, const struct exposure *e, int ccd, const struct slot *slot)
{
    for (size_t i = 0; i < slot->star_count; i++) {
        const struct placed_star *s = &slot->stars[i];

        if (fprintf(truth, "%d,%.4f,%.4f,%.8f,%.8f,%.4f,%.3f,%d,%ld\n", ccd, s->x, s->y, s->ra, s->dec, s->mag, s->flux_adu,
            s->saturated ? 1 : 0, e->number) < 0) {
            complain("cannot write the truth file");
            return -1;
        }
    }
    return 0;
}

static int
write_primary(const struct exposure *e, struct delivery *d)
{
    struct cards cards = {0};
    struct hdu hdu = {0};
    int result = -1;

    header_primary(e, &cards);
    if (hdu_create(&hdu, &cards, 0, NULL) != 0) {
        complain("the primary header cannot be made");
        goto out;
    }
    hdu_seal(&hdu);
    result = delivery_write(d, hdu.bytes + hdu.start, hdu.size);
out:
    hdu_free(&hdu);
    cards_free(&cards);
    return result;
}

/* The whole file of one CCD. */
static int
write_single(const struct expose_options *o, const struct exposure *e, int index, const struct hdu *hdu)
{
    char name[HSC_FRAME + 8], frame[HSC_FRAME];
    struct delivery *d = NULL;
    struct ccd ccd;
    int result;

    camera_ccd(&e->camera, index + 1, &ccd);
    header_frame(e, &ccd, frame);
    (void)snprintf(name, sizeof(name), "%s.fits", frame);
    if (delivery_open(&o->deliver, o->halt, name, 1, &d) != 0)
        return -1;
    result = delivery_write(d, hdu->bytes + hdu->start, hdu->size);
    if (result == 0 && !o->quiet)
        (void)printf("%s\n", delivery_path(d));
    if (result == 0)
        return delivery_finish(&d);
    delivery_abandon(&d);
    return result;
}

/* Write the CCDs in order as they come; the list of stars follows those that are written. */
static int
write_ccds(const struct expose_options *o, struct work *w, struct delivery *d)
{
    int result = 0;

    for (int i = 0; i < w->exposure->camera.ccds && result == 0; i++) {
        struct slot slot = collect(w, i);

        if (slot.failed)
            result = -1;
        else if (w->exposure->single)
            result = write_single(o, w->exposure, i, &slot.hdu);
        else
            result = delivery_write(d, slot.hdu.bytes + slot.hdu.start, slot.hdu.size);
        if (result == 0 && o->truth != NULL)
            result = write_truth(o->truth, w->exposure, i + 1, &slot);
        slot_free(&slot);
        make_room(w, result != 0);
    }
    return result;
}

/* Run the workers around write_ccds, and join them whatever came of it. */
static int
write_file(const struct expose_options *o, const struct exposure *e, struct delivery *d)
{
    struct work w = {.exposure = e, .window = o->threads + 1, .mutex = PTHREAD_MUTEX_INITIALIZER,
        .made = PTHREAD_COND_INITIALIZER, .room = PTHREAD_COND_INITIALIZER};
    pthread_t *threads = calloc((size_t)o->threads, sizeof(*threads));
    int started = 0, error = 0, result;

    w.slots = calloc((size_t)w.window, sizeof(*w.slots));
    if (threads == NULL || w.slots == NULL)
        error = -1;
    while (error == 0 && started < o->threads && (error = pthread_create(&threads[started], NULL, worker, &w)) == 0)
        started++;
    if (started == 0) {
        complain("no thread can be started: %s", error > 0 ? strerror(error) : "out of memory");
        result = -1;
    } else if ((result = e->single ? 0 : write_primary(e, d)) == 0)
        result = write_ccds(o, &w, d);
    make_room(&w, true);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; w.slots != NULL && i < w.window; i++)
        slot_free(&w.slots[i]);
    free(w.slots);
    free(threads);
    return result;
}

int
expose(const struct expose_options *o, const struct exposure *e)
{
    char name[256], path[4096];
    struct delivery *d = NULL;
    int result;

    if (e->single)
        return write_file(o, e, NULL);
    (void)snprintf(name, sizeof(name), "%s%s", e->root, e->compress ? ".fits.fz" : ".fits");
    if (delivery_open(&o->deliver, o->halt, name, e->camera.ccds + 1, &d) != 0)
        return -1;
    (void)snprintf(path, sizeof(path), "%s", delivery_path(d));
    result = write_file(o, e, d);
    if (result != 0)
        delivery_abandon(&d);
    else
        result = delivery_finish(&d);
    if (result == 0 && o->truth != NULL && fflush(o->truth) != 0) {
        complain("cannot write the truth file");
        result = -1;
    }
    if (result == 0 && !o->quiet) {
        (void)printf("%s\n", path);
        (void)fflush(stdout);
    }
    return result;
}
