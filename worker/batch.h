/* What one round of the loop works on: the Kafka messages, which it keeps until the reply, the
 * commands made of them, and the rows they name. Bounded by count and bytes; emptied after every
 * round. */
#ifndef SIPTRUNK_WORKER_BATCH_H
#define SIPTRUNK_WORKER_BATCH_H

#include "worker/load.h"
#include "worker/working_set.h"

#include <librdkafka/rdkafka.h>

struct batch {
    struct arena *arena;
    size_t max_count, max_bytes;
    rd_kafka_message_t **messages; /* max_count */
    struct command *commands;      /* max_count; as many as messages once decoded */
    size_t count, bytes;
    size_t decoded; /* commands made of the messages so far */
    struct working_set set;
    /* of the consumer at intake, so that a later rebalance is not covered by it */
    rd_kafka_consumer_group_metadata_t *group;
};

bool batch_init(struct batch *batch, size_t max_count, size_t max_bytes,
                struct error *err) MUST_CHECK;
void batch_release(struct batch *batch);

/* Gives the messages back, those with passwords wiped, and forgets everything in the arena. */
void batch_clear(struct batch *batch);

#endif
