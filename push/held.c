#include "push/held.h"

#include "common/log.h"

/* Questions in one message; 600 bytes each stay far below WIRE_MAX. */
#define SLICE 4000

static enum status ask_slice(const struct lane_options *lane, const struct wire_have *asked,
                             bool *held, size_t count, struct wire_hello *hello,
                             struct fault *why)
{
    struct buf question = {0}, answer = {0};
    enum status st;
    if (!wire_have_text(asked, count, &question) || !buf_append(&question, "", 1)) {
        st = fault(why, ST_RETRY, "out of memory for the question to the far end");
        goto out;
    }
    st = lane_ask(lane, (const char *)question.data, hello, &answer, why);
    if (st == ST_OK)
        st = wire_held_parse(answer.data, answer.len, held, count, why);
out:
    buf_free(&question);
    buf_free(&answer);
    return st;
}

enum status held_ask(const struct lane_options *lane, const struct wire_have *asked, bool *held,
                     size_t count, struct wire_hello *hello, struct fault *why)
{
    for (size_t done = 0; done < count; done += SLICE) {
        size_t n = count - done < SLICE ? count - done : SLICE;
        enum status st = ask_slice(lane, asked + done, held + done, n, hello, why);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}
