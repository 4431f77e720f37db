/* The transactional producer of one thread: begin, send, offsets, commit, with the rule that a
 * producer of which a request may still arrive late is never used again. One transaction at a time;
 * one thread. */
#ifndef SIPTRUNK_WORKER_PRODUCER_H
#define SIPTRUNK_WORKER_PRODUCER_H

#include "common/kafka.h"
#include "worker/progress.h"

struct producer;

/* Topics that are written to must allow records (and batches of them) of so many bytes. */
enum { PRODUCER_LEAST_LIMIT = 1024 * 1024 };

/* Creates the client and fences any predecessor of the same transactional id (init_transactions),
 * which also ends what that one left open. FAULT_RETRY when no broker answers. progress: told of
 * each call, or NULL. */
struct producer *producer_new(const struct config *config, const char *transactional_id,
                              struct progress *progress, struct error *err);
/* Whether librdkafka takes the settings together; FAULT_CONFIG when it does not. Asks no broker. */
bool producer_check(const struct config *config, struct error *err) MUST_CHECK;

void producer_free(struct producer *producer); /* accepts NULL; drops what is not sent */

bool producer_begin(struct producer *producer, struct error *err) MUST_CHECK;

/* A record of the open transaction; copies nothing but the headers, which it consumes also on
 * failure: key and value must live until the transaction has ended. partition < 0: by the key. */
bool producer_send(struct producer *producer, const char *topic, int32_t partition,
                   struct slice key, struct slice value, rd_kafka_headers_t *headers,
                   struct error *err) MUST_CHECK;

/* Offsets into the transaction, then its commit. After a failure the transaction's fate is open:
 * the caller calls producer_abort and reads the committed offsets anew. */
bool producer_commit(struct producer *producer, const rd_kafka_topic_partition_list_t *offsets,
                     const rd_kafka_consumer_group_metadata_t *group, struct error *err) MUST_CHECK;

/* Ends an open transaction without publishing. True when the producer may be used again. */
bool producer_abort(struct producer *producer);

/* It must be replaced: a fatal error, a failed abort, or a request without an answer. */
bool producer_tainted(const struct producer *producer);

rd_kafka_t *producer_handle(const struct producer *producer);

#endif
