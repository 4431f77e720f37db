/* Avro to JSON: a walk over the writer's schema, which recurses as deep as the limit and no deeper.
 */
#include "common/avro_json.h"

#include "common/avro_bytes.h"
#include "common/avro_schema.h"

#include <avro.h>
#include <math.h>
#include <stdlib.h>

enum { MAX_ITEMS_IN_ALL = 64 * 1024 };

struct avro_json_decoder {
    avro_schema_t schema;
};

struct walk {
    struct avro_bytes bytes;
    size_t depth;
    size_t items;
    const char *name; /* of the record at the top */
};

/* Sets *ret, a new reference, unless it fails. */
static enum avro_fail decode(struct walk *walk, avro_schema_t type, json_t **ret);

/* ---- values without anything inside ---- */

static enum avro_fail give(json_t *json, json_t **ret) {
    *ret = json;
    return json ? AVRO_OK : AVRO_FAIL_MEMORY;
}

static json_t *hex_text(struct slice bytes) {
    static const char digits[] = "0123456789abcdef";
    char *text = malloc(2 * bytes.size + 1);
    if (!text)
        return NULL;
    for (size_t i = 0; i < bytes.size; i++) {
        text[2 * i] = digits[(unsigned char)bytes.data[i] >> 4];
        text[2 * i + 1] = digits[(unsigned char)bytes.data[i] & 15];
    }
    json_t *json = json_stringn(text, 2 * bytes.size);
    free(text);
    return json;
}

/* jansson refuses what is not UTF-8. */
static json_t *plain_text(struct slice text) {
    json_t *json = json_stringn(text.data, text.size);
    return json ? json : json_pack("{s:o*}", "hex", hex_text(text));
}

/* JSON has no word for these. */
static json_t *number_text(double number) {
    if (isnan(number))
        return json_string("NaN");
    if (isinf(number))
        return json_string(number > 0 ? "Infinity" : "-Infinity");
    return json_real(number);
}

static enum avro_fail decode_boolean(struct walk *walk, json_t **ret) {
    bool value;
    enum avro_fail fail = avro_read_boolean(&walk->bytes, &value);
    return fail ? fail : give(json_boolean(value), ret);
}

static enum avro_fail decode_integer(struct walk *walk, bool is_int, json_t **ret) {
    int64_t value;
    enum avro_fail fail =
        is_int ? avro_read_int(&walk->bytes, &value) : avro_read_long(&walk->bytes, &value);
    return fail ? fail : give(json_integer(value), ret);
}

/* Little-endian, as the hosts are that this runs on. */
static enum avro_fail decode_float(struct walk *walk, json_t **ret) {
    struct slice bytes;
    float value;
    enum avro_fail fail = avro_read_fixed(&walk->bytes, sizeof value, &bytes);
    if (fail)
        return fail;
    memcpy(&value, bytes.data, sizeof value);
    return give(number_text((double)value), ret);
}

static enum avro_fail decode_double(struct walk *walk, json_t **ret) {
    struct slice bytes;
    double value;
    enum avro_fail fail = avro_read_fixed(&walk->bytes, sizeof value, &bytes);
    if (fail)
        return fail;
    memcpy(&value, bytes.data, sizeof value);
    return give(number_text(value), ret);
}

static enum avro_fail decode_text(struct walk *walk, bool is_bytes, json_t **ret) {
    struct slice text;
    enum avro_fail fail = avro_read_text(&walk->bytes, &text);
    return fail ? fail : give(is_bytes ? hex_text(text) : plain_text(text), ret);
}

static enum avro_fail decode_fixed(struct walk *walk, avro_schema_t type, json_t **ret) {
    int64_t size = avro_schema_fixed_size(type);
    struct slice bytes;
    enum avro_fail fail =
        size < 0 ? AVRO_FAIL_LENGTH : avro_read_fixed(&walk->bytes, (size_t)size, &bytes);
    return fail ? fail : give(hex_text(bytes), ret);
}

static enum avro_fail decode_enum(struct walk *walk, avro_schema_t type, json_t **ret) {
    uint32_t index;
    uint32_t count = (uint32_t)avro_schema_enum_number_of_symbols(type);
    enum avro_fail fail = avro_read_symbol(&walk->bytes, count, &index);
    return fail ? fail : give(json_string(avro_schema_enum_get(type, (int)index)), ret);
}

/* ---- values with others inside ---- */

static avro_schema_t resolve(avro_schema_t type) {
    while (is_avro_link(type))
        type = avro_schema_link_target(type);
    return type;
}

static bool is_nullable_string(avro_schema_t type) {
    return is_avro_record(type) && !strcmp(avro_schema_name(type), "NullableString") &&
           avro_schema_record_size(type) == 1;
}

static bool has_nullable_string(avro_schema_t type) {
    for (size_t i = 0; is_avro_union(type) && i < avro_schema_union_size(type); i++) {
        if (is_nullable_string(resolve(avro_schema_union_branch(type, (int)i))))
            return true;
    }
    return false;
}

/* *ret_null says whether it was null; then *ret is null too. */
static enum avro_fail decode_union(struct walk *walk, avro_schema_t type, json_t **ret,
                                   bool *ret_null) {
    uint32_t index;
    enum avro_fail fail =
        avro_read_branch(&walk->bytes, (uint32_t)avro_schema_union_size(type), &index);
    if (fail)
        return fail;
    avro_schema_t branch = resolve(avro_schema_union_branch(type, (int)index));
    *ret_null = is_avro_null(branch);
    return decode(walk, branch, ret);
}

/* Adds a field to the object; a NullableString that was not sent is left out. */
static enum avro_fail decode_field(struct walk *walk, avro_schema_t type, const char *name,
                                   json_t *object) {
    json_t *value;
    bool null = false;
    enum avro_fail fail =
        is_avro_union(type) ? decode_union(walk, type, &value, &null) : decode(walk, type, &value);
    if (fail)
        return fail;
    if (null && has_nullable_string(type))
        return AVRO_OK;
    return json_object_set_new_nocheck(object, name, value) ? AVRO_FAIL_MEMORY : AVRO_OK;
}

static enum avro_fail decode_fields(struct walk *walk, avro_schema_t type, json_t *object) {
    enum avro_fail fail = AVRO_OK;
    int count = (int)avro_schema_record_size(type);
    for (int i = 0; i < count && !fail; i++)
        fail = decode_field(walk, resolve(avro_schema_record_field_get_by_index(type, i)),
                            avro_schema_record_field_name(type, i), object);
    return fail;
}

static enum avro_fail decode_item(struct walk *walk, avro_schema_t type, json_t *array) {
    json_t *item;
    enum avro_fail fail = decode(walk, type, &item);
    if (fail)
        return fail;
    return json_array_append_new(array, item) ? AVRO_FAIL_MEMORY : AVRO_OK;
}

/* A key that is no UTF-8 spoils the map, since JSON cannot hold it. */
static enum avro_fail decode_entry(struct walk *walk, avro_schema_t type, json_t *object) {
    struct slice key;
    enum avro_fail fail = avro_read_text(&walk->bytes, &key);
    if (fail)
        return fail;
    json_t *value;
    fail = decode(walk, type, &value);
    if (fail)
        return fail;
    return json_object_setn_new(object, key.data, key.size, value) ? AVRO_FAIL_KEY : AVRO_OK;
}

static enum avro_fail decode_blocks(struct walk *walk, avro_schema_t type, json_t *whole) {
    bool map = is_avro_map(type);
    avro_schema_t item =
        resolve(map ? avro_schema_map_values(type) : avro_schema_array_items(type));
    struct avro_blocks blocks = {0};
    enum avro_fail fail = avro_next_block(&walk->bytes, &blocks);
    while (!fail && blocks.left) {
        if (++walk->items > MAX_ITEMS_IN_ALL)
            return AVRO_FAIL_ITEMS;
        fail = map ? decode_entry(walk, item, whole) : decode_item(walk, item, whole);
        if (!fail && --blocks.left == 0)
            fail = avro_next_block(&walk->bytes, &blocks);
    }
    return fail;
}

typedef enum avro_fail fill_fn(struct walk *walk, avro_schema_t type, json_t *whole);

/* Goes one level down to fill an object or array. */
static enum avro_fail decode_container(struct walk *walk, avro_schema_t type, fill_fn *fill,
                                       json_t *whole, json_t **ret) {
    if (!whole)
        return AVRO_FAIL_MEMORY;
    enum avro_fail fail = AVRO_FAIL_DEPTH;
    if (walk->depth < AVRO_MAX_DEPTH) {
        walk->depth++;
        fail = fill(walk, type, whole);
        walk->depth--;
    }
    if (fail)
        json_decref(whole);
    else
        *ret = whole;
    return fail;
}

/* The value inside, in place of the record; a level all the same, since a hostile schema may nest
 * it. */
static enum avro_fail decode_nullable(struct walk *walk, avro_schema_t type, json_t **ret) {
    if (walk->depth >= AVRO_MAX_DEPTH)
        return AVRO_FAIL_DEPTH;
    walk->depth++;
    enum avro_fail fail =
        decode(walk, resolve(avro_schema_record_field_get_by_index(type, 0)), ret);
    walk->depth--;
    return fail;
}

static enum avro_fail decode_record(struct walk *walk, avro_schema_t type, json_t **ret) {
    if (walk->depth == 0)
        walk->name = avro_schema_name(type);
    else if (is_nullable_string(type))
        return decode_nullable(walk, type, ret);
    return decode_container(walk, type, decode_fields, json_object(), ret);
}

static enum avro_fail decode(struct walk *walk, avro_schema_t type, json_t **ret) {
    bool ignored;
    switch (avro_typeof(type)) {
    case AVRO_NULL:
        return give(json_null(), ret);
    case AVRO_BOOLEAN:
        return decode_boolean(walk, ret);
    case AVRO_INT32:
    case AVRO_INT64:
        return decode_integer(walk, is_avro_int32(type), ret);
    case AVRO_FLOAT:
        return decode_float(walk, ret);
    case AVRO_DOUBLE:
        return decode_double(walk, ret);
    case AVRO_STRING:
    case AVRO_BYTES:
        return decode_text(walk, is_avro_bytes(type), ret);
    case AVRO_FIXED:
        return decode_fixed(walk, type, ret);
    case AVRO_ENUM:
        return decode_enum(walk, type, ret);
    case AVRO_UNION:
        return decode_union(walk, type, ret, &ignored);
    case AVRO_RECORD:
        return decode_record(walk, type, ret);
    case AVRO_ARRAY:
        return decode_container(walk, type, decode_blocks, json_array(), ret);
    case AVRO_MAP:
        return decode_container(walk, type, decode_blocks, json_object(), ret);
    case AVRO_LINK:
        break;
    }
    return AVRO_FAIL_RECORD;
}

/* ---- the decoder ---- */

struct avro_json_decoder *avro_json_decoder_new(struct slice schema_json, struct error *err) {
    struct avro_json_decoder *decoder = calloc(1, sizeof *decoder);
    struct buffer form = {0};
    bool ok = decoder != NULL;
    if (!ok)
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a decoder");
    ok = ok && avro_canonical_form(schema_json, &form, err);
    if (ok && avro_schema_from_json_length(form.data, form.size, &decoder->schema)) {
        decoder->schema = NULL;
        ok = error_set(err, FAULT_CONFIG, "schema", "the schema is invalid: %s", avro_strerror());
    }
    buffer_free(&form);
    if (ok)
        return decoder;
    avro_json_decoder_free(decoder);
    return NULL;
}

void avro_json_decoder_free(struct avro_json_decoder *decoder) {
    if (!decoder)
        return;
    if (decoder->schema)
        avro_schema_decref(decoder->schema);
    free(decoder);
}

bool avro_json_decode(const struct avro_json_decoder *decoder, struct slice body, json_t **ret,
                      const char **ret_name, struct error *err) {
    struct walk walk = {.bytes = avro_bytes_of(body), .name = ""};
    json_t *json = NULL;
    enum avro_fail fail = body.size > AVRO_MAX_MESSAGE
                              ? AVRO_FAIL_MESSAGE
                              : decode(&walk, resolve(decoder->schema), &json);
    if (!fail && avro_bytes_left(&walk.bytes))
        fail = AVRO_FAIL_REST;
    if (fail) {
        json_decref(json);
        return avro_fail_error(fail, &walk.bytes, body, err);
    }
    *ret = json;
    if (ret_name)
        *ret_name = walk.name;
    return true;
}
