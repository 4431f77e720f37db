/* Reads the lines of tests/support/avro_vectors.py and tells where a plan, or the JSON decoder,
 * comes to another result. What is read here and READ there are the same. */
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
static const struct reader_record *const records[] = {&sample};

struct vector {
    char *schema;
    char *body;
    size_t body_size;
    const json_t *fields;
    const json_t *json;
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

static bool check_plan(const struct vector *vector, struct arena *arena, size_t line) {
    struct error err;
    struct avro_decoded decoded;
    struct slice body = {.data = vector->body, .size = vector->body_size};
    struct avro_plan *plan = avro_plan_compile(slice_of(vector->schema), records, 1, &err);
    if (!plan)
        return complain(line, "no plan", err.message);
    arena_reset(arena);
    bool ok = avro_plan_run(plan, body, arena, &decoded, &err);
    avro_plan_free(plan);
    if (!ok)
        return complain(line, "not decoded", err.message);
    for (size_t slot = 0; slot < SLOTS; slot++) {
        const json_t *expected = json_object_get(vector->fields, slot_names[slot]);
        if (expected && !same_value(expected, &decoded.values[slot]))
            ok = complain(line, "another value", slot_names[slot]);
    }
    return ok;
}

static bool check_json(const struct vector *vector, size_t line) {
    struct error err;
    json_t *json;
    struct slice body = {.data = vector->body, .size = vector->body_size};
    struct avro_json_decoder *decoder = avro_json_decoder_new(slice_of(vector->schema), &err);
    if (!decoder)
        return complain(line, "no JSON decoder", err.message);
    bool ok = avro_json_decode(decoder, body, &json, NULL, &err);
    avro_json_decoder_free(decoder);
    if (!ok)
        return complain(line, "not decoded to JSON", err.message);
    if (!json_equal(json, vector->json)) {
        char *text = json_dumps(json, JSON_COMPACT);
        ok = complain(line, "other JSON", text);
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

static bool check_line(const char *text, struct arena *arena, size_t line) {
    json_t *json = json_loads(text, 0, NULL);
    struct vector vector = {.fields = json_object_get(json, "fields"),
                            .json = json_object_get(json, "json")};
    vector.schema = json_dumps(json_object_get(json, "schema"), JSON_COMPACT);
    vector.body = from_hex(json_object_get(json, "body"), &vector.body_size);
    bool plan = check_plan(&vector, arena, line);
    bool plain = check_json(&vector, line);
    free(vector.schema);
    free(vector.body);
    json_decref(json);
    return plan && plain;
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    struct arena *arena = arena_new(1 << 20);
    if (!file || !arena)
        return 2;
    char *text = NULL;
    size_t capacity = 0, lines = 0, wrong = 0;
    while (getline(&text, &capacity, file) > 0) {
        lines++;
        wrong += !check_line(text, arena, lines);
    }
    printf("%zu records, %zu of them decoded to something else\n", lines, wrong);
    free(text);
    arena_free(arena);
    fclose(file);
    return lines == 0 || wrong != 0;
}
