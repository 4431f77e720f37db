/* libpq in pipeline mode, driven by poll(2). Knows nothing of tables. */
#include "common/postgres.h"

#include "common/stop.h"

#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CONNECT_TIMEOUT_MS = 15000, /* over all addresses of the connection string */
    ANSWER_TIMEOUT_MS = 15000,  /* the server's own timeouts are far below; this ends a dead link */
    STOP_GRACE_MS = 2000,       /* how long a wait goes on after a stop was asked for */
    POLL_SLICE_MS = 100,        /* how often a wait looks at the stop flag */
};

struct pg {
    PGconn *conn;
    int pid;     /* of the backend; libpq forgets it when the connection is lost */
    bool warned; /* a WARNING came since the last segment began */
    char warning[200];
    char table[64], detail[512]; /* of the latest error; may hold anybody's values */
    int pending;                 /* queued statements whose result was not taken yet */
    bool unsynced;               /* pg_sync was sent, its answer not taken */
    bool silent;                 /* an answer did not come in time: nothing more is asked */
};

/* ---- SQLSTATE to fault: the first row whose prefix fits ---- */

static const struct {
    const char *prefix;
    enum fault fault;
    const char *id;
} sqlstates[] = {
    {"40001", FAULT_RETRY, "postgres-serialization"},
    {"40P01", FAULT_RETRY, "postgres-deadlock"},
    {"55P03", FAULT_RETRY, "postgres-lock-timeout"},
    {"57014", FAULT_RETRY, "postgres-statement-timeout"},
    {"08", FAULT_REBUILD, "postgres-connection"},
    {"57P", FAULT_REBUILD, "postgres-shutdown"},
    {"25P03", FAULT_REBUILD, "postgres-idle-timeout"},
    {"53300", FAULT_REBUILD, "postgres-too-many-connections"},
    {"25006", FAULT_REBUILD, "postgres-read-only"},
    {"28", FAULT_AUTH, "postgres-authentication"},
    {"3D000", FAULT_STATE, "postgres-no-database"},
    {"3F000", FAULT_STATE, "postgres-no-schema"},
    {"42", FAULT_STATE, "postgres-schema-mismatch"},
    {"53", FAULT_RETRY, "postgres-resources"},
    {"58", FAULT_RETRY, "postgres-system"},
    {"XX", FAULT_RETRY, "postgres-internal"},
    {"22", FAULT_STATEMENT, "postgres-data"},
    {"23", FAULT_STATEMENT, "postgres-constraint"},
    {"", FAULT_BUG, "postgres-unexpected"},
};

static bool set_by_sqlstate(const char *sqlstate, const char *what, const char *message,
                            struct error *err) {
    size_t i = 0;
    while (strncmp(sqlstate, sqlstates[i].prefix, strlen(sqlstates[i].prefix)) != 0)
        i++;
    error_set(err, sqlstates[i].fault, sqlstates[i].id, "%s: %s", what, message);
    if (err)
        snprintf(err->sqlstate, sizeof err->sqlstate, "%s", sqlstate);
    return false;
}

/* The primary message only: DETAIL may carry values of other customers. */
bool pg_result_error(const PGresult *result, const char *what, struct error *err) {
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
    if (!sqlstate)
        return error_set(err, FAULT_REBUILD, "postgres-connection", "%s: the connection was lost",
                         what);
    char text[300];
    snprintf(text, sizeof text, "%s (SQLSTATE %s%s%s)", message ? message : "no message", sqlstate,
             constraint ? ", constraint " : "", constraint ? constraint : "");
    return set_by_sqlstate(sqlstate, what, text, err);
}

/* libpq's texts end with a newline and may have several lines. */
static bool connection_error(const struct pg *pg, const char *id, const char *what,
                             struct error *err) {
    char text[300];
    snprintf(text, sizeof text, "%s", PQerrorMessage(pg->conn));
    for (char *c = text; *c; c++) {
        if (*c == '\n')
            *c = c[1] ? ' ' : '\0';
    }
    return error_set(err, FAULT_REBUILD, id, "%s: %s", what, text[0] ? text : "connection lost");
}

static void on_notice(void *opaque, const PGresult *result) {
    struct pg *pg = opaque;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (!severity || strcmp(severity, "WARNING") != 0)
        return;
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    pg->warned = true;
    snprintf(pg->warning, sizeof pg->warning, "%s", message ? message : "");
}

/* ---- waiting ---- */

static bool wait_socket(struct pg *pg, short events, int64_t deadline_ms, const char *what,
                        struct error *err) {
    for (;;) {
        if (stop_overdue(STOP_GRACE_MS))
            return error_set(err, FAULT_STOP, "stopped", "%s: gave up waiting, told to stop", what);
        int64_t left = deadline_ms - monotonic_ms();
        if (left <= 0) {
            pg->silent = true;
            return error_set(err, FAULT_REBUILD, "postgres-timeout",
                             "%s: no answer from the database in time", what);
        }
        struct pollfd fd = {.fd = PQsocket(pg->conn), .events = events};
        int ready = poll(&fd, 1, (int)(left < POLL_SLICE_MS ? left : POLL_SLICE_MS));
        if (ready > 0)
            return true;
    }
}

/* Sends what is buffered, reading meanwhile so that neither side's buffer fills up. */
static bool flush(struct pg *pg, struct error *err) {
    int64_t deadline = monotonic_ms() + ANSWER_TIMEOUT_MS;
    for (;;) {
        int left = PQflush(pg->conn);
        if (left < 0)
            return connection_error(pg, "postgres-connection", "sending to the database", err);
        if (left == 0)
            return true;
        if (!wait_socket(pg, POLLIN | POLLOUT, deadline, "sending to the database", err))
            return false;
        if (!PQconsumeInput(pg->conn))
            return connection_error(pg, "postgres-connection", "sending to the database", err);
    }
}

/* Waits until PQgetResult will not block. */
static bool wait_result(struct pg *pg, struct error *err) {
    int64_t deadline = monotonic_ms() + ANSWER_TIMEOUT_MS;
    while (PQisBusy(pg->conn)) {
        if (!wait_socket(pg, POLLIN, deadline, "waiting for the database", err))
            return false;
        if (!PQconsumeInput(pg->conn))
            return connection_error(pg, "postgres-connection", "waiting for the database", err);
    }
    return true;
}

/* ---- connecting ---- */

static bool finish_connecting(struct pg *pg, struct error *err) {
    int64_t deadline = monotonic_ms() + CONNECT_TIMEOUT_MS;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
        short events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (!wait_socket(pg, events, deadline, "connecting to the database", err))
            return false;
        state = PQconnectPoll(pg->conn);
        if (state == PGRES_POLLING_FAILED)
            return connection_error(pg, "postgres-connect", "cannot connect to the database", err);
    }
    return true;
}

/* libpq has no SQLSTATE for a failed connection, only its text; these begin the server's own words.
 */
static void refine_connect_error(struct error *err) {
    static const struct {
        const char *text;
        enum fault fault;
        const char *id;
    } known[] = {
        {"password authentication failed", FAULT_AUTH, "postgres-authentication"},
        {"no password supplied", FAULT_AUTH, "postgres-authentication"},
        {"no pg_hba.conf entry", FAULT_AUTH, "postgres-authentication"},
        {"authentication failed", FAULT_AUTH, "postgres-authentication"},
        {"role \"", FAULT_AUTH, "postgres-authentication"},
        {"database \"", FAULT_STATE, "postgres-no-database"},
        {"invalid connection option", FAULT_CONFIG, "postgres-conninfo"},
        {"missing \"=\" after", FAULT_CONFIG, "postgres-conninfo"},
        {"invalid URI", FAULT_CONFIG, "postgres-conninfo"},
    };
    for (size_t i = 0; err && i < sizeof known / sizeof known[0]; i++) {
        if (strstr(err->message, known[i].text)) {
            err->fault = known[i].fault;
            snprintf(err->id, sizeof err->id, "%s", known[i].id);
            return;
        }
    }
}

/* One statement outside pipeline mode, for session settings and PREPARE. */
static bool run_simple(struct pg *pg, int sent, const char *what, struct error *err) {
    if (!sent)
        return connection_error(pg, "postgres-connection", what, err);
    if (!flush(pg, err))
        return false;
    bool ok = true;
    for (;;) {
        if (!wait_result(pg, err))
            return false;
        PGresult *result = PQgetResult(pg->conn);
        if (!result)
            return ok;
        ExecStatusType status = PQresultStatus(result);
        if (ok && status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
            ok = pg_result_error(result, what, err);
        PQclear(result);
    }
}

static bool set_up_session(struct pg *pg, const char *settings,
                           const struct pg_statement *statements, size_t count, struct error *err) {
    if (settings && !run_simple(pg, PQsendQuery(pg->conn, settings), "session settings", err))
        return false;
    for (size_t i = 0; i < count; i++) {
        int sent = PQsendPrepare(pg->conn, statements[i].name, statements[i].sql, 0, NULL);
        if (!run_simple(pg, sent, statements[i].name, err))
            return false;
    }
    if (!PQenterPipelineMode(pg->conn))
        return connection_error(pg, "postgres-connection", "entering pipeline mode", err);
    return true;
}

struct pg *pg_connect(const char *conninfo, const char *application_name, const char *settings,
                      const struct pg_statement *statements, size_t statement_count,
                      struct error *err) {
    /* What stands before dbname is a default that the connection string may override. */
    const char *keys[] = {"connect_timeout",           "keepalives_idle",  "keepalives_interval",
                          "keepalives_count",          "tcp_user_timeout", "target_session_attrs",
                          "fallback_application_name", "dbname",           NULL};
    const char *values[] = {"5",      "10", "3", "3", "10000", "read-write", application_name,
                            conninfo, NULL};
    struct pg *pg = calloc(1, sizeof *pg);
    if (!pg) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a database connection");
        return NULL;
    }
    pg->conn = PQconnectStartParams(keys, values, 1);
    bool ok = pg->conn != NULL;
    if (!ok)
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a database connection");
    if (ok && PQstatus(pg->conn) == CONNECTION_BAD)
        ok = connection_error(pg, "postgres-connect", "cannot connect to the database", err);
    ok = ok && finish_connecting(pg, err);
    if (!ok)
        refine_connect_error(err);
    if (ok) {
        pg->pid = PQbackendPID(pg->conn);
        PQsetNoticeReceiver(pg->conn, on_notice, pg);
        PQsetnonblocking(pg->conn, 1);
        ok = set_up_session(pg, settings, statements, statement_count, err);
    }
    if (ok)
        return pg;
    pg_close(pg);
    return NULL;
}

void pg_close(struct pg *pg) {
    if (!pg)
        return;
    PQfinish(pg->conn);
    free(pg);
}

bool pg_usable(const struct pg *pg) {
    return pg && !pg->silent && PQstatus(pg->conn) == CONNECTION_OK;
}

int pg_backend_pid(const struct pg *pg) {
    return pg->pid;
}

/* ---- the pipeline ---- */

enum { MAX_PARAMS = 24 };

bool pg_queue(struct pg *pg, const struct pg_statement *statement, const struct pg_param *params,
              size_t param_count, struct error *err) {
    const char *values[MAX_PARAMS];
    int sizes[MAX_PARAMS], formats[MAX_PARAMS];
    if (param_count > MAX_PARAMS)
        return error_set(err, FAULT_BUG, "postgres-parameters", "%s has too many parameters",
                         statement->name);
    for (size_t i = 0; i < param_count; i++) {
        values[i] = params[i].data;
        sizes[i] = (int)params[i].size;
        formats[i] = 1;
    }
    if (pg->pending == 0)
        pg->warned = false;
    if (!PQsendQueryPrepared(pg->conn, statement->name, (int)param_count, values, sizes, formats,
                             1))
        return connection_error(pg, "postgres-connection", statement->name, err);
    pg->pending++;
    return true;
}

bool pg_sync(struct pg *pg, struct error *err) {
    if (!PQpipelineSync(pg->conn))
        return connection_error(pg, "postgres-connection", "sending to the database", err);
    pg->unsynced = true;
    return flush(pg, err);
}

/* Takes results until the sync answer, so that the connection is in step again. */
static bool drain(struct pg *pg) {
    while (pg->unsynced && pg_usable(pg)) {
        if (!wait_result(pg, NULL))
            return false;
        PGresult *result = PQgetResult(pg->conn);
        if (result && PQresultStatus(result) == PGRES_PIPELINE_SYNC)
            pg->unsynced = false;
        PQclear(result);
    }
    pg->pending = 0;
    return pg_usable(pg);
}

static const struct pg_statement statement_rollback = {.name = "rollback", .sql = "ROLLBACK"};

bool pg_rollback(struct pg *pg) {
    if (!pg_usable(pg))
        return false;
    if (pg->pending > 0 && !pg->unsynced && !pg_sync(pg, NULL))
        return false;
    if (!drain(pg))
        return false;
    if (PQtransactionStatus(pg->conn) == PQTRANS_IDLE)
        return true;
    if (!PQsendQueryParams(pg->conn, statement_rollback.sql, 0, NULL, NULL, NULL, NULL, 0))
        return false;
    return pg_sync(pg, NULL) && drain(pg) && PQtransactionStatus(pg->conn) == PQTRANS_IDLE;
}

static void keep_diagnosis(struct pg *pg, const PGresult *result) {
    const char *table = PQresultErrorField(result, PG_DIAG_TABLE_NAME);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    snprintf(pg->table, sizeof pg->table, "%s", table ? table : "");
    snprintf(pg->detail, sizeof pg->detail, "%s", detail ? detail : "");
}

bool pg_result(struct pg *pg, PGresult **ret, struct error *err) {
    PGresult *result = NULL;
    if (!wait_result(pg, err))
        return false;
    result = PQgetResult(pg->conn);
    ExecStatusType status = result ? PQresultStatus(result) : PGRES_FATAL_ERROR;
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        PQclear(PQgetResult(pg->conn)); /* the NULL that ends this statement's results */
        pg->pending--;
        *ret = result;
        return true;
    }
    keep_diagnosis(pg, result);
    if (result)
        pg_result_error(result, "the database refused a statement", err);
    else
        connection_error(pg, "postgres-connection", "waiting for the database", err);
    PQclear(result);
    pg_rollback(pg);
    return false;
}

/* The detail is "Failing row contains (1, two, null)", in the server's language. */
bool pg_error_names(const struct pg *pg, const char *table, struct slice value) {
    const char *row = strcmp(pg->table, table) == 0 ? strchr(pg->detail, '(') : NULL;
    const char *end = pg->detail + strlen(pg->detail);
    while (row && value.size > 0 &&
           (row = memmem(row, (size_t)(end - row), value.data, value.size))) {
        bool begins = row[-1] == '(' || row[-1] == ' ';
        row += value.size;
        if (begins && (*row == ',' || *row == ')'))
            return true;
    }
    return false;
}

bool pg_result_commit(struct pg *pg, struct error *err) {
    PGresult *result = NULL;
    if (!pg_result(pg, &result, err))
        return false;
    bool committed = strcmp(PQcmdStatus(result), "COMMIT") == 0;
    if (!committed)
        error_set(err, FAULT_RETRY, "postgres-not-committed",
                  "COMMIT was answered by %s: nothing was stored", PQcmdStatus(result));
    PQclear(result);
    if (committed && pg->warned)
        return error_set(err, FAULT_REBUILD, "postgres-not-durable",
                         "COMMIT came with a warning, it may not be durable: %s", pg->warning);
    return committed;
}

bool pg_end(struct pg *pg, struct error *err) {
    if (!wait_result(pg, err))
        return false;
    PGresult *result = PQgetResult(pg->conn);
    bool synced = result && PQresultStatus(result) == PGRES_PIPELINE_SYNC;
    PQclear(result);
    if (!synced)
        return connection_error(pg, "postgres-connection", "waiting for the database", err);
    pg->unsynced = false;
    pg->pending = 0;
    return true;
}

bool pg_query(struct pg *pg, const struct pg_statement *statement, const struct pg_param *params,
              size_t param_count, PGresult **ret, struct error *err) {
    PGresult *result = NULL;
    if (!pg_queue(pg, statement, params, param_count, err) || !pg_sync(pg, err) ||
        !pg_result(pg, &result, err))
        return false;
    if (!pg_end(pg, err)) {
        PQclear(result);
        return false;
    }
    *ret = result;
    return true;
}

/* ---- values ---- */

int64_t pg_int8(const PGresult *result, int row, int column) {
    uint64_t raw;
    memcpy(&raw, PQgetvalue(result, row, column), sizeof raw);
    return (int64_t)be64toh(raw);
}

int32_t pg_int4(const PGresult *result, int row, int column) {
    uint32_t raw;
    memcpy(&raw, PQgetvalue(result, row, column), sizeof raw);
    return (int32_t)be32toh(raw);
}

bool pg_bool(const PGresult *result, int row, int column) {
    return PQgetvalue(result, row, column)[0] != 0;
}

struct uuid pg_uuid(const PGresult *result, int row, int column) {
    struct uuid uuid;
    memcpy(uuid.bytes, PQgetvalue(result, row, column), sizeof uuid.bytes);
    return uuid;
}

struct slice pg_text(const PGresult *result, int row, int column) {
    if (PQgetisnull(result, row, column))
        return SLICE_NONE;
    return (struct slice){.data = PQgetvalue(result, row, column),
                          .size = (size_t)PQgetlength(result, row, column)};
}

/* ---- arrays: ndim, flags, element type, count, lower bound, then (size, bytes)* ---- */

enum { ARRAY_HEADER = 20 };

struct pg_array pg_array_new(struct arena *arena, Oid element, size_t count, size_t element_bytes) {
    struct pg_array array = {.arena = arena, .element = element, .size = ARRAY_HEADER};
    array.capacity = ARRAY_HEADER + count * (element_bytes + 4);
    array.data = arena_alloc(arena, array.capacity);
    array.failed = !array.data;
    return array;
}

/* Room for size more bytes, or NULL. */
static char *array_room(struct pg_array *array, size_t size) {
    if (array->failed)
        return NULL;
    if (array->capacity - array->size < size) {
        size_t capacity = 2 * array->capacity + size;
        char *data = arena_alloc(array->arena, capacity);
        if (!data) {
            array->failed = true;
            return NULL;
        }
        memcpy(data, array->data, array->size);
        array->data = data;
        array->capacity = capacity;
    }
    char *room = array->data + array->size;
    array->size += size;
    return room;
}

static uint32_t get_u32(const char *from) {
    uint32_t raw;
    memcpy(&raw, from, sizeof raw);
    return be32toh(raw);
}

bool pg_text_array(const PGresult *result, int row, int column, struct slice *ret, size_t count) {
    struct slice raw = pg_text(result, row, column);
    if (raw.size < ARRAY_HEADER || get_u32(raw.data) != 1 || get_u32(raw.data + 12) != count)
        return false;
    const char *at = raw.data + ARRAY_HEADER, *end = raw.data + raw.size;
    for (size_t i = 0; i < count; i++) {
        if (end - at < 4)
            return false;
        uint32_t size = get_u32(at);
        at += 4;
        ret[i] = SLICE_NONE;
        if (size == UINT32_MAX)
            continue;
        if ((size_t)(end - at) < size)
            return false;
        ret[i] = (struct slice){.data = at, .size = size};
        at += size;
    }
    return true;
}

static void put_u32(char *to, uint32_t value) {
    uint32_t raw = htobe32(value);
    memcpy(to, &raw, sizeof raw);
}

void pg_array_add(struct pg_array *array, const void *data, size_t size) {
    char *room = array_room(array, 4 + size);
    if (!room)
        return;
    put_u32(room, (uint32_t)size);
    if (size)
        memcpy(room + 4, data, size);
    array->count++;
}

void pg_array_add_null(struct pg_array *array) {
    char *room = array_room(array, 4);
    if (!room)
        return;
    put_u32(room, UINT32_MAX);
    array->has_null = 1;
    array->count++;
}

void pg_array_add_text(struct pg_array *array, struct slice text) {
    if (text.data)
        pg_array_add(array, text.data, text.size);
    else
        pg_array_add_null(array);
}

void pg_array_add_int8(struct pg_array *array, int64_t value) {
    uint64_t raw = htobe64((uint64_t)value);
    pg_array_add(array, &raw, sizeof raw);
}

void pg_array_add_int4(struct pg_array *array, int32_t value) {
    uint32_t raw = htobe32((uint32_t)value);
    pg_array_add(array, &raw, sizeof raw);
}

void pg_array_add_bool(struct pg_array *array, bool value) {
    uint8_t raw = value;
    pg_array_add(array, &raw, sizeof raw);
}

void pg_array_add_uuid(struct pg_array *array, const struct uuid *uuid) {
    pg_array_add(array, uuid->bytes, sizeof uuid->bytes);
}

bool pg_array_param(struct pg_array *array, struct pg_param *ret) {
    if (array->failed)
        return false;
    bool empty = array->count == 0;
    put_u32(array->data, empty ? 0 : 1);
    put_u32(array->data + 4, array->has_null);
    put_u32(array->data + 8, array->element);
    put_u32(array->data + 12, array->count);
    put_u32(array->data + 16, 1);
    *ret = (struct pg_param){.data = array->data, .size = empty ? 12 : array->size};
    return true;
}

struct pg_param pg_param_text(struct slice text) {
    return (struct pg_param){.data = text.data, .size = text.size};
}

struct pg_param pg_param_int8(int64_t value, char storage[8]) {
    uint64_t raw = htobe64((uint64_t)value);
    memcpy(storage, &raw, sizeof raw);
    return (struct pg_param){.data = storage, .size = sizeof raw};
}

struct pg_param pg_param_int4(int32_t value, char storage[4]) {
    put_u32(storage, (uint32_t)value);
    return (struct pg_param){.data = storage, .size = 4};
}
