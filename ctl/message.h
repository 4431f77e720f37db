/* Avro messages in single-object encoding, as plain JSON, by whatever schema of the set wrote them.
 * One thread. */
#ifndef SIPTRUNK_CTL_MESSAGE_H
#define SIPTRUNK_CTL_MESSAGE_H

#include "common/error.h"
#include "common/slice.h"

#include <jansson.h>

struct messages;

/* Knows the embedded schemas and those of schema_dir ("" for none). NULL with err set. */
struct messages *messages_new(const char *schema_dir, struct error *err);
void messages_free(struct messages *messages); /* accepts NULL */

/* *ret is the caller's to release; *ret_type is the record's name without namespace, and lives as
 * long as messages. FAULT_INPUT when the message is none. */
bool message_decode(struct messages *messages, struct slice message, json_t **ret,
                    const char **ret_type, struct error *err) MUST_CHECK;

#endif
