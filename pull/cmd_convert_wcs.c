/* `convert-wcs FILE...`: TAN-SIP headers made TPV (common/fits_tpv.h). Needs neither
 * configuration nor store. The new file has all bytes of the old one but for these headers; it
 * appears whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fits_tpv.h"
#include "common/fsutil.h"
#include "pull/commands.h"

#define PIECE 1048576

/* A file that this run has made: whatever path leads to it, it is no file to be replaced. */
struct made {
    dev_t dev;
    ino_t ino;
};

struct conversion {
    const char *to; /* folder; NULL: the file's own */
    bool in_place, force;
    struct made *made;
    int made_count;
    /* of the file at work */
    int fd;
    struct stat st;
    struct fs_draft draft;
    int converted, hdus;
};

/* DIR/NAME.tpv.fits for NAME.fits; all of a second ".fz" is kept, too. */
static bool new_name(const struct conversion *c, const char *path, char *out, size_t size)
{
    const char *base = fs_basename(path), *dot = strstr(base, ".fit");
    int stem = (int)(dot && dot > base ? dot - base : (long)strlen(base)), n;
    if (c->in_place)
        n = snprintf(out, size, "%s", path);
    else if (c->to)
        n = snprintf(out, size, "%s/%.*s.tpv%s", c->to, stem, base, base + stem);
    else
        n = snprintf(out, size, "%.*s%.*s.tpv%s", (int)(base - path), path, stem, base,
                     base + stem);
    return n > 0 && (size_t)n < size;
}

static enum status put(struct conversion *c, const void *bytes, size_t len, struct fault *why)
{
    if (fs_write_all(c->draft.fd, bytes, len) == 0)
        return ST_OK;
    return fault_errno(why, fs_write_grade(errno), "cannot write '%s'", c->draft.path);
}

/* What lies in the old file from `at` to `end`: copied as it is, or (sum is given) only summed. */
static enum status pass(struct conversion *c, off_t at, off_t end, struct fits_datasum *sum,
                        struct fault *why)
{
    static unsigned char piece[PIECE];
    enum status st = ST_OK;
    while (st == ST_OK && at < end) {
        size_t len = end - at < PIECE ? (size_t)(end - at) : PIECE;
        if (fs_pread_all(c->fd, piece, len, at) != 0)
            return fault_errno(why, ST_RETRY, "cannot read it at byte %lld", (long long)at);
        if (sum)
            fits_datasum_add(sum, piece, len);
        else
            st = put(c, piece, len, why);
        at += (off_t)len;
    }
    return st;
}

/* Only the headers are held in memory: a mosaic may be larger than that. */
static enum status new_head(struct conversion *c, const struct fits_hdu *hdu, struct buf *out,
                            bool *converted, struct fault *why)
{
    struct fits_hdu head = *hdu;
    struct buf bytes = {0};
    struct fits_header in = {0}, changed = {0};
    struct fits_datasum sum = {0};
    head.end = hdu->data;
    *converted = false;
    enum status st = fits_read_hdu(c->fd, &head, &bytes, why);
    if (st == ST_OK)
        st = fits_header_parse(bytes.data, bytes.len, &in, why);
    if (st == ST_OK)
        st = fits_tpv_header(&in, &changed, converted, why);
    if (st == ST_OK && *converted)
        st = pass(c, hdu->data, hdu->end, &sum, why);
    if (st == ST_OK && *converted)
        st = fits_check_head(bytes.data, bytes.len, fits_datasum_end(&sum), why);
    if (st == ST_OK && *converted && !fits_tpv_write(&changed, fits_datasum_end(&sum), out))
        st = fault(why, ST_RETRY, "out of memory");
    fits_header_free(&changed);
    fits_header_free(&in);
    buf_free(&bytes);
    return st;
}

static enum status put_hdu(struct conversion *c, const struct fits_hdu *hdu, struct fault *why)
{
    struct buf head = {0};
    bool converted;
    enum status st = new_head(c, hdu, &head, &converted, why);
    if (st != ST_OK)
        fault_within(why, "HDU %d%s%s%s: ", hdu->index, hdu->extname[0] ? " (" : "", hdu->extname,
                     hdu->extname[0] ? ")" : "");
    if (st == ST_OK && converted)
        st = put(c, head.data, head.len, why);
    if (st == ST_OK)
        st = pass(c, converted ? hdu->data : hdu->head, hdu->end, NULL, why);
    c->converted += converted;
    buf_free(&head);
    return st;
}

static enum status put_file(struct conversion *c, struct fault *why)
{
    struct fits_file file = {0};
    enum status st = fits_scan(c->fd, &file, why);
    for (size_t i = 0; st == ST_OK && i < file.count; i++)
        st = put_hdu(c, &file.hdu[i], why);
    c->hdus = (int)file.count;
    if (st == ST_OK && c->converted == 0)
        st = fault(why, ST_REJECT, "none of its %d headers has SIP: there is nothing to convert",
                   c->hdus);
    if (st == ST_OK)
        st = pass(c, file.end, c->st.st_size, NULL, why);
    fits_file_free(&file);
    return st;
}

static enum status finish(struct conversion *c, const char *path, struct fault *why)
{
    struct stat now;
    if (fchmod(c->draft.fd, c->st.st_mode & 0777) != 0)
        return fault_errno(why, ST_RETRY, "cannot set the mode of '%s'", c->draft.path);
    if (fstat(c->fd, &now) != 0 || now.st_size != c->st.st_size ||
        now.st_mtim.tv_sec != c->st.st_mtim.tv_sec || now.st_mtim.tv_nsec != c->st.st_mtim.tv_nsec)
        return fault(why, ST_REJECT, "'%s' was changed while it was read", path);
    enum status st = fs_draft_publish(&c->draft, !c->in_place && !c->force, why);
    if (st == ST_REJECT && errno == EEXIST)
        return fault(why, ST_REJECT, "'%s' is there already and is kept; --force replaces it",
                     c->draft.path);
    return st;
}

static void note_made(struct conversion *c, const char *out)
{
    struct stat st;
    if (stat(out, &st) == 0)
        c->made[c->made_count++] = (struct made){st.st_dev, st.st_ino};
}

static enum status check_out(const struct conversion *c, const char *out, struct fault *why)
{
    struct stat st;
    if (c->in_place || stat(out, &st) != 0)
        return ST_OK;
    for (int i = 0; i < c->made_count; i++)
        if (c->made[i].dev == st.st_dev && c->made[i].ino == st.st_ino)
            return fault(why, ST_REJECT, "'%s' was just made of another file and is kept: give them "
                         "folders of their own", out);
    return c->force ? ST_OK : fault(why, ST_REJECT, "'%s' is there already and is kept; --force "
                                    "replaces it", out);
}

/* Replaced by name, a link would no longer lead where it did. */
static enum status check_in(struct conversion *c, const char *path, struct fault *why)
{
    char to[4096];
    if (!S_ISREG(c->st.st_mode))
        return fault(why, ST_REJECT, "is no regular file");
    ssize_t n = c->in_place ? readlink(path, to, sizeof to) : -1;
    return n < 0 ? ST_OK : fault(why, ST_REJECT, "is a symbolic link, to '%.*s': --in-place wants "
                                 "the file itself", (int)n, to);
}

static enum status convert(struct conversion *c, const char *path, char *out, size_t size,
                           struct fault *why)
{
    enum status st = ST_OK;
    c->draft.fd = -1;
    c->converted = c->hdus = 0;
    c->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (c->fd < 0 || fstat(c->fd, &c->st) != 0)
        st = fault_errno(why, ST_RETRY, "cannot open it");
    if (st == ST_OK)
        st = check_in(c, path, why);
    if (st == ST_OK && !new_name(c, path, out, size))
        st = fault(why, ST_REJECT, "the new file's name is too long");
    if (st == ST_OK)
        st = check_out(c, out, why);
    if (st == ST_OK && c->to)
        st = fs_mkdirs(c->to, why);
    if (st == ST_OK)
        st = fs_draft_open(&c->draft, out, why);
    if (st == ST_OK && (st = put_file(c, why)) == ST_OK)
        st = finish(c, path, why);
    if (st == ST_OK)
        note_made(c, out);
    if (c->draft.fd >= 0)
        fs_draft_drop(&c->draft);
    if (c->fd >= 0)
        close(c->fd);
    return st;
}

int command_convert_wcs(struct invocation *in)
{
    struct conversion c = {.to = option_value(in, OPT_TO),
                           .in_place = option_value(in, OPT_IN_PLACE) != NULL,
                           .force = option_value(in, OPT_FORCE) != NULL};
    int good = 0;
    if (in->operand_count == 0 || (c.to && c.in_place)) {
        fprintf(stderr, "skyferry-pull: convert-wcs: %s\n", in->operand_count == 0
                ? "which files? convert-wcs FILE... [--to DIR | --in-place]"
                : "--to and --in-place contradict each other");
        return EXIT_USAGE;
    }
    c.made = calloc((size_t)in->operand_count, sizeof *c.made);
    for (int i = 0; c.made && i < in->operand_count; i++) {
        const char *path = in->operands[i];
        char out[4096];
        struct fault why = {0};
        if (convert(&c, path, out, sizeof out, &why) == ST_OK) {
            printf("%s: TAN-SIP to TPV in %d of %d HDUs\n", out, c.converted, c.hdus);
            good++;
        } else {
            fprintf(stderr, "skyferry-pull: %s: %s\n", path, why.text);
        }
    }
    if (!c.made)
        fprintf(stderr, "skyferry-pull: out of memory\n");
    free(c.made);
    if (good == in->operand_count)
        return EXIT_DONE;
    return good > 0 ? EXIT_INCOMPLETE : EXIT_FAILED;
}
