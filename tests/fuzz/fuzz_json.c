/* What people and scripts write, and what the tool shows of records: the first byte chooses between
 * a command as JSON, a line of an inventory, a message in single-object encoding, and a body by a
 * hostile schema. */
#include "common/avro_json.h"
#include "common/avro_schema.h"
#include "common/embedded.h"
#include "common/framing.h"
#include "ctl/inventory_line.h"
#include "ctl/json_command.h"
#include "ctl/message.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/hostile_avro.h"

static struct json_commands *commands;
static struct messages *messages;
static struct arena *arena;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    struct error err;
    (void)argc;
    (void)argv;
    commands = json_commands_new(&err);
    messages = messages_new("", &err);
    arena = arena_new(1 << 20);
    REQUIRE(commands && messages && arena);
    return 0;
}

/* ---- a command ---- */

static struct slice record_of(const struct json_command *command) {
    return buffer_slice(&command->record);
}

/* What was sent is shown; records of settings have more members than were sent. */
static void check_shown(const json_t *sent, const json_t *shown) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)sent, key, value) {
        const json_t *other = json_object_get(shown, key);
        if (json_is_object(value) && json_is_object(other))
            check_shown(value, other);
        else
            REQUIRE(json_equal(value, other) || json_is_object(value));
    }
}

/* Its record shows as JSON, which makes the same record. */
static void check_round(struct slice line, const struct json_command *command) {
    struct error err;
    json_t *json;
    const char *type;
    struct json_command again = {0};
    REQUIRE(message_decode(messages, record_of(command), &json, &type, &err));
    REQUIRE(strcmp(type, command->type) == 0);
    REQUIRE(json_object_set_new(json, "type", json_string(type)) == 0);
    json_t *sent = json_loadb(line.data, line.size, 0, NULL);
    char *text = json_dumps(json, JSON_COMPACT);
    REQUIRE(sent && text);
    check_shown(sent, json);
    json_decref(sent);
    REQUIRE(json_command_encode(commands, slice_of(text), false, &again, &err));
    REQUIRE(slice_equal(record_of(command), record_of(&again)));
    json_command_free(&again);
    free(text);
    json_decref(json);
}

static void try_command(struct slice line) {
    struct error err;
    struct json_command command = {0};
    if (json_command_encode(commands, line, false, &command, &err))
        check_round(line, &command);
    else
        REQUIRE(err.fault == FAULT_INPUT);
    json_command_free(&command);
}

/* ---- a line of an inventory ---- */

static size_t count(struct slice text, char wanted) {
    size_t found = 0;
    for (size_t i = 0; i < text.size; i++)
        found += text.data[i] == wanted;
    return found;
}

/* One row in one of the tables, whose fields and lines cannot be torn. */
static void try_inventory(struct slice line) {
    static const size_t columns[INVENTORY_TYPE_COUNT] = {
        [INVENTORY_PROXY] = 3,   [INVENTORY_TEMPLATE] = 3, [INVENTORY_CALL_BARRING] = 3,
        [INVENTORY_ACCOUNT] = 7, [INVENTORY_CHANNEL] = 4,  [INVENTORY_NUMBER] = 7};
    struct error err;
    struct inventory_block block = {0};
    bool taken = inventory_line_add(&block, line, 7, &err);
    size_t rows = 0;
    for (size_t i = 0; taken && i < INVENTORY_TYPE_COUNT; i++) {
        struct slice text = buffer_slice(&block.rows[i]);
        rows += block.counts[i];
        REQUIRE(count(text, '\n') == block.counts[i]);
        REQUIRE(block.counts[i] == 0 || count(text, '\t') == columns[i] - 1);
        REQUIRE(count(text, '\0') == 0);
    }
    REQUIRE(taken ? rows == 1 : err.fault == FAULT_INPUT);
    inventory_block_free(&block);
}

/* ---- records ---- */

static void try_message(struct slice message) {
    struct error err;
    json_t *json;
    const char *type;
    if (message_decode(messages, message, &json, &type, &err))
        json_decref(json);
    else
        REQUIRE(err.fault == FAULT_INPUT);
}

/* What the worker's decoder takes, the tool can show, but for its own limits. */
static void try_hostile(struct slice rest) {
    static const struct reader_record *const readers[] = {&hostile_reader};
    static struct avro_plan *plans[64];
    static struct avro_json_decoder *decoders[64];
    static size_t schemas;
    struct error err;
    struct avro_decoded decoded;
    json_t *json;
    for (; hostile_schemas[schemas]; schemas++) {
        struct slice text = slice_of(hostile_schemas[schemas]);
        plans[schemas] = avro_plan_compile(text, readers, 1, &err);
        decoders[schemas] = avro_json_decoder_new(text, &err);
        REQUIRE(plans[schemas] && decoders[schemas]);
    }
    size_t which = fuzz_byte(&rest) % schemas;
    arena_reset(arena);
    bool taken = avro_plan_run(plans[which], rest, arena, &decoded, &err);
    bool unread = !taken && strcmp(err.id, "unknown-command") == 0;
    bool shown = avro_json_decode(decoders[which], rest, &json, NULL, &err);
    if (shown)
        json_decref(json);
    REQUIRE(taken == shown || unread || strcmp(err.id, "too-long") == 0 ||
            strstr(err.message, "UTF-8"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const tries[])(struct slice rest) = {try_command, try_inventory, try_message,
                                                       try_hostile};
    struct slice rest = {.data = (const char *)data, .size = size};
    if (size > 0)
        tries[fuzz_byte(&rest) % 4](rest);
    return 0;
}
