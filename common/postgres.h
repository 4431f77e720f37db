/* One connection to PostgreSQL in pipeline mode, with every wait bounded by a deadline and by the
 * stop flag. Runs prepared statements with binary parameters and results; what they say is left to
 * its users. One thread per connection. */
#ifndef SIPTRUNK_COMMON_POSTGRES_H
#define SIPTRUNK_COMMON_POSTGRES_H

#include "common/arena.h"
#include "common/error.h"
#include "common/uuid.h"

#include <libpq-fe.h>
#include <stdint.h>

struct pg;

/* A statement that every connection prepares under its name. Parameter types come from casts in the
 * text. */
struct pg_statement {
    const char *name;
    const char *sql;
};

/* A binary parameter; data NULL is SQL NULL. */
struct pg_param {
    const char *data;
    size_t size;
};

/* Connects (at most 5 s an address, see connect_timeout), applies session settings ("SET ..; SET
 * ..", may be NULL), prepares the statements and enters pipeline mode. NULL with FAULT_AUTH for
 * refused credentials, FAULT_STATE for a database or schema that is not there, FAULT_REBUILD for
 * everything that may pass. */
struct pg *pg_connect(const char *conninfo, const char *application_name, const char *settings,
                      const struct pg_statement *statements, size_t statement_count,
                      struct error *err);
void pg_close(struct pg *pg); /* accepts NULL */

/* Queues one statement; nothing is sent before the buffer is full or pg_sync is called. */
bool pg_queue(struct pg *pg, const struct pg_statement *statement, const struct pg_param *params,
              size_t param_count, struct error *err) MUST_CHECK;

/* Ends the segment of queued statements and sends it. */
bool pg_sync(struct pg *pg, struct error *err) MUST_CHECK;

/* The result of the next queued statement, in order; the caller clears *ret. On failure the whole
 * segment is drained and, when a transaction is open, rolled back. */
bool pg_result(struct pg *pg, PGresult **ret, struct error *err) MUST_CHECK;

/* The next result must be COMMIT's: its tag reads COMMIT and no warning came with it (a cancelled
 * wait for replication is a warning, and means that the commit may be lost). */
bool pg_result_commit(struct pg *pg, struct error *err) MUST_CHECK;

/* Takes the answer to pg_sync. */
bool pg_end(struct pg *pg, struct error *err) MUST_CHECK;

/* One statement as a segment of its own. */
bool pg_query(struct pg *pg, const struct pg_statement *statement, const struct pg_param *params,
              size_t param_count, PGresult **ret, struct error *err) MUST_CHECK;

/* Rolls back what is open; true when the connection is idle and usable afterwards. */
bool pg_rollback(struct pg *pg);

bool pg_usable(const struct pg *pg);
int pg_backend_pid(const struct pg *pg);

/* Fills err from a failed result by the table of SQLSTATEs. */
bool pg_result_error(const PGresult *result, const char *what, struct error *err);

/* Whether the latest error is about a row of that table that has the value in a column: what a
 * failed CHECK or NOT NULL tells. */
bool pg_error_names(const struct pg *pg, const char *table, struct slice value);

/* Values of binary results. The row and column must exist and not be NULL; the type is the
 * statement's. */
int64_t pg_int8(const PGresult *result, int row, int column);
int32_t pg_int4(const PGresult *result, int row, int column);
bool pg_bool(const PGresult *result, int row, int column);
struct uuid pg_uuid(const PGresult *result, int row, int column);
struct slice pg_text(const PGresult *result, int row, int column); /* SLICE_NONE when NULL */

/* The elements of a one-dimensional text[]; absent for NULL. False when there are not count of
 * them. */
bool pg_text_array(const PGresult *result, int row, int column, struct slice *ret,
                   size_t count) MUST_CHECK;

/* A one-dimensional binary array under construction in an arena. After a failed add everything is
 * ignored, and pg_array_param returns false. */
struct pg_array {
    struct arena *arena;
    char *data;
    size_t size, capacity;
    uint32_t count, has_null;
    Oid element;
    bool failed;
};

enum {
    PG_OID_BOOL = 16,
    PG_OID_BYTEA = 17,
    PG_OID_INT8 = 20,
    PG_OID_INT4 = 23,
    PG_OID_TEXT = 25,
    PG_OID_UUID = 2950
};

/* element_bytes: the expected size of one element, to reserve room. */
struct pg_array pg_array_new(struct arena *arena, Oid element, size_t count, size_t element_bytes);
void pg_array_add(struct pg_array *array, const void *data, size_t size);
void pg_array_add_null(struct pg_array *array);
void pg_array_add_text(struct pg_array *array, struct slice text); /* absent = NULL */
void pg_array_add_int8(struct pg_array *array, int64_t value);
void pg_array_add_int4(struct pg_array *array, int32_t value);
void pg_array_add_bool(struct pg_array *array, bool value);
void pg_array_add_uuid(struct pg_array *array, const struct uuid *uuid);
bool pg_array_param(struct pg_array *array, struct pg_param *ret) MUST_CHECK;

/* Scalars in the caller's storage. */
struct pg_param pg_param_text(struct slice text);
struct pg_param pg_param_int8(int64_t value, char storage[8]);
struct pg_param pg_param_int4(int32_t value, char storage[4]);

#endif
