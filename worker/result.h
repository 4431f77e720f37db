/* The result record siptrunk.result.v1.CommandResult: its content as a struct, and its encoding by
 * avro-c with the hash chain at its end. */
#ifndef SIPTRUNK_WORKER_RESULT_H
#define SIPTRUNK_WORKER_RESULT_H

#include "worker/command.h"

struct result {
    struct uuid event_id;
    enum outcome outcome;
    int status_code;
    struct problem_list problems; /* empty unless REJECTED */
    struct warning_list warnings;
    struct change_list changes;
    struct slice channel_name, previous_channel_name; /* absent: null, here and below */
    struct slice number, number_as_received;
    struct slice number_type;
    int64_t channel_version;         /* 0: null */
    const struct list_request *list; /* of a list that is answered; NULL: null */
    int64_t account_sequence;
    int64_t applied_at; /* microseconds since the epoch */
};

struct result_encoder;

/* schema_json: CommandResult.avsc. NULL with FAULT_BUG when it is not the schema this program
 * knows. */
struct result_encoder *result_encoder_new(struct slice schema_json, struct digests *digests,
                                          struct error *err);
void result_encoder_free(struct result_encoder *encoder);

/* CRC-64-AVRO of the schema. */
uint64_t result_encoder_fingerprint(const struct result_encoder *encoder);

/* The Avro body into the arena. With a sequence number it is chained to previous_chain, and
 * ret_chain gets the new value; without one the chain is empty and ret_chain is untouched. */
bool result_encode(struct result_encoder *encoder, const struct command *command,
                   const struct result *result, const uint8_t previous_chain[SHA256_SIZE],
                   struct arena *arena, struct slice *ret_body, uint8_t ret_chain[SHA256_SIZE],
                   struct error *err) MUST_CHECK;

/* A text as received, for echoing: absent when it cannot be shown (not text, encoding), cut at a
 * code point. */
struct slice echo_bytes(const struct value *value, size_t max_bytes);
struct slice echo_characters(const struct value *value, size_t max_characters);

#endif
