/* Schemas, commands and dead letters. A command's own fields are passed over: what it asks for is
 * the worker's business, who asks and whether it can be read is ours. */
#include "common/embedded.h"
#include "common/framing.h"
#include "common/kafka.h"
#include "common/reasons.h"
#include "common/text.h"
#include "ctl/verify/record_internal.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ARENA_BYTES = 1024 * 1024,
    MAX_ECHO = 128,                /* bytes of an id that a result repeats */
    MAX_CORRELATION = 16 * 1024,   /* bytes of a header that it repeats */
    LARGE_RECORD = 1024 * 1024 / 2 /* with what is added to a dead letter, perhaps over 1 MiB */
};

/* ---- life ---- */

enum { SLOT_COMMAND_ID, SLOT_ACCOUNT_ID, COMMAND_SLOTS };

static const struct reader_field command_fields[] = {
    {.name = "command_id", .kind = READER_STRING, .slot = SLOT_COMMAND_ID},
    {.name = "account_id", .kind = READER_STRING, .slot = SLOT_ACCOUNT_ID},
};

bool records_no_memory(struct error *err) {
    return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the history");
}

/* Every schema that travels inside the program and is not the result's is a command's. */
static void list_types(struct records *records) {
    for (const struct embedded_file *file = embedded_schemas; file->name; file++) {
        int size = (int)strcspn(file->name, ".");
        bool is_result = strncmp(file->name, "CommandResult.", (size_t)size + 1) == 0;
        if (is_result || records->type_count == MAX_COMMAND_TYPES)
            continue;
        struct command_type *type = &records->types[records->type_count++];
        snprintf(type->name, sizeof type->name, "%.*s", size, file->name);
        snprintf(type->full_name, sizeof type->full_name, "siptrunk.command.v1.%.*s", size,
                 file->name);
        type->is_list = strncmp(type->name, "List", 4) == 0;
        type->record = (struct reader_record){
            .full_name = type->full_name,
            .fields = command_fields,
            .field_count = sizeof command_fields / sizeof command_fields[0],
            .slot_count = COMMAND_SLOTS,
        };
    }
}

static bool prepare(struct records *records, const char *schema_dir, struct error *err) {
    list_types(records);
    const struct reader_record *readers[MAX_COMMAND_TYPES + 1];
    for (size_t i = 0; i < records->type_count; i++)
        readers[i] = &records->types[i].record;
    readers[records->type_count] = &result_reader;
    records->digests = digests_new(err);
    if (!records->digests)
        return false;
    records->schemas = schema_set_new(readers, records->type_count + 1, schema_dir, err);
    if (!records->schemas)
        return false;
    records->arena = arena_new(ARENA_BYTES);
    return records->arena || records_no_memory(err);
}

struct records *records_new(const char *schema_dir, struct error *err) {
    struct records *records = calloc(1, sizeof *records);
    if (!records)
        records_no_memory(err);
    else if (prepare(records, schema_dir, err))
        return records;
    records_free(records);
    return NULL;
}

void records_free(struct records *records) {
    if (!records)
        return;
    records_forget_reading(records);
    arena_free(records->arena);
    schema_set_free(records->schemas);
    digests_free(records->digests);
    free(records);
}

const char *records_type_name(const struct records *records, uint8_t type) {
    return records->types[type].name;
}

/* ---- bytes ---- */

bool records_decode_body(struct records *records, uint64_t fingerprint, struct slice body,
                         struct avro_decoded *ret) {
    const struct avro_plan *plan = schema_set_find(records->schemas, fingerprint);
    struct error ignored;
    arena_reset(records->arena);
    return plan && avro_plan_run(plan, body, records->arena, ret, &ignored);
}

bool records_decode(struct records *records, struct slice message, struct avro_decoded *ret,
                    struct slice *ret_body) {
    uint64_t fingerprint;
    struct error ignored;
    return framing_parse(message, &fingerprint, ret_body, &ignored) &&
           records_decode_body(records, fingerprint, *ret_body, ret);
}

uint64_t records_digest(const struct records *records, struct slice a, struct slice b) {
    uint8_t whole[SHA256_SIZE];
    uint64_t digest;
    digest_sha256(records->digests, a, b, whole);
    memcpy(&digest, whole, sizeof digest);
    return digest;
}

struct slice records_text(const struct value *value) {
    bool is_text = (value->state == VALUE_SET || value->state == VALUE_TOO_LONG) &&
                   value->kind == VALUE_KIND_TEXT;
    return is_text ? value->text : SLICE_NONE;
}

/* FNV-1a; the size goes first, so that texts do not run into each other. */
static uint32_t hash(uint32_t so_far, struct slice text) {
    uint32_t size = (uint32_t)text.size;
    so_far = (so_far ^ size) * 16777619U;
    for (size_t i = 0; i < text.size; i++)
        so_far = (so_far ^ (unsigned char)text.data[i]) * 16777619U;
    return so_far;
}

static const uint32_t hash_start = 2166136261U;

static uint32_t not_zero(uint32_t value) {
    return value ? value : 1;
}

uint32_t records_token(const rd_kafka_headers_t *headers) {
    static const char *const names[] = {"kafka_correlationId", "REPLY_CORRELATION_ID"};
    uint32_t token = hash_start;
    bool any = false;
    for (size_t i = 0; headers && i < sizeof names / sizeof names[0]; i++) {
        struct slice value = kafka_header(headers, names[i]);
        bool echoed = value.data && value.size <= MAX_CORRELATION;
        token = hash(token, echoed ? value : SLICE_LITERAL("\1none"));
        any |= echoed;
    }
    return any ? not_zero(token) : 0;
}

uint32_t records_echo(const struct value *command_id, const struct value *account_id,
                      struct slice type) {
    struct slice first = records_text(command_id), second = records_text(account_id);
    if (first.size > MAX_ECHO || second.size > MAX_ECHO || !text_is_clean(first) ||
        !text_is_clean(second))
        return 0;
    return not_zero(hash(hash(hash(hash_start, first), second), type));
}

struct uuid records_event_id(const struct records *records, const struct uuid *account,
                             const struct uuid *command) {
    char name[UUID_TEXT_SIZE + 1];
    uuid_format(command, name);
    return uuid_v5(records->digests, account, slice_of(name));
}

static struct uuid derived_id(const struct records *records, const struct history *history,
                              const struct record_view *record) {
    const struct part *part = &history->parts[record->part];
    char name[512];
    int size =
        snprintf(name, sizeof name, "siptrunk:%s:%s:%" PRId32 ":%" PRId64 ":%" PRId64,
                 history->cluster_id, part->topic, part->id, record->offset, record->timestamp_ms);
    return uuid_v5(records->digests, &uuid_namespace_url,
                   (struct slice){.data = name, .size = (size_t)size});
}

static size_t record_size(const struct record_view *record) {
    const char *name;
    const void *value;
    size_t size, total = record->key.size + record->value.size;
    for (size_t i = 0;
         record->headers && !rd_kafka_header_get_all(record->headers, i, &name, &value, &size); i++)
        total += strlen(name) + size;
    return total;
}

/* ---- commands ---- */

static bool fill_command(struct records *records, struct history *history, struct command_row *row,
                         const struct avro_decoded *decoded) {
    const struct command_type *type = records->types;
    while (&type->record != decoded->record)
        type++;
    const struct value *command_id = &decoded->values[SLOT_COMMAND_ID];
    const struct value *account_id = &decoded->values[SLOT_ACCOUNT_ID];
    struct uuid account;
    bool known = uuid_parse(records_text(account_id), &account);
    row->type = (uint8_t)(type - records->types);
    row->kind = type->is_list ? COMMAND_LIST : COMMAND_OTHER;
    row->natural = uuid_parse(records_text(command_id), &row->command_id) && known;
    row->echo = records_echo(command_id, account_id, slice_of(type->name));
    row->account = known ? history_account(history, &account) : NO_ROW;
    return !known || row->account != NO_ROW;
}

bool records_command(struct records *records, struct history *history,
                     const struct record_view *record, struct error *err) {
    struct command_row *row = history_new_command(history);
    struct avro_decoded decoded;
    struct slice body;
    if (!row)
        return records_no_memory(err);
    *row = (struct command_row){
        .offset = record->offset,
        .digest = records_digest(records, record->key, record->value),
        .derived_id = derived_id(records, history, record),
        .account = NO_ROW,
        .token = records_token(record->headers),
        .stamp = (uint32_t)record->timestamp_ms,
        .event = NO_ROW,
        .next = NO_ROW,
        .part = record->part,
        .kind = record->value.data ? COMMAND_UNREADABLE : COMMAND_TOMBSTONE,
        .large = record_size(record) > LARGE_RECORD,
    };
    bool readable = record->value.data && records_decode(records, record->value, &decoded, &body) &&
                    decoded.record != &result_reader;
    return !readable || fill_command(records, history, row, &decoded) || records_no_memory(err);
}

/* ---- dead letters ---- */

/* A record may have brought headers of these names with it; ours stand behind them. */
static struct slice last_header(const rd_kafka_headers_t *headers, const char *name) {
    const void *value = NULL;
    size_t size = 0;
    if (!headers || rd_kafka_header_get_last(headers, name, &value, &size) || !value)
        return SLICE_NONE;
    return (struct slice){.data = value, .size = size};
}

static int64_t big_endian_32(struct slice bytes) {
    uint32_t raw;
    if (bytes.size != sizeof raw)
        return -1;
    memcpy(&raw, bytes.data, sizeof raw);
    return (int32_t)be32toh(raw);
}

static int64_t big_endian_64(struct slice bytes) {
    uint64_t raw;
    if (bytes.size != sizeof raw)
        return -1;
    memcpy(&raw, bytes.data, sizeof raw);
    return (int64_t)be64toh(raw);
}

bool records_letter(struct records *records, struct history *history,
                    const struct record_view *record, struct error *err) {
    struct letter_row *row = history_new_letter(history);
    const rd_kafka_headers_t *headers = record->headers;
    if (!row)
        return records_no_memory(err);
    *row = (struct letter_row){
        .offset = record->offset,
        .source_offset = big_endian_64(last_header(headers, "kafka_dlt-original-offset")),
        .digest = records_digest(records, record->key, record->value),
        .part = record->part,
        .source_part = history_part(
            history, last_header(headers, "kafka_dlt-original-topic"),
            big_endian_32(last_header(headers, "kafka_dlt-original-partition")), PART_COMMANDS),
        .without_value = !record->value.data,
        .internal = slice_is(last_header(headers, "kafka_dlt-exception-fqcn"),
                             reason_info(REASON_BUG)->urn),
    };
    return true;
}
