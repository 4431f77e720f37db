/* siptrunkctl repair: gives a database that has lost acknowledged work back what was published. All
 * is read before the transaction begins, which is then short, and looks once more whether anything
 * has moved meanwhile. */
#include "ctl/repair/lost.h"

#include "common/kafka.h"
#include "common/migrate.h"
#include "common/sql.h"
#include "common/stop.h"
#include "ctl/broker.h"
#include "ctl/command.h"
#include "ctl/partition_list.h"
#include "ctl/repair/redo.h"
#include "ctl/table.h"
#include "ctl/topic_reader.h"
#include "worker/store.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char name[] = "repair";

enum { MAX_STATEMENTS = 64, ARENA_BYTES = 16 * 1024 * 1024 };

/* ---- statements ---- */

enum statement { POSITIONS, BEGIN, LOCK, LOCK_POSITIONS, ADVANCE, RELEASE, COMMIT, COUNT };

static const struct pg_statement statements[COUNT] = {
    [POSITIONS] = {"repair_positions",
                   "SELECT topic, partition, next_offset FROM siptrunk.partition_position"},
    [BEGIN] = {"repair_begin", "BEGIN ISOLATION LEVEL READ COMMITTED"},
    [LOCK] = {"repair_lock", "SELECT state FROM siptrunk.installation FOR NO KEY UPDATE"},
    [LOCK_POSITIONS] = {"repair_lock_positions",
                        "SELECT topic, partition, next_offset FROM siptrunk.partition_position"
                        " ORDER BY topic, partition FOR NO KEY UPDATE"},
    [ADVANCE] =
        {"repair_advance",
         "INSERT INTO siptrunk.partition_position AS p"
         " (topic, partition, next_offset, committed_offset, epoch)"
         " SELECT k.topic, k.partition, k.committed, k.committed, 1"
         " FROM unnest($1::text[], $2::int4[], $3::int8[]) AS k(topic, partition, committed)"
         " ON CONFLICT (topic, partition) DO UPDATE SET epoch = p.epoch + 1,"
         " next_offset = excluded.next_offset, committed_offset = excluded.committed_offset,"
         " claims_without_progress = 0, updated_at = clock_timestamp()"},
    [RELEASE] = {"repair_release", "UPDATE siptrunk.installation SET state = 'normal',"
                                   " state_reason = NULL WHERE state = 'diverged'"},
    [COMMIT] = {"repair_commit", "COMMIT"},
};

static size_t gather_statements(struct pg_statement *all) {
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++)
        all[count++] = statements[i];
    for (size_t i = 0; i < claim_statement_count; i++)
        all[count++] = claim_statements[i];
    for (size_t i = 0; i < load_statement_count; i++)
        all[count++] = load_statements[i];
    for (size_t i = 0; i < store_statement_count; i++)
        all[count++] = store_statements[i];
    return count;
}

/* ---- options ---- */

struct options {
    bool dry_run, release, quiet;
};

static bool parse_options(int argc, char **argv, struct options *options) {
    static const struct option longs[] = {{"dry-run", no_argument, NULL, 'n'},
                                          {"release", no_argument, NULL, 'r'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {0}};
    for (int option; (option = command_option(name, argc, argv, ":", longs)) != -1;) {
        switch (option) {
        case 'n':
            options->dry_run = true;
            break;
        case 'r':
            options->release = true;
            break;
        case 'q':
            options->quiet = true;
            break;
        default:
            return false;
        }
    }
    if (optind == argc)
        return true;
    command_usage(name, "%s is one argument too many", argv[optind]);
    return false;
}

/* ---- a repair ---- */

struct repair {
    const struct config *config;
    const struct options *options;
    struct topic_reader *reader; /* for its client */
    char *cluster_id;
    struct pg *pg;
    struct arena *arena;
    struct schema_set *result_schemas;
    struct installation installation;
    bool diverged; /* is marked as such */
    char reason[512];
    struct lost lost;
    struct redo redo;
    struct progress progress;
};

static rd_kafka_t *client_of(const struct repair *repair) {
    return topic_reader_client(repair->reader);
}

static bool open_kafka(struct repair *repair, struct error *err) {
    static const struct reader_record *const readers[] = {&lost_result_reader};
    repair->reader = topic_reader_new(repair->config, err);
    repair->cluster_id =
        repair->reader ? rd_kafka_clusterid(client_of(repair), BROKER_TIMEOUT_MS) : NULL;
    if (repair->reader && !repair->cluster_id)
        return error_set(err, FAULT_RETRY, "kafka", "the broker does not tell its cluster's id");
    return repair->reader && (repair->result_schemas = schema_set_new(
                                  readers, 1, config_text(repair->config, CONFIG_SCHEMA_DIR), err));
}

static bool check_schema(const struct config *config, struct error *err) {
    SQL_CONNECTION conn =
        sql_connect(config_text(config, CONFIG_POSTGRES_CONNINFO), "siptrunkctl repair", 0, err);
    return conn && migrate_check(conn, err);
}

static bool open_database(struct repair *repair, struct error *err) {
    struct pg_statement all[MAX_STATEMENTS];
    if (!check_schema(repair->config, err))
        return false;
    size_t count = gather_statements(all);
    repair->pg = pg_connect(config_text(repair->config, CONFIG_POSTGRES_CONNINFO),
                            "siptrunkctl repair", claim_session_settings, all, count, err);
    if (!repair->pg)
        return false;
    if (claim_installation(repair->pg, repair->cluster_id, &repair->installation, err))
        return true;
    repair->diverged = strcmp(err->id, "diverged") == 0;
    snprintf(repair->reason, sizeof repair->reason, "%s", err->message);
    return repair->diverged;
}

static void close_all(struct repair *repair) {
    redo_release(&repair->redo);
    lost_release(&repair->lost);
    pg_close(repair->pg);
    schema_set_free(repair->result_schemas);
    if (repair->cluster_id)
        rd_kafka_mem_free(client_of(repair), repair->cluster_id);
    topic_reader_free(repair->reader);
    arena_free(repair->arena);
}

/* ---- what is lost ---- */

static bool query(struct repair *repair, enum statement statement, PGresult **ret,
                  struct error *err) {
    return pg_query(repair->pg, &statements[statement], NULL, 0, ret, err);
}

static bool run(struct repair *repair, enum statement statement, struct error *err) {
    PGresult *result;
    if (!query(repair, statement, &result, err))
        return false;
    PQclear(result);
    return true;
}

/* D as the rows say; 0 where there is none. */
static int64_t stored_offset(const PGresult *rows, const char *topic, int32_t partition) {
    for (int row = 0; row < PQntuples(rows); row++) {
        if (pg_int4(rows, row, 1) == partition && slice_is(pg_text(rows, row, 0), topic))
            return pg_int8(rows, row, 2);
    }
    return 0;
}

/* K first: what is below it was stored before it was read. */
static bool find_lost_parts(struct repair *repair, struct error *err) {
    struct partition_list list = {0};
    PGresult *rows = NULL;
    bool ok =
        partition_list_read(&list, repair->config, err) && query(repair, POSITIONS, &rows, err);
    for (size_t i = 0; ok && i < list.count; i++) {
        const struct command_partition *item = &list.all[i];
        int64_t stored = stored_offset(rows, item->topic, item->id);
        if (item->committed > stored &&
            !lost_add(&repair->lost, slice_of(item->topic), item->id, stored, item->committed))
            ok = error_set(err, FAULT_RETRY, "out-of-memory", "no memory for what was lost");
    }
    PQclear(rows);
    partition_list_free(&list);
    return ok;
}

static bool show_lost_parts(const struct repair *repair, struct error *err) {
    static const char *const heads[] = {"TOPIC", ">PARTITION", ">STORED TO", ">PUBLISHED TO"};
    struct table *table = table_new(stdout, heads, 4);
    bool ok = table != NULL;
    for (size_t i = 0; ok && i < repair->lost.part_count; i++) {
        const struct lost_part *part = &repair->lost.parts[i];
        char partition[16], stored[24], published[24];
        snprintf(partition, sizeof partition, "%" PRId32, part->partition);
        snprintf(stored, sizeof stored, "%" PRId64, part->next_offset);
        snprintf(published, sizeof published, "%" PRId64, part->committed);
        const char *const cells[] = {part->topic, partition, stored, published};
        ok = table_row(table, cells);
    }
    if (ok)
        table_flush(table);
    table_free(table);
    return ok || error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a table");
}

/* ---- the transaction ---- */

static bool moved(struct error *err) {
    return error_set(err, FAULT_STATE, "moved",
                     "positions have moved meanwhile: run siptrunkctl repair once more");
}

/* With the rows locked: nobody has stored or published anything since they were read. */
static bool lock_and_compare(struct repair *repair, struct error *err) {
    struct partition_list list = {0};
    PGresult *rows = NULL;
    bool ok = run(repair, BEGIN, err) && run(repair, LOCK, err) &&
              query(repair, LOCK_POSITIONS, &rows, err) &&
              partition_list_read(&list, repair->config, err);
    size_t seen = 0;
    for (size_t i = 0; ok && i < list.count; i++) {
        const struct command_partition *item = &list.all[i];
        int64_t stored = stored_offset(rows, item->topic, item->id);
        if (item->committed <= stored)
            continue;
        const struct lost_part *part = lost_part(&repair->lost, item->topic, item->id);
        if (!part || part->next_offset != stored || part->committed != item->committed)
            ok = moved(err);
        seen++;
    }
    if (ok && seen != repair->lost.part_count)
        ok = moved(err);
    PQclear(rows);
    partition_list_free(&list);
    return ok;
}

static bool advance(struct repair *repair, struct error *err) {
    const struct lost *lost = &repair->lost;
    struct pg_array arrays[] = {pg_array_new(repair->arena, PG_OID_TEXT, lost->part_count, 64),
                                pg_array_new(repair->arena, PG_OID_INT4, lost->part_count, 4),
                                pg_array_new(repair->arena, PG_OID_INT8, lost->part_count, 8)};
    struct pg_param params[3];
    for (size_t i = 0; i < lost->part_count; i++) {
        pg_array_add_text(&arrays[0], slice_of(lost->parts[i].topic));
        pg_array_add_int4(&arrays[1], lost->parts[i].partition);
        pg_array_add_int8(&arrays[2], lost->parts[i].committed);
    }
    for (size_t i = 0; i < 3; i++) {
        if (!pg_array_param(&arrays[i], &params[i]))
            return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for positions");
    }
    PGresult *result;
    if (!pg_query(repair->pg, &statements[ADVANCE], params, 3, &result, err))
        return false;
    PQclear(result);
    return true;
}

static bool commit(struct repair *repair, struct error *err) {
    return run(repair, RELEASE, err) && pg_queue(repair->pg, &statements[COMMIT], NULL, 0, err) &&
           pg_sync(repair->pg, err) && pg_result_commit(repair->pg, err) && pg_end(repair->pg, err);
}

static bool store(struct repair *repair, struct error *err) {
    bool ok = lock_and_compare(repair, err) &&
              redo_run(&repair->redo, &repair->lost, &repair->progress, err) &&
              advance(repair, err) && (repair->options->dry_run || commit(repair, err));
    if (!ok || repair->options->dry_run)
        pg_rollback(repair->pg);
    return ok;
}

/* ---- the whole ---- */

static void report(const struct repair *repair) {
    const struct lost *lost = &repair->lost;
    const struct redo *redo = &repair->redo;
    printf("%zu command%s of %zu account%s decided again, each as it was published;"
           " %zu resend%s, %zu dead letter%s\n",
           redo->restored, command_plural(redo->restored), redo->accounts,
           command_plural(redo->accounts), redo->resends, command_plural(redo->resends),
           lost->letters, command_plural(lost->letters));
    puts(repair->options->dry_run
             ? "dry run: nothing is changed"
             : "repaired: the installation is released, its workers go on within seconds");
}

/* Workers that have not noticed must not store anything meanwhile. */
static bool hold(struct repair *repair, struct error *err) {
    if (repair->diverged || repair->options->dry_run)
        return true;
    return claim_diverge(repair->pg, "siptrunkctl repair has found results that are not stored",
                         err) ||
           strcmp(err->id, "diverged") == 0;
}

/* No position says that anything is lost. What made a worker mark the installation is another
 * matter then, or is over; the one who runs it decides. */
static bool nothing_lost(struct repair *repair, struct error *err) {
    puts("no position is ahead of the database: nothing can be repaired from the results");
    if (!repair->diverged)
        return true;
    if (!repair->options->release || repair->options->dry_run)
        return error_set(err, FAULT_STATE, "diverged",
                         "%s; when that is over, siptrunkctl repair --release takes the mark away",
                         repair->reason);
    if (!run(repair, BEGIN, err) || !commit(repair, err))
        return false;
    puts("released: workers go on within seconds, and look again");
    return true;
}

static bool repair_all(struct repair *repair, struct error *err) {
    if (!open_kafka(repair, err) || !open_database(repair, err) || !find_lost_parts(repair, err))
        return false;
    if (repair->lost.part_count == 0)
        return nothing_lost(repair, err);
    bool ok = hold(repair, err) && show_lost_parts(repair, err) &&
              redo_init(&repair->redo, repair->pg, repair->config, repair->cluster_id,
                        &repair->installation, err) &&
              lost_read(&repair->lost, repair->result_schemas, &repair->progress, err) &&
              store(repair, err);
    if (ok)
        report(repair);
    return ok || error_prefix(err, "nothing is changed");
}

static void on_signal(int number) {
    (void)number;
    stop_request();
}

int command_repair(const struct config *config, int argc, char **argv) {
    struct options options = {0};
    if (!parse_options(argc, argv, &options))
        return EXIT_USAGE;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct error err = {0};
    struct repair repair = {.config = config,
                            .options = &options,
                            .arena = arena_new(ARENA_BYTES),
                            .lost = {.config = config},
                            .progress = {.shown = !options.quiet && isatty(STDERR_FILENO)}};
    bool ok = repair.arena ? repair_all(&repair, &err)
                           : error_set(&err, FAULT_RETRY, "out-of-memory", "no memory");
    progress_end(&repair.progress);
    close_all(&repair);
    return ok ? EXIT_DONE : command_fail(name, &err);
}
