/* The consumer of one thread: member of its lane's group under a static id, told by us where to
 * read. The group decides which partitions; where to begin is decided by recovery, from both
 * stores. */
#ifndef SIPTRUNK_WORKER_CONSUMER_H
#define SIPTRUNK_WORKER_CONSUMER_H

#include "common/kafka.h"
#include "worker/load.h"

struct consumer;
struct metrics;

struct consumer_options {
    const char *group_id;
    const char *instance_id; /* group.instance.id */
    enum config_key topics;  /* the lane's list */
    struct metrics *metrics; /* is told when brokers answer, and when none can be reached */
};

/* Creates and subscribes. The producer of the same thread must have been started before. */
struct consumer *consumer_new(const struct config *config, const struct consumer_options *options,
                              struct error *err);
/* Whether the settings fit together; FAULT_CONFIG when they do not. Asks no broker. */
bool consumer_check(const struct config *config, struct error *err) MUST_CHECK;

void consumer_free(struct consumer *consumer); /* closes; accepts NULL */

rd_kafka_t *consumer_handle(const struct consumer *consumer);

/* The next message, NULL when none came in time. FAULT_FENCED "rebalance" when the assignment
 * changed; FAULT_REBUILD when the consumer is of no more use. The caller destroys the message. */
bool consumer_poll(struct consumer *consumer, int timeout_ms, rd_kafka_message_t **ret,
                   struct error *err) MUST_CHECK;

/* To be called when a batch has been taken: the next records are fetched meanwhile, if none are
 * there. */
void consumer_fetch_more(const struct consumer *consumer);

/* What the group has given us, changed only inside consumer_poll. Entry i: see struct position;
 * epochs and offsets are the caller's to fill in. */
struct position *consumer_positions(struct consumer *consumer, size_t *ret_count);

/* Sets lag and at_end of each position, by what the broker told with the latest fetch. */
void consumer_look_for_ends(struct consumer *consumer);

/* Whether the group has told us which partitions are ours; these may be none. */
bool consumer_joined(const struct consumer *consumer);

/* The position of a message's partition; NULL when it is not ours. */
struct position *consumer_position_of(struct consumer *consumer, const rd_kafka_message_t *message);

/* The same by name. */
struct position *consumer_position(struct consumer *consumer, struct slice topic,
                                   int32_t partition);

/* The end of a position's log: the offset that the next record will get. */
bool consumer_log_end(struct consumer *consumer, const struct position *position, int64_t *ret,
                      struct error *err) MUST_CHECK;

/* Stops fetching, staying in the group. */
bool consumer_stop_reading(struct consumer *consumer, struct error *err) MUST_CHECK;

/* Reads K of every partition, waiting for transactions that are still open. -1 where there is none.
 */
bool consumer_read_committed(struct consumer *consumer, struct error *err) MUST_CHECK;

/* Begins to fetch each partition that is not held at the offset in starts; -1: at its beginning. */
bool consumer_start_reading(struct consumer *consumer, const int64_t *starts,
                            struct error *err) MUST_CHECK;

#endif
