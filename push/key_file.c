#include "push/key_file.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/digest.h"
#include "common/fsutil.h"
#include "push/lane_words.h"

#define KEY_MAX 65536
#define HEAD "-----BEGIN OPENSSH PRIVATE KEY-----"
#define TAIL "-----END OPENSSH PRIVATE KEY-----"
#define MAGIC "openssh-key-v1" /* and its NUL */

/* ---- base64 (RFC 4648), between the lines HEAD and TAIL ---- */

static int digit_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static bool decode(const char *text, struct buf *out)
{
    unsigned bits = 0;
    int held = 0;
    const char *end = strstr(text, TAIL);
    if (!end)
        return false;
    for (const char *p = text; p < end; p++) {
        int value = digit_value(*p);
        if (value < 0 && !strchr("=\r\n", *p))
            return false;
        if (value < 0)
            continue;
        bits = bits << 6 | (unsigned)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            unsigned char byte = (unsigned char)(bits >> held);
            if (!buf_append(out, &byte, 1))
                return false;
        }
    }
    return true;
}

/* ---- the fields: each a length of four bytes, then so many bytes ---- */

struct reader {
    const unsigned char *at;
    size_t left;
};

static bool take_number(struct reader *r, uint32_t *out)
{
    if (r->left < 4)
        return false;
    *out = (uint32_t)r->at[0] << 24 | (uint32_t)r->at[1] << 16 | (uint32_t)r->at[2] << 8 | r->at[3];
    r->at += 4;
    r->left -= 4;
    return true;
}

static bool take_field(struct reader *r, struct reader *out)
{
    uint32_t len;
    if (!take_number(r, &len) || len > r->left)
        return false;
    *out = (struct reader){r->at, len};
    r->at += len;
    r->left -= len;
    return true;
}

static bool is_word(const struct reader *field, const char *word)
{
    return field->left == strlen(word) && memcmp(field->at, word, field->left) == 0;
}

static void fingerprint(const struct reader *public_key, char out[64])
{
    char hex[DIGEST_HEX], raw[32];
    digest_bytes(public_key->at, public_key->left, hex);
    for (int i = 0; i < 32; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        raw[i] = (char)strtol(pair, NULL, 16);
    }
    words_fingerprint(raw, out);
}

static bool read_fields(const struct buf *key, struct key_file *out)
{
    struct reader r = {key->data, key->len}, cipher, derivation, options, public_key, type;
    uint32_t keys;
    if (r.left < sizeof MAGIC || memcmp(r.at, MAGIC, sizeof MAGIC) != 0)
        return false;
    r.at += sizeof MAGIC;
    r.left -= sizeof MAGIC;
    if (!take_field(&r, &cipher) || !take_field(&r, &derivation) || !take_field(&r, &options) ||
        !take_number(&r, &keys) || keys < 1 || !take_field(&r, &public_key))
        return false;
    fingerprint(&public_key, out->fingerprint);
    out->locked = !is_word(&cipher, "none");
    if (!take_field(&public_key, &type) || type.left >= sizeof out->type)
        return false;
    memcpy(out->type, type.at, type.left);
    out->type[type.left] = '\0';
    return true;
}

/* ---- the file ---- */

static const char *what_it_seems(const char *text)
{
    if (strncmp(text, "ssh-", 4) == 0 || strncmp(text, "ecdsa-", 6) == 0)
        return "it is a public key; the private one has the same name without .pub";
    if (strncmp(text, "PuTTY-User-Key-File", 19) == 0)
        return "it is a key of PuTTY; puttygen can export it in OpenSSH's format";
    if (strstr(text, "PRIVATE KEY-----"))
        return "it is a private key in another format than OpenSSH's";
    return text[0] ? "it is no private key" : "it is empty";
}

enum status key_file_read(const char *path, struct key_file *out, struct fault *why)
{
    struct buf text = {0}, key = {0};
    memset(out, 0, sizeof *out);
    enum status st = fs_read_file(path, KEY_MAX, &text, why);
    if (st == ST_OK && !buf_append(&text, "", 1))
        st = fault(why, ST_RETRY, "out of memory");
    if (st != ST_OK)
        goto out;
    const char *words = (const char *)text.data;
    if (strncmp(words, HEAD, strlen(HEAD)) != 0)
        st = fault(why, ST_REJECT, "%s", what_it_seems(words));
    else if (!decode(words + strlen(HEAD), &key) || !read_fields(&key, out))
        st = fault(why, ST_REJECT, "it begins like a private key, but is damaged");
out:
    buf_free(&key);
    buf_free(&text);
    return st;
}
