/* Which numbers of each account's sequence were seen, and which are missing between them. Numbers
 * before the first one seen are not missing: a topic forgets its oldest records. One thread. */
#ifndef SIPTRUNK_CTL_SEQUENCES_H
#define SIPTRUNK_CTL_SEQUENCES_H

#include "common/uuid.h"

#include <stdint.h>

struct sequences;

struct sequences *sequences_new(void); /* NULL when memory is out */
void sequences_free(struct sequences *sequences);

/* Numbers may come in any order and again; now_ms is when this one came, by any clock. False when
 * memory is out. */
bool sequences_see(struct sequences *sequences, const struct uuid *account, int64_t number,
                   int64_t now_ms);

typedef void missing_fn(void *context, const struct uuid *account, int64_t from, int64_t to);

/* Tells of each gap that was first noticed at or before that time, once. Returns how many it told
 * of. */
size_t sequences_report(struct sequences *sequences, int64_t noticed_ms, missing_fn *tell,
                        void *context);

#endif
