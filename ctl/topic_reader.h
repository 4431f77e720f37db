/* Reads partitions of Kafka topics for a person who looks: no group
 * membership, no offset is stored. Knows where each partition ended when reading began. One thread.
 */
#ifndef SIPTRUNK_CTL_TOPIC_READER_H
#define SIPTRUNK_CTL_TOPIC_READER_H

#include "common/config.h"
#include "common/error.h"

#include <librdkafka/rdkafka.h>

struct topic_reader;

/* Of committed records only, or also of those of transactions that were aborted or are still open.
 * NULL with err set. */
struct topic_reader *topic_reader_new(const struct config *config, struct error *err);
struct topic_reader *topic_reader_new_uncommitted(const struct config *config, struct error *err);
void topic_reader_free(struct topic_reader *reader); /* accepts NULL */

/* For questions to the broker; the reader's. */
rd_kafka_t *topic_reader_client(const struct topic_reader *reader);

/* All partitions of a topic, or of the results topics of both lanes, from their beginning or from
 * their end. FAULT_STATE when there is no such topic. */
bool topic_reader_add_topic(struct topic_reader *reader, const char *topic, bool from_end,
                            struct error *err) MUST_CHECK;

bool topic_reader_add_results(struct topic_reader *reader, const struct config *config,
                              bool from_end, struct error *err) MUST_CHECK;

/* One partition, from an offset: RD_KAFKA_OFFSET_BEGINNING, RD_KAFKA_OFFSET_TAIL(n), or a number,
 * which must lie between the partition's first and last (FAULT_INPUT). */
bool topic_reader_add_partition(struct topic_reader *reader, const char *topic, int32_t partition,
                                int64_t offset, struct error *err) MUST_CHECK;

/* After the last addition. */
bool topic_reader_start(struct topic_reader *reader, struct error *err) MUST_CHECK;

/* The next record, which the caller destroys; *ret is NULL when none came in time. False when
 * reading has failed for good. */
bool topic_reader_next(struct topic_reader *reader, int timeout_ms, rd_kafka_message_t **ret,
                       struct error *err) MUST_CHECK;

/* All partitions were read to where they ended at the start. A record beyond that may have been
 * given before. */
bool topic_reader_at_end(const struct topic_reader *reader);

#endif
