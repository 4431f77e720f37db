/* Writes Avro for tests as any stranger might: by whatever schema, valid text or not. Independent
 * of the code under test; a mistake of the caller fails the test. One thread. */
#ifndef SIPTRUNK_TESTS_SUPPORT_AVRO_WRITE_H
#define SIPTRUNK_TESTS_SUPPORT_AVRO_WRITE_H

#include "common/buffer.h"

#include <jansson.h>

/* Appends the Avro body of value. Records are objects, whose missing keys take the schema's
 * default; {"hex": "..."} gives a string or bytes any bytes; null or a text stands for a
 * NullableString; unions are plain values. */
void write_avro(const json_t *schema, const json_t *value, struct buffer *body);

/* The schema of another writer, who has fewer, more or other fields:
 *   {"without": [names], "types": {name: type}, "with": [fields], "name": full name,
 *    "union": true}   (the last: the record stands in a union with null)
 * The caller releases it. */
json_t *other_writer_schema(const json_t *schema, const json_t *differences);

#endif
