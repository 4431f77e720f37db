/* Polling. Where a partition begins is recovery's business, what a message means decode's. */
#include "worker/intake.h"

#include <inttypes.h>

/* Offsets only grow within a partition; anything else means that the consumer was not where we put
 * it. */
static bool note_position(struct consumer *consumer, const rd_kafka_message_t *message,
                          struct error *err) {
    struct position *position = consumer_position_of(consumer, message);
    if (position && message->offset >= position->read_next) {
        position->read_next = message->offset + 1;
        return true;
    }
    return error_set(err, FAULT_REBUILD, "unexpected-offset",
                     "%s/%" PRId32 " gave offset %" PRId64 ", which is not expected there",
                     rd_kafka_topic_name(message->rkt), message->partition, message->offset);
}

/* What was held is next; else what the consumer gives. */
static bool next_message(struct consumer *consumer, int timeout_ms, struct batch *batch,
                         rd_kafka_message_t **ret, struct error *err) {
    *ret = batch->held;
    batch->held = NULL;
    return *ret || consumer_poll(consumer, batch->count ? 0 : timeout_ms, ret, err);
}

/* What is stored already has been survived, and is owed an answer. */
static bool may_kill(struct consumer *consumer, const rd_kafka_message_t *message) {
    const struct position *position = consumer_position_of(consumer, message);
    return position && message->offset >= position->next_offset &&
           message->offset < position->careful_until;
}

static void mark_part(struct consumer *consumer, struct batch *batch, size_t first, size_t part) {
    size_t count;
    struct position *positions = consumer_positions(consumer, &count);
    for (size_t i = 0; i < count; i++)
        positions[i].batch_end = -1;
    for (size_t i = first; i < first + part; i++)
        consumer_position_of(consumer, batch->messages[i])->batch_end =
            batch->messages[i]->offset + 1;
    batch->part_first = first;
    batch->part_count = part;
}

bool intake_batch(struct consumer *consumer, int timeout_ms, struct batch *batch,
                  struct error *err) {
    while (batch->count < batch->limit && batch->bytes < batch->max_bytes && !batch->careful) {
        rd_kafka_message_t *message = NULL;
        if (!next_message(consumer, timeout_ms, batch, &message, err))
            return false;
        if (!message)
            break;
        batch->careful = may_kill(consumer, message);
        if (batch->careful && batch->count > 0) {
            batch->held = message;
            batch->careful = false;
            break;
        }
        batch->messages[batch->count++] = message;
        batch->bytes += message->len + message->key_len;
        if (!note_position(consumer, message, err))
            return false;
    }
    mark_part(consumer, batch, 0, batch->count);
    if (batch->count > 0)
        batch->group = rd_kafka_consumer_group_metadata(consumer_handle(consumer));
    return true;
}

void intake_part(struct consumer *consumer, struct batch *batch, size_t first, size_t count) {
    if (batch->part_first != first || batch->part_count != count)
        mark_part(consumer, batch, first, count);
}

struct record intake_record(const rd_kafka_message_t *message) {
    rd_kafka_timestamp_type_t type;
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_message_headers(message, &headers);
    return (struct record){
        .source = {.topic = slice_of(rd_kafka_topic_name(message->rkt)),
                   .partition = message->partition,
                   .offset = message->offset,
                   .timestamp_ms = rd_kafka_message_timestamp(message, &type)},
        .key = message->key ? (struct slice){.data = message->key, .size = message->key_len}
                            : SLICE_NONE,
        .value = message->payload ? (struct slice){.data = message->payload, .size = message->len}
                                  : SLICE_NONE,
        .headers = headers,
    };
}
