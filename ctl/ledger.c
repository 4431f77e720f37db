/* siptrunkctl ledger: how many rows the ledger has, and deleting those that nobody can ask for any
 * more. A row is needed for as long as its command can be read again, and for as long as a resend
 * of it may come. */
#include "common/buffer.h"
#include "common/migrate.h"
#include "common/sql.h"
#include "common/stop.h"
#include "ctl/command.h"
#include "ctl/ledger_scan.h"
#include "ctl/partition_list.h"
#include "ctl/table.h"
#include "ctl/topic_reader.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char name[] = "ledger";

enum { MAX_DAYS = 36500, MAX_GONE = 64, POLL_MS = 200, SILENCE_MS = 30000 };
static const int64_t day_ms = 86400000;

struct options {
    bool purge, dry_run;
    long days; /* 0: not given */
    const char *gone[MAX_GONE];
    size_t gone_count;
};

struct ledger {
    const struct config *config;
    const struct options *options;
    PGconn *conn;
    struct partition_list list;
    int64_t *below;        /* for each of the list: records from here on may be read again */
    int64_t unanswered_ms; /* time of the oldest record that waits for an answer; else now */
    struct buffer topics, partitions, offsets, gone;
    struct ledger_counts counts;
};

/* ---- what can be read again ---- */

/* The offsets of one cluster must not decide over the rows of another one, and a repair may need
 * any row. */
static bool check_installation(struct ledger *ledger, struct error *err) {
    SQL_RESULT rows = sql_query(ledger->conn,
                                "SELECT coalesce(cluster_id, ''), state,"
                                " (extract(epoch FROM clock_timestamp()) * 1000)::int8"
                                " FROM siptrunk.installation",
                                0, NULL, "reading the installation", err);
    if (!rows)
        return false;
    if (PQntuples(rows) != 1)
        return error_set(err, FAULT_STATE, "installation", "siptrunk.installation has no row");
    char *cluster = rd_kafka_clusterid(ledger->list.groups[0], BROKER_TIMEOUT_MS);
    const char *known = PQgetvalue(rows, 0, 0);
    bool same = cluster && (!*known || strcmp(known, cluster) == 0);
    if (!same)
        error_set(err, FAULT_STATE, "other-cluster",
                  "the database belongs to Kafka cluster %s, not to %s", known,
                  cluster ? cluster : "one that does not tell its id");
    if (cluster)
        rd_kafka_mem_free(ledger->list.groups[0], cluster);
    ledger->unanswered_ms = strtoll(PQgetvalue(rows, 0, 2), NULL, 10);
    if (same && strcmp(PQgetvalue(rows, 0, 1), "normal") != 0)
        return error_set(err, FAULT_STATE, "diverged",
                         "the installation is diverged: no row is deleted until it is repaired");
    return same;
}

/* Where Kafka has no K, a worker begins at the one that the database knows. */
static bool take_noted(struct ledger *ledger, struct error *err) {
    SQL_RESULT rows = sql_query(ledger->conn,
                                "SELECT topic, partition, committed_offset"
                                " FROM siptrunk.partition_position"
                                " WHERE committed_offset IS NOT NULL",
                                0, NULL, "reading the positions", err);
    for (int row = 0; rows && row < PQntuples(rows); row++) {
        struct command_partition *partition =
            partition_list_find(&ledger->list, slice_of(PQgetvalue(rows, row, 0)),
                                strtoll(PQgetvalue(rows, row, 1), NULL, 10));
        if (partition && partition->committed < 0)
            partition->committed = strtoll(PQgetvalue(rows, row, 2), NULL, 10);
    }
    return rows != NULL;
}

/* Time of the first record from an offset on; *ret stays when there is none up to the end. */
static bool read_time(const struct ledger *ledger, const struct command_partition *partition,
                      int64_t from, int64_t *ret, struct error *err) {
    struct topic_reader *reader = topic_reader_new(ledger->config, err);
    bool ok = reader &&
              topic_reader_add_partition(reader, partition->topic, partition->id, from, err) &&
              topic_reader_start(reader, err);
    rd_kafka_message_t *record = NULL;
    int64_t deadline_ms = monotonic_ms() + SILENCE_MS;
    while (ok && !record && !topic_reader_at_end(reader)) {
        ok = topic_reader_next(reader, POLL_MS, &record, err);
        if (ok && !record && monotonic_ms() > deadline_ms)
            ok = error_set(err, FAULT_RETRY, "silence",
                           "%s/%" PRId32 " gives no record: the broker is silent, or a transaction "
                           "is open",
                           partition->topic, partition->id);
    }
    if (record) {
        rd_kafka_timestamp_type_t ignored;
        *ret = rd_kafka_message_timestamp(record, &ignored);
        rd_kafka_message_destroy(record);
    }
    topic_reader_free(reader);
    return ok;
}

/* A record that is not answered yet may be a resend, of a command as old as resends may be when it
 * was sent. So ages count from the oldest such record, not from now. */
static bool find_bounds(struct ledger *ledger, struct error *err) {
    ledger->below = calloc(ledger->list.count + 1, sizeof *ledger->below);
    bool ok =
        ledger->below || error_set(err, FAULT_RETRY, "out-of-memory", "no memory for partitions");
    for (size_t i = 0; ok && i < ledger->list.count; i++) {
        const struct command_partition *partition = &ledger->list.all[i];
        int64_t k = partition->committed < 0 ? 0 : partition->committed;
        int64_t from = k > partition->low ? k : partition->low, time_ms = ledger->unanswered_ms;
        ledger->below[i] = k < partition->low ? k : partition->low;
        if (from < partition->end)
            ok = read_time(ledger, partition, from, &time_ms, err);
        if (time_ms < ledger->unanswered_ms)
            ledger->unanswered_ms = time_ms;
    }
    return ok;
}

/* Rows of such a topic are kept unless the operator says that it is gone, and then it must be. */
static bool check_gone(struct ledger *ledger, struct error *err) {
    for (size_t i = 0; i < ledger->options->gone_count; i++) {
        int count = 0;
        const char *topic = ledger->options->gone[i];
        if (!kafka_partition_count(ledger->list.groups[0], topic, BROKER_TIMEOUT_MS, &count, err))
            return false;
        if (count > 0)
            return error_set(err, FAULT_INPUT, "topic",
                             "topic %s exists: its rows go when its records do", topic);
    }
    return true;
}

/* ---- the scan ---- */

static void add_item(struct buffer *array, const char *text) {
    buffer_add_text(array, array->size ? ",\"" : "{\"");
    buffer_add_text(array, text);
    buffer_add_text(array, "\"");
}

/* With the end of the text. */
static bool end_array(struct buffer *array) {
    buffer_add_text(array, array->size ? "}" : "{}");
    buffer_add(array, "", 1);
    return !array->failed;
}

static bool make_arrays(struct ledger *ledger) {
    char digits[24];
    for (size_t i = 0; i < ledger->list.count; i++) {
        const struct command_partition *partition = &ledger->list.all[i];
        add_item(&ledger->topics, partition->topic);
        snprintf(digits, sizeof digits, "%" PRId32, partition->id);
        add_item(&ledger->partitions, digits);
        snprintf(digits, sizeof digits, "%" PRId64, ledger->below[i]);
        add_item(&ledger->offsets, digits);
    }
    for (size_t i = 0; i < ledger->options->gone_count; i++)
        add_item(&ledger->gone, ledger->options->gone[i]);
    return end_array(&ledger->topics) && end_array(&ledger->partitions) &&
           end_array(&ledger->offsets) && end_array(&ledger->gone);
}

static bool scan(struct ledger *ledger, struct error *err) {
    char before[24];
    if (!make_arrays(ledger))
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for partitions");
    snprintf(before, sizeof before, "%" PRId64,
             ledger->unanswered_ms - ledger->options->days * day_ms);
    const struct ledger_rule rule = {.topics = ledger->topics.data,
                                     .partitions = ledger->partitions.data,
                                     .below = ledger->offsets.data,
                                     .before_ms = before,
                                     .gone = ledger->gone.data};
    return sql_run(ledger->conn, "SET lock_timeout = '10s'", "setting a limit", err) &&
           ledger_scan(ledger->conn, &rule, ledger->options->purge && !ledger->options->dry_run,
                       isatty(STDERR_FILENO), &ledger->counts, err);
}

/* ---- what came of it ---- */

/* Why rows of a partition that no lane has stay. */
static const char *note_of(const struct ledger *ledger, const struct ledger_count *count) {
    if (partition_list_find(&ledger->list, slice_of(count->topic), count->partition))
        return "";
    for (size_t i = 0; i < ledger->options->gone_count; i++) {
        if (strcmp(ledger->options->gone[i], count->topic) == 0)
            return "gone";
    }
    int partitions = 0;
    struct error ignored;
    bool asked = kafka_partition_count(ledger->list.groups[0], count->topic, BROKER_TIMEOUT_MS,
                                       &partitions, &ignored);
    return asked && partitions == 0 ? "the topic does not exist any more: kept without --gone"
                                    : "no command topic of this configuration: kept";
}

static bool add_row(const struct ledger *ledger, struct table *table,
                    const struct ledger_count *count) {
    char id[16], rows[24], due[24], deleted[24];
    snprintf(id, sizeof id, "%" PRId32, count->partition);
    snprintf(rows, sizeof rows, "%" PRId64, count->rows);
    snprintf(due, sizeof due, "%" PRId64, count->due);
    snprintf(deleted, sizeof deleted, "%" PRId64, count->deleted);
    const char *cells[] = {count->topic, id, rows, due, deleted, note_of(ledger, count)};
    return table_row(table, cells);
}

static bool show(const struct ledger *ledger, struct error *err) {
    static const char *const heads[] = {"TOPIC", ">PARTITION", ">ROWS", ">DUE", ">DELETED", "NOTE"};
    struct table *table = table_new(stdout, heads, sizeof heads / sizeof heads[0]);
    bool ok = table != NULL;
    for (size_t i = 0; ok && i < ledger->counts.count; i++)
        ok = add_row(ledger, table, &ledger->counts.all[i]);
    if (ok)
        table_flush(table);
    table_free(table);
    const struct ledger_count *sum = &ledger->counts.sum;
    printf("%" PRId64 " row%s, %" PRId64 " due, %" PRId64 " deleted\n", sum->rows,
           command_plural((size_t)sum->rows), sum->due, sum->deleted);
    return ok || error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the table");
}

static void tell_waiting(const struct ledger *ledger, int64_t now_ms) {
    int64_t waits_ms = now_ms - ledger->unanswered_ms;
    if (waits_ms >= 60000)
        fprintf(stderr,
                "siptrunkctl %s: a command has been waiting for its answer for %" PRId64
                " minutes, and ages count from there\n",
                name, waits_ms / 60000);
}

static bool run(struct ledger *ledger, struct error *err) {
    if (!partition_list_read(&ledger->list, ledger->config, err) ||
        !check_installation(ledger, err))
        return false;
    int64_t now_ms = ledger->unanswered_ms;
    if (!take_noted(ledger, err) || !find_bounds(ledger, err) || !check_gone(ledger, err))
        return false;
    tell_waiting(ledger, now_ms);
    bool scanned = scan(ledger, err);
    return show(ledger, scanned ? err : &(struct error){0}) && scanned;
}

/* ---- the command ---- */

static bool parse_options(int argc, char **argv, struct options *options) {
    static const struct option longs[] = {{"older-than", required_argument, NULL, 'o'},
                                          {"gone", required_argument, NULL, 'g'},
                                          {"dry-run", no_argument, NULL, 'n'},
                                          {0}};
    for (int option; (option = command_option(name, argc, argv, ":", longs)) != -1;) {
        bool ok = option == 'n';
        options->dry_run |= ok;
        if (option == 'o')
            ok = option_number(name, "--older-than", optarg, 1, MAX_DAYS, &options->days);
        if (option == 'g' && (ok = options->gone_count < MAX_GONE))
            options->gone[options->gone_count++] = optarg;
        if (!ok)
            return false;
    }
    const char *verb = optind + 1 == argc ? argv[optind] : "";
    options->purge = strcmp(verb, "purge") == 0;
    if (!options->purge && strcmp(verb, "status") != 0)
        command_usage(name, "say purge or status");
    else if (options->purge && options->days == 0)
        command_usage(name,
                      "say --older-than DAYS: for how long a client may send a command again");
    else if (!options->purge && options->dry_run)
        command_usage(name, "--dry-run belongs to purge");
    else
        return true;
    return false;
}

static void on_signal(int number) {
    (void)number;
    stop_request();
}

int command_ledger(const struct config *config, int argc, char **argv) {
    struct options options = {0};
    struct error err = {0};
    if (!parse_options(argc, argv, &options))
        return EXIT_USAGE;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    SQL_CONNECTION conn =
        sql_connect(config_text(config, CONFIG_POSTGRES_CONNINFO), "siptrunkctl ledger", 0, &err);
    struct ledger ledger = {.config = config, .options = &options, .conn = conn};
    bool ok = conn && migrate_check(conn, &err) && run(&ledger, &err);
    partition_list_free(&ledger.list);
    ledger_counts_free(&ledger.counts);
    buffer_free(&ledger.topics);
    buffer_free(&ledger.partitions);
    buffer_free(&ledger.offsets);
    buffer_free(&ledger.gone);
    free(ledger.below);
    return ok ? EXIT_DONE : command_fail(name, &err);
}
