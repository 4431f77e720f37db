/* What record.c and answer.c share. */
#ifndef SIPTRUNK_CTL_VERIFY_RECORD_INTERNAL_H
#define SIPTRUNK_CTL_VERIFY_RECORD_INTERNAL_H

#include "common/schema_set.h"
#include "ctl/verify/record.h"

enum { MAX_COMMAND_TYPES = 64, TYPE_NAME_BYTES = 64 };

struct command_type {
    char name[TYPE_NAME_BYTES];
    char full_name[2 * TYPE_NAME_BYTES];
    struct reader_record record;
    bool is_list;
};

struct records {
    struct digests *digests;
    struct arena *arena;
    struct schema_set *schemas;
    struct command_type types[MAX_COMMAND_TYPES];
    size_t type_count;
    /* of the second reading */
    struct grouping results_of_part, results_of_account, ledger_of_account;
    uint32_t *next_of_part; /* the first committed result that was not met again */
};

extern const struct reader_record result_reader;

bool records_no_memory(struct error *err);

/* Releases what the second reading needs. */
void records_forget_reading(struct records *records);

/* The record in a message or a bare body. False when it cannot be read; out of memory counts as
 * that. */
bool records_decode(struct records *records, struct slice message, struct avro_decoded *ret,
                    struct slice *ret_body);
bool records_decode_body(struct records *records, uint64_t fingerprint, struct slice body,
                         struct avro_decoded *ret);

uint64_t records_digest(const struct records *records, struct slice a, struct slice b);

/* A hash of the headers by which clients know their answers; 0 when there are none. */
uint32_t records_token(const rd_kafka_headers_t *headers);

/* A hash of what a result repeats of its command; 0 when a value would not be repeated as it is. */
uint32_t records_echo(const struct value *command_id, const struct value *account_id,
                      struct slice type);

struct slice records_text(const struct value *value);

#endif
