/* Headers of a command's record, as the reply stage reads them: correlation, trace context, where
 * the answer is asked to, what a dead letter keeps. The producer is replaced by one that judges
 * what would be sent. An input is a list of headers: a name (one of those that mean something, or
 * any bytes), the size of the value, the value. */
#include "tests/fuzz/fuzz.h"
#include "worker/reply.h"

enum { MAX_BYTES = 4096, REPLY_PARTITIONS = 3, MAX_CORRELATION = 16 * 1024 };

static const char results[] = "results", commands[] = "commands", letters[] = "commands-dlt",
                  replies[] = "replies", small_replies[] = "small-replies";
static const char *const names[] = {"kafka_correlationId",  "REPLY_CORRELATION_ID", "traceparent",
                                    "tracestate",           "kafka_replyTopic",     "REPLY_TOPIC",
                                    "kafka_replyPartition", "REPLY_PARTITION"};
enum { NAMES = sizeof names / sizeof names[0] };

/* What was asked, and how many records were sent where. */
static const rd_kafka_headers_t *asked;
static size_t sent_results, sent_letters, sent_replies;

/* ---- the judge ---- */

static struct slice asked_header(const char *name) {
    return kafka_header(asked, name);
}

static void check_trace(struct slice trace) {
    struct slice parent = asked_header("traceparent");
    if (!trace.data)
        return;
    REQUIRE(trace.size == 55 && parent.size == 55);
    REQUIRE(memcmp(trace.data, parent.data, 36) == 0);
    REQUIRE(memcmp(trace.data + 36, "0102030405060708-", 17) == 0);
    REQUIRE(memcmp(trace.data + 53, parent.data + 53, 2) == 0);
    for (size_t i = 0; i < trace.size; i++)
        REQUIRE(memchr("0123456789abcdef-", trace.data[i], 17));
}

static void check_result(const rd_kafka_headers_t *headers) {
    for (size_t i = 0; i < 2; i++) {
        struct slice back = kafka_header(headers, names[i]), given = asked_header(names[i]);
        REQUIRE(given.size > MAX_CORRELATION ? !back.data : slice_equal(back, given));
    }
    check_trace(kafka_header(headers, "traceparent"));
    REQUIRE(slice_is(kafka_header(headers, "ce_specversion"), "1.0"));
}

static void check_reply(const char *topic, int32_t partition) {
    struct slice spring = asked_header("kafka_replyTopic");
    REQUIRE(slice_is(spring.data ? spring : asked_header("REPLY_TOPIC"), topic));
    REQUIRE(strcmp(topic, replies) == 0);
    REQUIRE(partition >= RD_KAFKA_PARTITION_UA && partition < REPLY_PARTITIONS);
}

static void check_letter(const rd_kafka_headers_t *headers, struct slice value) {
    int32_t partition;
    struct slice original = kafka_header(headers, "kafka_dlt-original-partition");
    REQUIRE(original.size == sizeof partition);
    REQUIRE(!value.data || slice_is(value, "value"));
}

bool producer_send(struct producer *producer, const char *topic, int32_t partition,
                   struct slice key, struct slice value, rd_kafka_headers_t *headers,
                   struct error *err) {
    (void)producer;
    (void)key;
    (void)err;
    if (strcmp(topic, results) == 0) {
        sent_results++;
        check_result(headers);
    } else if (strcmp(topic, letters) == 0) {
        sent_letters++;
        check_letter(headers, value);
    } else {
        sent_replies++;
        check_reply(topic, partition);
    }
    rd_kafka_headers_destroy(headers);
    return true;
}

bool producer_begin(struct producer *producer, struct error *err) {
    (void)producer;
    (void)err;
    sent_results = sent_letters = sent_replies = 0;
    return true;
}

bool producer_commit(struct producer *producer, const rd_kafka_topic_partition_list_t *offsets,
                     const rd_kafka_consumer_group_metadata_t *group, struct error *err) {
    (void)producer;
    (void)offsets;
    (void)group;
    (void)err;
    return true;
}

/* ---- the record ---- */

static rd_kafka_headers_t *read_headers(struct slice rest) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    while (rest.size > 0) {
        unsigned kind = fuzz_byte(&rest);
        struct slice name =
            kind % 16 < NAMES ? slice_of(names[kind % 16]) : fuzz_take(&rest, kind / 16);
        size_t size = fuzz_byte(&rest);
        bool null = size == 0xff;
        struct slice value = fuzz_take(&rest, null ? 0 : size);
        rd_kafka_header_add(headers, name.data, (ssize_t)name.size, null ? NULL : value.data,
                            (ssize_t)value.size);
    }
    return headers;
}

static struct record record_with(const rd_kafka_headers_t *headers) {
    return (struct record){.source = {.topic = slice_of(commands)},
                           .key = SLICE_LITERAL("key"),
                           .value = SLICE_LITERAL("value"),
                           .headers = headers};
}

static void reply_to(const rd_kafka_headers_t *headers, struct arena *arena) {
    struct error err;
    struct ledger_entry answer = {.event_id = {{1, 2, 3, 4, 5, 6, 7, 8}},
                                  .body = SLICE_LITERAL("body"),
                                  .command_type = SLICE_LITERAL("ConnectNumber")};
    struct command both[] = {
        {.record = record_with(headers), .answer = &answer},
        {.record = record_with(headers),
         .handling = HANDLE_DEAD_LETTER,
         .dead_reason = REASON_SCHEMA,
         .dead_stage = "decode"},
    };
    struct batch batch = {.arena = arena, .commands = both, .count = 2, .part_count = 2};
    struct dead_letter_topic letter = {
        .commands = commands, .name = letters, .max_message_bytes = MAX_BYTES};
    struct reply_topic topics[] = {
        {.name = replies, .partitions = REPLY_PARTITIONS, .max_message_bytes = 1 << 20},
        {.name = small_replies, .partitions = 1, .max_message_bytes = 64},
        {.name = "missing"},
        {.name = results, .partitions = 1, .max_message_bytes = 1 << 20},
    };
    struct outputs outputs = {.results = results,
                              .dead_letters = &letter,
                              .dead_letter_count = 1,
                              .reply_topics = topics,
                              .reply_topic_count = sizeof topics / sizeof topics[0],
                              .source = SLICE_LITERAL("urn:siptrunk:x")};
    REQUIRE(reply_batch(NULL, &outputs, &batch, NULL, 0, &err));
    REQUIRE(sent_results == 1 && sent_letters == 1 && sent_replies <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct arena *arena;
    if (!arena)
        arena = arena_new(1 << 20);
    REQUIRE(arena);
    arena_reset(arena);
    rd_kafka_headers_t *headers =
        read_headers((struct slice){.data = (const char *)data, .size = size});
    asked = headers;
    reply_to(headers, arena);
    rd_kafka_headers_destroy(headers);
    return 0;
}
