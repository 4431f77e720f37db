/* What goes into the MAC: record name, then (pointer, value) of each own field that was sent, the
 * expected version and dry_run. A field added to the schema later changes nothing for commands that
 * do not send it. */
#include "worker/command_mac.h"

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

bool command_mac(const struct command *command, struct digests *digests, struct slice key_id,
                 struct arena *arena, uint8_t ret[MAC_SIZE], struct error *err) {
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
    bool known =
        !bytes.failed &&
        digest_mac(digests, key_id, (struct slice){.data = bytes.data, .size = bytes.size}, ret);
    if (bytes.data)
        explicit_bzero(bytes.data, bytes.size);
    if (bytes.failed)
        return arena_exhausted(err);
    return known || error_set(err, FAULT_STATE, "mac-key-missing",
                              "a command is to be compared with one kept under key " SLICE_FMT
                              ": put that key back into secrets.key_file",
                              SLICE_ARG(key_id));
}
