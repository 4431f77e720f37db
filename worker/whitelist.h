/* The whitelist of addresses of a channel: a text of IPv4 and IPv6 addresses and networks,
 * separated by semicolons. Gives its canonical text (RFC 5952 for IPv6; no /32 and /128) and what
 * is to be warned of. No I/O. */
#ifndef SIPTRUNK_WORKER_WHITELIST_H
#define SIPTRUNK_WORKER_WHITELIST_H

#include "common/arena.h"
#include "common/reasons.h"

enum { WHITELIST_MAX_ENTRIES = 64 };

struct whitelist_problem {
    size_t index; /* of the item, from 0 */
    enum reason reason;
    struct slice message;
};

struct whitelist {
    struct slice canonical; /* absent for an empty list */
    bool duplicates;        /* some were left out */
    bool broad;             /* an IPv4 prefix below 16 or an IPv6 prefix below 32 */
    bool overlap;           /* one entry lies inside another */
    bool too_many;          /* over WHITELIST_MAX_ENTRIES; then nothing else is set */
    struct whitelist_problem problems[WHITELIST_MAX_ENTRIES];
    size_t problem_count;
};

/* False when the arena is exhausted. */
bool whitelist_parse(struct slice text, struct arena *arena, struct whitelist *ret) MUST_CHECK;

#endif
