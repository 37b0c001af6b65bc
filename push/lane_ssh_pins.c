#include "push/lane_ssh_pins.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fsutil.h"
#include "common/log.h"
#include "push/lane_words.h"

#define FILE_MAX (1u << 20)

struct pins {
    LIBSSH2_SESSION *session;
    const struct lane_options *o;
    LIBSSH2_KNOWNHOSTS *hosts;
};

enum status pins_open(LIBSSH2_SESSION *session, const struct lane_options *o, struct pins **out,
                      struct fault *why)
{
    struct pins *p = calloc(1, sizeof *p);
    if (p) {
        *p = (struct pins){session, o, libssh2_knownhost_init(session)};
        *out = p;
    }
    return p && p->hosts ? ST_OK : fault(why, ST_RETRY, "out of memory");
}

void pins_close(struct pins **p)
{
    if (*p && (*p)->hosts)
        libssh2_knownhost_free((*p)->hosts);
    free(*p);
    *p = NULL;
}

static const struct key_type {
    int hostkey, known;
    const char *name;
} key_types[] = {
    {LIBSSH2_HOSTKEY_TYPE_ED25519, LIBSSH2_KNOWNHOST_KEY_ED25519, "ssh-ed25519"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_256, LIBSSH2_KNOWNHOST_KEY_ECDSA_256, "ecdsa-sha2-nistp256"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_384, LIBSSH2_KNOWNHOST_KEY_ECDSA_384, "ecdsa-sha2-nistp384"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_521, LIBSSH2_KNOWNHOST_KEY_ECDSA_521, "ecdsa-sha2-nistp521"},
    {LIBSSH2_HOSTKEY_TYPE_RSA, LIBSSH2_KNOWNHOST_KEY_SSHRSA, "ssh-rsa"},
};
#define KEY_TYPES (sizeof key_types / sizeof key_types[0])

enum status pins_read(struct pins *p, struct fault *why)
{
    struct buf text = {0};
    int number = 0;
    if (fs_read_file(p->o->known_hosts, FILE_MAX, &text, why) != ST_OK) {
        if (errno == ENOENT)
            return ST_OK;
        why->grade = ST_REJECT;
        return fault_within(why, "the file of known host keys: ");
    }
    /* libssh2 takes the last character of every line for its newline. */
    if (!buf_append(&text, "\n", 1)) {
        buf_free(&text);
        return fault(why, ST_RETRY, "out of memory");
    }
    const char *at = (const char *)text.data, *end = at + text.len;
    while (at < end) {
        size_t len = (size_t)((const char *)memchr(at, '\n', (size_t)(end - at)) - at) + 1;
        number++;
        if (at[0] == '@' || libssh2_knownhost_readline(p->hosts, at, len,
                                                       LIBSSH2_KNOWNHOST_FILE_OPENSSH) != 0)
            log_warn(AT(.stage = "lane"), "%s: line %d is not understood and left out",
                     p->o->known_hosts, number);
        at += len;
    }
    buf_free(&text);
    return ST_OK;
}

static bool is_pinned(const struct pins *p, const char *key, size_t len, int mask)
{
    return libssh2_knownhost_checkp(p->hosts, p->o->host, p->o->port, key, len,
                                    LIBSSH2_KNOWNHOST_TYPE_PLAIN | mask, NULL) ==
           LIBSSH2_KNOWNHOST_CHECK_MATCH;
}

/* Which types of key the file holds for this host, as bits of key_types. */
static unsigned pinned_types(const struct pins *p)
{
    struct libssh2_knownhost *node = NULL;
    unsigned found = 0;
    while (libssh2_knownhost_get(p->hosts, &node, node) == 0)
        for (size_t i = 0; i < KEY_TYPES; i++)
            if ((node->typemask & LIBSSH2_KNOWNHOST_KEY_MASK) == key_types[i].known &&
                is_pinned(p, node->key, strlen(node->key),
                          LIBSSH2_KNOWNHOST_KEYENC_BASE64 | key_types[i].known))
                found |= 1u << i;
    return found;
}

void pins_kinds(const struct pins *p, char list[256])
{
    unsigned pinned = pinned_types(p);
    list[0] = '\0';
    for (int wanted = 1; wanted >= 0; wanted--)
        for (size_t i = 0; i < KEY_TYPES; i++)
            if ((int)(pinned >> i & 1) == wanted) {
                size_t used = strlen(list);
                snprintf(list + used, 256 - used, "%s%s", used ? "," : "", key_types[i].name);
            }
}

enum status pins_check(const struct pins *p, struct fault *why)
{
    size_t len;
    int type;
    const char *key = libssh2_session_hostkey(p->session, &len, &type);
    for (size_t i = 0; key && i < KEY_TYPES; i++) {
        if (key_types[i].hostkey != type)
            continue;
        if (is_pinned(p, key, len, LIBSSH2_KNOWNHOST_KEYENC_RAW | key_types[i].known))
            return ST_OK;
        struct shown_key shown = {key_types[i].name, pinned_types(p) >> i & 1, ""};
        words_fingerprint(libssh2_hostkey_hash(p->session, LIBSSH2_HOSTKEY_HASH_SHA256),
                          shown.fingerprint);
        return words_host_key(p->o, &shown, why);
    }
    return fault(why, ST_REJECT, "the server has no host key of a known type");
}
