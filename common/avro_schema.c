/* Canonical form by a walk over the schema's JSON: names made full, everything that does not matter
 * to a reader of the bytes left out, the rest in a fixed order. */
#include "common/avro_schema.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- CRC-64-AVRO ---- */

static const uint64_t crc_empty = 0xc15d213aa4d7a795;

/* One byte at a time, bit by bit: schemas are fingerprinted at the start only, so no table. */
uint64_t avro_crc64(struct slice bytes) {
    uint64_t crc = crc_empty;
    for (size_t i = 0; i < bytes.size; i++) {
        uint64_t entry = (crc ^ (unsigned char)bytes.data[i]) & 0xff;
        for (int bit = 0; bit < 8; bit++)
            entry = (entry >> 1) ^ (crc_empty & (0 - (entry & 1)));
        crc = (crc >> 8) ^ entry;
    }
    return crc;
}

/* ---- canonical form ---- */

struct form {
    struct buffer *out;
    struct error *err;
    int nesting;
};

static bool write_schema(struct form *form, const json_t *schema, struct slice space);

static bool refuse(struct form *form, const char *what) {
    return error_set(form->err, FAULT_CONFIG, "schema", "the schema is invalid: %s", what);
}

/* A JSON string literal with nothing escaped that need not be (rule STRINGS). */
static void write_text(struct form *form, struct slice text) {
    buffer_add(form->out, "\"", 1);
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        char escape[8];
        if (byte == '"' || byte == '\\')
            snprintf(escape, sizeof escape, "\\%c", byte);
        else if (byte < 0x20)
            snprintf(escape, sizeof escape, "\\u%04x", byte);
        else
            snprintf(escape, sizeof escape, "%c", byte);
        buffer_add_text(form->out, escape);
    }
    buffer_add(form->out, "\"", 1);
}

static struct slice text_of(const json_t *text) {
    return (struct slice){.data = json_string_value(text), .size = json_string_length(text)};
}

static bool is_primitive(struct slice name) {
    static const char *const primitives[] = {"null",  "boolean", "int",   "long",
                                             "float", "double",  "bytes", "string"};
    for (size_t i = 0; i < sizeof primitives / sizeof primitives[0]; i++) {
        if (slice_is(name, primitives[i]))
            return true;
    }
    return false;
}

/* Up to the last dot; empty when there is none. */
static struct slice namespace_of(struct slice name) {
    size_t size = name.size;
    while (size > 0 && name.data[size - 1] != '.')
        size--;
    return (struct slice){.data = name.data, .size = size ? size - 1 : 0};
}

static bool has_dot(struct slice name) {
    return name.size && memchr(name.data, '.', name.size);
}

/* Rule FULLNAMES: a name without a dot belongs to the namespace around it. */
static void write_name(struct form *form, struct slice name, struct slice space) {
    if (space.size == 0 || has_dot(name)) {
        write_text(form, name);
        return;
    }
    struct buffer full = {0};
    buffer_add(&full, space.data, space.size);
    buffer_add(&full, ".", 1);
    buffer_add(&full, name.data, name.size);
    if (full.failed)
        form->out->failed = true;
    write_text(form, buffer_slice(&full));
    buffer_free(&full);
}

/* Puts the name of a named type and gives the namespace of what stands inside it. */
static bool write_definition_name(struct form *form, const json_t *schema, struct slice space,
                                  struct slice *ret_space) {
    const json_t *name = json_object_get(schema, "name");
    const json_t *own_space = json_object_get(schema, "namespace");
    if (!json_is_string(name))
        return refuse(form, "a named type has no name");
    if (json_is_string(own_space))
        space = text_of(own_space);
    if (has_dot(text_of(name)))
        space = namespace_of(text_of(name));
    buffer_add_text(form->out, "{\"name\":");
    write_name(form, text_of(name), space);
    *ret_space = space;
    return true;
}

static bool write_field(struct form *form, const json_t *field, struct slice space) {
    const json_t *name = json_object_get(field, "name");
    const json_t *type = json_object_get(field, "type");
    if (!json_is_string(name) || !type)
        return refuse(form, "a field lacks its name or type");
    buffer_add_text(form->out, "{\"name\":");
    write_text(form, text_of(name));
    buffer_add_text(form->out, ",\"type\":");
    if (!write_schema(form, type, space))
        return false;
    buffer_add(form->out, "}", 1);
    return true;
}

static bool write_record(struct form *form, const json_t *schema, struct slice space) {
    const json_t *fields = json_object_get(schema, "fields");
    if (!json_is_array(fields))
        return refuse(form, "a record has no fields");
    struct slice inner;
    if (!write_definition_name(form, schema, space, &inner))
        return false;
    buffer_add_text(form->out, ",\"type\":");
    write_text(form, text_of(json_object_get(schema, "type")));
    buffer_add_text(form->out, ",\"fields\":[");
    for (size_t i = 0; i < json_array_size(fields); i++) {
        if (i)
            buffer_add(form->out, ",", 1);
        if (!write_field(form, json_array_get(fields, i), inner))
            return false;
    }
    buffer_add_text(form->out, "]}");
    return true;
}

static bool write_enum(struct form *form, const json_t *schema, struct slice space) {
    const json_t *symbols = json_object_get(schema, "symbols");
    if (!json_is_array(symbols))
        return refuse(form, "an enum has no symbols");
    struct slice inner;
    if (!write_definition_name(form, schema, space, &inner))
        return false;
    buffer_add_text(form->out, ",\"type\":\"enum\",\"symbols\":[");
    for (size_t i = 0; i < json_array_size(symbols); i++) {
        const json_t *symbol = json_array_get(symbols, i);
        if (!json_is_string(symbol))
            return refuse(form, "a symbol is no string");
        if (i)
            buffer_add(form->out, ",", 1);
        write_text(form, text_of(symbol));
    }
    buffer_add_text(form->out, "]}");
    return true;
}

/* Rule INTEGERS: also a quoted size with leading zeros counts. */
static bool size_value(const json_t *size, json_int_t *ret) {
    if (json_is_integer(size)) {
        *ret = json_integer_value(size);
        return *ret >= 0;
    }
    if (!json_is_string(size))
        return false;
    const char *text = json_string_value(size);
    char *end;
    *ret = strtoll(text, &end, 10);
    return end != text && *end == '\0' && *ret >= 0;
}

static bool write_fixed(struct form *form, const json_t *schema, struct slice space) {
    json_int_t size;
    if (!size_value(json_object_get(schema, "size"), &size))
        return refuse(form, "a fixed type has no size");
    struct slice inner;
    if (!write_definition_name(form, schema, space, &inner))
        return false;
    char text[64];
    snprintf(text, sizeof text, ",\"type\":\"fixed\",\"size\":%" JSON_INTEGER_FORMAT "}", size);
    buffer_add_text(form->out, text);
    return true;
}

static bool write_container(struct form *form, const json_t *schema, const char *type,
                            const char *member, struct slice space) {
    const json_t *inner = json_object_get(schema, member);
    if (!inner)
        return refuse(form, "an array has no items, or a map no values");
    char text[64];
    snprintf(text, sizeof text, "{\"type\":\"%s\",\"%s\":", type, member);
    buffer_add_text(form->out, text);
    if (!write_schema(form, inner, space))
        return false;
    buffer_add(form->out, "}", 1);
    return true;
}

static bool write_array(struct form *form, const json_t *schema, struct slice space) {
    return write_container(form, schema, "array", "items", space);
}

static bool write_map(struct form *form, const json_t *schema, struct slice space) {
    return write_container(form, schema, "map", "values", space);
}

static const struct {
    const char *type;
    bool (*write)(struct form *form, const json_t *schema, struct slice space);
} complex_types[] = {
    {"record", write_record}, {"error", write_record}, {"enum", write_enum},
    {"fixed", write_fixed},   {"array", write_array},  {"map", write_map},
};

static bool write_object(struct form *form, const json_t *schema, struct slice space) {
    const json_t *type = json_object_get(schema, "type");
    if (!type)
        return refuse(form, "an object has no type");
    for (size_t i = 0; i < sizeof complex_types / sizeof complex_types[0]; i++) {
        if (json_is_string(type) && slice_is(text_of(type), complex_types[i].type))
            return complex_types[i].write(form, schema, space);
    }
    return write_schema(form, type, space); /* rule PRIMITIVES, and types in a needless object */
}

static bool write_union(struct form *form, const json_t *schema, struct slice space) {
    buffer_add(form->out, "[", 1);
    for (size_t i = 0; i < json_array_size(schema); i++) {
        if (i)
            buffer_add(form->out, ",", 1);
        if (!write_schema(form, json_array_get(schema, i), space))
            return false;
    }
    buffer_add(form->out, "]", 1);
    return true;
}

/* space: the namespace around. Recursion is bounded by the nesting of the text. */
static bool write_schema(struct form *form, const json_t *schema, struct slice space) {
    if (form->nesting >= AVRO_SCHEMA_MAX_NESTING)
        return refuse(form, "it is nested too deeply");
    form->nesting++;
    bool ok;
    if (json_is_string(schema)) {
        struct slice name = text_of(schema);
        write_name(form, name, is_primitive(name) ? SLICE_NONE : space);
        ok = true;
    } else if (json_is_array(schema)) {
        ok = write_union(form, schema, space);
    } else if (json_is_object(schema)) {
        ok = write_object(form, schema, space);
    } else {
        ok = refuse(form, "a type is neither a name, an object nor a union");
    }
    form->nesting--;
    return ok;
}

bool avro_canonical_form(struct slice schema_json, struct buffer *out, struct error *err) {
    json_error_t why;
    json_t *schema = json_loadb(schema_json.data, schema_json.size, JSON_DECODE_ANY, &why);
    if (!schema)
        return error_set(err, FAULT_CONFIG, "schema", "the schema is not JSON: line %d: %s",
                         why.line, why.text);
    struct form form = {.out = out, .err = err};
    bool ok = write_schema(&form, schema, SLICE_NONE);
    json_decref(schema);
    if (ok && out->failed)
        return error_set(err, FAULT_RETRY, "out-of-memory",
                         "no memory for the schema's canonical form");
    return ok;
}

bool avro_fingerprint(struct slice schema_json, uint64_t *ret, struct error *err) {
    struct buffer form = {0};
    bool ok = avro_canonical_form(schema_json, &form, err);
    if (ok)
        *ret = avro_crc64(buffer_slice(&form));
    buffer_free(&form);
    return ok;
}
