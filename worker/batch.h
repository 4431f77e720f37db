/* What one round of the loop works on: the Kafka messages, which it keeps until the reply, the
 * commands made of them, and the rows they name. Bounded by count and bytes; emptied after every
 * round. It goes through load, decide and store in parts, whose size is bounded by how long they
 * may hold their locks, and which are cut where the store refuses something; then it is replied to
 * as a whole. */
#ifndef SIPTRUNK_WORKER_BATCH_H
#define SIPTRUNK_WORKER_BATCH_H

#include "worker/load.h"
#include "worker/working_set.h"

#include <librdkafka/rdkafka.h>

/* Of the bulk lane: two, so that a Kafka transaction, which costs as much as a hundred commands, is
 * had half as often, and the database does not wait long for a thread that is replying. */
enum { BATCH_BULK_PARTS = 2 };

struct batch {
    struct arena *arena; /* of all that lives until the reply */
    struct arena *part;  /* of the part: its rows, arrays and answers */
    size_t max_parts, max_part, max_bytes;
    int64_t aim_us;                /* how long a part may hold its locks; 0: as long as it takes */
    size_t limit;                  /* of a part: as many fit into that, at most max_part */
    rd_kafka_message_t **messages; /* max_parts * max_part */
    struct command *commands;      /* likewise; as many as messages once decoded */
    size_t count, bytes;
    size_t decoded;           /* commands made of the messages so far */
    bool careful;             /* one record, which may kill the process */
    rd_kafka_message_t *held; /* taken from the consumer, and kept for the next round */
    size_t part_first, part_count;
    struct working_set set; /* of the part */
    /* of the consumer at intake, so that a later rebalance is not covered by it */
    rd_kafka_consumer_group_metadata_t *group;
};

bool batch_init(struct batch *batch, size_t max_parts, size_t max_part, size_t max_bytes,
                struct error *err) MUST_CHECK;
void batch_release(struct batch *batch);

/* As many messages as it can ever have. */
size_t batch_capacity(const struct batch *batch);

/* Whether it takes no more: by its parts as large as they may be now, or by bytes. */
bool batch_is_full(const struct batch *batch);

/* So many commands held their locks for so long: sets the limit of the parts that come next. */
void batch_fit(struct batch *batch, size_t count, int64_t held_us);

/* The part is stored: takes what the reply needs of its answers out of the part's arena. */
bool batch_keep_answers(struct batch *batch, struct error *err) MUST_CHECK;

/* Gives the messages back, those with passwords wiped, and forgets everything in the arenas;
 * keeps the one that is held. */
void batch_clear(struct batch *batch);

/* Gives back the one that is held too, since the consumer will begin elsewhere. */
void batch_forget(struct batch *batch);

#endif
