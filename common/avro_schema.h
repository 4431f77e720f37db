/* Identity of Avro schemas: Parsing Canonical Form and CRC-64-AVRO fingerprint, straight from a
 * schema's JSON text (Avro specification, "Parsing Canonical Form for Schemas" and "Schema
 * Fingerprints"). Does not check that the schema is valid beyond what the form needs; the parser of
 * avro-c does that. Any thread. */
#ifndef SIPTRUNK_COMMON_AVRO_SCHEMA_H
#define SIPTRUNK_COMMON_AVRO_SCHEMA_H

#include "common/buffer.h"

#include <stdint.h>

/* Schemas may be nested that deep, in JSON, before they are refused. */
enum { AVRO_SCHEMA_MAX_NESTING = 256 };

uint64_t avro_crc64(struct slice bytes);

/* Appends the form to *form. FAULT_CONFIG "schema" when the text is no schema. */
bool avro_canonical_form(struct slice schema_json, struct buffer *form,
                         struct error *err) MUST_CHECK;

/* CRC-64-AVRO of the form. */
bool avro_fingerprint(struct slice schema_json, uint64_t *ret, struct error *err) MUST_CHECK;

#endif
