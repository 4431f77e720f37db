/* From a Kafka record to a command: framing, writer schema, bounded walk, field checks, the MAC by
 * which a resend is told from another command. Touches no stored data. */
#ifndef SIPTRUNK_WORKER_DECODE_H
#define SIPTRUNK_WORKER_DECODE_H

#include "common/schema_set.h"
#include "worker/command.h"

struct decoder {
    const struct schema_set *schemas;
    struct digests *digests; /* with the MAC keys */
    struct slice cluster_id; /* part of derived ids */
};

/* Always gives a command: a tombstone, a dead letter with its reason, or a decoded one with its
 * problems. Texts point into the record's value. False only when the arena is exhausted
 * (FAULT_RETRY). */
bool decode_record(const struct decoder *decoder, const struct record *record, struct arena *arena,
                   struct command *ret, struct error *err) MUST_CHECK;

/* A record that is not to be decoded, since the process died of it again and again; fails as
 * decode_record does. */
bool decode_give_up(const struct record *record, struct arena *arena, struct command *ret,
                    struct error *err) MUST_CHECK;

#endif
