/* siptrunkctl results: reads the results topics and shows what is in them. How a result looks is in
 * result_view.c. */
#include "common/stop.h"
#include "common/uuid.h"
#include "ctl/command.h"
#include "ctl/result_view.h"
#include "ctl/topic_reader.h"

#include <signal.h>
#include <time.h>

static const char name[] = "results";

enum {
    POLL_MS = 200,
    FLUSH_MS = 500, /* rows wait that long for others to be aligned with */
    GAP_MS = 30000, /* a number that is missing longer is lost: until then a worker's session, its
                       transaction and the broker's cleanup may have to time out */
    SILENCE_MS = 30000, /* without --follow: so long with nothing to read means trouble */
};

struct options {
    bool follow;
    bool from_end;
    enum result_format format;
    struct uuid account;
    bool one_account;
    const char *batch; /* NULL: any */
};

/* ---- options ---- */

static bool take_account(const char *text, struct options *options) {
    options->one_account = uuid_parse(slice_of(text), &options->account);
    if (!options->one_account)
        command_usage(name, "--account takes a UUID");
    return options->one_account;
}

static bool parse_options(int argc, char **argv, struct options *options) {
    static const struct option longs[] = {{"follow", no_argument, NULL, 'f'},
                                          {"account", required_argument, NULL, 'a'},
                                          {"batch", required_argument, NULL, 'b'},
                                          {"from-end", no_argument, NULL, 'e'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"table", no_argument, NULL, 't'},
                                          {0}};
    for (int option; (option = command_option(name, argc, argv, ":f", longs)) != -1;) {
        switch (option) {
        case 'f':
            options->follow = true;
            break;
        case 'a':
            if (!take_account(optarg, options))
                return false;
            break;
        case 'b':
            options->batch = optarg;
            break;
        case 'e':
            options->from_end = true;
            break;
        case 'j':
        case 't':
            options->format = option == 'j' ? RESULT_JSON : RESULT_TABLE;
            break;
        default:
            return false;
        }
    }
    if (optind != argc) {
        command_usage(name, "%s is one argument too many", argv[optind]);
        return false;
    }
    return true;
}

/* ---- reading ---- */

static bool in_batch(void *context, const json_t *result) {
    const struct options *options = context;
    const char *batch = json_string_value(json_object_get(result, "batch_id"));
    return !options->batch || (batch && strcmp(batch, options->batch) == 0);
}

struct loop {
    struct options *options;
    struct topic_reader *reader;
    struct result_view *view;
    int64_t heard_ms; /* when a record came last */
};

/* As Kafka's timestamps. */
static int64_t wall_clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What is due by the clock. */
static bool tick(struct loop *loop, struct error *err) {
    result_view_flush_old(loop->view);
    if (loop->options->follow) {
        result_view_report_missing(loop->view, wall_clock_ms() - GAP_MS);
        return true;
    }
    if (monotonic_ms() - loop->heard_ms < SILENCE_MS)
        return true;
    return error_set(err, FAULT_RETRY, "silence",
                     "the end of the topic was not reached: the broker is silent, or a "
                     "transaction is open");
}

static bool read_results(struct loop *loop, struct error *err) {
    bool ok = true;
    loop->heard_ms = monotonic_ms();
    while (ok && !stop_requested() &&
           (loop->options->follow || !topic_reader_at_end(loop->reader))) {
        rd_kafka_message_t *record;
        ok = topic_reader_next(loop->reader, POLL_MS, &record, err);
        if (ok && record) {
            ok = result_view_take(loop->view, record, in_batch, loop->options, err);
            loop->heard_ms = monotonic_ms();
        }
        if (record)
            rd_kafka_message_destroy(record);
        ok = ok && tick(loop, err);
    }
    return ok;
}

static void on_signal(int number) {
    (void)number;
    stop_request();
}

/* So that what is missing is told even when a person ends --follow. */
static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int finish(struct loop *loop, bool ok, const struct error *err) {
    result_view_flush(loop->view);
    if (!ok)
        return command_fail(name, err);
    result_view_report_missing(loop->view, wall_clock_ms() - GAP_MS);
    result_view_report_late(loop->view);
    result_view_summary(loop->view);
    if (stop_requested())
        return EXIT_INTERRUPTED;
    return result_view_missing(loop->view) ? EXIT_STATE : EXIT_DONE;
}

int command_results(const struct config *config, int argc, char **argv) {
    struct options options = {.format = RESULT_TABLE};
    if (!parse_options(argc, argv, &options))
        return EXIT_USAGE;
    struct error err = {0};
    struct loop loop = {.options = &options};
    int status;
    catch_signals();
    loop.view = result_view_new(options.format, config_text(config, CONFIG_SCHEMA_DIR), &err);
    if (loop.view && options.one_account)
        result_view_only(loop.view, &options.account);
    if (loop.view)
        loop.reader = topic_reader_new(config, &err);
    if (loop.reader && topic_reader_add_results(loop.reader, config, options.from_end, &err) &&
        topic_reader_start(loop.reader, &err))
        status = finish(&loop, read_results(&loop, &err), &err);
    else
        status = command_fail(name, &err);
    topic_reader_free(loop.reader);
    result_view_free(loop.view);
    return status;
}
