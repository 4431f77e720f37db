/* Plain libpq: connect, run, query. */
#include "common/sql.h"

#include "common/postgres.h"
#include "common/stop.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { RETRY_PAUSE_MS = 250 };

void sql_finish(PGconn **conn) {
    PQfinish(*conn);
    *conn = NULL;
}

void sql_clear(PGresult **result) {
    PQclear(*result);
    *result = NULL;
}

/* ---- connecting ---- */

/* libpq tells of a failed connection in words alone; these are the server's and its own. The first
 * that fits counts. */
static enum fault connect_fault(const char *message) {
    static const struct {
        const char *part;
        enum fault fault;
    } known[] = {
        {"too many ", FAULT_REBUILD}, /* clients, connections for a role or a database */
        {"authentication failed", FAULT_AUTH},
        {"no password supplied", FAULT_AUTH},
        {"pg_hba.conf", FAULT_AUTH},
        {"role \"", FAULT_AUTH},
        {"permission denied", FAULT_AUTH},
        {"database \"", FAULT_STATE},
        {"invalid ", FAULT_CONFIG},
        {"definition of service", FAULT_CONFIG},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strstr(message, known[i].part))
            return known[i].fault;
    }
    return FAULT_REBUILD;
}

/* What libpq says, in one line. */
static bool connection_error(PGconn *conn, const char *what, struct error *err) {
    char text[300];
    snprintf(text, sizeof text, "%s", PQerrorMessage(conn));
    for (char *c = text; *c; c++) {
        if (*c == '\n')
            *c = c[1] ? ' ' : '\0';
    }
    return error_set(err, connect_fault(text), "postgres-connection", "%s: %s", what,
                     text[0] ? text : "the connection was lost");
}

static PGconn *connect_once(const char *conninfo, const char *application_name, struct error *err) {
    /* What stands before dbname is a default that the connection string may override. */
    const char *keys[] = {"connect_timeout", "target_session_attrs", "fallback_application_name",
                          "dbname", NULL};
    const char *values[] = {"5", "read-write", application_name, conninfo, NULL};
    PGconn *conn = PQconnectdbParams(keys, values, 1);
    if (PQstatus(conn) == CONNECTION_OK)
        return conn;
    connection_error(conn, "cannot connect to the database", err);
    PQfinish(conn);
    return NULL;
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

PGconn *sql_connect(const char *conninfo, const char *application_name, int wait_seconds,
                    struct error *err) {
    int64_t deadline = monotonic_ms() + 1000 * (int64_t)wait_seconds;
    for (;;) {
        struct error last = {0};
        PGconn *conn = connect_once(conninfo, application_name, &last);
        if (conn)
            return conn;
        bool in_vain = last.fault != FAULT_REBUILD || monotonic_ms() >= deadline;
        if (in_vain) {
            if (err)
                *err = last;
            return NULL;
        }
        pause_ms(RETRY_PAUSE_MS);
    }
}

/* ---- statements ---- */

static bool check_result(PGconn *conn, const PGresult *result, const char *what,
                         struct error *err) {
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        return true;
    if (!result || PQstatus(conn) == CONNECTION_BAD)
        return connection_error(conn, what, err);
    return pg_result_error(result, what, err);
}

bool sql_run(PGconn *conn, const char *sql, const char *what, struct error *err) {
    SQL_RESULT result = PQexec(conn, sql);
    return check_result(conn, result, what, err);
}

static PGresult *checked(PGconn *conn, PGresult *result, const char *what, struct error *err) {
    if (check_result(conn, result, what, err))
        return result;
    PQclear(result);
    return NULL;
}

PGresult *sql_query(PGconn *conn, const char *sql, int param_count, const char *const *params,
                    const char *what, struct error *err) {
    return checked(conn, PQexecParams(conn, sql, param_count, NULL, params, NULL, NULL, 0), what,
                   err);
}

PGresult *sql_query_binary(PGconn *conn, const char *sql, const char *what, struct error *err) {
    return checked(conn, PQexecParams(conn, sql, 0, NULL, NULL, NULL, NULL, 1), what, err);
}

bool sql_commit(PGconn *conn, struct error *err) {
    SQL_RESULT result = PQexec(conn, "COMMIT");
    if (!check_result(conn, result, "committing", err))
        return false;
    if (strcmp(PQcmdStatus(result), "COMMIT") == 0)
        return true;
    return error_set(err, FAULT_RETRY, "postgres-not-committed",
                     "COMMIT was answered by %s: nothing was stored", PQcmdStatus(result));
}

void sql_rollback(PGconn *conn) {
    PQclear(PQexec(conn, "ROLLBACK"));
}
