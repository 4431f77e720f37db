/* PostgreSQL for programs that end: one plain, blocking connection, statements as text. A program
 * that must go on while the database does not answer uses common/postgres.h. */
#ifndef SIPTRUNK_COMMON_SQL_H
#define SIPTRUNK_COMMON_SQL_H

#include "common/error.h"

#include <libpq-fe.h>

/* Connects within wait_seconds: as long as the server is not there yet (not when it refuses us) it
 * is tried again, at least once. NULL with FAULT_AUTH, FAULT_STATE (no such database), FAULT_CONFIG
 * or FAULT_REBUILD. */
PGconn *sql_connect(const char *conninfo, const char *application_name, int wait_seconds,
                    struct error *err);

/* One or more statements without parameters; results are dropped. what: half a sentence for err. */
bool sql_run(PGconn *conn, const char *sql, const char *what, struct error *err) MUST_CHECK;

/* One statement with text parameters (NULL: SQL NULL). The caller clears the result; NULL on
 * failure. */
PGresult *sql_query(PGconn *conn, const char *sql, int param_count, const char *const *params,
                    const char *what, struct error *err);

/* One statement without parameters, whose values come in binary, as common/postgres.h reads them.
 */
PGresult *sql_query_binary(PGconn *conn, const char *sql, const char *what, struct error *err);

/* COMMIT, which is only done when the server says so. */
bool sql_commit(PGconn *conn, struct error *err) MUST_CHECK;

/* Ends a transaction whose failure has been told already. */
void sql_rollback(PGconn *conn);

/* Handles that are released where their variable ends: SQL_CONNECTION conn = sql_connect(..). */
#define SQL_CONNECTION __attribute__((cleanup(sql_finish))) PGconn *
#define SQL_RESULT     __attribute__((cleanup(sql_clear))) PGresult *
void sql_finish(PGconn **conn);
void sql_clear(PGresult **result);

#endif
