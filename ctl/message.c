/* A decoder is made when its schema is first met. */
#include "ctl/message.h"

#include "common/avro_json.h"
#include "common/framing.h"
#include "common/schema_set.h"

#include <inttypes.h>
#include <stdlib.h>

struct known {
    uint64_t fingerprint;
    struct avro_json_decoder *decoder;
};

struct messages {
    struct schema_set *set;
    struct known *known;
    size_t count;
};

struct messages *messages_new(const char *schema_dir, struct error *err) {
    struct messages *messages = calloc(1, sizeof *messages);
    if (!messages) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the schemas");
        return NULL;
    }
    messages->set = schema_set_new(NULL, 0, schema_dir, err);
    if (messages->set)
        return messages;
    free(messages);
    return NULL;
}

void messages_free(struct messages *messages) {
    if (!messages)
        return;
    for (size_t i = 0; i < messages->count; i++)
        avro_json_decoder_free(messages->known[i].decoder);
    free(messages->known);
    schema_set_free(messages->set);
    free(messages);
}

static const struct avro_json_decoder *add_decoder(struct messages *messages, uint64_t fingerprint,
                                                   struct slice schema, struct error *err) {
    struct known *bigger =
        realloc(messages->known, (messages->count + 1) * sizeof *messages->known);
    if (!bigger) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a decoder");
        return NULL;
    }
    messages->known = bigger;
    struct avro_json_decoder *decoder = avro_json_decoder_new(schema, err);
    if (decoder)
        messages->known[messages->count++] =
            (struct known){.fingerprint = fingerprint, .decoder = decoder};
    return decoder;
}

/* NULL with err set. */
static const struct avro_json_decoder *find_decoder(struct messages *messages, uint64_t fingerprint,
                                                    struct error *err) {
    for (size_t i = 0; i < messages->count; i++) {
        if (messages->known[i].fingerprint == fingerprint)
            return messages->known[i].decoder;
    }
    struct slice schema = schema_set_text(messages->set, fingerprint);
    if (schema.data)
        return add_decoder(messages, fingerprint, schema, err);
    error_set(err, FAULT_INPUT, "schema",
              "no schema with fingerprint %016" PRIx64 " is known; put its .avsc into schema.dir",
              fingerprint);
    return NULL;
}

bool message_decode(struct messages *messages, struct slice message, json_t **ret,
                    const char **ret_type, struct error *err) {
    uint64_t fingerprint;
    struct slice body;
    if (!framing_parse(message, &fingerprint, &body, err))
        return false;
    const struct avro_json_decoder *decoder = find_decoder(messages, fingerprint, err);
    return decoder && avro_json_decode(decoder, body, ret, ret_type, err);
}
