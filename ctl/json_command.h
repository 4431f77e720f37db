/* Commands as people and scripts write them: one JSON object, with the record's name under "type"
 * and the guide's field names beside it. Makes the Kafka record of one; who sends it is left to
 * others. One thread. */
#ifndef SIPTRUNK_CTL_JSON_COMMAND_H
#define SIPTRUNK_CTL_JSON_COMMAND_H

#include "common/buffer.h"
#include "common/error.h"

struct json_commands;

/* The encoders of all command types; NULL with err set. */
struct json_commands *json_commands_new(struct error *err);
void json_commands_free(struct json_commands *commands); /* accepts NULL */

/* Starts as {0}; may be used again and again. */
struct json_command {
    const char *type;         /* "ConnectNumber"; static */
    struct buffer account_id; /* as sent */
    struct buffer command_id; /* as sent, or made up */
    struct buffer record;     /* framing and body */
};

void json_command_free(struct json_command *command);

/* generate_id: a command without command_id gets a random one. FAULT_INPUT with a reason's name as
 * id, and a message that begins with the JSON Pointer of the field if it is about one. */
bool json_command_encode(struct json_commands *commands, struct slice line, bool generate_id,
                         struct json_command *ret, struct error *err) MUST_CHECK;

#endif
