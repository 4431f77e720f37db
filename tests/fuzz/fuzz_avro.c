/* The bounded decoder over the shipped schemas and hostile ones. The first byte chooses the schema,
 * the others are the body. Makes nothing on the heap, since this is the target that runs most. */
#include "common/avro_bytes.h"
#include "common/embedded.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/hostile_avro.h"
#include "worker/reply.h"

enum { MAX_SCHEMAS = 64, MAX_READERS = 64, MAX_COST = 64 * 1024 };

static const struct reader_record *readers[MAX_READERS];
static size_t reader_count;
static struct avro_plan *plans[MAX_SCHEMAS];
static size_t plan_count;
static struct arena *arena;

static void add_plan(const char *schema) {
    struct error err;
    REQUIRE(plan_count < MAX_SCHEMAS);
    plans[plan_count] = avro_plan_compile(slice_of(schema), readers, reader_count, &err);
    REQUIRE(plans[plan_count]);
    plan_count++;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    REQUIRE(command_type_count + 2 < MAX_READERS);
    for (size_t i = 0; i < command_type_count; i++)
        readers[reader_count++] = command_readers()[i];
    readers[reader_count++] = &reply_result_reader;
    readers[reader_count++] = &hostile_reader;
    for (const struct embedded_file *file = embedded_schemas; file->name; file++)
        add_plan(file->text);
    for (size_t i = 0; hostile_schemas[i]; i++)
        add_plan(hostile_schemas[i]);
    arena = arena_new(1 << 20);
    REQUIRE(arena);
    return 0;
}

static bool lies_in(struct slice text, struct slice body) {
    return text.data >= body.data && text.data + text.size <= body.data + body.size;
}

static void check_value(const struct value *value, struct slice body) {
    if (value->state != VALUE_SET && value->state != VALUE_TOO_LONG)
        return;
    if (value->kind == VALUE_KIND_TEXT && value->text.data)
        REQUIRE(lies_in(value->text, body));
    if (value->kind != VALUE_KIND_LIST)
        return;
    REQUIRE(value->list.count <= AVRO_MAX_ITEMS);
    for (size_t i = 0; i < value->list.count; i++)
        REQUIRE(lies_in(value->list.items[i], body));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err;
    struct avro_decoded decoded;
    if (size == 0)
        return 0;
    struct slice body = {.data = (const char *)data + 1, .size = size - 1};
    arena_reset(arena);
    if (avro_plan_run(plans[data[0] % plan_count], body, arena, &decoded, &err)) {
        for (size_t i = 0; i < decoded.record->slot_count; i++)
            check_value(&decoded.values[i], body);
    } else {
        REQUIRE(err.fault == FAULT_INPUT);
    }
    REQUIRE(arena_used(arena) <= MAX_COST);
    return 0;
}
