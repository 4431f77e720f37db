/* The last stage: in one Kafka transaction publishes the results and dead letters of a stored batch
 * and commits the consumer's offsets. Nothing is decided here, and nothing of the database is
 * touched. */
#ifndef SIPTRUNK_WORKER_REPLY_H
#define SIPTRUNK_WORKER_REPLY_H

#include "worker/batch.h"
#include "worker/producer.h"

struct dead_letter_topic {
    const char *commands; /* a command topic of the lane */
    const char *name;     /* its dead letter topic */
    int64_t max_message_bytes;
};

/* A topic that a command may ask its answer to go to as well (replies.allowed_topics). */
struct reply_topic {
    const char *name;
    int partitions; /* 0: not there, or not usable; then it is as if it were not allowed */
    int64_t max_message_bytes;
    bool missing;             /* when it was last looked for */
    bool used;                /* by the latest transaction */
    int64_t shunned_until_ms; /* it may be what made a transaction fail */
};

struct outputs {
    const char *results;
    struct dead_letter_topic *dead_letters; /* one for each command topic of the lane */
    size_t dead_letter_count;
    struct reply_topic *reply_topics;
    size_t reply_topic_count;
    struct slice source;                 /* ce_source */
    const struct avro_plan *result_plan; /* reads a stored body: the header's texts of a replay */
    uint64_t result_schema;
};

/* The reader of stored result bodies, for avro_plan_compile. */
extern const struct reader_record reply_result_reader;

/* "not-allowed", "no-partition", ...; "" for REPLY_SENT. */
const char *reply_problem_name(enum reply_problem problem);

/* Of the batch's part. positions: those with batch_end >= 0 are committed at it. On failure the
 * transaction may still be open: the caller aborts. */
bool reply_batch(struct producer *producer, const struct outputs *outputs,
                 const struct batch *batch, const struct position *positions, size_t position_count,
                 struct error *err) MUST_CHECK;

#endif
