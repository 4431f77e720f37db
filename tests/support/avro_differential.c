/* Reads the lines of tests/support/avro_vectors.py, or of avro_mutations.py, and tells where a
 * plan, or the JSON decoder, comes to another result. What is read here and READ there are the
 * same. */
#include "common/avro_json.h"
#include "common/avro_plan.h"

#include <stdio.h>
#include <stdlib.h>

enum { FLAG, COUNT, TOTAL, NAME, MIXED, TAGS, TIMEOUT, SUB, PING, NOTE, SLOTS };

static const char *const slot_names[SLOTS] = {"flag", "count",   "total", "name", "mixed",
                                              "tags", "timeout", "sub",   "ping", "note"};

static const char *const name_aliases[] = {"label", "title", NULL};

static const struct reader_field sub_fields[] = {
    {.name = "ping", .kind = READER_INT, .slot = PING},
    {.name = "note", .kind = READER_STRING, .slot = NOTE},
};
static const struct reader_record sub = {.fields = sub_fields, .field_count = 2};

static const struct reader_field fields[] = {
    {.name = "flag", .kind = READER_BOOL, .slot = FLAG},
    {.name = "count", .kind = READER_INT, .slot = COUNT},
    {.name = "total", .kind = READER_LONG, .slot = TOTAL},
    {.name = "name", .aliases = name_aliases, .kind = READER_STRING, .slot = NAME},
    {.name = "mixed", .kind = READER_BOOL_OR_STRING, .slot = MIXED},
    {.name = "tags", .kind = READER_STRING_ARRAY, .slot = TAGS},
    {.name = "timeout", .kind = READER_NULLABLE_STRING, .slot = TIMEOUT},
    {.name = "sub", .kind = READER_RECORD, .slot = SUB, .record = &sub},
};
static const struct reader_record sample = {
    .full_name = "t.Sample", .fields = fields, .field_count = 8, .slot_count = SLOTS};
static const struct reader_record *const readers[] = {&sample};

/* A writer's schema, made ready, and what is the same for all its bodies. */
struct writer {
    size_t line;
    struct avro_plan *plan;
    struct avro_json_decoder *decoder;
    struct arena *arena;
};

static bool complain(size_t line, const char *what, const char *detail) {
    fprintf(stderr, "line %zu: %s: %s\n", line, what, detail);
    return false;
}

static bool same_text(const json_t *expected, struct slice text) {
    char hex[3] = "";
    const char *digits = json_string_value(expected);
    if (json_string_length(expected) != 2 * text.size)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        snprintf(hex, sizeof hex, "%02x", (unsigned char)text.data[i]);
        if (memcmp(hex, digits + 2 * i, 2))
            return false;
    }
    return true;
}

static bool same_list(const json_t *expected, const struct value *value) {
    if (value->kind != VALUE_KIND_LIST || value->list.count != json_array_size(expected) - 1)
        return false;
    for (size_t i = 0; i < value->list.count; i++) {
        if (!same_text(json_array_get(expected, i + 1), value->list.items[i]))
            return false;
    }
    return true;
}

static bool same_set(const char *kind, const json_t *expected, const struct value *value) {
    const json_t *content = json_array_get(expected, 1);
    if (!strcmp(kind, "boolean"))
        return value->kind == VALUE_KIND_BOOL && value->boolean == json_is_true(content);
    if (!strcmp(kind, "integer"))
        return value->kind == VALUE_KIND_INTEGER && value->integer == json_integer_value(content);
    if (!strcmp(kind, "text"))
        return value->kind == VALUE_KIND_TEXT && same_text(content, value->text);
    if (!strcmp(kind, "list"))
        return same_list(expected, value);
    return !strcmp(kind, "record");
}

static bool same_value(const json_t *expected, const struct value *value) {
    static const char *const states[] = {[VALUE_ABSENT] = "absent",
                                         [VALUE_NULL] = "null",
                                         [VALUE_SET] = "set",
                                         [VALUE_BAD_TYPE] = "bad",
                                         [VALUE_TOO_LONG] = "too long"};
    const char *kind = json_string_value(json_array_get(expected, 0));
    if (value->state == VALUE_SET)
        return same_set(kind, expected, value);
    return !strcmp(kind, states[value->state]);
}

/* fields is JSON's null when the body must be refused. */
static bool check_plan(const struct writer *writer, struct slice body, const json_t *expected) {
    struct error err;
    struct avro_decoded decoded;
    arena_reset(writer->arena);
    bool ok = avro_plan_run(writer->plan, body, writer->arena, &decoded, &err);
    if (json_is_null(expected))
        return !ok || complain(writer->line, "decoded", "it must be refused");
    if (!ok)
        return complain(writer->line, "not decoded", err.message);
    for (size_t slot = 0; slot < SLOTS; slot++) {
        const json_t *value = json_object_get(expected, slot_names[slot]);
        if (value && !same_value(value, &decoded.values[slot]))
            ok = complain(writer->line, "another value", slot_names[slot]);
    }
    return ok;
}

/* expected is NULL when the body must be refused. */
static bool check_json(const struct writer *writer, struct slice body, const json_t *expected) {
    struct error err;
    json_t *json;
    bool ok = avro_json_decode(writer->decoder, body, &json, NULL, &err);
    if (!ok)
        return !expected || complain(writer->line, "not decoded to JSON", err.message);
    if (!expected || !json_equal(json, expected)) {
        char *text = json_dumps(json, JSON_COMPACT);
        ok = complain(writer->line, "other JSON", text);
        free(text);
    }
    json_decref(json);
    return ok;
}

/* A copy of exactly its size, so that the address sanitizer sees a byte read past it. */
static char *from_hex(const json_t *hex, size_t *ret_size) {
    const char *digits = json_string_value(hex);
    *ret_size = json_string_length(hex) / 2;
    char *bytes = malloc(*ret_size + (*ret_size == 0));
    for (size_t i = 0; bytes && i < *ret_size; i++) {
        const char pair[3] = {digits[2 * i], digits[2 * i + 1], '\0'};
        bytes[i] = (char)strtoul(pair, NULL, 16);
    }
    return bytes;
}

static bool check_case(const struct writer *writer, const json_t *json) {
    struct slice body;
    char *bytes = from_hex(json_object_get(json, "body"), &body.size);
    body.data = bytes;
    bool plan = check_plan(writer, body, json_object_get(json, "fields"));
    bool plain = check_json(writer, body, json_object_get(json, "json"));
    if (!plan || !plain)
        complain(writer->line, "body", json_string_value(json_object_get(json, "body")));
    free(bytes);
    return plan && plain;
}

/* A line is a schema with one case, or with several under "cases". */
static void check_line(const char *text, struct writer *writer, size_t *records, size_t *wrong) {
    struct error err;
    json_t *json = json_loads(text, JSON_ALLOW_NUL, NULL), *one;
    json_t *cases = json_object_get(json, "cases");
    char *schema = json_dumps(json_object_get(json, "schema"), JSON_COMPACT);
    size_t count = cases ? json_array_size(cases) : 1;
    writer->plan = avro_plan_compile(slice_of(schema), readers, 1, &err);
    writer->decoder = writer->plan ? avro_json_decoder_new(slice_of(schema), &err) : NULL;
    if (!writer->decoder)
        *wrong += !complain(writer->line, "no plan, or no JSON decoder", err.message);
    for (size_t i = 0; writer->decoder && i < count; i++) {
        one = cases ? json_array_get(cases, i) : json;
        *wrong += !check_case(writer, one);
    }
    *records += count;
    avro_json_decoder_free(writer->decoder);
    avro_plan_free(writer->plan);
    free(schema);
    json_decref(json);
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    struct writer writer = {.arena = arena_new(1 << 20)};
    if (!file || !writer.arena)
        return 2;
    char *text = NULL;
    size_t capacity = 0, records = 0, wrong = 0;
    while (getline(&text, &capacity, file) > 0) {
        writer.line++;
        check_line(text, &writer, &records, &wrong);
    }
    printf("%zu records, %zu of them decoded to something else\n", records, wrong);
    free(text);
    arena_free(writer.arena);
    fclose(file);
    return records == 0 || wrong != 0;
}
