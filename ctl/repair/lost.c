/* Each topic is read once. A record or result is put at its offset, so that what belongs together
 * meets without a search. */
#include "ctl/repair/lost.h"

#include "common/framing.h"
#include "common/kafka.h"
#include "common/reasons.h"
#include "common/stop.h"
#include "ctl/broker.h"
#include "ctl/topic_reader.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ARENA_BYTES = 1024 * 1024,
    POLL_MS = 200,
    SILENCE_MS = 30000,
    NAME_BYTES = 512,
};

static bool out_of_memory(struct error *err) {
    return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for what was lost");
}

/* ---- life ---- */

bool lost_add(struct lost *lost, struct slice topic, int32_t partition, int64_t next_offset,
              int64_t committed) {
    struct lost_part *bigger = realloc(lost->parts, (lost->part_count + 1) * sizeof *bigger);
    if (!bigger)
        return false;
    lost->parts = bigger;
    struct lost_part *part = &lost->parts[lost->part_count];
    *part = (struct lost_part){
        .topic = strndup(topic.data, topic.size),
        .partition = partition,
        .next_offset = next_offset,
        .committed = committed,
        .records = calloc((size_t)(committed - next_offset), sizeof *part->records)};
    lost->part_count++; /* lost_release gives back what there is of it */
    return part->topic && part->records;
}

void lost_release(struct lost *lost) {
    for (size_t i = 0; i < lost->part_count; i++) {
        struct lost_part *part = &lost->parts[i];
        for (int64_t k = 0; part->records && k < part->committed - part->next_offset; k++) {
            free(part->records[k].published);
            if (part->records[k].message)
                rd_kafka_message_destroy(part->records[k].message);
        }
        free(part->records);
        free(part->topic);
    }
    free(lost->parts);
    topic_reader_free(lost->reader);
    *lost = (struct lost){0};
}

const struct lost_part *lost_part(const struct lost *lost, const char *topic, int32_t partition) {
    for (size_t i = 0; i < lost->part_count; i++) {
        const struct lost_part *part = &lost->parts[i];
        if (part->partition == partition && strcmp(part->topic, topic) == 0)
            return part;
    }
    return NULL;
}

/* NULL for a place that is not lost. */
static struct lost_record *find(struct lost *lost, struct slice topic, int64_t partition,
                                int64_t offset) {
    for (size_t k = 0; k < lost->part_count; k++) {
        size_t i = (lost->last + k) % lost->part_count;
        struct lost_part *part = &lost->parts[i];
        if (part->partition != partition || !slice_is(topic, part->topic))
            continue;
        lost->last = i;
        bool inside = offset >= part->next_offset && offset < part->committed;
        return inside ? &part->records[offset - part->next_offset] : NULL;
    }
    return NULL;
}

/* ---- results ---- */

enum {
    SLOT_ACCOUNT_ID,
    SLOT_TYPE,
    SLOT_REASON,
    SLOT_SEQUENCE,
    SLOT_APPLIED_AT,
    SLOT_SOURCE_TOPIC,
    SLOT_SOURCE_PARTITION,
    SLOT_SOURCE_OFFSET,
    RESULT_SLOTS
};

static const struct reader_field result_fields[] = {
    {.name = "account_id", .kind = READER_STRING, .slot = SLOT_ACCOUNT_ID},
    {.name = "command_type", .kind = READER_STRING, .slot = SLOT_TYPE},
    {.name = "error_reason", .kind = READER_STRING, .slot = SLOT_REASON},
    {.name = "account_sequence", .kind = READER_LONG, .slot = SLOT_SEQUENCE},
    {.name = "applied_at", .kind = READER_LONG, .slot = SLOT_APPLIED_AT},
    {.name = "source_topic", .kind = READER_STRING, .slot = SLOT_SOURCE_TOPIC},
    {.name = "source_partition", .kind = READER_LONG, .slot = SLOT_SOURCE_PARTITION},
    {.name = "source_offset", .kind = READER_LONG, .slot = SLOT_SOURCE_OFFSET},
};

const struct reader_record lost_result_reader = {
    .full_name = "siptrunk.result.v1.CommandResult",
    .fields = result_fields,
    .field_count = sizeof result_fields / sizeof result_fields[0],
    .slot_count = RESULT_SLOTS,
};

/* One reading of topics. */
struct pass {
    struct lost *lost;
    const struct schema_set *schemas;
    struct arena *arena;
    struct progress *progress;
};

static struct slice text_of(const struct avro_decoded *decoded, int slot) {
    const struct value *value = &decoded->values[slot];
    return value->state == VALUE_SET ? value->text : SLICE_NONE;
}

static int64_t integer_of(const struct avro_decoded *decoded, int slot) {
    const struct value *value = &decoded->values[slot];
    return value->state == VALUE_SET ? value->integer : -1;
}

static struct published *keep(const struct avro_decoded *decoded, uint64_t schema,
                              struct slice body) {
    struct published *published = malloc(sizeof *published + body.size);
    struct slice type = text_of(decoded, SLOT_TYPE), account = text_of(decoded, SLOT_ACCOUNT_ID);
    if (!published)
        return NULL;
    *published = (struct published){
        .schema = schema,
        .account_sequence = integer_of(decoded, SLOT_SEQUENCE),
        .applied_at = integer_of(decoded, SLOT_APPLIED_AT),
        .is_list = type.size > 4 && memcmp(type.data, "List", 4) == 0,
        .is_bug = slice_is(text_of(decoded, SLOT_REASON), reason_info(REASON_BUG)->urn),
        .size = body.size,
    };
    memcpy(published->body, body.data, body.size);
    if (account.data)
        published->account_id = (struct slice){.data = published->body + (account.data - body.data),
                                               .size = account.size};
    return published;
}

static bool take_result(struct pass *pass, rd_kafka_message_t *message, struct error *err) {
    struct slice value = {.data = message->payload, .size = message->len}, body;
    struct avro_decoded decoded;
    struct error ignored;
    uint64_t schema;
    arena_reset(pass->arena);
    const struct avro_plan *plan = framing_parse(value, &schema, &body, &ignored)
                                       ? schema_set_find(pass->schemas, schema)
                                       : NULL;
    if (!plan || !avro_plan_run(plan, body, pass->arena, &decoded, &ignored))
        return true; /* not of ours, or of a schema that is not here: its command will be missed */
    struct lost_record *record =
        find(pass->lost, text_of(&decoded, SLOT_SOURCE_TOPIC),
             integer_of(&decoded, SLOT_SOURCE_PARTITION), integer_of(&decoded, SLOT_SOURCE_OFFSET));
    if (!record)
        return true;
    if (!record->published) {
        record->published = keep(&decoded, schema, body);
        pass->lost->results++;
        return record->published || out_of_memory(err);
    }
    const struct published *first = record->published;
    return (first->size == body.size && memcmp(first->body, body.data, body.size) == 0) ||
           error_set(err, FAULT_STATE, "contradiction",
                     "%s/%" PRId32 " offset %" PRId64
                     " is another result for a command than one before: siptrunkctl verify tells "
                     "more",
                     rd_kafka_topic_name(message->rkt), message->partition, message->offset);
}

/* ---- dead letters ---- */

/* Ours stand behind headers of these names that the record had already. */
static bool header_bytes(const rd_kafka_headers_t *headers, const char *name, void *ret,
                         size_t size) {
    const void *value = NULL;
    size_t found = 0;
    if (rd_kafka_header_get_last(headers, name, &value, &found) || !value || found != size)
        return false;
    memcpy(ret, value, size);
    return true;
}

static bool take_letter(struct pass *pass, rd_kafka_message_t *message, struct error *err) {
    (void)err;
    rd_kafka_headers_t *headers = NULL;
    const void *topic = NULL;
    size_t size = 0;
    uint32_t partition;
    uint64_t offset;
    if (rd_kafka_message_headers(message, &headers) ||
        rd_kafka_header_get_last(headers, "kafka_dlt-original-topic", &topic, &size) || !topic ||
        !header_bytes(headers, "kafka_dlt-original-partition", &partition, sizeof partition) ||
        !header_bytes(headers, "kafka_dlt-original-offset", &offset, sizeof offset))
        return true;
    struct lost_record *record = find(pass->lost, (struct slice){.data = topic, .size = size},
                                      (int32_t)be32toh(partition), (int64_t)be64toh(offset));
    if (record && !record->dead) {
        record->dead = true;
        pass->lost->letters++;
    }
    return true;
}

/* ---- commands ---- */

/* The record keeps the message. */
static bool take_command(struct pass *pass, rd_kafka_message_t *message, struct error *err) {
    (void)err;
    struct lost_record *record = find(pass->lost, slice_of(rd_kafka_topic_name(message->rkt)),
                                      message->partition, message->offset);
    if (record && !record->message) {
        record->message = message;
        pass->lost->records++;
    }
    return true;
}

static bool is_kept(struct lost *lost, const rd_kafka_message_t *message) {
    const struct lost_record *record = find(lost, slice_of(rd_kafka_topic_name(message->rkt)),
                                            message->partition, message->offset);
    return record && record->message == message;
}

/* ---- reading ---- */

typedef bool taker(struct pass *pass, rd_kafka_message_t *message, struct error *err);

static bool read_to_end(struct pass *pass, struct topic_reader *reader, taker *take,
                        struct error *err) {
    int64_t heard_ms = monotonic_ms();
    bool ok = topic_reader_start(reader, err);
    while (ok && !topic_reader_at_end(reader)) {
        rd_kafka_message_t *message;
        ok = topic_reader_next(reader, POLL_MS, &message, err);
        if (stop_requested())
            ok = error_set(err, FAULT_STOP, "stopped", "interrupted");
        if (ok && message) {
            ok = take(pass, message, err);
            progress_step(pass->progress, 1);
            heard_ms = monotonic_ms();
        } else if (ok && monotonic_ms() - heard_ms > SILENCE_MS) {
            ok = error_set(err, FAULT_RETRY, "silence", "the broker is silent");
        }
        if (message && !is_kept(pass->lost, message))
            rd_kafka_message_destroy(message);
    }
    return ok;
}

static bool add_results(struct pass *pass, struct topic_reader *reader, struct error *err) {
    return topic_reader_add_results(reader, pass->lost->config, false, err);
}

static bool add_letters(struct pass *pass, struct topic_reader *reader, struct error *err) {
    const struct config *config = pass->lost->config;
    static const enum config_key lanes[] = {CONFIG_TOPICS_COMMANDS, CONFIG_TOPICS_BULK};
    for (size_t lane = 0; lane < 2; lane++) {
        for (size_t i = 0; i < config_item_count(config, lanes[lane]); i++) {
            char topic[NAME_BYTES];
            snprintf(topic, sizeof topic, "%s%s", config_item(config, lanes[lane], i),
                     config_text(config, CONFIG_TOPICS_DEAD_LETTER_SUFFIX));
            if (!topic_reader_add_topic(reader, topic, false, err))
                return false;
        }
    }
    return true;
}

static bool add_commands(struct pass *pass, struct topic_reader *reader, struct error *err) {
    for (size_t i = 0; i < pass->lost->part_count; i++) {
        const struct lost_part *part = &pass->lost->parts[i];
        if (!topic_reader_add_partition(reader, part->topic, part->partition, part->next_offset,
                                        err)) {
            err->fault = FAULT_STATE;
            return error_prefix(err, "not all of the commands that were lost are in their topic");
        }
    }
    return true;
}

/* A reader cannot begin again, so that each pass has its own; the last one stays. */
static bool read_topics(struct pass *pass, const char *what,
                        bool (*add)(struct pass *, struct topic_reader *, struct error *),
                        taker *take, struct error *err) {
    struct lost *lost = pass->lost;
    topic_reader_free(lost->reader);
    lost->reader = topic_reader_new(lost->config, err);
    progress_begin(pass->progress, what, 0);
    bool ok =
        lost->reader && add(pass, lost->reader, err) && read_to_end(pass, lost->reader, take, err);
    progress_end(pass->progress);
    return ok;
}

bool lost_read(struct lost *lost, const struct schema_set *schemas, struct progress *progress,
               struct error *err) {
    struct pass pass = {
        .lost = lost, .schemas = schemas, .arena = arena_new(ARENA_BYTES), .progress = progress};
    bool ok = pass.arena ? read_topics(&pass, "results", add_results, take_result, err) &&
                               read_topics(&pass, "dead letters", add_letters, take_letter, err) &&
                               read_topics(&pass, "commands", add_commands, take_command, err)
                         : out_of_memory(err);
    arena_free(pass.arena);
    return ok;
}
