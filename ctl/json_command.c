/* Finds the type's schema, sees to the ids, encodes. */
#include "ctl/json_command.h"

#include "common/avro_json.h"
#include "common/avro_schema.h"
#include "common/embedded.h"
#include "common/framing.h"
#include "common/nearest.h"
#include "common/uuid.h"
#include "ctl/lines.h"

#include <stdlib.h>

enum { MAX_TYPES = 32, NAME_BYTES = 64 };

struct type {
    char name[NAME_BYTES];
    char framing[FRAMING_SIZE];
    struct avro_json_encoder *encoder;
};

struct json_commands {
    struct type types[MAX_TYPES];
    size_t count;
};

/* ---- the types ---- */

static const char suffix[] = ".avsc";

static bool is_command(const char *file) {
    size_t size = strlen(file);
    return size > strlen(suffix) && size - strlen(suffix) < NAME_BYTES &&
           strcmp(file, "CommandResult.avsc") != 0;
}

static bool add_type(struct json_commands *commands, const struct embedded_file *file,
                     struct error *err) {
    struct type *type = &commands->types[commands->count];
    uint64_t fingerprint;
    if (!avro_fingerprint(slice_of(file->text), &fingerprint, err))
        return false;
    type->encoder = avro_json_encoder_new(slice_of(file->text), err);
    if (!type->encoder)
        return false;
    memcpy(type->name, file->name, strlen(file->name) - strlen(suffix));
    framing_write(fingerprint, type->framing);
    commands->count++;
    return true;
}

struct json_commands *json_commands_new(struct error *err) {
    struct json_commands *commands = calloc(1, sizeof *commands);
    bool ok = commands != NULL;
    if (!ok)
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the encoders");
    for (const struct embedded_file *file = embedded_schemas; ok && file->name; file++) {
        if (is_command(file->name) && commands->count < MAX_TYPES)
            ok = add_type(commands, file, err);
    }
    if (ok)
        return commands;
    json_commands_free(commands);
    return NULL;
}

void json_commands_free(struct json_commands *commands) {
    if (!commands)
        return;
    for (size_t i = 0; i < commands->count; i++)
        avro_json_encoder_free(commands->types[i].encoder);
    free(commands);
}

void json_command_free(struct json_command *command) {
    buffer_free(&command->account_id);
    buffer_free(&command->command_id);
    buffer_free(&command->record);
}

static bool refuse_type(const struct json_commands *commands, const char *name, struct error *err) {
    struct nearest nearest = nearest_to(name);
    for (size_t i = 0; i < commands->count; i++)
        nearest_offer(&nearest, commands->types[i].name);
    char hint[2 * NEAREST_MAX_NAME];
    return error_set(err, FAULT_INPUT, "unknown-command", "/type: there is no command %.64s%s",
                     name, nearest_hint(&nearest, hint, sizeof hint));
}

/* NULL with err set. */
static struct type *find_type(struct json_commands *commands, const json_t *json,
                              struct error *err) {
    const json_t *name = json_object_get(json, "type");
    if (!name || !json_is_string(name)) {
        error_set(err, FAULT_INPUT, name ? "type" : "required",
                  "/type: the name of the command is %s", name ? "no text" : "missing");
        return NULL;
    }
    for (size_t i = 0; i < commands->count; i++) {
        if (!strcmp(commands->types[i].name, json_string_value(name)))
            return &commands->types[i];
    }
    refuse_type(commands, json_string_value(name), err);
    return NULL;
}

/* ---- one command ---- */

static bool make_up_id(json_t *json, struct error *err) {
    struct uuid uuid;
    char text[UUID_TEXT_SIZE + 1];
    if (!uuid_v4(&uuid))
        return error_set(err, FAULT_RETRY, "random", "the system gives no random bytes");
    uuid_format(&uuid, text);
    if (json_object_set_new(json, "command_id", json_string(text)))
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a command");
    return true;
}

static void keep_text(struct buffer *out, const json_t *json, const char *name) {
    const json_t *text = json_object_get(json, name);
    buffer_clear(out);
    buffer_add(out, json_string_value(text), json_string_length(text));
}

static bool encode(struct type *type, json_t *json, struct json_command *ret, struct error *err) {
    json_object_del(json, "type");
    buffer_clear(&ret->record);
    buffer_add(&ret->record, type->framing, FRAMING_SIZE);
    if (!avro_json_encode(type->encoder, json, &ret->record, err))
        return false;
    ret->type = type->name;
    keep_text(&ret->account_id, json, "account_id");
    keep_text(&ret->command_id, json, "command_id");
    if (ret->record.failed || ret->account_id.failed || ret->command_id.failed)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a command");
    return true;
}

static bool encode_object(struct json_commands *commands, json_t *json, bool generate_id,
                          struct json_command *ret, struct error *err) {
    struct type *type = find_type(commands, json, err);
    if (!type)
        return false;
    if (generate_id && !json_object_get(json, "command_id") && !make_up_id(json, err))
        return false;
    return encode(type, json, ret, err);
}

bool json_command_encode(struct json_commands *commands, struct slice line, bool generate_id,
                         struct json_command *ret, struct error *err) {
    json_t *json = line_object(line, err);
    bool ok = json && encode_object(commands, json, generate_id, ret, err);
    json_decref(json);
    return ok;
}
