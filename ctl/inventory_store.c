/* The statements of an inventory load, in the order in which a block runs them. */
#include "ctl/inventory_store.h"

#include "common/postgres.h"
#include "common/sql.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_ATTEMPTS = 6, FIRST_PAUSE_MS = 50 };

/* Joins go by the keys of the big tables: a block is small beside them, whatever the statistics
 * say. */
static const char session_sql[] =
    "set client_min_messages = 'warning'; set lock_timeout = '5s'; set jit = off;"
    "set max_parallel_workers_per_gather = 0;"
    "set enable_hashjoin = off; set enable_mergejoin = off;"
    "create temporary table load_proxy (line bigint, id uuid, name text) on commit delete rows;"
    "create temporary table load_template (line bigint, id uuid, name text) on commit delete rows;"
    "create temporary table load_call_barring (line bigint, code text collate \"C\", name text)"
    " on commit delete rows;"
    "create temporary table load_account (line bigint, account_id uuid, name text, proxies uuid[],"
    " templates uuid[], call_barrings text[] collate \"C\", caller_ids text[] collate \"C\")"
    " on commit delete rows;"
    "create temporary table load_channel (line bigint, account_id uuid, channel text collate \"C\","
    " subscription text) on commit delete rows;"
    "create temporary table load_number (line bigint, e164 text collate \"C\", account_id uuid,"
    " kind text, state text, channel text collate \"C\", number_type text) on commit delete rows;"
    "create temporary table load_stored (e164 text collate \"C\" primary key, account_id uuid,"
    " kind text, state text) on commit delete rows;"
    "create temporary table load_changed (line bigint, e164 text collate \"C\", account_id uuid,"
    " kind text, state text, owner_id uuid, channel_id bigint) on commit delete rows";

/* A CHECK returns (line, pointer, message) for each line that does not fit; a RUN changes or locks
 * rows. */
enum action { RUN, CHECK };

/* An entry that is there already keeps its row, a name that differs is replaced. The last line
 * counts. */
#define CATALOGUE_STEP(type, table, key, staged)                                                   \
    {                                                                                              \
        type, RUN,                                                                                 \
            "insert into siptrunk." table " (" key ", name) "                                      \
            "select distinct on (" staged ") " staged ", name from load_" table                    \
            " order by " staged ", line desc "                                                     \
            "on conflict (" key ") do update set name = excluded.name "                            \
            "where " table ".name <> excluded.name"                                                \
    }

#define ACCOUNT_CHECK(type, table)                                                                 \
    {                                                                                              \
        type, CHECK,                                                                               \
            "select line, '/account_id', 'there is no account ' || account_id from load_" table    \
            " l "                                                                                  \
            "where not exists (select from siptrunk.account a where a.account_id = l.account_id)"  \
    }

/* The last list of an account replaces what is stored; an absent list leaves it. */
#define LAST_LIST(list)                                                                            \
    "(select distinct on (account_id) account_id, " list " as list from load_account "             \
    "where " list " is not null order by account_id, line desc) l"

#define GRANT_CHECK(list, table, key)                                                              \
    {                                                                                              \
        INVENTORY_ACCOUNT, CHECK,                                                                  \
            "select line, '/" list "/' || place - 1, 'there is no such entry: ' || item "          \
            "from load_account, unnest(" list ") with ordinality as entry (item, place) "          \
            "where not exists (select from siptrunk." table " where " key " = item)"               \
    }

#define GRANT_REPLACE(list, table, key)                                                            \
    {INVENTORY_ACCOUNT, RUN,                                                                       \
     "delete from siptrunk." table                                                                 \
     " g using " LAST_LIST(list) " where g.account_id = l.account_id and g." key                   \
                                 " <> all (l.list)"},                                              \
    {                                                                                              \
        INVENTORY_ACCOUNT, RUN,                                                                    \
            "insert into siptrunk." table " (account_id, " key ") "                                \
            "select distinct account_id, item from " LAST_LIST(                                    \
                list) ", unnest(list) as item "                                                    \
                      "order by 1, 2 on conflict do nothing"                                       \
    }

/* One look-up by key for each line, whatever the statistics say: OFFSET 0 keeps the planner from
 * turning it into a join that begins at the big table. */
#define STORED_CHANNEL                                                                             \
    "left join lateral (select channel_id, subscription from siptrunk.channel"                     \
    " where account_id = l.account_id and name = l.channel offset 0) c on true "

/* Lines about numbers that are not there yet. */
#define NEW_NUMBERS                                                                                \
    "(select * from load_number n where not exists"                                                \
    " (select from load_stored s where s.e164 = n.e164) offset 0) l "

static const struct step {
    enum inventory_type type; /* a step runs when the block has lines of it */
    enum action action;
    const char *sql;
} steps[] = {
    CATALOGUE_STEP(INVENTORY_PROXY, "proxy", "proxy_id", "id"),
    CATALOGUE_STEP(INVENTORY_TEMPLATE, "template", "template_id", "id"),
    CATALOGUE_STEP(INVENTORY_CALL_BARRING, "call_barring", "code", "code"),

    CATALOGUE_STEP(INVENTORY_ACCOUNT, "account", "account_id", "account_id"),
    GRANT_CHECK("proxies", "proxy", "proxy_id"),
    GRANT_CHECK("templates", "template", "template_id"),
    GRANT_CHECK("call_barrings", "call_barring", "code"),
    GRANT_REPLACE("proxies", "account_proxy", "proxy_id"),
    GRANT_REPLACE("templates", "account_template", "template_id"),
    GRANT_REPLACE("call_barrings", "account_call_barring", "code"),
    GRANT_REPLACE("caller_ids", "account_caller_id", "caller_id"),

    ACCOUNT_CHECK(INVENTORY_CHANNEL, "channel"),
    {INVENTORY_CHANNEL, RUN,
     "insert into siptrunk.subscription (account_id, kind) "
     "select distinct account_id, subscription from load_channel order by 1, 2 "
     "on conflict do nothing"},
    {INVENTORY_CHANNEL, RUN,
     "insert into siptrunk.channel (account_id, name, subscription) "
     "select account_id, channel, l.subscription from (select distinct on (account_id, channel) *"
     " from load_channel order by account_id, channel, line) l " STORED_CHANNEL
     "where c.channel_id is null order by account_id, channel"},
    {INVENTORY_CHANNEL, CHECK,
     "select line, '/subscription', 'the channel exists with subscription ' || c.subscription "
     "from load_channel l " STORED_CHANNEL "where c.subscription <> l.subscription"},

    ACCOUNT_CHECK(INVENTORY_NUMBER, "number"),
    {INVENTORY_NUMBER, RUN,
     "insert into load_stored select n.* "
     "from (select distinct e164 from load_number order by e164) l cross join lateral"
     " (select e164, account_id, kind, state from siptrunk.number where e164 = l.e164 offset 0) n"},
    {INVENTORY_NUMBER, CHECK,
     "select line, '/channel', 'the account has no channel of that name' "
     "from " NEW_NUMBERS STORED_CHANNEL "where l.channel is not null and c.channel_id is null"},
    {INVENTORY_NUMBER, CHECK,
     "select line, '/number_type', 'the channel is not an operator_connect one' "
     "from " NEW_NUMBERS STORED_CHANNEL
     "where l.number_type is not null and c.subscription <> 'operator_connect'"},
    {INVENTORY_NUMBER, RUN,
     "with new as (insert into siptrunk.number"
     " (account_id, channel_id, e164, kind, state, number_type) "
     "select l.account_id, c.channel_id, l.e164, l.kind, l.state, l.number_type "
     "from (select distinct on (e164) * from " NEW_NUMBERS "order by e164, line) l " STORED_CHANNEL
     "order by l.e164 returning e164, account_id, kind, state) "
     "insert into load_stored select * from new"},
    /* Locks what will change in the order of the keys, as the worker does, and only that: the rest
     * need not wait for commands, nor be written to. */
    {INVENTORY_NUMBER, RUN,
     "insert into load_changed "
     "select l.line, l.e164, l.account_id, l.kind, l.state, n.account_id, n.channel_id "
     "from (select l.*"
     " from (select distinct on (e164) * from load_number order by e164, line desc) l"
     " join load_stored s on s.e164 = l.e164"
     " where (s.account_id, s.kind, s.state) is distinct from (l.account_id, l.kind, l.state)"
     " order by l.e164 offset 0) l "
     "cross join lateral (select account_id, channel_id from siptrunk.number"
     " where e164 = l.e164 for no key update) n"},
    {INVENTORY_NUMBER, CHECK,
     "select line, '/account_id', 'the number is connected to a channel of account ' || owner_id "
     "from load_changed where account_id <> owner_id and channel_id is not null"},
    {INVENTORY_NUMBER, RUN,
     "update siptrunk.number target set account_id = l.account_id, kind = l.kind, state = l.state "
     "from load_changed l where target.e164 = l.e164"},
};

/* ---- running ---- */

bool inventory_store_prepare(PGconn *conn, struct error *err) {
    return sql_run(conn, session_sql, "preparing the load", err);
}

/* Ends COPY and takes its result. */
static bool finish_copy(PGconn *conn, const char *what, struct error *err) {
    bool ok = PQputCopyEnd(conn, NULL) == 1;
    for (PGresult *result; (result = PQgetResult(conn));) {
        if (ok && PQresultStatus(result) != PGRES_COMMAND_OK)
            ok = pg_result_error(result, what, err);
        PQclear(result);
    }
    return ok;
}

static bool stage(PGconn *conn, const char *table, const struct buffer *rows, struct error *err) {
    char sql[64];
    snprintf(sql, sizeof sql, "copy load_%s from stdin", table);
    SQL_RESULT begun = PQexec(conn, sql);
    if (PQresultStatus(begun) != PGRES_COPY_IN)
        return pg_result_error(begun, "staging lines", err);
    bool sent = true;
    for (size_t done = 0; sent && done < rows->size;) {
        size_t left = rows->size - done;
        int size = left > INT_MAX / 2 ? INT_MAX / 2 : (int)left;
        sent = PQputCopyData(conn, rows->data + done, size) == 1;
        done += (size_t)size;
    }
    return finish_copy(conn, "staging lines", err);
}

/* The first line that a CHECK returns. */
static bool check(PGconn *conn, const char *sql, struct error *err) {
    char first[2048];
    snprintf(first, sizeof first,
             "select * from (%s) bad (line, pointer, message) order by line limit 1", sql);
    SQL_RESULT result = sql_query(conn, first, 0, NULL, "checking lines", err);
    if (!result)
        return false;
    if (PQntuples(result) == 0)
        return true;
    return error_set(err, FAULT_INPUT, "inventory-line", "line %s: %s: %s",
                     PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 1), PQgetvalue(result, 0, 2));
}

static bool merge(PGconn *conn, const struct inventory_block *block, struct error *err) {
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (block->counts[steps[i].type] == 0)
            continue;
        bool ok = steps[i].action == CHECK ? check(conn, steps[i].sql, err)
                                           : sql_run(conn, steps[i].sql, "storing lines", err);
        if (!ok)
            return false;
    }
    return true;
}

static bool try_block(PGconn *conn, const struct inventory_block *block, struct error *err) {
    bool ok = sql_run(conn, "begin", "storing lines", err);
    for (int i = 0; ok && i < INVENTORY_TYPE_COUNT; i++) {
        if (block->counts[i])
            ok = stage(conn, inventory_type_name((enum inventory_type)i), &block->rows[i], err);
    }
    ok = ok && merge(conn, block, err) && sql_commit(conn, err);
    if (!ok)
        sql_rollback(conn);
    return ok;
}

/* Two loads that create the same rows at the same time: the second one finds them when it comes
 * again. */
static bool may_pass(const struct error *err) {
    return err->fault == FAULT_RETRY || strcmp(err->sqlstate, "23505") == 0;
}

bool inventory_store_block(PGconn *conn, const struct inventory_block *block, struct error *err) {
    long pause_ms = FIRST_PAUSE_MS;
    for (int attempt = 1;; attempt++, pause_ms *= 2) {
        struct error last = {0};
        if (try_block(conn, block, &last))
            return true;
        if (attempt == MAX_ATTEMPTS || !may_pass(&last)) {
            if (err)
                *err = last;
            return false;
        }
        nanosleep(
            &(struct timespec){.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000},
            NULL);
    }
}
