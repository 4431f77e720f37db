/* Text of schemas that strangers wrote: canonical form, plan and JSON decoder. The text ends at the
 * first byte FF, which no UTF-8 has; what follows is a body by it. */
#include "common/avro_json.h"
#include "common/avro_schema.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/hostile_avro.h"

#include <avro.h>
#include <sanitizer/lsan_interface.h>

static const struct reader_record *const readers[] = {&hostile_reader};

/* The form of a form is itself, and it is what the fingerprint is made of. */
static void check_form(struct slice text) {
    struct error err;
    struct buffer form = {0}, again = {0};
    uint64_t fingerprint;
    if (avro_canonical_form(text, &form, &err)) {
        REQUIRE(avro_canonical_form(buffer_slice(&form), &again, &err));
        REQUIRE(slice_equal(buffer_slice(&form), buffer_slice(&again)));
        REQUIRE(avro_fingerprint(text, &fingerprint, &err));
        REQUIRE(fingerprint == avro_crc64(buffer_slice(&form)));
    } else {
        REQUIRE(err.fault == FAULT_CONFIG);
    }
    buffer_free(&form);
    buffer_free(&again);
}

/* NULL when the schema is refused. */
static struct avro_plan *compile(struct slice text) {
    struct error err;
    struct avro_plan *plan = avro_plan_compile(text, readers, 1, &err);
    REQUIRE(plan || err.fault == FAULT_CONFIG);
    return plan;
}

/* Limits of depth and of items in all are the JSON decoder's own. */
static void check_body(const struct avro_plan *plan, const struct avro_json_decoder *decoder,
                       struct slice body) {
    struct error err;
    struct avro_decoded decoded;
    json_t *json;
    struct arena *arena = arena_new(1 << 20);
    REQUIRE(arena);
    bool taken = avro_plan_run(plan, body, arena, &decoded, &err);
    REQUIRE(taken || err.fault == FAULT_INPUT);
    arena_free(arena);
    bool shown = avro_json_decode(decoder, body, &json, NULL, &err);
    REQUIRE(shown || err.fault == FAULT_INPUT);
    if (shown)
        json_decref(json);
    REQUIRE(!taken || shown || strcmp(err.id, "too-long") == 0 || strstr(err.message, "UTF-8"));
}

static void check_schema(struct slice text, struct slice body) {
    struct error err;
    struct avro_plan *plan = compile(text);
    struct avro_json_decoder *decoder = avro_json_decoder_new(text, &err);
    REQUIRE(decoder || err.fault == FAULT_CONFIG);
    REQUIRE(decoder || !plan);
    if (plan)
        check_body(plan, decoder, body);
    avro_plan_free(plan);
    avro_json_decoder_free(decoder);
}

/* avro-c 1.11 loses what it had made of a schema that it refuses: some bytes, once, at the start of
 * a program that then leaves. */
static bool avro_c_refuses(struct slice text) {
    struct error err;
    struct buffer form = {0};
    avro_schema_t schema = NULL;
    bool refused = avro_canonical_form(text, &form, &err) &&
                   avro_schema_from_json_length(form.data, form.size, &schema);
    if (schema && !refused)
        avro_schema_decref(schema);
    buffer_free(&form);
    return refused;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0xff, size) : NULL;
    struct slice rest = {.data = (const char *)data, .size = size};
    struct slice text = fuzz_take(&rest, end ? (size_t)(end - data) : size);
    fuzz_take(&rest, 1);
    check_form(text);
    __lsan_disable();
    bool refused = avro_c_refuses(text);
    if (refused)
        check_schema(text, rest);
    __lsan_enable();
    if (!refused)
        check_schema(text, rest);
    return 0;
}
