/* Avro's single-object encoding (Avro specification, "Single-object encoding"): C3 01, the schema's
 * fingerprint in 8 bytes, the body. Which schema that is, and what the body says, is left to
 * others. */
#ifndef SIPTRUNK_COMMON_FRAMING_H
#define SIPTRUNK_COMMON_FRAMING_H

#include "common/error.h"
#include "common/slice.h"

#include <stdint.h>

enum { FRAMING_SIZE = 10 };

/* The body points into message. FAULT_INPUT "schema" when the message does not begin with the ten
 * bytes. */
bool framing_parse(struct slice message, uint64_t *ret_fingerprint, struct slice *ret_body,
                   struct error *err) MUST_CHECK;

/* The ten bytes that go before a body. */
void framing_write(uint64_t fingerprint, char ret[FRAMING_SIZE]);

#endif
