#include "push/lane_words.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Base64 without padding (RFC 4648). */
void words_fingerprint(const char *sha, char out[64])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int n = snprintf(out, 64, "SHA256:%s", sha ? "" : "?");
    for (int bit = 0; sha && bit < 256; bit += 6) {
        unsigned value = 0;
        for (int b = bit; b < bit + 6; b++)
            value = value << 1 | (b < 256 ? (unsigned char)sha[b / 8] >> (7 - b % 8) & 1u : 0);
        out[n++] = digits[value];
    }
    out[n] = '\0';
}

enum status words_host_key(const struct lane_options *o, const struct shown_key *k,
                           struct fault *why)
{
    char name[300];
    snprintf(name, sizeof name, o->port == 22 ? "%.200s" : "[%.200s]:%d", o->host, o->port);
    if (k->changed)
        return fault(why, ST_REJECT,
                     "the host key HAS CHANGED: it is now %s (%s), not the one that '%.80s' pins. "
                     "Somebody may be listening in: ask the cluster's people. If it is right: "
                     "ssh-keygen -f %.80s -R '%.60s', then ssh-keyscan -p %d %.60s >> %.80s",
                     k->fingerprint, k->type, o->known_hosts, o->known_hosts, name, o->port,
                     o->host, o->known_hosts);
    return fault(why, ST_REJECT,
                 "the host key is not known: %s (%s) is not in '%.100s'. Compare it with what the "
                 "cluster's people say, then: ssh-keyscan -p %d %.60s >> %.100s",
                 k->fingerprint, k->type, o->known_hosts, o->port, o->host, o->known_hosts);
}

enum status words_identity(const struct lane_options *o, bool locked, struct fault *why)
{
    if (locked)
        return fault(why, ST_REJECT,
                     "the identity '%.150s' has a passphrase, and nobody is there to type it. Make "
                     "a key without one for this purpose: ssh-keygen -t ed25519 -N '' -f FILE",
                     o->identity);
    return fault(why, ST_REJECT,
                 "the identity '%.150s' is not there. Make it: ssh-keygen -t ed25519 -N '' -f "
                 "%.100s; then add %.100s.pub to ~/.ssh/authorized_keys of %s there",
                 o->identity, o->identity, o->identity, o->user);
}

enum status words_stranger(const char *said, const char *state, struct fault *why)
{
    return fault(why, ST_REJECT,
                 "not skyferry-pull answers but something that says \"%s\"%s%s%s; check the "
                 "command=\"...\" of our key in ~/.ssh/authorized_keys there, and that nothing "
                 "else (~/.bashrc) writes to standard output",
                 said, state ? " (" : "", state ? state : "", state ? ")" : "");
}

enum status words_no_sftp(const struct lane_options *o, const char *said, struct fault *why)
{
    return fault(why, said ? ST_REJECT : ST_RETRY,
                 "%.100s: the login worked, but no SFTP server answers (%s); our key's line in "
                 "~/.ssh/authorized_keys there must say restrict,command=\"internal-sftp\", or "
                 "sshd_config ForceCommand internal-sftp",
                 o->host, said ? said : "silence");
}

void tail_add(struct tail *t, const char *bytes, size_t count)
{
    if (count > sizeof t->text) {
        bytes += count - sizeof t->text;
        count = sizeof t->text;
    }
    if (t->len + count > sizeof t->text) {
        size_t drop = t->len + count - sizeof t->text;
        memmove(t->text, t->text + drop, t->len - drop);
        t->len -= drop;
    }
    memcpy(t->text + t->len, bytes, count);
    t->len += count;
}

void tail_line(const struct tail *t, char out[200])
{
    size_t end = t->len, start, n = 0;
    while (end > 0 && isspace((unsigned char)t->text[end - 1]))
        end--;
    for (start = end; start > 0 && t->text[start - 1] != '\n'; start--)
        ;
    for (; start < end && n < 199; start++)
        out[n++] = isprint((unsigned char)t->text[start]) ? t->text[start] : '.';
    out[n] = '\0';
}
