/* libFuzzer target of everything that reads Avro from strangers. The first byte says what is tried
 * with the others: the canonical form of a schema, or a body by one of the schemas below, as values
 * and as JSON. Build with clang and -DSIPTRUNK_FUZZ=ON
 * -DSIPTRUNK_SANITIZE=address,undefined,fuzzer-no-link; run with -max_len=4096. */
#include "common/avro_bytes.h"
#include "common/avro_json.h"
#include "common/avro_plan.h"
#include "common/avro_schema.h"
#include "common/embedded.h"
#include "common/framing.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FLAG, COUNT, TOTAL, NAME, MIXED, TAGS, TIMEOUT, SUB, PING, SLOTS, MAX_SCHEMAS = 16 };

static const struct reader_field sub_fields[] = {
    {.name = "ping", .kind = READER_INT, .slot = PING},
};
static const struct reader_record sub = {.fields = sub_fields, .field_count = 1};
static const struct reader_field fields[] = {
    {.name = "flag", .kind = READER_BOOL, .slot = FLAG},
    {.name = "count", .kind = READER_INT, .slot = COUNT},
    {.name = "total", .kind = READER_LONG, .slot = TOTAL},
    {.name = "name", .kind = READER_STRING, .slot = NAME},
    {.name = "mixed", .kind = READER_BOOL_OR_STRING, .slot = MIXED},
    {.name = "tags", .kind = READER_STRING_ARRAY, .slot = TAGS},
    {.name = "timeout", .kind = READER_NULLABLE_STRING, .slot = TIMEOUT},
    {.name = "sub", .kind = READER_RECORD, .slot = SUB, .record = &sub},
};
static const struct reader_field edit_fields[] = {
    {.name = "channel_name", .kind = READER_STRING, .slot = NAME},
    {.name = "call_barrings", .kind = READER_STRING_ARRAY, .slot = TAGS},
    {.name = "full_e164", .kind = READER_BOOL_OR_STRING, .slot = MIXED},
    {.name = "sip_trunk", .kind = READER_RECORD, .slot = SUB, .record = &sub},
};
static const struct reader_record readers[] = {
    {.full_name = "t.A", .fields = fields, .field_count = 8, .slot_count = SLOTS},
    {.full_name = "siptrunk.command.v1.EditChannel",
     .fields = edit_fields,
     .field_count = 4,
     .slot_count = SLOTS},
};
static const struct reader_record *const records[] = {&readers[0], &readers[1]};

/* All that a writer can send, taken and passed over. */
static const char everything[] =
    "[\"null\",{\"type\":\"record\",\"name\":\"t.A\",\"fields\":["
    "{\"name\":\"flag\",\"type\":[\"boolean\",\"int\"]},"
    "{\"name\":\"count\",\"type\":[\"null\",\"int\"]},{\"name\":\"total\",\"type\":\"int\"},"
    "{\"name\":\"name\",\"type\":\"bytes\"},{\"name\":\"mixed\",\"type\":[\"boolean\",\"string\"]},"
    "{\"name\":\"tags\",\"type\":{\"type\":\"array\",\"items\":[\"null\",\"string\",\"bytes\"]}},"
    "{\"name\":\"timeout\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"NullableString\","
    "\"fields\":[{\"name\":\"value\",\"type\":[\"null\",\"string\"]}]}]},"
    "{\"name\":\"x\",\"type\":{\"type\":\"map\",\"values\":{\"type\":\"array\",\"items\":["
    "\"double\",{\"type\":\"fixed\",\"name\":\"F\",\"size\":3},{\"type\":\"enum\",\"name\":\"E\","
    "\"symbols\":[\"P\",\"Q\"]},{\"type\":\"map\",\"values\":\"null\"}]}}},"
    "{\"name\":\"sub\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"S\",\"fields\":["
    "{\"name\":\"z\",\"type\":{\"type\":\"array\",\"items\":\"null\"}},"
    "{\"name\":\"ping\",\"type\":\"int\"}]}]}]}]";

static struct avro_plan *plans[MAX_SCHEMAS];
static struct avro_json_decoder *decoders[MAX_SCHEMAS];
static size_t schema_count;
static struct arena *arena;

static void add_schema(const char *schema) {
    struct error err;
    plans[schema_count] = avro_plan_compile(slice_of(schema), records, 2, &err);
    decoders[schema_count] = avro_json_decoder_new(slice_of(schema), &err);
    if (!plans[schema_count] || !decoders[schema_count])
        abort();
    schema_count++;
}

static void set_up(void) {
    add_schema(everything);
    for (const struct embedded_file *file = embedded_schemas; file->name; file++)
        add_schema(file->text);
    arena = arena_new(1 << 20);
}

/* What was decoded lies where it must. */
static void check_values(const struct avro_decoded *decoded, struct slice body) {
    for (size_t i = 0; i < decoded->record->slot_count; i++) {
        const struct value *value = &decoded->values[i];
        bool text = value->kind == VALUE_KIND_TEXT &&
                    (value->state == VALUE_SET || value->state == VALUE_TOO_LONG);
        if (text && (value->text.data < body.data ||
                     value->text.data + value->text.size > body.data + body.size))
            abort();
        if (value->kind == VALUE_KIND_LIST && value->list.count > AVRO_MAX_ITEMS)
            abort();
    }
    if (arena_used(arena) > 64 * 1024)
        abort();
}

static void try_body(size_t schema, struct slice body) {
    struct error err;
    struct avro_decoded decoded;
    arena_reset(arena);
    bool taken = avro_plan_run(plans[schema], body, arena, &decoded, &err);
    if (taken)
        check_values(&decoded, body);
    json_t *json;
    bool shown = avro_json_decode(decoders[schema], body, &json, NULL, &err);
    if (shown)
        json_decref(json);
    if (taken && !shown && strcmp(err.id, "schema") && strcmp(err.id, "too-long"))
        abort();
}

static void try_schema(struct slice text) {
    struct buffer form = {0};
    struct error err;
    if (avro_canonical_form(text, &form, &err)) {
        struct buffer again = {0};
        if (!avro_canonical_form(buffer_slice(&form), &again, &err))
            abort();
        buffer_free(&again);
    }
    buffer_free(&form);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!arena)
        set_up();
    if (size == 0)
        return 0;
    struct slice rest = {.data = (const char *)data + 1, .size = size - 1};
    size_t what = data[0] % (schema_count + 2);
    uint64_t fingerprint;
    struct slice body;
    if (what < schema_count)
        try_body(what, rest);
    else if (what == schema_count)
        try_schema(rest);
    else if (framing_parse(rest, &fingerprint, &body, NULL) &&
             body.size + FRAMING_SIZE != rest.size)
        abort();
    return 0;
}
