#include "pull/making.h"

#include <string.h>

#include "common/clock.h"

void making_draft(struct making *m)
{
    struct unpack_ccd done;
    struct buf file = {0};
    int64_t cpu = clock_thread_cpu();
    enum status st = unpack_image(m->source, m->member, &file, &done, &m->why);
    memcpy(m->part, done.cpu_ns, sizeof m->part);
    m->unproven = done.unproven;
    if (st == ST_OK) {
        memcpy(m->datasum, done.datasum, sizeof m->datasum);
        memcpy(m->checksum, done.checksum, sizeof m->checksum);
        m->size = (int64_t)file.len;
        st = place_write(&m->file, &file, &m->why);
    }
    buf_free(&file);
    if (st == ST_OK)
        m->why.grade = ST_OK;
    m->cpu = clock_thread_cpu() - cpu;
}

void making_name(struct making *m)
{
    int64_t cpu = clock_thread_cpu();
    m->why.grade = place_publish(&m->file, &m->why);
    m->cpu += clock_thread_cpu() - cpu;
}
