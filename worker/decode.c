/* Framing -> schema -> values -> checks -> MAC. */
#include "worker/decode.h"

#include "common/framing.h"
#include "worker/validate.h"

#include <inttypes.h>
#include <stdio.h>

static bool out_of_memory(struct error *err) {
    return error_set(err, FAULT_RETRY, "out-of-memory", "the batch's memory is exhausted");
}

static struct uuid derived_id(const struct decoder *decoder, const struct source *source) {
    char name[512];
    int size = snprintf(name, sizeof name,
                        "siptrunk:" SLICE_FMT ":" SLICE_FMT ":%" PRId32 ":%" PRId64 ":%" PRId64,
                        SLICE_ARG(decoder->cluster_id), SLICE_ARG(source->topic), source->partition,
                        source->offset, source->timestamp_ms);
    return uuid_v5(decoder->digests, &uuid_namespace_url,
                   (struct slice){.data = name, .size = (size_t)size});
}

static void make_dead_letter(struct command *command, struct arena *arena, enum reason reason,
                             const char *message) {
    command->handling = HANDLE_DEAD_LETTER;
    command->dead_reason = reason;
    command->dead_stage = "decode";
    command->dead_message = arena_copy(arena, slice_of(message));
}

/* ---- the MAC: record name, then (pointer, value) of each own field that was sent, the expected
 * version and dry_run. A field added to the schema later changes nothing for commands that do not
 * send it. ---- */

struct bytes {
    struct arena *arena;
    char *data;
    size_t size, capacity;
    bool failed;
};

static void put(struct bytes *bytes, const void *data, size_t size) {
    if (bytes->failed)
        return;
    if (bytes->capacity - bytes->size < size) {
        size_t capacity = 2 * (bytes->capacity + size);
        char *bigger = arena_alloc(bytes->arena, capacity);
        if (!bigger) {
            bytes->failed = true;
            return;
        }
        if (bytes->size) {
            memcpy(bigger, bytes->data, bytes->size);
            explicit_bzero(bytes->data, bytes->size); /* it may hold a password */
        }
        bytes->data = bigger;
        bytes->capacity = capacity;
    }
    if (size)
        memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

static void put_text(struct bytes *bytes, struct slice text) {
    uint32_t size = (uint32_t)text.size;
    put(bytes, &size, sizeof size);
    put(bytes, text.data, text.size);
}

static void put_value(struct bytes *bytes, const char *pointer, const struct value *value) {
    if (value->state == VALUE_ABSENT)
        return;
    put_text(bytes, slice_of(pointer));
    uint8_t tag[2] = {value->state, value->kind};
    put(bytes, tag, sizeof tag);
    if (value->state != VALUE_SET && value->state != VALUE_TOO_LONG)
        return;
    switch ((enum value_kind)value->kind) {
    case VALUE_KIND_BOOL:
        put(bytes, &value->boolean, sizeof value->boolean);
        break;
    case VALUE_KIND_INTEGER:
        put(bytes, &value->integer, sizeof value->integer);
        break;
    case VALUE_KIND_TEXT:
        put_text(bytes, value->text);
        break;
    case VALUE_KIND_LIST:
        put(bytes, &value->list.count, sizeof value->list.count);
        for (size_t i = 0; i < value->list.count; i++)
            put_text(bytes, value->list.items[i]);
        break;
    }
}

/* Null and "the writer's schema lacks it" are the same for the MAC, but for the texts with three
 * states. */
static bool counts_as_sent(const struct value *value, enum rule rule) {
    return value->state != VALUE_ABSENT && (value->state != VALUE_NULL || rule == RULE_RTP_TIMEOUT);
}

/* UUIDs count in lower case. */
static void put_field(struct bytes *bytes, const struct field_check *check,
                      const struct value *value) {
    char lower[UUID_TEXT_SIZE + 1];
    struct uuid uuid;
    struct value copy = *value;
    bool is_uuid = check->rule == RULE_UUID || check->rule == RULE_TENANT_ID;
    if (is_uuid && value->state == VALUE_SET && uuid_parse(value->text, &uuid)) {
        uuid_format(&uuid, lower);
        copy.text = (struct slice){.data = lower, .size = UUID_TEXT_SIZE};
    }
    put_value(bytes, check->pointer, &copy);
}

static bool compute_mac(const struct decoder *decoder, struct command *command,
                        struct arena *arena) {
    struct bytes bytes = {.arena = arena};
    const struct reader_record *record = command->type->record;
    put_text(&bytes, slice_of(record->full_name));
    for (size_t slot = SLOT_OWN; slot < record->slot_count; slot++) {
        const struct field_check *check = &command->type->checks[slot];
        if (counts_as_sent(&command->values[slot], check->rule))
            put_field(&bytes, check, &command->values[slot]);
    }
    const struct value *version = command_value(command, SLOT_EXPECTED_VERSION);
    if (version->state != VALUE_NULL)
        put_value(&bytes, "/expected_version", version);
    put(&bytes, command->dry_run ? "1" : "0", 1);
    if (bytes.failed)
        return false;
    digest_mac(decoder->digests, (struct slice){.data = bytes.data, .size = bytes.size},
               command->mac);
    explicit_bzero(bytes.data, bytes.size);
    return true;
}

/* ---- the stage ---- */

bool decode_record(const struct decoder *decoder, const struct record *record, struct arena *arena,
                   struct command *ret, struct error *err) {
    *ret = (struct command){.record = *record, .handling = HANDLE_COMMAND};
    ret->derived_id = derived_id(decoder, &record->source);
    if (!record->value.data) {
        ret->handling = HANDLE_TOMBSTONE;
        return true;
    }
    uint64_t fingerprint;
    struct slice body;
    struct error why = {0};
    if (!framing_parse(record->value, &fingerprint, &body, &why)) {
        make_dead_letter(ret, arena, REASON_SCHEMA, why.message);
        return true;
    }
    const struct avro_plan *plan = schema_set_find(decoder->schemas, fingerprint);
    if (!plan) {
        snprintf(why.message, sizeof why.message,
                 "no schema with fingerprint %016" PRIx64
                 " is known; put its .avsc into schema.dir",
                 fingerprint);
        make_dead_letter(ret, arena, REASON_SCHEMA, why.message);
        return true;
    }
    struct avro_decoded decoded;
    if (!avro_plan_run(plan, body, arena, &decoded, &why)) {
        if (why.fault != FAULT_INPUT)
            return out_of_memory(err);
        make_dead_letter(ret, arena, reason_by_name(why.id), why.message);
        return true;
    }
    ret->type = command_type_of(decoded.record);
    ret->values = decoded.values;
    if (!validate_command(ret, arena) || !compute_mac(decoder, ret, arena))
        return out_of_memory(err);
    return true;
}
