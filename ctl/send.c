/* siptrunkctl send: JSON lines to Avro commands in Kafka. How a line becomes a record is in
 * json_command.c. */
#include "common/kafka.h"
#include "common/stop.h"
#include "common/text.h"
#include "ctl/broker.h"
#include "ctl/command.h"
#include "ctl/json_command.h"
#include "ctl/lines.h"
#include "ctl/result_view.h"
#include "ctl/topic_reader.h"
#include "ctl/uuid_map.h"

#include <ctype.h>
#include <stdlib.h>

static const char name[] = "send";

enum {
    MAX_HEADERS = 32,
    MAX_LINE_ERRORS = 20, /* bad lines told of by number; the rest is counted */
    MAX_SHOWN_ID = 128,   /* a result repeats no more of an id */
    POLL_MS = 200,
};

/* Of a command whose result is waited for. */
enum { AWAITED = 1, ANSWERED };

struct options {
    const char *topic;
    const char *key;
    const char *headers[MAX_HEADERS];
    size_t header_count;
    bool bulk, generate_ids, skip_bad, quiet, wait;
    long wait_seconds;
};

/* A line's record, encoded: key and value lie behind one another in memory of their own. */
struct outgoing {
    char *bytes;
    size_t key_size, value_size;
};

struct sending {
    const struct options *options;
    struct outgoing *records;
    size_t count, capacity, bad;
    size_t delivered, refused; /* what the broker said */
    struct uuid_map waiting;   /* commands that are waited for, by name_of_command */
    struct digests *digests;   /* with --wait */
    size_t awaited;
    struct error first_refusal;
};

/* ---- options ---- */

static bool take_option(int option, struct options *options) {
    switch (option) {
    case 't':
        options->topic = optarg;
        return true;
    case 'b':
        options->bulk = true;
        return true;
    case 'k':
        options->key = optarg;
        return true;
    case 'h':
        if (options->header_count == MAX_HEADERS || !strchr(optarg, '=')) {
            command_usage(name, "--header takes NAME=VALUE, at most %d times", MAX_HEADERS);
            return false;
        }
        options->headers[options->header_count++] = optarg;
        return true;
    case 'g':
        options->generate_ids = true;
        return true;
    case 's':
        options->skip_bad = true;
        return true;
    case 'q':
        options->quiet = true;
        return true;
    case 'w':
        options->wait = true;
        return !optarg || option_number(name, "--wait", optarg, 1, 86400, &options->wait_seconds);
    default:
        return false;
    }
}

static bool parse_options(int argc, char **argv, struct options *options) {
    static const struct option longs[] = {{"topic", required_argument, NULL, 't'},
                                          {"bulk", no_argument, NULL, 'b'},
                                          {"key", required_argument, NULL, 'k'},
                                          {"header", required_argument, NULL, 'h'},
                                          {"generate-ids", no_argument, NULL, 'g'},
                                          {"skip-bad", no_argument, NULL, 's'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"wait", optional_argument, NULL, 'w'},
                                          {0}};
    for (int option; (option = command_option(name, argc, argv, ":", longs)) != -1;) {
        if (!take_option(option, options))
            return false;
    }
    if (argc - optind > 1) {
        command_usage(name, "%s is one argument too many", argv[argc - 1]);
        return false;
    }
    if (options->topic && options->bulk) {
        command_usage(name, "--topic and --bulk exclude each other");
        return false;
    }
    return true;
}

/* ---- reading lines ---- */

static bool out_of_memory(struct error *err) {
    return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the commands");
}

/* A command by its two ids as they were sent, whatever they are, and as its result repeats them:
 * cut, and not in every case of letters. */
static struct uuid name_of_command(struct sending *sending, struct slice account,
                                   struct slice command) {
    static const struct uuid no_space;
    struct slice ids[] = {text_cut(account, MAX_SHOWN_ID), text_cut(command, MAX_SHOWN_ID)};
    char text[2 * (MAX_SHOWN_ID + 1)];
    size_t size = 0;
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < ids[k].size; i++)
            text[size++] = (char)tolower((unsigned char)ids[k].data[i]);
        text[size++] = '\0';
    }
    return uuid_v5(sending->digests, &no_space, (struct slice){.data = text, .size = size});
}

static bool await_result(struct sending *sending, const struct json_command *command,
                         struct error *err) {
    bool is_new;
    if (!sending->options->wait)
        return true;
    struct uuid id = name_of_command(sending, buffer_slice(&command->account_id),
                                     buffer_slice(&command->command_id));
    uint32_t *state = uuid_map_put(&sending->waiting, &id, &is_new);
    if (!state)
        return out_of_memory(err);
    *state = AWAITED;
    sending->awaited += is_new;
    return true;
}

/* Whatever the case of its letters, an account has one partition. */
static struct slice key_of(const struct options *options, const struct json_command *command,
                           char text[UUID_TEXT_SIZE + 1]) {
    struct uuid account;
    if (options->key)
        return slice_of(options->key);
    if (!uuid_parse(buffer_slice(&command->account_id), &account))
        return buffer_slice(&command->account_id);
    uuid_format(&account, text);
    return slice_of(text);
}

static bool keep(struct sending *sending, const struct json_command *command, struct error *err) {
    if (sending->count == sending->capacity) {
        size_t capacity = sending->capacity ? 2 * sending->capacity : 1024;
        struct outgoing *bigger = realloc(sending->records, capacity * sizeof *bigger);
        if (!bigger)
            return out_of_memory(err);
        sending->records = bigger;
        sending->capacity = capacity;
    }
    char text[UUID_TEXT_SIZE + 1];
    struct slice key = key_of(sending->options, command, text);
    struct slice value = buffer_slice(&command->record);
    char *bytes = malloc(key.size + value.size);
    if (!bytes)
        return out_of_memory(err);
    if (key.size)
        memcpy(bytes, key.data, key.size);
    memcpy(bytes + key.size, value.data, value.size);
    sending->records[sending->count++] =
        (struct outgoing){.bytes = bytes, .key_size = key.size, .value_size = value.size};
    return await_result(sending, command, err);
}

/* A bad line is told of and counted; false only for trouble of another kind. */
static bool take_line(struct sending *sending, struct json_commands *commands,
                      struct json_command *command, struct slice line, size_t number,
                      struct error *err) {
    struct error why;
    if (json_command_encode(commands, line, sending->options->generate_ids, command, &why))
        return keep(sending, command, err);
    if (why.fault != FAULT_INPUT) {
        *err = why;
        return false;
    }
    if (sending->bad++ < MAX_LINE_ERRORS)
        fprintf(stderr, "line %zu: %s (%s)\n", number, why.message, why.id);
    return true;
}

static bool take_lines(struct sending *sending, struct json_commands *commands, struct lines *lines,
                       struct error *err) {
    struct json_command command = {0};
    struct slice line;
    bool ok;
    while ((ok = lines_next(lines, &line, err)) && line.data) {
        if (!line_is_blank(line) &&
            !(ok = take_line(sending, commands, &command, line, lines->number, err)))
            break;
    }
    json_command_free(&command);
    return ok;
}

static bool read_file(struct sending *sending, const char *path, struct error *err) {
    struct lines lines;
    if (!lines_open(&lines, path, err))
        return false;
    struct json_commands *commands = json_commands_new(err);
    bool ok = commands && take_lines(sending, commands, &lines, err);
    json_commands_free(commands);
    lines_close(&lines);
    if (ok && sending->bad > MAX_LINE_ERRORS)
        fprintf(stderr, "... and %zu more bad lines\n", sending->bad - MAX_LINE_ERRORS);
    if (ok && sending->bad > 0 && !sending->options->skip_bad)
        return error_set(
            err, FAULT_INPUT, "bad-lines",
            "%zu of %zu commands are not valid: nothing was sent (--skip-bad sends the rest)",
            sending->bad, sending->bad + sending->count);
    return ok;
}

/* ---- producing ---- */

static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque) {
    struct sending *sending = opaque;
    (void)producer;
    if (!message->err)
        sending->delivered++;
    else if (sending->refused++ == 0)
        kafka_code_error(message->err, "sending", &sending->first_refusal);
}

static rd_kafka_t *new_producer(const struct config *config, struct sending *sending,
                                struct error *err) {
    /* A queue so short that no record grows old in it: the timeout counts from its entry. */
    static const struct kafka_property defaults[] = {
        {"linger.ms", "5"}, {"queue.buffering.max.messages", "100000"}, {NULL, NULL}};
    static const struct kafka_property enforced[] = {{"enable.idempotence", "true"},
                                                     {"acks", "all"},
                                                     {"partitioner", "murmur2_random"},
                                                     {"message.timeout.ms", "30000"},
                                                     {NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf(config, defaults, enforced, err);
    if (!conf)
        return NULL;
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, sending);
    return kafka_new(RD_KAFKA_PRODUCER, conf, err);
}

static rd_kafka_headers_t *make_headers(const struct options *options) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(options->header_count);
    for (size_t i = 0; i < options->header_count; i++) {
        const char *equals = strchr(options->headers[i], '=');
        rd_kafka_header_add(headers, options->headers[i], equals - options->headers[i], equals + 1,
                            -1);
    }
    return headers;
}

static bool produce_one(rd_kafka_t *producer, const char *topic, const struct options *options,
                        const struct outgoing *record, struct error *err) {
    rd_kafka_headers_t *headers = make_headers(options);
    rd_kafka_vu_t arguments[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {record->bytes, record->key_size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE,
         .u.mem = {record->bytes + record->key_size, record->value_size}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    for (;;) {
        rd_kafka_error_t *error =
            rd_kafka_produceva(producer, arguments, sizeof arguments / sizeof arguments[0]);
        if (!error)
            return true;
        bool full = rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__QUEUE_FULL;
        kafka_error(error, "sending", err);
        if (!full) {
            rd_kafka_headers_destroy(headers);
            return false;
        }
        rd_kafka_poll(producer, POLL_MS);
    }
}

/* Stops at the first record that the broker does not take: commands of an account keep their order.
 */
static bool produce(rd_kafka_t *producer, struct sending *sending, const char *topic,
                    struct error *err) {
    bool ok = true;
    for (size_t i = 0; ok && sending->refused == 0 && i < sending->count; i++) {
        ok = produce_one(producer, topic, sending->options, &sending->records[i], err);
        rd_kafka_poll(producer, 0);
    }
    if (!ok || sending->refused > 0)
        rd_kafka_purge(producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (rd_kafka_flush(producer, POLL_MS)) /* ends: each record has message.timeout.ms */
        continue;
    if (ok && sending->refused > 0)
        *err = sending->first_refusal;
    if (ok && sending->refused == 0)
        return true;
    return error_prefix(err, "only %zu of %zu commands were sent, send all of them again",
                        sending->delivered, sending->count);
}

static bool produce_all(struct sending *sending, const struct config *config, const char *topic,
                        struct error *err) {
    int partitions = 0;
    rd_kafka_t *producer = new_producer(config, sending, err);
    if (!producer)
        return false;
    bool ok = kafka_partition_count(producer, topic, BROKER_TIMEOUT_MS, &partitions, err);
    if (ok && partitions == 0)
        ok = error_set(err, FAULT_STATE, "missing-topic",
                       "topic %s does not exist: run siptrunkctl topics apply", topic);
    ok = ok && produce(producer, sending, topic, err);
    rd_kafka_destroy(producer);
    return ok;
}

/* ---- waiting for results ---- */

/* Whether the result answers one of ours; counts each command once. */
static bool is_ours(void *context, const json_t *result) {
    struct sending *sending = context;
    const json_t *account = json_object_get(result, "account_id");
    const json_t *command = json_object_get(result, "command_id");
    struct uuid id = name_of_command(sending, slice_of(json_string_value(account)),
                                     slice_of(json_string_value(command)));
    uint32_t *state = uuid_map_find(&sending->waiting, &id);
    if (!state)
        return false;
    sending->awaited -= *state == AWAITED;
    *state = ANSWERED;
    return true;
}

static bool wait_for_results(struct sending *sending, struct topic_reader *reader,
                             struct result_view *view, struct error *err) {
    int64_t deadline = monotonic_ms() + 1000 * (int64_t)sending->options->wait_seconds;
    bool ok = true;
    while (ok && sending->awaited > 0 && monotonic_ms() < deadline) {
        rd_kafka_message_t *record;
        ok = topic_reader_next(reader, POLL_MS, &record, err);
        if (ok && record)
            ok = result_view_take(view, record, is_ours, sending, err);
        if (record)
            rd_kafka_message_destroy(record);
        result_view_flush_old(view);
    }
    result_view_flush(view);
    return ok;
}

static struct topic_reader *open_results(const struct config *config, struct error *err) {
    struct topic_reader *reader = topic_reader_new(config, err);
    if (reader && topic_reader_add_results(reader, config, true, err) &&
        topic_reader_start(reader, err))
        return reader;
    topic_reader_free(reader);
    return NULL;
}

/* The results topics are opened first, so that no answer is missed. */
static int send_and_wait(struct sending *sending, const struct config *config, const char *topic) {
    struct error err = {0};
    struct topic_reader *reader = open_results(config, &err);
    struct result_view *view =
        reader ? result_view_new(RESULT_TABLE, config_text(config, CONFIG_SCHEMA_DIR), &err) : NULL;
    bool ok = view && produce_all(sending, config, topic, &err) &&
              wait_for_results(sending, reader, view, &err);
    bool rejected = view && result_view_rejected(view) > 0;
    result_view_free(view);
    topic_reader_free(reader);
    if (!ok)
        return command_fail(name, &err);
    if (sending->awaited > 0) {
        fprintf(stderr, "no result within %ld s for %zu command%s\n",
                sending->options->wait_seconds, sending->awaited, command_plural(sending->awaited));
        return EXIT_TIMED_OUT;
    }
    return rejected ? EXIT_SOME_REFUSED : EXIT_DONE;
}

/* ---- the command ---- */

static void release(struct sending *sending) {
    for (size_t i = 0; i < sending->count; i++)
        free(sending->records[i].bytes);
    free(sending->records);
    uuid_map_free(&sending->waiting);
    digests_free(sending->digests);
}

static int send_all(struct sending *sending, const struct config *config, const char *topic) {
    struct error err = {0};
    if (!broker_reach(config, &err))
        return command_fail(name, &err);
    if (sending->options->wait)
        return send_and_wait(sending, config, topic);
    return produce_all(sending, config, topic, &err) ? EXIT_DONE : command_fail(name, &err);
}

static int run(struct sending *sending, const struct config *config, const char *path) {
    const struct options *options = sending->options;
    const char *topic = options->topic  ? options->topic
                        : options->bulk ? config_item(config, CONFIG_TOPICS_BULK, 0)
                                        : config_item(config, CONFIG_TOPICS_COMMANDS, 0);
    struct error err = {0};
    if (options->wait && !(sending->digests = digests_new(&err)))
        return command_fail(name, &err);
    if (!read_file(sending, path, &err))
        return command_fail(name, &err);
    int status = send_all(sending, config, topic);
    bool sent = status == EXIT_DONE || status == EXIT_SOME_REFUSED || status == EXIT_TIMED_OUT;
    if (sent && !options->quiet)
        fprintf(stderr, "sent %zu command%s to %s\n", sending->count,
                command_plural(sending->count), topic);
    return status == EXIT_DONE && sending->bad > 0 ? EXIT_SOME_REFUSED : status;
}

int command_send(const struct config *config, int argc, char **argv) {
    struct options options = {.wait_seconds = 30};
    if (!parse_options(argc, argv, &options))
        return EXIT_USAGE;
    struct sending sending = {.options = &options};
    int status = run(&sending, config, optind < argc ? argv[optind] : "-");
    release(&sending);
    return status;
}
