/* Avro's binary encoding by a schema that is walked as JSON. */
#include "tests/support/avro_write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

struct writer {
    struct buffer *body;
    json_t *named; /* records by name */
};

static void write_value(struct writer *writer, const json_t *type, const json_t *value);

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool is_type(const json_t *type, const char *name) {
    return json_is_object(type) ? !strcmp(text_of(type, "type"), name)
                                : json_is_string(type) && !strcmp(json_string_value(type), name);
}

static void write_long(struct writer *writer, int64_t value) {
    uint64_t zigzag = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    do {
        unsigned char byte = (unsigned char)(zigzag & 0x7F);
        zigzag >>= 7;
        byte |= zigzag ? 0x80 : 0;
        buffer_add(writer->body, &byte, 1);
    } while (zigzag);
}

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef";
    const char *place = c ? strchr(digits, c) : NULL;
    if (!place)
        fail_msg("not hexadecimal: %c", c);
    return (int)(place - digits);
}

static void write_text(struct writer *writer, const json_t *value) {
    if (json_is_string(value)) {
        write_long(writer, (int64_t)json_string_length(value));
        buffer_add(writer->body, json_string_value(value), json_string_length(value));
        return;
    }
    const char *hex = text_of(value, "hex");
    write_long(writer, (int64_t)strlen(hex) / 2);
    for (; *hex; hex += 2) {
        char byte = (char)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
        buffer_add(writer->body, &byte, 1);
    }
}

/* The record itself for a name that stands for it. */
static const json_t *resolve(struct writer *writer, const json_t *type) {
    const json_t *record =
        json_is_string(type) ? json_object_get(writer->named, json_string_value(type)) : NULL;
    if (is_type(type, "record"))
        json_object_set(writer->named, text_of(type, "name"), (json_t *)(uintptr_t)type);
    return record ? record : type;
}

static bool is_nullable_string(const json_t *type) {
    return is_type(type, "record") && !strcmp(text_of(type, "name"), "NullableString");
}

/* Of null and NullableString, in this order. */
static bool is_three_state(struct writer *writer, const json_t *type) {
    return json_array_size(type) == 2 &&
           is_nullable_string(resolve(writer, json_array_get(type, 1)));
}

/* NullableString with null inside: off, not "not sent". */
static void write_off(struct writer *writer, const json_t *type) {
    const json_t *record = resolve(writer, json_array_get(type, 1));
    write_long(writer, 1);
    write_value(writer,
                json_object_get(json_array_get(json_object_get(record, "fields"), 0), "type"),
                json_null());
}

static void write_record(struct writer *writer, const json_t *type, const json_t *value) {
    size_t i;
    json_t *field;
    json_array_foreach(json_object_get(type, "fields"), i, field) {
        const json_t *member = json_object_get(value, text_of(field, "name"));
        const json_t *member_type = json_object_get(field, "type");
        if (member && json_is_null(member) && is_three_state(writer, member_type)) {
            write_off(writer, member_type);
            continue;
        }
        if (!member)
            member = json_object_get(field, "default");
        if (!member)
            fail_msg("no value for the field %s", text_of(field, "name"));
        write_value(writer, member_type, member);
    }
}

static void write_array(struct writer *writer, const json_t *type, const json_t *value) {
    size_t i;
    json_t *item;
    if (json_array_size(value))
        write_long(writer, (int64_t)json_array_size(value));
    json_array_foreach(value, i, item) {
        write_value(writer, json_object_get(type, "items"), item);
    }
    write_long(writer, 0);
}

static bool takes(const json_t *type, const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_NULL:
        return is_type(type, "null");
    case JSON_TRUE:
    case JSON_FALSE:
        return is_type(type, "boolean");
    case JSON_INTEGER:
        return is_type(type, "int") || is_type(type, "long");
    case JSON_REAL:
        return is_type(type, "double");
    case JSON_STRING:
        return is_type(type, "string") || is_type(type, "bytes");
    case JSON_ARRAY:
        return is_type(type, "array");
    case JSON_OBJECT:
        return json_object_get(value, "hex") ? is_type(type, "string") || is_type(type, "bytes")
                                             : is_type(type, "record");
    }
    return false;
}

static bool is_text(const json_t *value) {
    return json_is_string(value) || json_object_get(value, "hex");
}

/* Every branch is resolved, since a later field may go by the name of one that is not taken. */
static void write_union(struct writer *writer, const json_t *branches, const json_t *value) {
    size_t i;
    json_t *branch;
    json_array_foreach(branches, i, branch) {
        (void)resolve(writer, branch);
    }
    json_array_foreach(branches, i, branch) {
        const json_t *type = resolve(writer, branch);
        bool wrapped = is_nullable_string(type) && is_text(value);
        if (!wrapped && !takes(type, value))
            continue;
        write_long(writer, (int64_t)i);
        write_value(writer, type, value);
        return;
    }
    fail_msg("no branch of the union takes the value");
}

static void write_value(struct writer *writer, const json_t *type, const json_t *value) {
    if (json_is_array(type)) {
        write_union(writer, type, value);
        return;
    }
    type = resolve(writer, type);
    if (is_nullable_string(type) && !json_object_get(value, "value")) {
        const json_t *field = json_array_get(json_object_get(type, "fields"), 0);
        write_value(writer, json_object_get(field, "type"), value);
        return;
    }
    if (!takes(type, value) && !is_type(type, "double") && !is_type(type, "null"))
        fail_msg("a value is not of the schema's type");
    if (is_type(type, "boolean")) {
        char byte = json_is_true(value);
        buffer_add(writer->body, &byte, 1);
    } else if (is_type(type, "int") || is_type(type, "long")) {
        write_long(writer, json_integer_value(value));
    } else if (is_type(type, "double")) {
        double number = json_number_value(value);
        buffer_add(writer->body, &number, sizeof number);
    } else if (is_type(type, "string") || is_type(type, "bytes")) {
        write_text(writer, value);
    } else if (is_type(type, "array")) {
        write_array(writer, type, value);
    } else if (is_type(type, "record")) {
        write_record(writer, type, value);
    }
}

void write_avro(const json_t *schema, const json_t *value, struct buffer *body) {
    struct writer writer = {.body = body, .named = json_object()};
    write_value(&writer, schema, value);
    json_decref(writer.named);
    assert_false(body->failed);
}

/* ---- other writers ---- */

static bool lists(const json_t *names, const char *name) {
    size_t i;
    json_t *item;
    json_array_foreach(names, i, item) {
        if (!strcmp(json_string_value(item), name))
            return true;
    }
    return false;
}

static json_t *other_fields(const json_t *fields, const json_t *differences) {
    size_t i;
    json_t *field, *others = json_array();
    json_array_foreach(fields, i, field) {
        const char *name = text_of(field, "name");
        json_t *type = json_object_get(json_object_get(differences, "types"), name);
        if (lists(json_object_get(differences, "without"), name))
            continue;
        json_t *other = json_deep_copy(field);
        if (type) {
            json_object_set(other, "type", type);
            if (!json_is_array(type) || !is_type(json_array_get(type, 0), "null"))
                json_object_del(other, "default");
        }
        json_array_append_new(others, other);
    }
    json_array_extend(others, json_object_get(differences, "with"));
    return others;
}

json_t *other_writer_schema(const json_t *schema, const json_t *differences) {
    json_t *other = json_deep_copy(schema);
    json_t *name = json_object_get(differences, "name");
    json_object_set_new(other, "fields",
                        other_fields(json_object_get(schema, "fields"), differences));
    if (name) {
        json_object_set(other, "name", name);
        json_object_del(other, "namespace");
    }
    if (!json_is_true(json_object_get(differences, "union")))
        return other;
    return json_pack("[so]", "null", other);
}
