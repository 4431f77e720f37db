/* One UPDATE each. It waits for the batch that has the row locked, and each batch after it finds
 * the mark; only the reply to a batch that was stored before may still be on its way. */
#include "ctl/partition_hold.h"

#include "common/sql.h"
#include "common/stop.h"
#include "ctl/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char name[] = "partitions";

enum { SETTLE_MS = 30000, STEP_MS = 100 };

struct held {
    int64_t next_offset;
    char epoch[24];
};

static const char *number_text(int64_t number, char room[24]) {
    snprintf(room, 24, "%" PRId64, number);
    return room;
}

static bool mark(PGconn *conn, const struct command_partition *partition, const char *reason,
                 struct held *ret, struct error *err) {
    char id[24];
    const char *params[] = {partition->topic, number_text(partition->id, id), reason};
    SQL_RESULT row = sql_query(
        conn,
        "INSERT INTO siptrunk.partition_position AS p (topic, partition, next_offset, held_since,"
        " held_reason) VALUES ($1, $2::int4, 0, clock_timestamp(), $3)"
        " ON CONFLICT (topic, partition) DO UPDATE SET held_reason = excluded.held_reason,"
        " held_since = coalesce(p.held_since, excluded.held_since)"
        " RETURNING p.next_offset, p.epoch",
        3, params, "marking the partition", err);
    if (!row)
        return false;
    ret->next_offset = strtoll(PQgetvalue(row, 0, 0), NULL, 10);
    snprintf(ret->epoch, sizeof ret->epoch, "%s", PQgetvalue(row, 0, 1));
    return true;
}

/* Who has claimed the partition since, or has no session left, does not reply to what was before.
 */
static bool owner_is_done(PGconn *conn, const struct command_partition *partition,
                          const struct held *held, bool *ret, struct error *err) {
    char id[24];
    const char *params[] = {partition->topic, number_text(partition->id, id), held->epoch};
    SQL_RESULT row = sql_query(
        conn,
        "SELECT p.epoch <> $3::int8 OR NOT " PARTITION_OWNER_ALIVE
        " FROM siptrunk.partition_position p WHERE p.topic = $1 AND p.partition = $2::int4",
        3, params, "looking for the partition's owner", err);
    if (!row)
        return false;
    *ret = PQntuples(row) == 0 || *PQgetvalue(row, 0, 0) == 't';
    return true;
}

static bool settle(PGconn *conn, const struct partition_list *list,
                   struct command_partition *partition, const struct held *held, bool *ret_settled,
                   struct error *err) {
    int64_t deadline_ms = monotonic_ms() + SETTLE_MS;
    for (bool done = false;;) {
        if (!owner_is_done(conn, partition, held, &done, err) ||
            !partition_list_ask(list, partition, err))
            return false;
        bool answered = partition->committed >= held->next_offset || held->next_offset == 0;
        *ret_settled = answered || done;
        if (*ret_settled || monotonic_ms() >= deadline_ms)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    }
}

static int tell(const struct command_partition *partition, const struct held *held, bool settled) {
    int64_t answered = partition->committed < 0 ? 0 : partition->committed;
    printf("%s/%" PRId32 " is held at offset %" PRId64 "\n", partition->topic, partition->id,
           held->next_offset);
    if (answered >= held->next_offset)
        return EXIT_DONE;
    printf("what stands from offset %" PRId64 " is stored and %s\n", answered,
           settled ? "will be answered after the release"
                   : "not answered yet: its owner may still do that");
    return settled ? EXIT_DONE : EXIT_TIMED_OUT;
}

int partition_hold(PGconn *conn, const struct partition_list *list,
                   struct command_partition *partition, const char *reason) {
    struct error err = {0};
    struct held held;
    bool settled;
    if (!sql_run(conn, "SET lock_timeout = '30s'", "setting a limit", &err) ||
        !mark(conn, partition, reason, &held, &err) ||
        !settle(conn, list, partition, &held, &settled, &err))
        return command_fail(name, &err);
    return tell(partition, &held, settled);
}

int partition_release(PGconn *conn, const struct command_partition *partition) {
    struct error err = {0};
    char id[24];
    const char *params[] = {partition->topic, number_text(partition->id, id)};
    SQL_RESULT rows =
        sql_query(conn,
                  "UPDATE siptrunk.partition_position SET held_since = NULL, held_reason = NULL"
                  " WHERE topic = $1 AND partition = $2::int4 AND held_since IS NOT NULL"
                  " RETURNING next_offset",
                  2, params, "releasing the partition", &err);
    if (!rows)
        return command_fail(name, &err);
    if (PQntuples(rows) == 0)
        printf("%s/%" PRId32 " was not held\n", partition->topic, partition->id);
    else
        printf("%s/%" PRId32 " goes on from offset %s\n", partition->topic, partition->id,
               PQgetvalue(rows, 0, 0));
    return EXIT_DONE;
}
