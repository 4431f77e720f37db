/* siptrunkctl partitions: how each partition of the command topics stands, and an operator's hold
 * on one of them. */
#include "common/migrate.h"
#include "common/sql.h"
#include "common/text.h"
#include "ctl/command.h"
#include "ctl/partition_hold.h"
#include "ctl/table.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const char name[] = "partitions";

/* ---- what the database knows ---- */

enum column { TOPIC, PARTITION, OWNER, EPOCH, NEXT, SINCE, REASON, TRIED, ATTEMPTS };

static const char sql_positions[] =
    "SELECT p.topic, p.partition,"
    " CASE WHEN " PARTITION_OWNER_ALIVE " THEN p.owner_instance END, p.epoch, p.next_offset,"
    " to_char(p.held_since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), p.held_reason,"
    " a.\"offset\", a.attempts FROM siptrunk.partition_position p"
    " LEFT JOIN siptrunk.record_attempt a ON a.topic = p.topic AND a.partition = p.partition"
    " AND a.attempts > 0 AND a.\"offset\" >= p.next_offset";

struct line {
    const struct command_partition *partition;
    const PGresult *rows;
    int row; /* -1: the database does not know the partition */
};

/* NULL where there is nothing. */
static const char *text_of(const struct line *line, enum column column) {
    bool none = line->row < 0 || PQgetisnull(line->rows, line->row, (int)column);
    return none ? NULL : PQgetvalue(line->rows, line->row, (int)column);
}

static int64_t number_of(const struct line *line, enum column column) {
    const char *text = text_of(line, column);
    return text ? strtoll(text, NULL, 10) : 0;
}

static struct line line_of(const struct command_partition *partition, const PGresult *rows) {
    struct line line = {.partition = partition, .rows = rows, .row = -1};
    for (int row = 0; row < PQntuples(rows); row++) {
        if (strcmp(PQgetvalue(rows, row, TOPIC), partition->topic) == 0 &&
            strtoll(PQgetvalue(rows, row, PARTITION), NULL, 10) == partition->id)
            line.row = row;
    }
    return line;
}

/* ---- what that means ---- */

static bool is_diverged(const struct line *line) {
    return line->partition->committed > number_of(line, NEXT);
}

static bool is_held(const struct line *line) {
    return text_of(line, SINCE) != NULL;
}

static bool is_tried(const struct line *line) {
    return text_of(line, TRIED) != NULL;
}

static bool is_unowned(const struct line *line) {
    return text_of(line, OWNER) == NULL;
}

static bool is_any(const struct line *line) {
    (void)line;
    return true;
}

/* The first that holds is told. */
static const struct state {
    const char *name;
    bool (*holds)(const struct line *line);
} states[] = {{"diverged", is_diverged},
              {"held", is_held},
              {"attempts", is_tried},
              {"unowned", is_unowned},
              {"normal", is_any}};

static const char *state_of(const struct line *line) {
    const struct state *state = states;
    while (!state->holds(line))
        state++;
    return state->name;
}

static int64_t lag_of(const struct command_partition *partition) {
    int64_t from = partition->committed > partition->low ? partition->committed : partition->low;
    return partition->end > from ? partition->end - from : 0;
}

/* ---- showing ---- */

static void explain(const struct line *line, char *text, size_t size) {
    int end = snprintf(text, size, "%s", state_of(line));
    if (is_held(line) && !is_diverged(line))
        snprintf(text + end, size - (size_t)end, " since %s: %s", text_of(line, SINCE),
                 text_of(line, REASON));
    else if (is_tried(line) && !is_diverged(line))
        snprintf(text + end, size - (size_t)end, ": offset %s for the %s. time",
                 text_of(line, TRIED), text_of(line, ATTEMPTS));
}

static bool add_row(struct table *table, const struct line *line) {
    const struct command_partition *partition = line->partition;
    char id[16], committed[24] = "", end[24], lag[24], state[HOLD_REASON_MAX + 64];
    snprintf(id, sizeof id, "%" PRId32, partition->id);
    if (partition->committed >= 0)
        snprintf(committed, sizeof committed, "%" PRId64, partition->committed);
    snprintf(end, sizeof end, "%" PRId64, partition->end);
    snprintf(lag, sizeof lag, "%" PRId64, lag_of(partition));
    explain(line, state, sizeof state);
    const char *cells[] = {partition->topic,
                           id,
                           partition->lane->name,
                           text_of(line, OWNER),
                           text_of(line, EPOCH),
                           committed,
                           text_of(line, NEXT),
                           end,
                           lag,
                           state};
    return table_row(table, cells);
}

static bool show_table(const struct partition_list *list, const PGresult *rows) {
    static const char *const heads[] = {"TOPIC", ">PARTITION", "LANE", "OWNER", ">EPOCH",
                                        ">K",    ">D",         ">END", ">LAG",  "STATE"};
    struct table *table = table_new(stdout, heads, sizeof heads / sizeof heads[0]);
    bool ok = table != NULL;
    for (size_t i = 0; ok && i < list->count; i++) {
        struct line line = line_of(&list->all[i], rows);
        ok = add_row(table, &line);
    }
    if (ok)
        table_flush(table);
    table_free(table);
    return ok;
}

static json_t *number_or_null(const struct line *line, enum column column) {
    return text_of(line, column) ? json_integer(number_of(line, column)) : json_null();
}

static bool print_json(const struct line *line) {
    const struct command_partition *partition = line->partition;
    json_t *json = json_pack(
        "{s:s,s:i,s:s,s:s?,s:o,s:o,s:o,s:I,s:I,s:s,s:s?,s:s?,s:o,s:o}", "topic", partition->topic,
        "partition", partition->id, "lane", partition->lane->name, "owner", text_of(line, OWNER),
        "epoch", number_or_null(line, EPOCH), "committed_offset",
        partition->committed < 0 ? json_null() : json_integer(partition->committed), "next_offset",
        number_or_null(line, NEXT), "end", (json_int_t)partition->end, "lag",
        (json_int_t)lag_of(partition), "state", state_of(line), "held_since", text_of(line, SINCE),
        "held_reason", text_of(line, REASON), "attempted_offset", number_or_null(line, TRIED),
        "attempts", number_or_null(line, ATTEMPTS));
    bool ok = json && !json_dumpf(json, stdout, JSON_COMPACT) && putchar('\n') != EOF;
    json_decref(json);
    return ok;
}

static bool show_json(const struct partition_list *list, const PGresult *rows) {
    bool ok = true;
    for (size_t i = 0; ok && i < list->count; i++) {
        struct line line = line_of(&list->all[i], rows);
        ok = print_json(&line);
    }
    return ok;
}

/* K was asked for before, so that D is not behind it unless work was lost. */
static int show(PGconn *conn, const struct partition_list *list, bool json) {
    struct error err = {0};
    SQL_RESULT rows = sql_query(conn, sql_positions, 0, NULL, "reading the positions", &err);
    if (rows && !(json ? show_json(list, rows) : show_table(list, rows)))
        error_set(&err, FAULT_RETRY, "out-of-memory", "no memory for the partitions");
    if (err.fault)
        return command_fail(name, &err);
    for (size_t i = 0; i < list->count; i++) {
        struct line line = line_of(&list->all[i], rows);
        if (is_diverged(&line))
            return EXIT_STATE;
    }
    return EXIT_DONE;
}

/* ---- the command ---- */

struct options {
    bool json;
    const char *reason, *verb, *place; /* NULL: not given */
};

static bool parse_options(int argc, char **argv, struct options *options) {
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, {"reason", required_argument, NULL, 'r'}, {0}};
    for (int option; (option = command_option(name, argc, argv, ":", longs)) != -1;) {
        if (option == 'j')
            options->json = true;
        else if (option == 'r')
            options->reason = optarg;
        else
            return false;
    }
    options->verb = optind < argc ? argv[optind] : NULL;
    options->place = optind + 1 < argc ? argv[optind + 1] : NULL;
    if (optind + 2 >= argc)
        return true;
    command_usage(name, "%s is one argument too many", argv[optind + 2]);
    return false;
}

/* A reason is shown in tables and log lines. */
static bool check_options(const struct options *options) {
    bool hold = options->verb && strcmp(options->verb, "hold") == 0;
    if (!options->verb && !options->reason)
        return true;
    if (!options->verb)
        command_usage(name, "--reason belongs to hold");
    else if (!hold && strcmp(options->verb, "release") != 0)
        command_usage(name, "say hold or release, or nothing to see how all of them stand");
    else if (options->json)
        command_usage(name, "--json belongs to no verb: it is for the table of all");
    else if (!options->place)
        command_usage(name, "say which one, as TOPIC/PARTITION");
    else if (hold != (options->reason != NULL))
        command_usage(name, hold ? "say why, with --reason TEXT" : "--reason belongs to hold");
    else if (hold && (!*options->reason || strlen(options->reason) > HOLD_REASON_MAX ||
                      !text_is_clean(slice_of(options->reason))))
        command_usage(name, "a reason is 1 to %d bytes of UTF-8 without control characters",
                      HOLD_REASON_MAX);
    else
        return true;
    return false;
}

/* TOPIC/PARTITION among the command topics of both lanes. */
static struct command_partition *find_place(const struct partition_list *list, const char *place,
                                            struct error *err) {
    const char *slash = strrchr(place, '/');
    char *end = NULL;
    long id = slash ? strtol(slash + 1, &end, 10) : -1;
    struct slice topic = {.data = place, .size = slash ? (size_t)(slash - place) : 0};
    struct command_partition *found =
        end && end != slash + 1 && !*end ? partition_list_find(list, topic, id) : NULL;
    if (!found)
        error_set(err, FAULT_INPUT, "partition",
                  "%s is no partition of a command topic: siptrunkctl partitions lists them",
                  place);
    return found;
}

static int run(const struct options *options, PGconn *conn, const struct partition_list *list) {
    struct error err = {0};
    if (!options->verb)
        return show(conn, list, options->json);
    struct command_partition *partition = find_place(list, options->place, &err);
    if (!partition)
        return command_fail(name, &err);
    return options->reason ? partition_hold(conn, list, partition, options->reason)
                           : partition_release(conn, partition);
}

int command_partitions(const struct config *config, int argc, char **argv) {
    struct options options = {0};
    struct error err = {0};
    if (!parse_options(argc, argv, &options) || !check_options(&options))
        return EXIT_USAGE;
    struct partition_list list = {0};
    SQL_CONNECTION conn =
        sql_connect(config_text(config, CONFIG_POSTGRES_CONNINFO), "siptrunkctl", 0, &err);
    bool ok = conn && migrate_check(conn, &err) && partition_list_read(&list, config, &err);
    int status = ok ? run(&options, conn, &list) : command_fail(name, &err);
    partition_list_free(&list);
    return status;
}
