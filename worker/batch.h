/* What one round of the loop works on: the Kafka messages, which it keeps until the reply, the
 * commands made of them, and the rows they name. Bounded by count and bytes; emptied after every
 * round. It goes through load, decide and store as one part, or in parts when the store refuses
 * something; then it is replied to as a whole. */
#ifndef SIPTRUNK_WORKER_BATCH_H
#define SIPTRUNK_WORKER_BATCH_H

#include "worker/load.h"
#include "worker/working_set.h"

#include <librdkafka/rdkafka.h>

struct batch {
    struct arena *arena;
    size_t max_count, max_bytes;
    int64_t aim_us;                /* how long it may hold its locks; 0: as long as it takes */
    size_t limit;                  /* as many fit into that, at most max_count */
    rd_kafka_message_t **messages; /* max_count */
    struct command *commands;      /* max_count; as many as messages once decoded */
    size_t count, bytes;
    size_t decoded;             /* commands made of the messages so far */
    struct arena_mark answered; /* of the arena: behind what was decoded, and the answers so far */
    bool careful;               /* one record, which may kill the process */
    rd_kafka_message_t *held;   /* taken from the consumer, and kept for the next round */
    size_t part_first, part_count;
    struct working_set set; /* of the part */
    /* of the consumer at intake, so that a later rebalance is not covered by it */
    rd_kafka_consumer_group_metadata_t *group;
};

bool batch_init(struct batch *batch, size_t max_count, size_t max_bytes,
                struct error *err) MUST_CHECK;
void batch_release(struct batch *batch);

/* So many commands held their locks for so long: sets the limit of what comes next. */
void batch_fit(struct batch *batch, size_t count, int64_t held_us);

/* Gives the messages back, those with passwords wiped, and forgets everything in the arena; keeps
 * the one that is held. */
void batch_clear(struct batch *batch);

/* Gives back the one that is held too, since the consumer will begin elsewhere. */
void batch_forget(struct batch *batch);

#endif
