/* Takes whatever has arrived, at most the batch's limits, one message at a time; never waits to
 * fill a batch. */
#ifndef SIPTRUNK_WORKER_INTAKE_H
#define SIPTRUNK_WORKER_INTAKE_H

#include "worker/batch.h"
#include "worker/consumer.h"

/* Waits up to timeout_ms for the first message. A record under an offset that was read already is
 * passed over, as by other consumers. A record below its position's careful_until makes a
 * batch of its own. All of the batch is its part at first. An empty batch is success. On failure (a
 * rebalance among them) the batch is to be discarded. */
bool intake_batch(struct consumer *consumer, int timeout_ms, struct batch *batch,
                  struct error *err) MUST_CHECK;

/* Makes some of the messages the batch's part: sets batch_end of the positions concerned. No poll
 * may have happened since intake_batch. */
void intake_part(struct consumer *consumer, struct batch *batch, size_t first, size_t count);

/* The batch's messages as records: views, owned by the messages. */
struct record intake_record(const rd_kafka_message_t *message);

#endif
