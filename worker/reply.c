/* Results and dead letters as Kafka records with their headers. */
#include "worker/reply.h"

#include "common/failpoint.h"
#include "common/framing.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* ---- what the headers of a stored result say ---- */

enum {
    SLOT_EVENT_ID,
    SLOT_TYPE,
    SLOT_OUTCOME,
    SLOT_CHANNEL,
    SLOT_NUMBER,
    SLOT_REASON,
    SLOT_APPLIED_AT,
    SLOTS
};

static const struct reader_field result_fields[] = {
    {.name = "event_id", .kind = READER_STRING, .slot = SLOT_EVENT_ID},
    {.name = "command_type", .kind = READER_STRING, .slot = SLOT_TYPE},
    {.name = "outcome", .kind = READER_STRING, .slot = SLOT_OUTCOME},
    {.name = "channel_name", .kind = READER_STRING, .slot = SLOT_CHANNEL},
    {.name = "number", .kind = READER_STRING, .slot = SLOT_NUMBER},
    {.name = "error_reason", .kind = READER_STRING, .slot = SLOT_REASON},
    {.name = "applied_at", .kind = READER_LONG, .slot = SLOT_APPLIED_AT},
};

const struct reader_record reply_result_reader = {
    .full_name = "siptrunk.result.v1.CommandResult",
    .fields = result_fields,
    .field_count = sizeof result_fields / sizeof result_fields[0],
    .slot_count = SLOTS,
};

static struct slice set_text(const struct value *value) {
    return value->state == VALUE_SET ? value->text : SLICE_NONE;
}

static bool outcome_of(struct slice name, enum outcome *ret) {
    for (enum outcome outcome = OUTCOME_APPLIED; outcome <= OUTCOME_WOULD_APPLY; outcome++) {
        if (slice_is(name, outcome_name(outcome))) {
            *ret = outcome;
            return true;
        }
    }
    return false;
}

/* An entry that came from the ledger has its body only; the rest is read back from there. */
static bool complete_entry(const struct outputs *outputs, struct arena *arena,
                           struct ledger_entry *entry, struct error *err) {
    if (entry->command_type.data)
        return true;
    struct avro_decoded decoded;
    if (entry->body_schema != outputs->result_schema)
        return error_set(err, FAULT_STATE, "result-schema",
                         "the ledger holds a result of schema %016" PRIx64
                         ", which this program does not know",
                         entry->body_schema);
    if (!avro_plan_run(outputs->result_plan, entry->body, arena, &decoded, err)) {
        err->fault = err->fault == FAULT_RETRY ? FAULT_RETRY : FAULT_STATE;
        return error_prefix(err, "a result in the ledger");
    }
    const struct value *values = decoded.values;
    if (!uuid_parse(set_text(&values[SLOT_EVENT_ID]), &entry->event_id) ||
        !outcome_of(set_text(&values[SLOT_OUTCOME]), &entry->outcome))
        return error_set(err, FAULT_STATE, "ledger",
                         "a result in the ledger has no event id or outcome");
    entry->command_type = set_text(&values[SLOT_TYPE]);
    entry->error_reason = set_text(&values[SLOT_REASON]);
    entry->subject = set_text(&values[SLOT_CHANNEL]);
    if (entry->subject.size == 0)
        entry->subject = set_text(&values[SLOT_NUMBER]);
    entry->applied_at = values[SLOT_APPLIED_AT].integer;
    return true;
}

/* ---- headers ---- */

static void add(rd_kafka_headers_t *headers, const char *name, struct slice value) {
    if (value.data)
        rd_kafka_header_add(headers, name, -1, value.data, (ssize_t)value.size);
}

static void add_text(rd_kafka_headers_t *headers, const char *name, const char *value) {
    add(headers, name, slice_of(value));
}

static void add_int32(rd_kafka_headers_t *headers, const char *name, int32_t value) {
    uint32_t raw = htobe32((uint32_t)value);
    rd_kafka_header_add(headers, name, -1, &raw, sizeof raw);
}

static void add_int64(rd_kafka_headers_t *headers, const char *name, int64_t value) {
    uint64_t raw = htobe64((uint64_t)value);
    rd_kafka_header_add(headers, name, -1, &raw, sizeof raw);
}

static void add_integer_text(rd_kafka_headers_t *headers, const char *name, int64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    add_text(headers, name, text);
}

/* RFC 3339, UTC, microseconds. */
static void add_time(rd_kafka_headers_t *headers, const char *name, int64_t microseconds) {
    time_t seconds = (time_t)(microseconds / 1000000);
    struct tm parts;
    char text[48];
    gmtime_r(&seconds, &parts);
    size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + size, sizeof text - size, ".%06dZ", (int)(microseconds % 1000000));
    add_text(headers, name, text);
}

enum { MAX_CORRELATION = 16 * 1024 };

/* Correlation of request/reply frameworks: opaque bytes, returned under the name they came with.
 * What is longer than any framework makes it is left out, since a header must not make a result too
 * large for its topic. */
static void echo_correlation(rd_kafka_headers_t *headers, const struct record *record) {
    static const char *const names[] = {"kafka_correlationId", "REPLY_CORRELATION_ID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct slice value = kafka_header(record->headers, names[i]);
        if (value.size <= MAX_CORRELATION)
            add(headers, names[i], value);
    }
}

/* ---- trace context (W3C, level 1): version 00, trace id, parent id, flags ---- */

enum { TRACEPARENT_SIZE = 55, SPAN_AT = 36, SPAN_DIGITS = 16 };

static bool is_lower_hex(struct slice text, size_t from, size_t count) {
    bool any = false;
    for (size_t i = from; i < from + count; i++) {
        char c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        any |= c != '0';
    }
    return any;
}

static bool is_traceparent(struct slice text) {
    return text.size == TRACEPARENT_SIZE && memcmp(text.data, "00-", 3) == 0 &&
           text.data[35] == '-' && text.data[52] == '-' && is_lower_hex(text, 3, 32) &&
           is_lower_hex(text, SPAN_AT, SPAN_DIGITS) &&
           (is_lower_hex(text, 53, 2) || memcmp(text.data + 53, "00", 2) == 0);
}

/* The same trace; our span is named after the event, so that copies agree. A malformed header is
 * passed over. */
static void continue_trace(rd_kafka_headers_t *headers, const struct record *record,
                           const struct uuid *event_id) {
    struct slice parent = kafka_header(record->headers, "traceparent");
    struct slice state = kafka_header(record->headers, "tracestate");
    char text[TRACEPARENT_SIZE], span[2 * 8 + 1];
    if (!parent.data || !is_traceparent(parent))
        return;
    for (size_t i = 0; i < 8; i++)
        snprintf(span + 2 * i, 3, "%02x", event_id->bytes[i]);
    memcpy(text, parent.data, sizeof text);
    memcpy(text + SPAN_AT, span, SPAN_DIGITS);
    add(headers, "traceparent", (struct slice){.data = text, .size = sizeof text});
    if (state.size <= MAX_CORRELATION)
        add(headers, "tracestate", state);
}

static rd_kafka_headers_t *result_headers(const struct outputs *outputs,
                                          const struct command *command) {
    const struct ledger_entry *entry = command->answer;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(12);
    char id[UUID_TEXT_SIZE + 1], type[96];
    uuid_format(&entry->event_id, id);
    snprintf(type, sizeof type, "siptrunk.result.v1." SLICE_FMT, SLICE_ARG(entry->command_type));
    add_text(headers, "ce_specversion", "1.0");
    add_text(headers, "ce_id", id);
    add(headers, "ce_source", outputs->source);
    add_text(headers, "ce_type", type);
    add(headers, "ce_subject", entry->subject);
    add_time(headers, "ce_time", entry->applied_at);
    add_text(headers, "content-type", "application/avro");
    add(headers, "error-id", entry->error_reason);
    echo_correlation(headers, &command->record);
    continue_trace(headers, &command->record, &entry->event_id);
    if (command->replayed)
        add_text(headers, "replayed", "true");
    return headers;
}

/* ---- reply topics ---- */

enum { RECORD_OVERHEAD = 512 }; /* batch and record framing, generously */

static size_t headers_size(const rd_kafka_headers_t *headers) {
    const char *name;
    const void *value;
    size_t size, total = 0;
    for (size_t i = 0; headers && !rd_kafka_header_get_all(headers, i, &name, &value, &size); i++)
        total += strlen(name) + size + 16;
    return total;
}

/* The first of two spellings that is there: Spring's, then SmallRye's. */
static struct slice either_header(const struct record *record, const char *spring,
                                  const char *smallrye) {
    struct slice value = kafka_header(record->headers, spring);
    return value.data ? value : kafka_header(record->headers, smallrye);
}

const char *reply_problem_name(enum reply_problem problem) {
    static const char *const names[] = {
        [REPLY_SENT] = "",
        [REPLY_NOT_ALLOWED] = "not-allowed",
        [REPLY_TOPIC_UNUSABLE] = "topic-unusable",
        [REPLY_NO_PARTITION] = "no-partition",
        [REPLY_TOO_LARGE] = "too-large",
    };
    return names[problem];
}

/* The topic that a command asks its answer to, NULL when none but the results topic is asked for,
 * or when there is a problem with it. */
static struct reply_topic *reply_topic(const struct outputs *outputs, const struct record *record,
                                       enum reply_problem *ret_problem) {
    struct slice asked = either_header(record, "kafka_replyTopic", "REPLY_TOPIC");
    *ret_problem = REPLY_SENT;
    if (!asked.data || slice_is(asked, outputs->results))
        return NULL;
    for (size_t i = 0; i < outputs->reply_topic_count; i++) {
        struct reply_topic *topic = &outputs->reply_topics[i];
        if (!slice_is(asked, topic->name))
            continue;
        if (topic->partitions > 0)
            return topic;
        *ret_problem = REPLY_TOPIC_UNUSABLE;
        return NULL;
    }
    *ret_problem = REPLY_NOT_ALLOWED;
    return NULL;
}

/* The partition asked for: big-endian, of 4 bytes or passed over. False when it does not exist. */
static bool reply_partition(const struct reply_topic *topic, const struct record *record,
                            int32_t *ret) {
    struct slice asked = either_header(record, "kafka_replyPartition", "REPLY_PARTITION");
    uint32_t raw;
    *ret = RD_KAFKA_PARTITION_UA;
    if (asked.size != sizeof raw)
        return true;
    memcpy(&raw, asked.data, sizeof raw);
    *ret = (int32_t)be32toh(raw);
    return *ret >= 0 && *ret < topic->partitions;
}

/* Nothing that a header says can make this fail: what does not fit goes to the results topic only.
 */
static bool send_reply(struct producer *producer, const struct outputs *outputs,
                       struct command *command, struct slice key, struct slice value,
                       const rd_kafka_headers_t *headers, struct error *err) {
    struct reply_topic *topic = reply_topic(outputs, &command->record, &command->reply_problem);
    int32_t partition;
    if (!topic)
        return true;
    size_t size = key.size + value.size + headers_size(headers) + RECORD_OVERHEAD;
    if (!reply_partition(topic, &command->record, &partition))
        command->reply_problem = REPLY_NO_PARTITION;
    else if ((int64_t)size > topic->max_message_bytes)
        command->reply_problem = REPLY_TOO_LARGE;
    if (command->reply_problem != REPLY_SENT)
        return true;
    topic->used = true;
    return producer_send(producer, topic->name, partition, key, value,
                         rd_kafka_headers_copy(headers), err);
}

/* ---- results ---- */

static bool send_result(struct producer *producer, const struct outputs *outputs,
                        struct arena *arena, struct command *command, struct error *err) {
    struct ledger_entry *entry = command->answer;
    if (!complete_entry(outputs, arena, entry, err))
        return false;
    char *bytes = arena_alloc(arena, FRAMING_SIZE + entry->body.size);
    char *key_text = arena_alloc(arena, UUID_TEXT_SIZE + 1);
    if (!bytes || !key_text)
        return arena_exhausted(err);
    framing_write(entry->body_schema, bytes);
    memcpy(bytes + FRAMING_SIZE, entry->body.data, entry->body.size);
    struct slice value = {.data = bytes, .size = FRAMING_SIZE + entry->body.size};
    struct slice key = SLICE_NONE;
    if (command->account_id_valid) {
        uuid_format(&command->account_id, key_text);
        key = (struct slice){.data = key_text, .size = UUID_TEXT_SIZE};
    }
    rd_kafka_headers_t *headers = result_headers(outputs, command);
    if (!send_reply(producer, outputs, command, key, value, headers, err)) {
        rd_kafka_headers_destroy(headers);
        return false;
    }
    return producer_send(producer, outputs->results, RD_KAFKA_PARTITION_UA, key, value, headers,
                         err);
}

/* ---- dead letters ---- */

static const struct dead_letter_topic *dead_letter_topic(const struct outputs *outputs,
                                                         struct slice commands) {
    for (size_t i = 0; i < outputs->dead_letter_count; i++) {
        if (slice_is(commands, outputs->dead_letters[i].commands))
            return &outputs->dead_letters[i];
    }
    return NULL;
}

/* Behind the headers as received, unless these alone are too large for the topic. */
static rd_kafka_headers_t *dead_letter_headers(const struct command *command, struct slice message,
                                               int64_t max_bytes) {
    const struct record *record = &command->record;
    bool keep = record->headers && (int64_t)headers_size(record->headers) < max_bytes / 2;
    const struct source *source = &record->source;
    const char *urn = reason_info(command->dead_reason)->urn;
    rd_kafka_headers_t *headers =
        keep ? rd_kafka_headers_copy(record->headers) : rd_kafka_headers_new(12);
    add(headers, "kafka_dlt-original-topic", source->topic);
    add_int32(headers, "kafka_dlt-original-partition", source->partition);
    add_int64(headers, "kafka_dlt-original-offset", source->offset);
    add_int64(headers, "kafka_dlt-original-timestamp", source->timestamp_ms);
    add_text(headers, "kafka_dlt-exception-fqcn", urn);
    add(headers, "kafka_dlt-exception-message", message);
    add(headers, "__connect.errors.topic", source->topic);
    add_integer_text(headers, "__connect.errors.partition", source->partition);
    add_integer_text(headers, "__connect.errors.offset", source->offset);
    add_text(headers, "__connect.errors.stage", command->dead_stage);
    add_text(headers, "__connect.errors.exception.class.name", urn);
    add(headers, "__connect.errors.exception.message", message);
    return headers;
}

static bool send_dead_letter(struct producer *producer, const struct outputs *outputs,
                             const struct command *command, struct error *err) {
    const struct record *record = &command->record;
    const struct dead_letter_topic *topic = dead_letter_topic(outputs, record->source.topic);
    if (!topic)
        return error_set(err, FAULT_BUG, "dead-letter-topic", "no dead letter topic for " SLICE_FMT,
                         SLICE_ARG(record->source.topic));
    struct slice message = command->dead_message.data
                               ? command->dead_message
                               : slice_of(reason_info(command->dead_reason)->message);
    rd_kafka_headers_t *headers = dead_letter_headers(command, message, topic->max_message_bytes);
    size_t size = record->key.size + record->value.size + headers_size(headers) + RECORD_OVERHEAD;
    bool fits = (int64_t)size <= topic->max_message_bytes;
    return producer_send(producer, topic->name, RD_KAFKA_PARTITION_UA, record->key,
                         fits ? record->value : SLICE_NONE, headers, err);
}

/* ---- the transaction ---- */

static bool send_all(struct producer *producer, const struct outputs *outputs,
                     const struct batch *batch, struct error *err) {
    for (size_t i = 0; i < batch->part_count; i++) {
        struct command *command = &batch->commands[batch->part_first + i];
        bool ok = true;
        switch (command->handling) {
        case HANDLE_COMMAND:
            ok = (command->replayed && planted_bug(BUG_REPLAY_SILENT)) ||
                 send_result(producer, outputs, batch->arena, command, err);
            break;
        case HANDLE_DEAD_LETTER:
            ok = planted_bug(BUG_DEAD_LETTER_DROPPED) ||
                 send_dead_letter(producer, outputs, command, err);
            break;
        case HANDLE_TOMBSTONE:
            break;
        }
        if (!ok)
            return false;
        if (i == batch->part_count / 2)
            FAILPOINT("reply-half-sent");
    }
    return true;
}

static rd_kafka_topic_partition_list_t *offsets_of(const struct position *positions, size_t count) {
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++) {
        if (positions[i].batch_end >= 0)
            rd_kafka_topic_partition_list_add(offsets, positions[i].topic.data,
                                              positions[i].partition)
                ->offset = positions[i].batch_end + (planted_bug(BUG_OFFSET_PLUS_ONE) ? 1 : 0) -
                           (planted_bug(BUG_OFFSET_MINUS_ONE) ? 1 : 0);
    }
    return offsets;
}

bool reply_batch(struct producer *producer, const struct outputs *outputs,
                 const struct batch *batch, const struct position *positions, size_t position_count,
                 struct error *err) {
    for (size_t i = 0; i < outputs->reply_topic_count; i++)
        outputs->reply_topics[i].used = false;
    if (!producer_begin(producer, err))
        return false;
    FAILPOINT("reply-begun");
    if (!send_all(producer, outputs, batch, err))
        return false;
    FAILPOINT("reply-sent");
    rd_kafka_topic_partition_list_t *offsets = offsets_of(positions, position_count);
    bool committed = producer_commit(producer, offsets, batch->group, err);
    rd_kafka_topic_partition_list_destroy(offsets);
    if (committed)
        FAILPOINT("reply-committed");
    return committed;
}
