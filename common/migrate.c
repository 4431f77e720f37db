/* Runs the embedded migrations and tells how far a database is. What they say is in migrations/. */
#include "common/migrate.h"

#include "common/embedded.h"
#include "common/slice.h"
#include "common/sql.h"
#include "common/stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* "siptrunk" in ASCII: the advisory lock that one runner at a time holds. */
#define LOCK_KEY "8316301832355147371"

enum { LOCK_WAIT_MS = 60000, LOCK_PAUSE_MS = 100 };

static const char remedy[] = "run siptrunkctl migrate up";

/* ---- the embedded files ---- */

static struct slice version_of(const char *name) {
    return (struct slice){.data = name, .size = strspn(name, "0123456789")};
}

static struct slice stem_of(const char *name) {
    size_t size = strlen(name), suffix = strlen(".sql");
    bool has_suffix = size > suffix && strcmp(name + size - suffix, ".sql") == 0;
    return (struct slice){.data = name, .size = has_suffix ? size - suffix : size};
}

/* A block of a file: the line that opens it, and what follows up to the next one. */
struct block {
    struct slice sql;
    bool in_transaction;
};

/* "-- migrate:NAME", alone or with options behind it. */
static bool opens_block(struct slice line, const char *name, bool *ret_in_transaction) {
    char text[128];
    snprintf(text, sizeof text, SLICE_FMT, SLICE_ARG(line));
    char directive[32], option[64] = "";
    int end = 0;
    if (sscanf(text, "-- migrate:%31[a-z]%n %63s", directive, &end, option) < 1 || end == 0 ||
        strcmp(directive, name) != 0 || (text[end] && !strchr(" \t\r", text[end])))
        return false;
    *ret_in_transaction = strcmp(option, "transaction:false") != 0;
    return true;
}

static struct slice next_line(const char *text) {
    return (struct slice){.data = text, .size = strcspn(text, "\n")};
}

/* The block called name; false when the file has none. */
static bool find_block(const char *text, const char *name, struct block *ret) {
    struct block block = {.sql = SLICE_NONE};
    for (const char *at = text; *at;) {
        struct slice line = next_line(at);
        bool ignored;
        if (!block.sql.data && opens_block(line, name, &block.in_transaction))
            block.sql.data = at;
        else if (block.sql.data &&
                 (opens_block(line, "up", &ignored) || opens_block(line, "down", &ignored)))
            break;
        at += line.size + (at[line.size] == '\n');
        if (block.sql.data)
            block.sql.size = (size_t)(at - block.sql.data);
    }
    if (!block.sql.data)
        return false;
    *ret = block;
    return true;
}

/* ---- the bookkeeping table ---- */

static bool table_exists(PGconn *conn, bool *ret, struct error *err) {
    SQL_RESULT result =
        sql_query(conn, "select to_regclass('public.schema_migrations') is not null", 0, NULL,
                  "looking for the table of migrations", err);
    if (!result)
        return false;
    *ret = PQgetvalue(result, 0, 0)[0] == 't';
    return true;
}

/* Versions in ascending order of their bytes; none when there is no table. The caller clears *ret.
 */
static bool read_versions(PGconn *conn, PGresult **ret, struct error *err) {
    bool exists;
    if (!table_exists(conn, &exists, err))
        return false;
    const char *sql =
        exists ? "select version from public.schema_migrations order by version collate \"C\""
               : "select '' where false";
    PGresult *result = sql_query(conn, sql, 0, NULL, "reading the table of migrations", err);
    if (result)
        *ret = result;
    return result != NULL;
}

static bool is_applied(const PGresult *versions, struct slice version) {
    for (int i = 0; i < PQntuples(versions); i++) {
        if (slice_is(version, PQgetvalue(versions, i, 0)))
            return true;
    }
    return false;
}

/* Versions beyond our last one belong to a later release. Unknown ones before it are not ours to
 * judge: another program may keep its own in the same table. */
static bool is_newer(const char *version) {
    struct slice last = SLICE_NONE;
    if (embedded_migrations_count)
        last = version_of(embedded_migrations[embedded_migrations_count - 1].name);
    return slice_compare(slice_of(version), last) > 0;
}

static bool refuse_newer(const PGresult *versions, struct error *err) {
    int count = PQntuples(versions);
    if (count == 0 || !is_newer(PQgetvalue(versions, count - 1, 0)))
        return true;
    return error_set(
        err, FAULT_STATE, "schema-newer",
        "the database has migration %.32s, which a later release made: use that release",
        PQgetvalue(versions, count - 1, 0));
}

static size_t count_pending(const PGresult *versions) {
    size_t pending = 0;
    for (size_t i = 0; i < embedded_migrations_count; i++)
        pending += !is_applied(versions, version_of(embedded_migrations[i].name));
    return pending;
}

bool migrate_check(PGconn *conn, struct error *err) {
    SQL_RESULT versions = NULL;
    if (!read_versions(conn, &versions, err) || !refuse_newer(versions, err))
        return false;
    size_t pending = count_pending(versions);
    if (pending == 0)
        return true;
    if (pending == embedded_migrations_count)
        return error_set(err, FAULT_STATE, "schema-missing",
                         "the database has no schema of ours: %s", remedy);
    return error_set(err, FAULT_STATE, "schema-behind",
                     "the database lacks %zu of %zu migrations: %s", pending,
                     embedded_migrations_count, remedy);
}

static void visit_embedded(const struct embedded_file *file, enum migration_state state,
                           migrate_visit visit, void *context) {
    char name[256];
    snprintf(name, sizeof name, SLICE_FMT, SLICE_ARG(stem_of(file->name)));
    visit(&(struct migration){.name = name, .state = state}, context);
}

bool migrate_status(PGconn *conn, migrate_visit visit, void *context, struct error *err) {
    SQL_RESULT versions = NULL;
    if (!read_versions(conn, &versions, err))
        return false;
    for (size_t i = 0; i < embedded_migrations_count; i++) {
        const struct embedded_file *file = &embedded_migrations[i];
        bool applied = is_applied(versions, version_of(file->name));
        visit_embedded(file, applied ? MIGRATION_APPLIED : MIGRATION_PENDING, visit, context);
    }
    for (int i = 0; i < PQntuples(versions); i++) {
        const char *version = PQgetvalue(versions, i, 0);
        if (is_newer(version))
            visit(&(struct migration){.name = version, .state = MIGRATION_NEWER}, context);
    }
    return true;
}

/* ---- running ---- */

static bool try_lock(PGconn *conn, bool *ret_locked, struct error *err) {
    SQL_RESULT result = sql_query(conn, "select pg_try_advisory_lock(" LOCK_KEY ")", 0, NULL,
                                  "looking whether another migration runs", err);
    if (!result)
        return false;
    *ret_locked = PQgetvalue(result, 0, 0)[0] == 't';
    return true;
}

/* Keeps other runners out until let_others_in, or the end of the connection. Asks again and again
 * instead of waiting in the server: a statement that waits there holds a snapshot, for the end of
 * which a CREATE INDEX CONCURRENTLY of the runner that we wait for would wait in turn. */
static bool lock_out_others(PGconn *conn, struct error *err) {
    int64_t deadline = monotonic_ms() + LOCK_WAIT_MS;
    for (bool locked = false;;) {
        if (!try_lock(conn, &locked, err))
            return false;
        if (locked)
            return true;
        if (monotonic_ms() >= deadline)
            return error_set(err, FAULT_RETRY, "migration-running",
                             "another migration has been running for a minute: try again later");
        nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_MS * 1000000L}, NULL);
    }
}

/* DDL waits for tables in use only so long that the workers, which queue behind it, hardly notice.
 */
static bool prepare(PGconn *conn, struct error *err) {
    return sql_run(conn, "set client_min_messages = 'warning'; set lock_timeout = '10s'",
                   "preparing the migration", err) &&
           lock_out_others(conn, err);
}

static void let_others_in(PGconn *conn) {
    PQclear(PQexec(conn, "select pg_advisory_unlock(" LOCK_KEY ")"));
}

static bool create_table(PGconn *conn, struct error *err) {
    bool exists;
    if (!table_exists(conn, &exists, err))
        return false;
    return exists ||
           sql_run(conn, "create table public.schema_migrations (version varchar(128) primary key)",
                   "creating the table of migrations", err);
}

/* What is done to a database: the block to run, and how the version is noted. */
struct direction {
    const char *block, *note;
    enum migration_state after;
};

static const struct direction up = {
    .block = "up",
    .note = "insert into public.schema_migrations (version) values ($1)",
    .after = MIGRATION_APPLIED,
};

static const struct direction down = {
    .block = "down",
    .note = "delete from public.schema_migrations where version = $1",
    .after = MIGRATION_PENDING,
};

static bool run_sql(PGconn *conn, struct slice sql, const char *what, struct error *err) {
    char *text = strndup(sql.data, sql.size);
    if (!text)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for %s", what);
    bool ok = sql_run(conn, text, what, err);
    free(text);
    return ok;
}

static bool note_version(PGconn *conn, const struct embedded_file *file,
                         const struct direction *direction, struct error *err) {
    char version[MIGRATE_MAX_VERSION + 1];
    snprintf(version, sizeof version, SLICE_FMT, SLICE_ARG(version_of(file->name)));
    const char *params[] = {version};
    SQL_RESULT result = sql_query(conn, direction->note, 1, params, "noting the migration", err);
    return result != NULL;
}

/* A block that cannot run in a transaction (CREATE INDEX CONCURRENTLY) is noted after it is done;
 * if that fails it will run again, so it must be written to bear it. */
static bool run_file(PGconn *conn, const struct embedded_file *file,
                     const struct direction *direction, struct error *err) {
    struct block block;
    if (!find_block(file->text, direction->block, &block))
        return error_set(err, FAULT_BUG, "migration-format", "%s has no block migrate:%s",
                         file->name, direction->block);
    char what[160];
    snprintf(what, sizeof what, "migration %s, %s", file->name, direction->block);
    bool ok = !block.in_transaction || sql_run(conn, "begin", what, err);
    ok = ok && run_sql(conn, block.sql, what, err) && note_version(conn, file, direction, err) &&
         (!block.in_transaction || sql_commit(conn, err));
    if (!ok)
        sql_rollback(conn);
    return ok;
}

static bool run_pending(PGconn *conn, migrate_visit visit, void *context, struct error *err) {
    SQL_RESULT versions = NULL;
    if (!create_table(conn, err) || !read_versions(conn, &versions, err) ||
        !refuse_newer(versions, err))
        return false;
    for (size_t i = 0; i < embedded_migrations_count; i++) {
        const struct embedded_file *file = &embedded_migrations[i];
        if (is_applied(versions, version_of(file->name)))
            continue;
        if (!run_file(conn, file, &up, err))
            return false;
        visit_embedded(file, up.after, visit, context);
    }
    return true;
}

static bool take_back_last(PGconn *conn, migrate_visit visit, void *context, struct error *err) {
    SQL_RESULT versions = NULL;
    if (!read_versions(conn, &versions, err) || !refuse_newer(versions, err))
        return false;
    for (size_t i = embedded_migrations_count; i > 0; i--) {
        const struct embedded_file *file = &embedded_migrations[i - 1];
        if (!is_applied(versions, version_of(file->name)))
            continue;
        if (!run_file(conn, file, &down, err))
            return false;
        visit_embedded(file, down.after, visit, context);
        return true;
    }
    return error_set(err, FAULT_STATE, "schema-missing", "there is no migration to take back");
}

bool migrate_up(PGconn *conn, migrate_visit visit, void *context, struct error *err) {
    if (!prepare(conn, err))
        return false;
    bool ok = run_pending(conn, visit, context, err);
    let_others_in(conn);
    return ok;
}

bool migrate_down(PGconn *conn, migrate_visit visit, void *context, struct error *err) {
    if (!prepare(conn, err))
        return false;
    bool ok = take_back_last(conn, visit, context, err);
    let_others_in(conn);
    return ok;
}
