/* Polling. Where a partition begins is recovery's business, what a message means decode's. */
#include "worker/intake.h"

#include "common/log.h"

#include <inttypes.h>

/* Of a partition that is not ours: the consumer was not where we put it. */
static bool not_ours(const rd_kafka_message_t *message, struct error *err) {
    return error_set(err, FAULT_REBUILD, "unexpected-partition",
                     "%s/%" PRId32 " gave offset %" PRId64 ", and is not this thread's",
                     rd_kafka_topic_name(message->rkt), message->partition, message->offset);
}

/* A broker that failed while it appended (a full disk) may keep several records under one offset.
 * The first of them is the record; none of the others was acknowledged to its sender. */
static void skip_repeated(rd_kafka_message_t *message) {
    log_write(LOG_WARN, "repeated-offset",
              LOG_WITH(LOG_TEXT("topic", rd_kafka_topic_name(message->rkt)),
                       LOG_INT("partition", message->partition),
                       LOG_INT("offset", message->offset)),
              "the broker has another record under an offset that was read already: it is passed "
              "over");
    rd_kafka_message_destroy(message);
}

/* What was held is next; else what the consumer gives. */
static bool next_message(struct consumer *consumer, int timeout_ms, struct batch *batch,
                         rd_kafka_message_t **ret, struct error *err) {
    *ret = batch->held;
    batch->held = NULL;
    return *ret || consumer_poll(consumer, batch->count ? 0 : timeout_ms, ret, err);
}

/* What is stored already has been survived, and is owed an answer. */
static bool may_kill(const struct position *position, const rd_kafka_message_t *message) {
    return message->offset >= position->next_offset && message->offset < position->careful_until;
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
    while (!batch_is_full(batch) && !batch->careful) {
        rd_kafka_message_t *message = NULL;
        if (!next_message(consumer, timeout_ms, batch, &message, err))
            return false;
        if (!message)
            break;
        struct position *position = consumer_position_of(consumer, message);
        if (!position) {
            batch->held = message;
            return not_ours(message, err);
        }
        if (message->offset < position->read_next) {
            skip_repeated(message);
            continue;
        }
        batch->careful = may_kill(position, message);
        if (batch->careful && batch->count > 0) {
            batch->held = message;
            batch->careful = false;
            break;
        }
        batch->messages[batch->count++] = message;
        batch->bytes += message->len + message->key_len;
        position->read_next = message->offset + 1;
    }
    consumer_fetch_more(consumer);
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
