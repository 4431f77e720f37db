/* siptrunkctl verify: reads everything there is, then lets the judge of ctl/verify find what does
 * not fit. The order of reading is what makes it safe beside workers: see read_bounds. */
#include "common/sql.h"
#include "common/stop.h"
#include "ctl/command.h"
#include "ctl/verify/database.h"
#include "ctl/verify/report.h"
#include "ctl/verify/topics.h"

#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static const char name[] = "verify";

enum { SHOWN_BY_DEFAULT = 10 };

struct options {
    bool complete, json, quiet;
    size_t most;
};

static bool parse_options(int argc, char **argv, struct options *options) {
    static const struct option longs[] = {
        {"complete", no_argument, NULL, 'c'},  {"all", no_argument, NULL, 'a'},
        {"max", required_argument, NULL, 'm'}, {"json", no_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'q'},     {0}};
    long most = SHOWN_BY_DEFAULT;
    for (int option; (option = command_option(name, argc, argv, ":", longs)) != -1;) {
        switch (option) {
        case 'c':
            options->complete = true;
            break;
        case 'a':
            most = LONG_MAX;
            break;
        case 'm':
            if (!option_number(name, "--max", optarg, 1, LONG_MAX, &most))
                return false;
            break;
        case 'j':
            options->json = true;
            break;
        case 'q':
            options->quiet = true;
            break;
        default:
            return false;
        }
    }
    options->most = (size_t)most;
    if (optind == argc)
        return true;
    command_usage(name, "%s is one argument too many", argv[optind]);
    return false;
}

/* ---- reading ---- */

struct verify {
    struct topics *topics;
    struct records *records;
    struct history history;
    struct progress progress;
    struct report *report;
    PGconn *conn;
};

/* A worker stores first, then publishes and moves K in one transaction. So K comes first: what is
 * below it has its result below the results' ends, which come next. Then the ends of the commands,
 * which are beyond all commands that were answered so far. Then the database's snapshot, which
 * holds all that was published so far. Then K and the ends of the logs, which are not behind what
 * the snapshot knows of them. */
static bool read_bounds(struct verify *verify, struct error *err) {
    struct history *history = &verify->history;
    return topics_list(verify->topics, history, err) &&
           database_read_noted(verify->conn, history, err) &&
           topics_take_answered(verify->topics, history, err) &&
           topics_take_ends(verify->topics, history, &verify->progress, err) &&
           database_begin(verify->conn, history, err) &&
           topics_take_positions(verify->topics, history, err);
}

/* The database first, so that its snapshot is not held longer than it must be. */
static bool read_rows(struct verify *verify, struct error *err) {
    struct history *history = &verify->history;
    return database_read(verify->conn, verify->records, history, &verify->progress, err) &&
           topics_read_committed(verify->topics, verify->records, history, &verify->progress,
                                 err) &&
           records_read_again(verify->records, history, err) &&
           topics_read_results(verify->topics, verify->records, history, &verify->progress, err);
}

static bool open_all(struct verify *verify, const struct config *config,
                     const struct options *options, struct error *err) {
    verify->progress.shown = !options->quiet && isatty(STDERR_FILENO);
    verify->report = report_new(&verify->history, options->most, options->json);
    if (!verify->report)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the report");
    return (verify->records = records_new(config_text(config, CONFIG_SCHEMA_DIR), err)) &&
           (verify->topics = topics_new(config, err)) &&
           (verify->conn = database_open(config, err));
}

static void close_all(struct verify *verify) {
    topics_free(verify->topics);
    report_free(verify->report);
    records_free(verify->records);
    history_free(&verify->history);
    sql_finish(&verify->conn);
}

static bool run(struct verify *verify, const struct config *config, const struct options *options,
                struct verdict *ret, struct error *err) {
    if (!open_all(verify, config, options, err) || !read_bounds(verify, err) ||
        !read_rows(verify, err))
        return false;
    progress_begin(&verify->progress, "judging", 0);
    bool ok = judge(verify->records, &verify->history, options->complete, report_finding,
                    verify->report, ret, err);
    progress_end(&verify->progress);
    return ok && report_print(verify->report, ret, err);
}

static void on_signal(int number) {
    (void)number;
    stop_request();
}

int command_verify(const struct config *config, int argc, char **argv) {
    struct options options = {0};
    if (!parse_options(argc, argv, &options))
        return EXIT_USAGE;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    mallopt(M_ARENA_MAX, 2); /* else what the client's threads have freed stays with each of them */
    struct error err = {0};
    struct verify verify = {0};
    struct verdict verdict = {0};
    bool ok = run(&verify, config, &options, &verdict, &err);
    progress_end(&verify.progress);
    close_all(&verify);
    if (!ok)
        return command_fail(name, &err);
    return verdict.findings > 0 ? EXIT_STATE : EXIT_DONE;
}
