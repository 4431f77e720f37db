/* Claims, and the checks around a connection. */
#include "worker/claim.h"

#include "common/failpoint.h"
#include "common/log.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>

const char claim_session_settings[] =
    "SET search_path = pg_catalog, pg_temp;"
    "SET lock_timeout = '2s'; SET statement_timeout = '10s';"
    "SET idle_in_transaction_session_timeout = '10s';"
    "SET synchronous_commit = on; SET jit = off; SET plan_cache_mode = force_generic_plan;"
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
    "SET client_min_messages = warning";

enum statement {
    DURABILITY,
    SLOT,
    END,
    INSTALLATION,
    CLUSTER,
    DIVERGE,
    COMPARE,
    EVICT,
    BEGIN,
    UPDATE,
    INSERT,
    COMMIT,
    NOTE,
    ATTEMPT,
    FORGIVE,
    COUNT
};

const struct pg_statement claim_statements[COUNT] = {
    [DURABILITY] = {"claim_durability", "SELECT name FROM pg_settings WHERE (name IN ('fsync',"
                                        " 'full_page_writes') AND setting <> 'on')"
                                        " OR (name = 'synchronous_commit' AND setting = 'off')"},
    [SLOT] = {"claim_slot", "SELECT pg_try_advisory_lock(hashtextextended($1::text, 0))"},
    [END] = {"claim_end", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                          " WHERE pid = $1::int4 AND application_name = left($2::text, 63)"
                          " AND pid <> pg_backend_pid()"},
    [INSTALLATION] = {"claim_installation", "SELECT cluster_id, state = 'normal', state_reason,"
                                            " mac_key_id, mac_key FROM siptrunk.installation"},
    [CLUSTER] = {"claim_cluster", "UPDATE siptrunk.installation SET cluster_id = $1::text"
                                  " WHERE cluster_id IS NULL"},
    [DIVERGE] = {"claim_diverge", "UPDATE siptrunk.installation SET state = 'diverged',"
                                  " state_reason = $1::text WHERE state = 'normal'"},
    [COMPARE] =
        {"claim_compare",
         "SELECT k.topic, k.partition, k.committed, coalesce(p.next_offset, 0)"
         " FROM unnest($1::text[], $2::int4[], $3::int8[]) AS k(topic, partition, committed)"
         " LEFT JOIN siptrunk.partition_position p"
         " ON p.topic = k.topic COLLATE \"C\" AND p.partition = k.partition"
         " WHERE k.committed > coalesce(p.next_offset, 0) ORDER BY 1, 2"},
    [EVICT] = {"claim_evict",
               "SELECT pg_terminate_backend(a.pid) FROM unnest($1::text[], $2::int4[])"
               " AS k(topic, partition) JOIN siptrunk.partition_position p"
               " ON p.topic = k.topic COLLATE \"C\" AND p.partition = k.partition"
               " JOIN pg_stat_activity a ON a.pid = p.owner_pid"
               " AND a.backend_start = p.owner_started WHERE a.pid <> pg_backend_pid()"},
    [BEGIN] = {"claim_begin", "BEGIN"},
    [UPDATE] = {"claim_update",
                "WITH mine AS (SELECT p.topic, p.partition FROM unnest($1::text[], $2::int4[])"
                " AS k(topic, partition) JOIN siptrunk.partition_position p"
                " ON p.topic = k.topic COLLATE \"C\" AND p.partition = k.partition"
                " ORDER BY p.topic, p.partition FOR NO KEY UPDATE OF p)"
                " UPDATE siptrunk.partition_position p SET epoch = p.epoch + 1,"
                " consumer_group = $3::text, owner_instance = $4::text,"
                " owner_pid = pg_backend_pid(), owner_started = (SELECT a.backend_start"
                " FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()),"
                " claims_without_progress = p.claims_without_progress"
                " + (p.owner_process IS DISTINCT FROM $5::text)::int4, owner_process = $5::text,"
                " updated_at = clock_timestamp() FROM mine"
                " WHERE p.topic = mine.topic AND p.partition = mine.partition"
                " RETURNING p.topic, p.partition, p.epoch, p.next_offset, p.committed_offset,"
                " p.claims_without_progress, (SELECT a.\"offset\" FROM siptrunk.record_attempt a"
                " WHERE a.topic = p.topic AND a.partition = p.partition AND a.attempts > 0)"},
    [INSERT] = {"claim_insert",
                "INSERT INTO siptrunk.partition_position (topic, partition, consumer_group,"
                " next_offset, epoch, owner_instance, owner_process, claims_without_progress,"
                " owner_pid, owner_started)"
                " SELECT k.topic, k.partition, $3::text, 0, 1, $4::text, $5::text, 1,"
                " pg_backend_pid(),"
                " (SELECT a.backend_start FROM pg_stat_activity a WHERE a.pid = pg_backend_pid())"
                " FROM unnest($1::text[], $2::int4[]) AS k(topic, partition)"
                " ORDER BY k.topic COLLATE \"C\", k.partition ON CONFLICT DO NOTHING"
                " RETURNING topic, partition, epoch, next_offset, committed_offset, 1, NULL::int8"},
    [COMMIT] = {"claim_commit", "COMMIT"},
    [NOTE] = {"claim_note",
              "UPDATE siptrunk.partition_position p"
              " SET committed_offset = coalesce(u.committed_offset, p.committed_offset),"
              " claims_without_progress = CASE WHEN u.got_on THEN 0"
              " ELSE p.claims_without_progress END"
              " FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int8[], $5::bool[])"
              " AS u(topic, partition, epoch, committed_offset, got_on)"
              " WHERE p.topic = u.topic COLLATE \"C\" AND p.partition = u.partition"
              " AND p.epoch = u.epoch"
              " AND (p.committed_offset IS DISTINCT FROM u.committed_offset"
              " OR u.got_on AND p.claims_without_progress > 0)"},
    [ATTEMPT] = {"claim_attempt",
                 "INSERT INTO siptrunk.record_attempt AS a (topic, partition, \"offset\", attempts)"
                 " VALUES ($1::text, $2::int4, $3::int8, 1)"
                 " ON CONFLICT (topic, partition) DO UPDATE SET \"offset\" = excluded.\"offset\","
                 " attempts = CASE WHEN a.\"offset\" = excluded.\"offset\" THEN a.attempts + 1"
                 " ELSE 1 END RETURNING attempts"},
    [FORGIVE] = {"claim_forgive", "UPDATE siptrunk.record_attempt SET attempts = attempts - 1"
                                  " WHERE topic = $1::text AND partition = $2::int4"
                                  " AND \"offset\" = $3::int8 AND attempts > 0"},
};
const size_t claim_statement_count = COUNT;

/* Runs one statement whose rows do not matter. */
static bool run(struct pg *pg, enum statement statement, const struct pg_param *params,
                size_t count, struct error *err) {
    PGresult *result;
    if (!pg_query(pg, &claim_statements[statement], params, count, &result, err))
        return false;
    PQclear(result);
    return true;
}

/* ---- the connection ---- */

bool claim_check_durability(struct pg *pg, struct error *err) {
    PGresult *result;
    if (!pg_query(pg, &claim_statements[DURABILITY], NULL, 0, &result, err))
        return false;
    bool durable = PQntuples(result) == 0;
    if (!durable)
        error_set(err, FAULT_STATE, "postgres-not-durable",
                  "the database may lose what it has acknowledged: set " SLICE_FMT " = on",
                  SLICE_ARG(pg_text(result, 0, 0)));
    PQclear(result);
    return durable;
}

bool claim_slot(struct pg *pg, const char *slot, bool *ret_taken, struct error *err) {
    struct pg_param params[] = {pg_param_text(slice_of(slot))};
    PGresult *result;
    if (!pg_query(pg, &claim_statements[SLOT], params, 1, &result, err))
        return false;
    *ret_taken = pg_bool(result, 0, 0) || planted_bug(BUG_TWIN_UNSEEN);
    PQclear(result);
    return true;
}

bool claim_end_session(struct pg *pg, int backend_pid, const char *slot, struct error *err) {
    char storage[4];
    struct pg_param params[] = {pg_param_int4(backend_pid, storage), pg_param_text(slice_of(slot))};
    return run(pg, END, params, 2, err);
}

static bool read_installation(const PGresult *result, const char *cluster_id,
                              struct installation *ret, struct error *err) {
    if (PQntuples(result) != 1)
        return error_set(err, FAULT_STATE, "installation", "siptrunk.installation has no row");
    struct slice cluster = pg_text(result, 0, 0);
    if (cluster.data && !slice_is(cluster, cluster_id))
        return error_set(err, FAULT_STATE, "other-cluster",
                         "the database belongs to Kafka cluster " SLICE_FMT ", not to %s",
                         SLICE_ARG(cluster), cluster_id);
    struct slice key = pg_text(result, 0, 4);
    if (key.size != sizeof ret->mac_key)
        return error_set(err, FAULT_STATE, "mac-key",
                         "siptrunk.installation has no usable MAC key");
    snprintf(ret->mac_key_id, sizeof ret->mac_key_id, SLICE_FMT, SLICE_ARG(pg_text(result, 0, 3)));
    memcpy(ret->mac_key, key.data, sizeof ret->mac_key);
    if (!pg_bool(result, 0, 1))
        return error_set(err, FAULT_STATE, "diverged",
                         "database and published results have diverged, nothing is stored until "
                         "that is repaired: " SLICE_FMT,
                         SLICE_ARG(pg_text(result, 0, 2)));
    return true;
}

bool claim_installation(struct pg *pg, const char *cluster_id, struct installation *ret,
                        struct error *err) {
    struct pg_param params[] = {pg_param_text(slice_of(cluster_id))};
    PGresult *result;
    if (!pg_query(pg, &claim_statements[INSTALLATION], NULL, 0, &result, err))
        return false;
    bool ok = read_installation(result, cluster_id, ret, err);
    bool tied = PQntuples(result) != 1 || !PQgetisnull(result, 0, 0);
    PQclear(result);
    return ok && (tied || run(pg, CLUSTER, params, 1, err));
}

/* Those of the key file, else the database's own; with all of them, so that what was kept under an
 * earlier one can still be compared. */
bool claim_mac_keys(const struct installation *installation, const struct vault *vault,
                    struct digests *digests, struct error *err) {
    uint8_t key[VAULT_MAC_KEY_SIZE];
    const char *id;
    bool ok = true;
    digests_forget_mac_keys(digests);
    for (size_t i = 0; ok && (id = vault_mac_key(vault, i, key)); i++)
        ok = digests_add_mac_key(
            digests, id, (struct slice){.data = (const char *)key, .size = sizeof key}, err);
    explicit_bzero(key, sizeof key);
    return ok && digests_add_mac_key(digests, installation->mac_key_id,
                                     (struct slice){.data = (const char *)installation->mac_key,
                                                    .size = sizeof installation->mac_key},
                                     err);
}

/* ---- divergence ---- */

bool claim_diverge(struct pg *pg, const char *reason, struct error *err) {
    struct pg_param params[] = {pg_param_text(slice_of(reason))};
    if (!pg_rollback(pg))
        return error_set(err, FAULT_REBUILD, "postgres-lost",
                         "the connection to the database is lost");
    return run(pg, DIVERGE, params, 1, err) &&
           error_set(err, FAULT_STATE, "diverged",
                     "the database has lost acknowledged work and is held: %s", reason);
}

static bool mark_diverged(struct pg *pg, struct slice topic, int32_t partition, int64_t committed,
                          int64_t next_offset, struct error *err) {
    char reason[256];
    snprintf(reason, sizeof reason,
             SLICE_FMT "/%" PRId32 ": results are published up to offset %" PRId64
                       ", the database has commands up to %" PRId64,
             SLICE_ARG(topic), partition, committed, next_offset);
    return claim_diverge(pg, reason, err);
}

bool claim_compare(struct pg *pg, struct arena *arena, const struct committed *committed,
                   size_t count, struct error *err) {
    struct pg_array arrays[] = {pg_array_new(arena, PG_OID_TEXT, count, 64),
                                pg_array_new(arena, PG_OID_INT4, count, 4),
                                pg_array_new(arena, PG_OID_INT8, count, 8)};
    struct pg_param params[3];
    for (size_t i = 0; i < count; i++) {
        pg_array_add_text(&arrays[0], slice_of(committed[i].topic));
        pg_array_add_int4(&arrays[1], committed[i].partition);
        pg_array_add_int8(&arrays[2], committed[i].offset);
    }
    for (size_t i = 0; i < 3; i++) {
        if (!pg_array_param(&arrays[i], &params[i]))
            return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for positions");
    }
    PGresult *rows;
    if (!pg_query(pg, &claim_statements[COMPARE], params, 3, &rows, err))
        return false;
    bool ok = PQntuples(rows) == 0 || planted_bug(BUG_DIVERGENCE_UNSEEN) ||
              mark_diverged(pg, pg_text(rows, 0, 0), pg_int4(rows, 0, 1), pg_int8(rows, 0, 2),
                            pg_int8(rows, 0, 3), err);
    PQclear(rows);
    return ok;
}

/* ---- partitions ---- */

struct claiming {
    struct position *positions;
    size_t count;
    int64_t careful_span;
    struct pg_param params[5];
};

static struct position *find(struct claiming *claiming, struct slice topic, int32_t partition) {
    for (size_t i = 0; i < claiming->count; i++) {
        struct position *position = &claiming->positions[i];
        if (position->partition == partition && slice_equal(position->topic, topic))
            return position;
    }
    return NULL;
}

static void take_rows(struct claiming *claiming, const PGresult *rows) {
    for (int row = 0; row < PQntuples(rows); row++) {
        struct position *position = find(claiming, pg_text(rows, row, 0), pg_int4(rows, row, 1));
        if (!position)
            continue;
        position->epoch = pg_int8(rows, row, 2);
        position->next_offset = pg_int8(rows, row, 3);
        if (position->committed_offset < 0 && !PQgetisnull(rows, row, 4) &&
            !planted_bug(BUG_OFFSETS_EARLIEST))
            position->committed_offset = pg_int8(rows, row, 4);
        int64_t attempted = PQgetisnull(rows, row, 6) ? -1 : pg_int8(rows, row, 6);
        bool careful = pg_int4(rows, row, 5) > 1 || attempted >= position->next_offset;
        position->careful_until = careful ? position->next_offset + claiming->careful_span : 0;
    }
}

static bool claim_rows(struct pg *pg, struct claiming *claiming, enum statement statement,
                       struct error *err) {
    PGresult *rows;
    if (!pg_query(pg, &claim_statements[statement], claiming->params, 5, &rows, err))
        return false;
    take_rows(claiming, rows);
    PQclear(rows);
    return true;
}

static bool commit(struct pg *pg, struct error *err) {
    return pg_queue(pg, &claim_statements[COMMIT], NULL, 0, err) && pg_sync(pg, err) &&
           pg_result_commit(pg, err) && pg_end(pg, err);
}

/* The first partition whose replies are ahead of its effects. */
static const struct position *find_lost(const struct claiming *claiming) {
    for (size_t i = 0; i < claiming->count; i++) {
        if (claiming->positions[i].committed_offset > claiming->positions[i].next_offset &&
            !planted_bug(BUG_DIVERGENCE_UNSEEN))
            return &claiming->positions[i];
    }
    return NULL;
}

static bool claim_once(struct pg *pg, struct claiming *claiming, struct error *err) {
    for (size_t i = 0; i < claiming->count; i++) {
        claiming->positions[i].epoch = 0;
        claiming->positions[i].next_offset = 0;
    }
    if (!run(pg, BEGIN, NULL, 0, err) || !claim_rows(pg, claiming, UPDATE, err) ||
        !claim_rows(pg, claiming, INSERT, err))
        return false;
    for (size_t i = 0; i < claiming->count; i++) {
        if (claiming->positions[i].epoch == 0)
            return error_set(err, FAULT_RETRY, "claim-race", "another worker claims " SLICE_FMT,
                             SLICE_ARG(claiming->positions[i].topic));
    }
    const struct position *lost = find_lost(claiming);
    if (lost)
        return mark_diverged(pg, lost->topic, lost->partition, lost->committed_offset,
                             lost->next_offset, err);
    return commit(pg, err);
}

static bool make_params(struct claiming *claiming, const struct claim_options *options,
                        struct arena *arena, struct error *err) {
    struct pg_array topics = pg_array_new(arena, PG_OID_TEXT, claiming->count, 64);
    struct pg_array partitions = pg_array_new(arena, PG_OID_INT4, claiming->count, 4);
    for (size_t i = 0; i < claiming->count; i++) {
        pg_array_add_text(&topics, claiming->positions[i].topic);
        pg_array_add_int4(&partitions, claiming->positions[i].partition);
    }
    claiming->params[2] = pg_param_text(slice_of(options->group));
    claiming->params[3] = pg_param_text(slice_of(options->instance));
    claiming->params[4] = pg_param_text(slice_of(options->process));
    return (pg_array_param(&topics, &claiming->params[0]) &&
            pg_array_param(&partitions, &claiming->params[1])) ||
           error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a claim");
}

bool claim_partitions(struct pg *pg, const struct claim_options *options, struct arena *arena,
                      struct position *positions, size_t count, int64_t *starts,
                      struct error *err) {
    struct claiming claiming = {
        .positions = positions, .count = count, .careful_span = options->careful_span};
    if (!make_params(&claiming, options, arena, err))
        return false;
    bool claimed = claim_once(pg, &claiming, err);
    if (!claimed && err->fault == FAULT_RETRY && strcmp(err->id, "postgres-lock-timeout") == 0) {
        log_write(LOG_WARN, "evict-owner", LOG_PLAIN,
                  "the former owner of a partition still holds its locks: ending its session");
        pg_rollback(pg);
        claimed = run(pg, EVICT, claiming.params, 2, err) && claim_once(pg, &claiming, err);
    }
    if (!claimed) {
        pg_rollback(pg);
        return false;
    }
    FAILPOINT("claimed");
    for (size_t i = 0; i < count; i++) {
        bool known = positions[i].committed_offset >= 0;
        starts[i] = known ? positions[i].committed_offset : -1;
        if (planted_bug(BUG_NO_REWIND) && positions[i].read_next > starts[i])
            starts[i] = positions[i].read_next;
        positions[i].read_next = known ? positions[i].committed_offset : 0;
    }
    return true;
}

bool claim_note(struct pg *pg, struct arena *arena, const struct position *positions, size_t count,
                bool leaving, struct error *err) {
    struct pg_array arrays[] = {
        pg_array_new(arena, PG_OID_TEXT, count, 64), pg_array_new(arena, PG_OID_INT4, count, 4),
        pg_array_new(arena, PG_OID_INT8, count, 8), pg_array_new(arena, PG_OID_INT8, count, 8),
        pg_array_new(arena, PG_OID_BOOL, count, 1)};
    struct pg_param params[5];
    for (size_t i = 0; i < count; i++) {
        pg_array_add_text(&arrays[0], positions[i].topic);
        pg_array_add_int4(&arrays[1], positions[i].partition);
        pg_array_add_int8(&arrays[2], positions[i].epoch);
        if (positions[i].committed_offset < 0)
            pg_array_add_null(&arrays[3]);
        else
            pg_array_add_int8(&arrays[3], positions[i].committed_offset);
        pg_array_add_bool(&arrays[4], leaving || positions[i].at_end);
    }
    for (size_t i = 0; i < 5; i++) {
        if (!pg_array_param(&arrays[i], &params[i]))
            return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for positions");
    }
    return run(pg, NOTE, params, 5, err);
}

/* One statement about a record. */
static bool about_record(struct pg *pg, enum statement statement, const struct source *record,
                         PGresult **ret, struct error *err) {
    char partition[4], offset[8];
    struct pg_param params[] = {pg_param_text(record->topic),
                                pg_param_int4(record->partition, partition),
                                pg_param_int8(record->offset, offset)};
    return pg_query(pg, &claim_statements[statement], params, 3, ret, err);
}

bool claim_attempt(struct pg *pg, const struct source *record, int *ret_attempts,
                   struct error *err) {
    PGresult *result;
    if (!about_record(pg, ATTEMPT, record, &result, err))
        return false;
    *ret_attempts = pg_int4(result, 0, 0);
    PQclear(result);
    return true;
}

bool claim_forgive(struct pg *pg, const struct source *record, struct error *err) {
    PGresult *result;
    if (!about_record(pg, FORGIVE, record, &result, err))
        return false;
    PQclear(result);
    return true;
}
