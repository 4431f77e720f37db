/* Between Avro bodies and plain JSON, for the tools. Unions are plain values; there is no type
 * around them.
 *
 *   Avro                               JSON
 *   null, boolean, int, long, string   the same
 *   float, double                      number, or the text NaN, Infinity, -Infinity
 *   bytes, fixed                       text of hexadecimal digits
 *   enum                               text of the symbol
 *   record, map; array                 object; array
 *   null or NullableString, in a field key absent; null or text, for the value inside
 *
 * The last row is the guide's form: a key with null turns a setting off, no key leaves it alone.
 * Slow and on the heap; the worker decodes with common/avro_plan.h. */
#ifndef SIPTRUNK_COMMON_AVRO_JSON_H
#define SIPTRUNK_COMMON_AVRO_JSON_H

#include "common/buffer.h"
#include "common/error.h"

#include <jansson.h>

/* JSON to Avro by a schema of ours: records, unions, null, boolean, int, long, string and arrays.
 * One thread. */
struct avro_json_encoder;

/* NULL with FAULT_CONFIG "schema". */
struct avro_json_encoder *avro_json_encoder_new(struct slice schema_json, struct error *err);
void avro_json_encoder_free(struct avro_json_encoder *encoder); /* accepts NULL */

/* Appends the body. Missing keys take the schema's default, or null where that is allowed.
 * FAULT_INPUT with a reason's name as id and a message that begins with the JSON Pointer:
 * "required", "type", "out-of-range" (an integer that does not fit), "unknown-field". */
bool avro_json_encode(struct avro_json_encoder *encoder, json_t *object, struct buffer *body,
                      struct error *err) MUST_CHECK;

/* Avro to JSON by any writer's schema, within the limits of common/avro_bytes.h and 64 Ki items in
 * all; recursive schemas too. Text that is not UTF-8 becomes the object {"hex": "..."}. Any number
 * of threads. */
struct avro_json_decoder;

/* NULL with FAULT_CONFIG "schema". */
struct avro_json_decoder *avro_json_decoder_new(struct slice schema_json, struct error *err);
void avro_json_decoder_free(struct avro_json_decoder *decoder); /* accepts NULL */

/* *ret is the caller's to release; *ret_name (which may be NULL) is the name without namespace of
 * the record at the top, "" when it is none, and lives as long as the decoder. FAULT_INPUT "schema"
 * or "too-long". */
bool avro_json_decode(const struct avro_json_decoder *decoder, struct slice body, json_t **ret,
                      const char **ret_name, struct error *err) MUST_CHECK;

#endif
