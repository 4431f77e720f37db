/* One small look-up over the positions of a thread, and a line for each change. */
#include "worker/hold.h"

#include "common/log.h"

#include <stdio.h>

const struct pg_statement hold_statements[] = {
    {"hold_look", "SELECT p.topic, p.partition, p.held_reason FROM unnest($1::text[], $2::int4[])"
                  " AS k(topic, partition) JOIN siptrunk.partition_position p"
                  " ON p.topic = k.topic COLLATE \"C\" AND p.partition = k.partition"
                  " WHERE p.held_since IS NOT NULL"},
};
const size_t hold_statement_count = sizeof hold_statements / sizeof hold_statements[0];

static void tell(const char *worker, const struct position *position, bool held) {
    char topic[256];
    snprintf(topic, sizeof topic, SLICE_FMT, SLICE_ARG(position->topic));
    log_write(held ? LOG_WARN : LOG_INFO, held ? "held" : "released",
              LOG_WITH(LOG_TEXT("worker", worker), LOG_TEXT("topic", topic),
                       LOG_INT("partition", position->partition),
                       LOG_INT("offset", position->next_offset),
                       LOG_TEXT("reason", position->held_reason)),
              held ? "an operator holds this partition: its commands wait in Kafka"
                   : "the operator has released this partition: it is read again");
}

/* Absent when the partition is not held. */
static struct slice reason_of(const PGresult *rows, const struct position *position) {
    for (int row = 0; row < PQntuples(rows); row++) {
        if (pg_int4(rows, row, 1) == position->partition &&
            slice_equal(pg_text(rows, row, 0), position->topic))
            return pg_text(rows, row, 2);
    }
    return SLICE_NONE;
}

/* True when that is news. */
static bool take_reason(const char *worker, struct position *position, struct slice reason) {
    bool was_held = position->held_reason[0];
    if (!reason.data && was_held)
        tell(worker, position, false);
    position->held_reason[0] = '\0';
    if (reason.data)
        snprintf(position->held_reason, sizeof position->held_reason, SLICE_FMT, SLICE_ARG(reason));
    if (reason.data && !was_held)
        tell(worker, position, true);
    return was_held != (reason.data != NULL);
}

bool hold_look(struct pg *pg, struct arena *arena, const char *worker, struct position *positions,
               size_t count, bool *ret_changed, struct error *err) {
    struct pg_array topics = pg_array_new(arena, PG_OID_TEXT, count, 64);
    struct pg_array partitions = pg_array_new(arena, PG_OID_INT4, count, 4);
    struct pg_param params[2];
    PGresult *rows;
    bool changed = false;
    for (size_t i = 0; i < count; i++) {
        pg_array_add_text(&topics, positions[i].topic);
        pg_array_add_int4(&partitions, positions[i].partition);
    }
    if (!pg_array_param(&topics, &params[0]) || !pg_array_param(&partitions, &params[1]))
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for positions");
    if (!pg_query(pg, &hold_statements[0], params, 2, &rows, err))
        return false;
    for (size_t i = 0; i < count; i++)
        changed |= take_reason(worker, &positions[i], reason_of(rows, &positions[i]));
    PQclear(rows);
    *ret_changed = changed;
    return true;
}
