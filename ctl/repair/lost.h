/* What the database has lost, as Kafka tells it: the partitions whose results are published beyond
 * what is stored (K > D), the records of commands in between, the results that were published for
 * them. All of it is held in memory, some 2 KiB a command. Only reads. One thread. */
#ifndef SIPTRUNK_CTL_REPAIR_LOST_H
#define SIPTRUNK_CTL_REPAIR_LOST_H

#include "common/config.h"
#include "common/schema_set.h"
#include "common/slice.h"
#include "ctl/verify/progress.h"

#include <librdkafka/rdkafka.h>

/* A result as it was published; all its copies say the same. */
struct published {
    uint64_t schema;
    int64_t account_sequence;
    int64_t applied_at; /* microseconds since the epoch */
    struct slice account_id;
    bool is_list;
    bool is_bug; /* the store had refused the command: internal:bug */
    size_t size;
    char body[]; /* Avro; the account id stands in it */
};

struct lost_record {
    rd_kafka_message_t *message; /* NULL where the log has no record at this offset */
    struct published *published; /* its own result; NULL for a resend, a dead letter, a tombstone */
    bool dead;                   /* there is a dead letter of it */
};

/* A partition of a command topic with K > D. */
struct lost_part {
    char *topic;
    int32_t partition;
    int64_t next_offset;         /* D */
    int64_t committed;           /* K */
    struct lost_record *records; /* of the offsets from D to K */
};

struct lost {
    const struct config *config;
    struct lost_part *parts;
    size_t part_count;
    size_t last;                 /* part of the latest look-up */
    struct topic_reader *reader; /* of the records, which must not outlive it */
    size_t results, letters, records;
};

/* Adds a partition; false when memory is out. */
bool lost_add(struct lost *lost, struct slice topic, int32_t partition, int64_t next_offset,
              int64_t committed) MUST_CHECK;
void lost_release(struct lost *lost);

/* NULL when nothing is lost on that partition. */
const struct lost_part *lost_part(const struct lost *lost, const char *topic, int32_t partition);

/* Reads committed results and dead letters, then the commands. schemas: of results, made with
 * lost_result_reader. FAULT_STATE when the log has no more what would be needed, or copies of a
 * result contradict each other. */
bool lost_read(struct lost *lost, const struct schema_set *schemas, struct progress *progress,
               struct error *err) MUST_CHECK;

extern const struct reader_record lost_result_reader;

#endif
