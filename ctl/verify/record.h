/* From bytes to rows of a history: records of command, results and dead letter topics, rows of the
 * ledger. Knows the schemas and the contract, and neither a broker nor a database. One thread. */
#ifndef SIPTRUNK_CTL_VERIFY_RECORD_H
#define SIPTRUNK_CTL_VERIFY_RECORD_H

#include "ctl/verify/history.h"

#include <librdkafka/rdkafka.h>

/* A record as the broker gives it; everything is the caller's. */
struct record_view {
    uint16_t part;
    int64_t offset;
    int64_t timestamp_ms;
    struct slice key, value;           /* absent: null */
    const rd_kafka_headers_t *headers; /* NULL when there are none */
};

/* A row of siptrunk.command_ledger. */
struct ledger_view {
    struct uuid account_id, command_id;
    int64_t account_sequence, applied_at, source_offset, source_timestamp;
    uint64_t result_schema;
    int32_t source_partition;
    struct slice source_topic, command_type, outcome;
    struct slice error_reason, batch_id; /* absent: null */
    struct slice result;
};

struct records;

/* Knows the embedded schemas and those of schema_dir ("" for none). NULL with err set. */
struct records *records_new(const char *schema_dir, struct error *err);
void records_free(struct records *records); /* accepts NULL */

/* One row each. A record that cannot be read is a row too; false only when memory is out. Cluster
 * id and partitions must stand in the history before. */
bool records_command(struct records *records, struct history *history,
                     const struct record_view *record, struct error *err) MUST_CHECK;
bool records_letter(struct records *records, struct history *history,
                    const struct record_view *record, struct error *err) MUST_CHECK;
bool records_ledger(struct records *records, struct history *history, const struct ledger_view *row,
                    struct error *err) MUST_CHECK;

/* Results are read twice: first what is committed; then, when the ledger is there too, everything.
 * The second reading adds the aborted copies and, knowing each event's predecessor now, looks at
 * the chain of the committed ones. */
bool records_result(struct records *records, struct history *history,
                    const struct record_view *record, struct error *err) MUST_CHECK;
bool records_read_again(struct records *records, struct history *history,
                        struct error *err) MUST_CHECK;
bool records_result_again(struct records *records, struct history *history,
                          const struct record_view *record, struct error *err) MUST_CHECK;

/* The name of a command type by its number. */
const char *records_type_name(const struct records *records, uint8_t type);

/* The UUIDv5 that names the answer to a command with two well-formed ids. */
struct uuid records_event_id(const struct records *records, const struct uuid *account,
                             const struct uuid *command);

#endif
