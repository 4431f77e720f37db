/* The ledger comes through a cursor, in pieces; nothing is sorted by the server. */
#include "ctl/verify/database.h"

#include "common/migrate.h"
#include "common/postgres.h"
#include "common/sql.h"
#include "common/stop.h"

#include <stdio.h>

static const char application_name[] = "siptrunkctl verify";
static const char reading[] = "reading the database";

PGconn *database_open(const struct config *config, struct error *err) {
    PGconn *conn =
        sql_connect(config_text(config, CONFIG_POSTGRES_CONNINFO), application_name, 0, err);
    if (conn && migrate_check(conn, err))
        return conn;
    sql_finish(&conn);
    return NULL;
}

static struct part *part_of_row(const PGresult *result, int row, struct history *history) {
    uint16_t part =
        history_part(history, pg_text(result, row, 0), pg_int4(result, row, 1), PART_COMMANDS);
    return part == NO_PART ? NULL : &history->parts[part];
}

static int64_t offset_or_none(const PGresult *result, int row, int column) {
    return PQgetisnull(result, row, column) ? -1 : pg_int8(result, row, column);
}

static const char positions[] =
    "SELECT topic, partition, committed_offset, next_offset FROM siptrunk.partition_position";

bool database_read_noted(PGconn *conn, struct history *history, struct error *err) {
    SQL_RESULT result = sql_query_binary(conn, positions, reading, err);
    for (int row = 0; result && row < PQntuples(result); row++) {
        struct part *part = part_of_row(result, row, history);
        if (part)
            part->answered_before = offset_or_none(result, row, 2);
    }
    return result != NULL;
}

static bool read_installation(PGconn *conn, struct history *history, struct error *err) {
    SQL_RESULT result =
        sql_query_binary(conn,
                         "SELECT coalesce(cluster_id, ''), state, coalesce(state_reason, '')"
                         " FROM siptrunk.installation",
                         reading, err);
    if (!result)
        return false;
    if (PQntuples(result) != 1)
        return error_set(err, FAULT_STATE, "installation", "siptrunk.installation has no row");
    struct slice cluster = pg_text(result, 0, 0), reason = pg_text(result, 0, 2);
    if (cluster.size > 0 && !slice_is(cluster, history->cluster_id))
        return error_set(err, FAULT_STATE, "other-cluster",
                         "the database belongs to Kafka cluster " SLICE_FMT ", not to %s",
                         SLICE_ARG(cluster), history->cluster_id);
    if (slice_is(pg_text(result, 0, 1), "diverged"))
        snprintf(history->diverged, sizeof history->diverged, SLICE_FMT, SLICE_ARG(reason));
    return true;
}

bool database_begin(PGconn *conn, struct history *history, struct error *err) {
    return sql_run(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "beginning a snapshot",
                   err) &&
           read_installation(conn, history, err);
}

static bool read_positions(PGconn *conn, struct history *history, struct error *err) {
    SQL_RESULT result = sql_query_binary(conn, positions, reading, err);
    for (int row = 0; result && row < PQntuples(result); row++) {
        struct part *part = part_of_row(result, row, history);
        if (part) {
            part->noted_offset = offset_or_none(result, row, 2);
            part->next_offset = pg_int8(result, row, 3);
        }
    }
    return result != NULL;
}

/* ---- many rows ---- */

/* Calls take for each row of the query. */
static bool each_row(PGconn *conn, const char *declare, struct progress *progress,
                     bool (*take)(const PGresult *result, int row, struct records *records,
                                  struct history *history, struct error *err),
                     struct records *records, struct history *history, struct error *err) {
    if (!sql_run(conn, declare, reading, err))
        return false;
    for (int count = 1; count > 0;) {
        SQL_RESULT result = sql_query_binary(conn, "FETCH 2000 FROM pieces", reading, err);
        if (!result)
            return false;
        if (stop_requested())
            return error_set(err, FAULT_STOP, "stopped", "interrupted");
        count = PQntuples(result);
        for (int row = 0; row < count; row++) {
            if (!take(result, row, records, history, err))
                return false;
        }
        progress_step(progress, count);
    }
    return sql_run(conn, "CLOSE pieces", reading, err);
}

static bool take_tail(const PGresult *result, int row, struct records *records,
                      struct history *history, struct error *err) {
    (void)records;
    struct uuid id = pg_uuid(result, row, 0);
    struct slice chain = pg_text(result, row, 2);
    uint32_t number = history_account(history, &id);
    if (number == NO_ROW)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the history");
    struct account *account = &history->accounts[number];
    account->has_tail = true;
    account->tail_sequence = pg_int8(result, row, 1);
    if (chain.size == SHA256_SIZE)
        memcpy(account->tail_chain, chain.data, SHA256_SIZE);
    return true;
}

static bool take_ledger(const PGresult *result, int row, struct records *records,
                        struct history *history, struct error *err) {
    const struct ledger_view view = {
        .account_id = pg_uuid(result, row, 0),
        .command_id = pg_uuid(result, row, 1),
        .account_sequence = pg_int8(result, row, 2),
        .applied_at = pg_int8(result, row, 3),
        .source_offset = pg_int8(result, row, 4),
        .source_timestamp = pg_int8(result, row, 5),
        .result_schema = (uint64_t)pg_int8(result, row, 6),
        .source_partition = pg_int4(result, row, 7),
        .source_topic = pg_text(result, row, 8),
        .command_type = pg_text(result, row, 9),
        .outcome = pg_text(result, row, 10),
        .error_reason = pg_text(result, row, 11),
        .batch_id = pg_text(result, row, 12),
        .result = pg_text(result, row, 13),
    };
    return records_ledger(records, history, &view, err);
}

bool database_read(PGconn *conn, struct records *records, struct history *history,
                   struct progress *progress, struct error *err) {
    progress_begin(progress, "ledger rows and accounts", 0);
    return read_positions(conn, history, err) &&
           each_row(conn,
                    "DECLARE pieces NO SCROLL CURSOR FOR SELECT account_id, command_id,"
                    " account_sequence, applied_at, source_offset, source_timestamp,"
                    " result_schema, source_partition, source_topic, command_type, outcome,"
                    " error_reason, batch_id, result FROM siptrunk.command_ledger",
                    progress, take_ledger, records, history, err) &&
           each_row(conn,
                    "DECLARE pieces NO SCROLL CURSOR FOR"
                    " SELECT account_id, last_sequence, last_chain FROM siptrunk.account_tail",
                    progress, take_tail, records, history, err) &&
           sql_run(conn, "COMMIT", reading, err);
}
