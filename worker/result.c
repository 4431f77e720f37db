/* Encodes results with avro-c: one generic value, made once and filled again for each result. */
#include "worker/result.h"

#include "common/avro_schema.h"
#include "common/text.h"

#include <avro.h>
#include <errno.h>
#include <stdlib.h>

/* The fields of the record, in its order. */
enum field {
    F_EVENT_ID,
    F_COMMAND_ID,
    F_ACCOUNT_ID,
    F_COMMAND_TYPE,
    F_CORRELATION_ID,
    F_BATCH_ID,
    F_SOURCE_SYSTEM,
    F_ACTOR,
    F_OUTCOME,
    F_STATUS_CODE,
    F_ERROR_IDENTIFIER,
    F_ERROR_MESSAGE,
    F_ERROR_REASON,
    F_ERRORS,
    F_WARNINGS,
    F_CHANNEL_NAME,
    F_PREVIOUS_CHANNEL_NAME,
    F_NUMBER,
    F_NUMBER_AS_RECEIVED,
    F_NUMBER_TYPE,
    F_CHANGES,
    F_CHANNEL_VERSION,
    F_ITEMS,
    F_OFFSET,
    F_LIMIT,
    F_TOTAL,
    F_ACCOUNT_SEQUENCE,
    F_RECEIVED_AT,
    F_APPLIED_AT,
    F_SOURCE_TOPIC,
    F_SOURCE_PARTITION,
    F_SOURCE_OFFSET,
    F_CHAIN,
    FIELD_COUNT
};

static const char *const field_names[FIELD_COUNT] = {
    "event_id",
    "command_id",
    "account_id",
    "command_type",
    "correlation_id",
    "batch_id",
    "source_system",
    "actor",
    "outcome",
    "status_code",
    "error_identifier",
    "error_message",
    "error_reason",
    "errors",
    "warnings",
    "channel_name",
    "previous_channel_name",
    "number",
    "number_as_received",
    "number_type",
    "changes",
    "channel_version",
    "items",
    "offset",
    "limit",
    "total",
    "account_sequence",
    "received_at",
    "applied_at",
    "source_topic",
    "source_partition",
    "source_offset",
    "chain",
};

enum { FIRST_BUFFER = 16 * 1024, MAX_BUFFER = 1024 * 1024, ECHO_BYTES = 128 };

struct result_encoder {
    avro_schema_t schema;
    avro_value_iface_t *class;
    avro_value_t record;
    avro_value_t fields[FIELD_COUNT];
    uint64_t fingerprint;
    struct digests *digests;
    char event_id[UUID_TEXT_SIZE + 1]; /* here, since avro-c would keep a pointer to it */
    char *buffer;
    size_t buffer_size;
    bool failed; /* a set call of avro-c failed: out of memory */
};

/* ---- life ---- */

static bool bind_fields(struct result_encoder *encoder, struct error *err) {
    size_t count = 0;
    avro_value_get_size(&encoder->record, &count);
    if (count != FIELD_COUNT)
        return error_set(err, FAULT_BUG, "result-schema", "CommandResult has %zu fields, not %d",
                         count, FIELD_COUNT);
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const char *name = NULL;
        avro_value_get_by_index(&encoder->record, i, &encoder->fields[i], &name);
        if (!name || strcmp(name, field_names[i]) != 0)
            return error_set(err, FAULT_BUG, "result-schema",
                             "field %zu of CommandResult is not %s", i, field_names[i]);
    }
    return true;
}

static bool new_record(struct result_encoder *encoder, struct error *err) {
    if (avro_generic_value_new(encoder->class, &encoder->record)) {
        encoder->record.iface = NULL;
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the result encoder");
    }
    return bind_fields(encoder, err);
}

static bool encoder_init(struct result_encoder *encoder, struct slice schema_json,
                         struct error *err) {
    if (!avro_fingerprint(schema_json, &encoder->fingerprint, err))
        return false;
    if (avro_schema_from_json_length(schema_json.data, schema_json.size, &encoder->schema))
        return error_set(err, FAULT_BUG, "result-schema", "CommandResult.avsc does not parse");
    encoder->class = avro_generic_class_from_schema(encoder->schema);
    encoder->buffer = malloc(FIRST_BUFFER);
    encoder->buffer_size = FIRST_BUFFER;
    if (!encoder->class || !encoder->buffer)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the result encoder");
    return new_record(encoder, err);
}

struct result_encoder *result_encoder_new(struct slice schema_json, struct digests *digests,
                                          struct error *err) {
    struct result_encoder *encoder = calloc(1, sizeof *encoder);
    if (!encoder) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the result encoder");
        return NULL;
    }
    encoder->digests = digests;
    if (encoder_init(encoder, schema_json, err))
        return encoder;
    result_encoder_free(encoder);
    return NULL;
}

void result_encoder_free(struct result_encoder *encoder) {
    if (!encoder)
        return;
    if (encoder->record.iface)
        avro_value_decref(&encoder->record);
    if (encoder->class)
        avro_value_iface_decref(encoder->class);
    if (encoder->schema)
        avro_schema_decref(encoder->schema);
    free(encoder->buffer);
    free(encoder);
}

uint64_t result_encoder_fingerprint(const struct result_encoder *encoder) {
    return encoder->fingerprint;
}

/* ---- setting fields; a failure is remembered and looked at once ---- */

static void note(struct result_encoder *encoder, int failed) {
    encoder->failed |= failed != 0;
}

/* avro-c keeps a pointer, no copy: where it copies, it does not look whether it got memory. Its
 * sizes of strings count a NUL that it never reads. */
static void set_text(struct result_encoder *encoder, avro_value_t *value, struct slice text) {
    avro_wrapped_buffer_t buffer;
    note(encoder, avro_wrapped_buffer_new(&buffer, text.data ? text.data : "", text.size + 1));
    note(encoder, avro_value_give_string_len(value, &buffer));
}

static void set_optional(struct result_encoder *encoder, avro_value_t *value, struct slice text) {
    avro_value_t branch;
    note(encoder, avro_value_set_branch(value, text.data ? 1 : 0, &branch));
    if (text.data)
        set_text(encoder, &branch, text);
}

static void text(struct result_encoder *encoder, enum field field, struct slice value) {
    set_text(encoder, &encoder->fields[field], value);
}

static void optional(struct result_encoder *encoder, enum field field, struct slice value) {
    set_optional(encoder, &encoder->fields[field], value);
}

static void integer(struct result_encoder *encoder, enum field field, int32_t value) {
    note(encoder, avro_value_set_int(&encoder->fields[field], value));
}

static void long_integer(struct result_encoder *encoder, enum field field, int64_t value) {
    note(encoder, avro_value_set_long(&encoder->fields[field], value));
}

/* A text of the next array element. */
static void member(struct result_encoder *encoder, avro_value_t *element, size_t index,
                   struct slice value) {
    avro_value_t field;
    note(encoder, avro_value_get_by_index(element, index, &field, NULL));
    set_text(encoder, &field, value);
}

static void optional_member(struct result_encoder *encoder, avro_value_t *element, size_t index,
                            struct slice value) {
    avro_value_t field;
    note(encoder, avro_value_get_by_index(element, index, &field, NULL));
    set_optional(encoder, &field, value);
}

static bool append(struct result_encoder *encoder, enum field field, avro_value_t *ret_element) {
    note(encoder, avro_value_append(&encoder->fields[field], ret_element, NULL));
    return !encoder->failed;
}

/* ---- echoes ---- */

struct slice echo_bytes(const struct value *value, size_t max_bytes) {
    bool shown = (value->state == VALUE_SET || value->state == VALUE_TOO_LONG) &&
                 value->kind == VALUE_KIND_TEXT && text_is_clean(value->text);
    return shown ? text_cut(value->text, max_bytes) : SLICE_NONE;
}

struct slice echo_characters(const struct value *value, size_t max_characters) {
    struct slice whole = echo_bytes(value, SIZE_MAX);
    struct slice cut = text_cut(whole, 4 * max_characters);
    while (text_length(cut) > max_characters)
        cut = text_cut(cut, cut.size - 1);
    return cut;
}

/* ---- the record ---- */

static void fill_envelope(struct result_encoder *encoder, const struct command *command) {
    static const struct {
        enum field field;
        int slot;
        size_t max_characters;
    } echoes[] = {
        {F_CORRELATION_ID, SLOT_CORRELATION_ID, 128},
        {F_BATCH_ID, SLOT_BATCH_ID, 64},
        {F_SOURCE_SYSTEM, SLOT_SOURCE_SYSTEM, 128},
        {F_ACTOR, SLOT_ACTOR, 128},
    };
    text(encoder, F_COMMAND_ID, echo_bytes(command_value(command, SLOT_COMMAND_ID), ECHO_BYTES));
    text(encoder, F_ACCOUNT_ID, echo_bytes(command_value(command, SLOT_ACCOUNT_ID), ECHO_BYTES));
    text(encoder, F_COMMAND_TYPE, slice_of(command->type->name));
    for (size_t i = 0; i < sizeof echoes / sizeof echoes[0]; i++)
        optional(encoder, echoes[i].field,
                 echo_characters(command_value(command, echoes[i].slot), echoes[i].max_characters));
    const struct source *source = &command->record.source;
    long_integer(encoder, F_RECEIVED_AT, source->timestamp_ms * 1000);
    text(encoder, F_SOURCE_TOPIC, source->topic);
    integer(encoder, F_SOURCE_PARTITION, source->partition);
    long_integer(encoder, F_SOURCE_OFFSET, source->offset);
}

static void fill_errors(struct result_encoder *encoder, const struct result *result) {
    const struct problem *first = result->problems.first;
    const struct reason_info *info = first ? reason_info(first->reason) : NULL;
    optional(encoder, F_ERROR_IDENTIFIER, info ? slice_of(info->identifier) : SLICE_NONE);
    optional(encoder, F_ERROR_MESSAGE, info ? slice_of(info->message) : SLICE_NONE);
    optional(encoder, F_ERROR_REASON, info ? slice_of(info->urn) : SLICE_NONE);
    for (const struct problem *problem = first; problem; problem = problem->next) {
        avro_value_t element;
        if (!append(encoder, F_ERRORS, &element))
            return;
        info = reason_info(problem->reason);
        member(encoder, &element, 0, slice_of(info->urn));
        member(encoder, &element, 1, slice_of(problem->pointer));
        member(encoder, &element, 2,
               problem->message.data ? problem->message : slice_of(info->message));
    }
}

static void fill_warnings(struct result_encoder *encoder, const struct result *result) {
    for (const struct warning *warning = result->warnings.first; warning; warning = warning->next) {
        avro_value_t element;
        if (!append(encoder, F_WARNINGS, &element))
            return;
        const struct warning_info *info = warning_info(warning->code);
        member(encoder, &element, 0, slice_of(info->name));
        member(encoder, &element, 1, slice_of(warning->pointer));
        member(encoder, &element, 2,
               warning->message.data ? warning->message : slice_of(info->message));
    }
}

static void fill_changes(struct result_encoder *encoder, const struct result *result) {
    for (const struct change *change = result->changes.first; change; change = change->next) {
        avro_value_t element;
        if (!append(encoder, F_CHANGES, &element))
            return;
        member(encoder, &element, 0, slice_of(change->pointer));
        optional_member(encoder, &element, 1, change->before);
        optional_member(encoder, &element, 2, change->after);
    }
}

static void fill_channel_version(struct result_encoder *encoder, const struct result *result) {
    avro_value_t branch;
    bool present = result->channel_version > 0;
    note(encoder, avro_value_set_branch(&encoder->fields[F_CHANNEL_VERSION], present, &branch));
    if (present)
        note(encoder, avro_value_set_long(&branch, result->channel_version));
}

static void optional_int(struct result_encoder *encoder, enum field field, bool present,
                         int32_t value) {
    avro_value_t branch;
    note(encoder, avro_value_set_branch(&encoder->fields[field], present, &branch));
    if (present)
        note(encoder, avro_value_set_int(&branch, value));
}

static void fill_items(struct result_encoder *encoder, const struct list_request *list) {
    avro_value_t items, element;
    note(encoder, avro_value_set_branch(&encoder->fields[F_ITEMS], list != NULL, &items));
    for (size_t i = 0; list && i < list->count; i++) {
        const struct list_item *item = &list->items[i];
        note(encoder, avro_value_append(&items, &element, NULL));
        if (encoder->failed)
            return;
        optional_member(encoder, &element, 0, item->caller_id);
        optional_member(encoder, &element, 1, item->id);
        optional_member(encoder, &element, 2, item->name);
        optional_member(encoder, &element, 3, item->code);
    }
}

static void fill_list(struct result_encoder *encoder, const struct list_request *list) {
    bool paged = list && list->kind == LIST_CALLER_IDS;
    fill_items(encoder, list);
    optional_int(encoder, F_OFFSET, paged, paged ? list->offset : 0);
    optional_int(encoder, F_LIMIT, paged, paged ? list->limit : 0);
    optional_int(encoder, F_TOTAL, paged, paged ? list->total : 0);
}

static void fill(struct result_encoder *encoder, const struct command *command,
                 const struct result *result) {
    encoder->failed = false;
    note(encoder, avro_value_reset(&encoder->record));
    uuid_format(&result->event_id, encoder->event_id);
    text(encoder, F_EVENT_ID, slice_of(encoder->event_id));
    fill_envelope(encoder, command);
    text(encoder, F_OUTCOME, slice_of(outcome_name(result->outcome)));
    integer(encoder, F_STATUS_CODE, result->status_code);
    fill_errors(encoder, result);
    fill_warnings(encoder, result);
    optional(encoder, F_CHANNEL_NAME, result->channel_name);
    optional(encoder, F_PREVIOUS_CHANNEL_NAME, result->previous_channel_name);
    optional(encoder, F_NUMBER, result->number);
    optional(encoder, F_NUMBER_AS_RECEIVED, result->number_as_received);
    optional(encoder, F_NUMBER_TYPE, result->number_type);
    fill_changes(encoder, result);
    fill_channel_version(encoder, result);
    fill_list(encoder, result->list);
    long_integer(encoder, F_ACCOUNT_SEQUENCE, result->account_sequence);
    long_integer(encoder, F_APPLIED_AT, result->applied_at);
    /* An empty chain is one zero byte at the end: the body before the chain is all but that byte.
     */
    avro_wrapped_buffer_t none;
    note(encoder, avro_wrapped_buffer_new(&none, "", 0));
    note(encoder, avro_value_give_bytes(&encoder->fields[F_CHAIN], &none));
}

/* Writes the record into the encoder's buffer, which grows up to MAX_BUFFER. */
static bool write_record(struct result_encoder *encoder, size_t *ret_size, struct error *err) {
    for (;;) {
        avro_writer_t writer = avro_writer_memory(encoder->buffer, (int64_t)encoder->buffer_size);
        int failed = writer ? avro_value_write(writer, &encoder->record) : ENOMEM;
        int64_t size = writer ? avro_writer_tell(writer) : 0;
        if (writer)
            avro_writer_free(writer);
        if (!failed) {
            *ret_size = (size_t)size;
            return true;
        }
        char *bigger = failed == ENOSPC && encoder->buffer_size < MAX_BUFFER
                           ? realloc(encoder->buffer, 2 * encoder->buffer_size)
                           : NULL;
        if (!bigger)
            return error_set(err, FAULT_RETRY, "out-of-memory", "a result could not be encoded: %s",
                             avro_strerror());
        encoder->buffer = bigger;
        encoder->buffer_size *= 2;
    }
}

enum { CHAIN_LENGTH_BYTE = 2 * SHA256_SIZE }; /* 32 as an Avro long */

bool result_encode(struct result_encoder *encoder, const struct command *command,
                   const struct result *result, const uint8_t previous_chain[SHA256_SIZE],
                   struct arena *arena, struct slice *ret_body, uint8_t ret_chain[SHA256_SIZE],
                   struct error *err) {
    size_t size = 0;
    if (!encoder->record.iface && !new_record(encoder, err))
        return false;
    fill(encoder, command, result);
    if (encoder->failed) {
        encoder->record.iface = NULL; /* half of an element: avro-c can neither reset nor free it */
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a result");
    }
    if (!write_record(encoder, &size, err))
        return false;
    bool chained = result->account_sequence > 0;
    char *body = arena_alloc(arena, size + (chained ? SHA256_SIZE : 0));
    if (!body)
        return arena_exhausted(err);
    memcpy(body, encoder->buffer, size);
    if (chained) {
        struct slice previous = {.data = (const char *)previous_chain, .size = SHA256_SIZE};
        digest_sha256(encoder->digests, previous, (struct slice){.data = body, .size = size - 1},
                      ret_chain);
        body[size - 1] = CHAIN_LENGTH_BYTE;
        memcpy(body + size, ret_chain, SHA256_SIZE);
        size += SHA256_SIZE;
    }
    *ret_body = (struct slice){.data = body, .size = size};
    return true;
}
