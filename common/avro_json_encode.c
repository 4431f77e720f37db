/* JSON to Avro: avro-c's generic value is filled by the schema's fields, then written. */
#include "common/avro_json.h"

#include <avro.h>
#include <stdio.h>
#include <stdlib.h>

enum { POINTER_BYTES = 256 };

struct avro_json_encoder {
    json_t *json; /* the schema's text, for the defaults that avro-c forgets */
    avro_schema_t schema;
    avro_value_iface_t *class;
    avro_value_t record;
    bool has_record;
};

/* Where in the JSON we are, for messages. */
struct place {
    char pointer[POINTER_BYTES];
    size_t size;
    const json_t *schema; /* the whole text */
    struct error *err;
};

static bool encode(struct place *place, avro_value_t *out, json_t *json);

/* ---- the place ---- */

static void step_out(struct place *place, size_t size) {
    place->size = size;
    place->pointer[size] = '\0';
}

/* One more token of the pointer (RFC 6901), cut when it gets too long; gives what step_out wants.
 */
static size_t step_in(struct place *place, const char *token) {
    size_t before = place->size, size = before;
    char *pointer = place->pointer;
    if (size < POINTER_BYTES - 1)
        pointer[size++] = '/';
    for (; *token && size < POINTER_BYTES - 2; token++) {
        if (*token == '~' || *token == '/')
            pointer[size++] = '~';
        pointer[size++] = (char)(*token == '~' ? '0' : *token == '/' ? '1' : *token);
    }
    step_out(place, size);
    return before;
}

static bool refuse(struct place *place, const char *reason, const char *what) {
    return error_set(place->err, FAULT_INPUT, reason, "%s: %s", place->pointer, what);
}

static bool refuse_in(struct place *place, const char *token, const char *reason,
                      const char *what) {
    size_t before = step_in(place, token);
    refuse(place, reason, what);
    step_out(place, before);
    return false;
}

/* avro-c fails here only when memory is out. */
static bool check(struct place *place, int status) {
    return !status || error_set(place->err, FAULT_RETRY, "out-of-memory", "%s", avro_strerror());
}

/* ---- defaults ---- */

/* The schema's definition of the named record. */
static const json_t *find_record(const json_t *schema, const char *name) {
    const json_t *own = json_object_get(schema, "name");
    if (json_is_string(own) && json_object_get(schema, "fields") &&
        !strcmp(json_string_value(own), name))
        return schema;
    const json_t *found = NULL;
    for (size_t i = 0; !found && i < json_array_size(schema); i++)
        found = find_record(json_array_get(schema, i), name);
    static const char *const members[] = {"type", "items", "values", "fields"};
    for (size_t i = 0; !found && i < sizeof members / sizeof members[0]; i++) {
        const json_t *inner = json_object_get(schema, members[i]);
        if (json_is_object(inner) || json_is_array(inner))
            found = find_record(inner, name);
    }
    return found;
}

static json_t *default_of(const struct place *place, const char *record, size_t field) {
    const json_t *definition = find_record(place->schema, record);
    return json_object_get(json_array_get(json_object_get(definition, "fields"), field), "default");
}

/* ---- unions ---- */

static bool is_nullable_string(avro_schema_t type) {
    return is_avro_record(type) && !strcmp(avro_schema_name(type), "NullableString");
}

static avro_schema_t branch_of(avro_schema_t type, size_t index) {
    avro_schema_t branch = avro_schema_union_branch(type, (int)index);
    return is_avro_link(branch) ? avro_schema_link_target(branch) : branch;
}

static int find_branch(avro_schema_t type, bool (*wanted)(avro_schema_t)) {
    for (size_t i = 0; i < avro_schema_union_size(type); i++) {
        if (wanted(branch_of(type, i)))
            return (int)i;
    }
    return -1;
}

static bool is_null(avro_schema_t type) {
    return is_avro_null(type);
}

static bool takes(avro_schema_t type, json_t *json) {
    if (is_nullable_string(type))
        return json_is_null(json) || json_is_string(json);
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return is_avro_record(type);
    case JSON_ARRAY:
        return is_avro_array(type);
    case JSON_STRING:
        return is_avro_string(type);
    case JSON_INTEGER:
        return is_avro_int32(type) || is_avro_int64(type);
    case JSON_REAL:
        return false;
    case JSON_TRUE:
    case JSON_FALSE:
        return is_avro_boolean(type);
    case JSON_NULL:
        return is_avro_null(type);
    }
    return false;
}

/* NullableString goes before null, since there a null is a value. */
static int choose_branch(avro_schema_t type, json_t *json) {
    int nullable = find_branch(type, is_nullable_string);
    if (nullable >= 0 && takes(branch_of(type, (size_t)nullable), json))
        return nullable;
    for (size_t i = 0; i < avro_schema_union_size(type); i++) {
        if (takes(branch_of(type, i), json))
            return (int)i;
    }
    return -1;
}

static bool encode_union(struct place *place, avro_value_t *out, json_t *json) {
    int index = choose_branch(avro_value_get_schema(out), json);
    if (index < 0)
        return refuse(place, "type", "the value has a wrong type");
    avro_value_t branch;
    return check(place, avro_value_set_branch(out, index, &branch)) && encode(place, &branch, json);
}

/* ---- records ---- */

static bool refuse_unknown(struct place *place, avro_schema_t type, json_t *object) {
    void *next = json_object_iter(object);
    for (; next; next = json_object_iter_next(object, next)) {
        const char *key = json_object_iter_key(next);
        if (avro_schema_record_field_get_index(type, key) < 0)
            return refuse_in(place, key, "unknown-field", "there is no such field");
    }
    return true;
}

/* What a key that is not there stands for: null in a union that has it, else the default, else
 * nothing. */
static bool encode_missing(struct place *place, avro_value_t *out, avro_schema_t record,
                           size_t index, const char *name) {
    avro_schema_t type = avro_value_get_schema(out);
    int null = is_avro_union(type) ? find_branch(type, is_null) : -1;
    avro_value_t branch;
    if (null >= 0)
        return check(place, avro_value_set_branch(out, null, &branch));
    json_t *value = default_of(place, avro_schema_name(record), index);
    if (!value)
        return refuse_in(place, name, "required", "the field is missing");
    return encode(place, out, value);
}

static bool encode_field(struct place *place, avro_value_t *out, json_t *value, const char *name) {
    size_t before = step_in(place, name);
    bool ok = encode(place, out, value);
    step_out(place, before);
    return ok;
}

static bool encode_fields(struct place *place, avro_value_t *out, json_t *object,
                          size_t *ret_known) {
    avro_schema_t type = avro_value_get_schema(out);
    size_t count;
    if (!check(place, avro_value_get_size(out, &count)))
        return false;
    *ret_known = 0;
    for (size_t i = 0; i < count; i++) {
        avro_value_t field;
        const char *name;
        if (!check(place, avro_value_get_by_index(out, i, &field, &name)))
            return false;
        json_t *value = json_object_get(object, name);
        *ret_known += value != NULL;
        if (!(value ? encode_field(place, &field, value, name)
                    : encode_missing(place, &field, type, i, name)))
            return false;
    }
    return true;
}

/* The one field of a NullableString. */
static bool encode_nullable(struct place *place, avro_value_t *out, json_t *json) {
    avro_value_t field;
    return check(place, avro_value_get_by_index(out, 0, &field, NULL)) &&
           encode(place, &field, json);
}

static bool encode_record(struct place *place, avro_value_t *out, json_t *json) {
    avro_schema_t type = avro_value_get_schema(out);
    if (is_nullable_string(type) && !json_is_object(json))
        return encode_nullable(place, out, json);
    if (!json_is_object(json))
        return refuse(place, "type", "the value is no object");
    size_t known;
    if (!encode_fields(place, out, json, &known))
        return false;
    return known == json_object_size(json) || refuse_unknown(place, type, json);
}

/* ---- arrays and primitives ---- */

static bool encode_array(struct place *place, avro_value_t *out, json_t *json) {
    if (!json_is_array(json))
        return refuse(place, "type", "the value is no array");
    for (size_t i = 0; i < json_array_size(json); i++) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        avro_value_t item;
        if (!check(place, avro_value_append(out, &item, NULL)) ||
            !encode_field(place, &item, json_array_get(json, i), index))
            return false;
    }
    return true;
}

static bool encode_null(struct place *place, avro_value_t *out, json_t *json) {
    if (!json_is_null(json))
        return refuse(place, "type", "the value is not null");
    return check(place, avro_value_set_null(out));
}

static bool encode_boolean(struct place *place, avro_value_t *out, json_t *json) {
    if (!json_is_boolean(json))
        return refuse(place, "type", "the value is neither true nor false");
    return check(place, avro_value_set_boolean(out, json_is_true(json)));
}

static bool encode_int(struct place *place, avro_value_t *out, json_t *json) {
    if (!json_is_integer(json))
        return refuse(place, "type", "the value is no integer");
    json_int_t value = json_integer_value(json);
    if (value < INT32_MIN || value > INT32_MAX)
        return refuse(place, "out-of-range", "the value does not fit 32 bits");
    return check(place, avro_value_set_int(out, (int32_t)value));
}

static bool encode_long(struct place *place, avro_value_t *out, json_t *json) {
    if (!json_is_integer(json))
        return refuse(place, "type", "the value is no integer");
    return check(place, avro_value_set_long(out, json_integer_value(json)));
}

/* Lent, not copied: the JSON outlives the writing. avro-c wants the NUL behind the text counted. */
static bool encode_string(struct place *place, avro_value_t *out, json_t *json) {
    if (!json_is_string(json))
        return refuse(place, "type", "the value is no text");
    avro_wrapped_buffer_t text;
    size_t size = json_string_length(json) + 1;
    return check(place, avro_wrapped_buffer_new(&text, json_string_value(json), size)) &&
           check(place, avro_value_give_string_len(out, &text));
}

static bool encode(struct place *place, avro_value_t *out, json_t *json) {
    switch (avro_value_get_type(out)) {
    case AVRO_RECORD:
        return encode_record(place, out, json);
    case AVRO_UNION:
        return encode_union(place, out, json);
    case AVRO_ARRAY:
        return encode_array(place, out, json);
    case AVRO_NULL:
        return encode_null(place, out, json);
    case AVRO_BOOLEAN:
        return encode_boolean(place, out, json);
    case AVRO_INT32:
        return encode_int(place, out, json);
    case AVRO_INT64:
        return encode_long(place, out, json);
    case AVRO_STRING:
        return encode_string(place, out, json);
    case AVRO_BYTES:
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
    case AVRO_ENUM:
    case AVRO_FIXED:
    case AVRO_MAP:
    case AVRO_LINK:
        break;
    }
    return error_set(place->err, FAULT_CONFIG, "schema", "%s: no command has such a type",
                     place->pointer);
}

/* ---- the encoder ---- */

static bool make_class(struct avro_json_encoder *encoder, struct slice schema_json) {
    encoder->json = json_loadb(schema_json.data, schema_json.size, 0, NULL);
    if (!encoder->json)
        return false;
    if (avro_schema_from_json_length(schema_json.data, schema_json.size, &encoder->schema)) {
        encoder->schema = NULL;
        return false;
    }
    encoder->class = avro_generic_class_from_schema(encoder->schema);
    encoder->has_record =
        encoder->class && !avro_generic_value_new(encoder->class, &encoder->record);
    return encoder->has_record;
}

struct avro_json_encoder *avro_json_encoder_new(struct slice schema_json, struct error *err) {
    struct avro_json_encoder *encoder = calloc(1, sizeof *encoder);
    if (!encoder) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for an encoder");
        return NULL;
    }
    if (!make_class(encoder, schema_json)) {
        error_set(err, FAULT_CONFIG, "schema", "the schema is invalid: %s", avro_strerror());
        avro_json_encoder_free(encoder);
        return NULL;
    }
    return encoder;
}

void avro_json_encoder_free(struct avro_json_encoder *encoder) {
    if (!encoder)
        return;
    if (encoder->has_record)
        avro_value_decref(&encoder->record);
    if (encoder->class)
        avro_value_iface_decref(encoder->class);
    if (encoder->schema)
        avro_schema_decref(encoder->schema);
    json_decref(encoder->json);
    free(encoder);
}

static bool write_body(struct place *place, avro_value_t *record, struct buffer *body) {
    size_t size;
    if (!check(place, avro_value_sizeof(record, &size)))
        return false;
    char *room = buffer_reserve(body, size ? size : 1);
    avro_writer_t writer = room ? avro_writer_memory(room, (int64_t)size) : NULL;
    if (!writer)
        return error_set(place->err, FAULT_RETRY, "out-of-memory", "no memory for a record");
    bool ok = check(place, avro_value_write(writer, record));
    avro_writer_free(writer);
    if (ok)
        body->size += size;
    return ok;
}

bool avro_json_encode(struct avro_json_encoder *encoder, json_t *object, struct buffer *body,
                      struct error *err) {
    struct place place = {.schema = encoder->json, .err = err};
    return check(&place, avro_value_reset(&encoder->record)) &&
           encode(&place, &encoder->record, object) && write_body(&place, &encoder->record, body);
}
