#include "common/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_SIZE ((size_t)256 * 1024)
#define SHA_SIZE 32

struct digest {
    EVP_MD_CTX *ctx;
    bool bad; /* libcrypto refused something: the result will be "", which is never valid */
};

static void to_hex(const unsigned char *sha, char hex[DIGEST_HEX])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < SHA_SIZE; i++) {
        hex[2 * i] = digits[sha[i] >> 4];
        hex[2 * i + 1] = digits[sha[i] & 15];
    }
    hex[2 * SHA_SIZE] = '\0';
}

struct digest *digest_new(void)
{
    struct digest *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->ctx = EVP_MD_CTX_new();
    if (!d->ctx || EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1)
        digest_free(&d);
    return d;
}

void digest_update(struct digest *d, const void *bytes, size_t len)
{
    if (len > 0 && EVP_DigestUpdate(d->ctx, bytes, len) != 1)
        d->bad = true;
}

void digest_finish(struct digest **d, char hex[DIGEST_HEX])
{
    unsigned char sha[EVP_MAX_MD_SIZE];
    hex[0] = '\0';
    if (*d && !(*d)->bad && EVP_DigestFinal_ex((*d)->ctx, sha, NULL) == 1)
        to_hex(sha, hex);
    digest_free(d);
}

void digest_free(struct digest **d)
{
    if (!*d)
        return;
    EVP_MD_CTX_free((*d)->ctx);
    free(*d);
    *d = NULL;
}

void digest_bytes(const void *bytes, size_t len, char hex[DIGEST_HEX])
{
    struct digest *d = digest_new();
    if (d)
        digest_update(d, bytes, len);
    digest_finish(&d, hex);
}

/* Feeds the file until `len` bytes or its end; *seen counts. */
static enum status feed(struct digest *d, int fd, int64_t len, int64_t *seen, struct fault *why)
{
    enum status st = ST_OK;
    unsigned char *block = malloc(READ_SIZE);
    if (!block)
        return fault(why, ST_RETRY, "out of memory while reading a file for its SHA-256");
    while (len < 0 || *seen < len) {
        size_t want = READ_SIZE;
        if (len >= 0 && len - *seen < (int64_t)want)
            want = (size_t)(len - *seen);
        ssize_t got = pread(fd, block, want, *seen);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            st = fault_errno(why, ST_RETRY, "cannot read the file for its SHA-256 at byte %lld",
                             (long long)*seen);
            goto out;
        }
        if (got == 0)
            break;
        digest_update(d, block, (size_t)got);
        *seen += got;
    }
out:
    free(block);
    return st;
}

enum status digest_fd(int fd, int64_t len, char hex[DIGEST_HEX], struct fault *why)
{
    hex[0] = '\0';
    struct digest *d = digest_new();
    if (!d)
        return fault(why, ST_RETRY, "out of memory for a SHA-256");
    int64_t seen = 0;
    enum status st = feed(d, fd, len, &seen, why);
    if (st == ST_OK && seen < len)
        st = fault(why, ST_WAIT, "the file ends at byte %lld of %lld", (long long)seen,
                   (long long)len);
    if (st == ST_OK)
        digest_finish(&d, hex);
    if (st == ST_OK && hex[0] == '\0')
        st = fault(why, ST_RETRY, "libcrypto could not make a SHA-256");
    digest_free(&d);
    return st;
}

bool digest_valid(const char *hex)
{
    return hex && strlen(hex) == DIGEST_HEX - 1 &&
           strspn(hex, "0123456789abcdef") == DIGEST_HEX - 1;
}
