/* siptrunkctl topics: creates the topics of the configuration, and says how they stand. */
#include "common/kafka.h"
#include "common/stop.h"
#include "ctl/broker.h"
#include "ctl/command.h"
#include "ctl/table.h"

#include <stdlib.h>
#include <time.h>

static const char name[] = "topics";

enum { MAX_TOPICS = 4 * 64 + 2, MAX_NAME = 256, APPEAR_PAUSE_MS = 20, DEFAULT_PARTITIONS = 12 };

struct wanted {
    char name[MAX_NAME];
    const char *retention_ms;
};

struct topics {
    struct wanted all[MAX_TOPICS];
    size_t count;
};

struct options {
    long partitions, replication;
};

/* ---- which ---- */

static const char two_weeks[] = "1209600000";
static const char a_year[] = "31536000000";

static void add(struct topics *topics, const char *topic, const char *suffix,
                const char *retention_ms) {
    char whole[MAX_NAME];
    snprintf(whole, sizeof whole, "%s%s", topic, suffix);
    for (size_t i = 0; i < topics->count; i++) {
        if (strcmp(topics->all[i].name, whole) == 0)
            return;
    }
    if (topics->count == MAX_TOPICS) /* lists are bounded by 64 */
        return;
    struct wanted *wanted = &topics->all[topics->count++];
    snprintf(wanted->name, sizeof wanted->name, "%s", whole);
    wanted->retention_ms = retention_ms;
}

/* Results are kept a year, for audit; commands and dead letters for two weeks. */
static void add_all(struct topics *topics, const struct config *config) {
    static const enum config_key lists[] = {CONFIG_TOPICS_COMMANDS, CONFIG_TOPICS_BULK};
    const char *suffix = config_text(config, CONFIG_TOPICS_DEAD_LETTER_SUFFIX);
    for (size_t k = 0; k < sizeof lists / sizeof lists[0]; k++) {
        for (size_t i = 0; i < config_item_count(config, lists[k]); i++) {
            add(topics, config_item(config, lists[k], i), "", two_weeks);
            add(topics, config_item(config, lists[k], i), suffix, two_weeks);
        }
    }
    add(topics, config_text(config, CONFIG_TOPICS_RESULTS), "", a_year);
    add(topics, config_text(config, CONFIG_TOPICS_RESULTS_BULK), "", a_year);
}

/* ---- the broker ---- */

static rd_kafka_t *connect_broker(const struct config *config, struct error *err) {
    rd_kafka_conf_t *conf = broker_reach(config, err) ? kafka_conf(config, NULL, NULL, err) : NULL;
    return conf ? kafka_new(RD_KAFKA_PRODUCER, conf, err) : NULL;
}

/* What the broker said of the one topic in the answer. */
static bool read_answer(rd_kafka_event_t *event, const char *topic, struct error *err) {
    size_t count = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    rd_kafka_resp_err_t code =
        count == 1 ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: /* another one was quicker */
        return true;
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
        return error_set(err, FAULT_INPUT, "topic", "%s: %s", topic,
                         rd_kafka_topic_result_error_string(results[0]));
    default:
        return kafka_code_error(code, topic, err);
    }
}

static bool create(rd_kafka_t *client, const struct wanted *wanted, const struct options *options,
                   struct error *err) {
    char reason[256];
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(
        wanted->name, (int)options->partitions, (int)options->replication, reason, sizeof reason);
    if (!topic)
        return error_set(err, FAULT_CONFIG, "topic", "%s: %s", wanted->name, reason);
    rd_kafka_NewTopic_set_config(topic, "cleanup.policy", "delete");
    rd_kafka_NewTopic_set_config(topic, "retention.ms", wanted->retention_ms);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_CreateTopics(client, &topic, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, BROKER_TIMEOUT_MS);
    rd_kafka_resp_err_t code = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    bool ok =
        code ? kafka_code_error(code, wanted->name, err) : read_answer(event, wanted->name, err);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(topic);
    return ok;
}

/* What the controller has made, a broker may learn of a little later; who comes next wants to see
 * it.
 */
static bool await_topic(rd_kafka_t *client, const char *topic, struct error *err) {
    int64_t deadline = monotonic_ms() + BROKER_TIMEOUT_MS;
    for (int partitions = 0;;) {
        if (!kafka_partition_count(client, topic, BROKER_TIMEOUT_MS, &partitions, err))
            return false;
        if (partitions > 0)
            return true;
        if (monotonic_ms() >= deadline)
            return error_set(err, FAULT_RETRY, "topic", "%s was created, but does not appear",
                             topic);
        nanosleep(&(struct timespec){.tv_nsec = APPEAR_PAUSE_MS * 1000000L}, NULL);
    }
}

static int apply(rd_kafka_t *client, const struct topics *topics, const struct options *options) {
    for (size_t i = 0; i < topics->count; i++) {
        struct error err = {0};
        int partitions = 0;
        const struct wanted *wanted = &topics->all[i];
        if (!kafka_partition_count(client, wanted->name, BROKER_TIMEOUT_MS, &partitions, &err))
            return command_fail(name, &err);
        if (partitions > 0) {
            printf("%s is there, with %d partition%s\n", wanted->name, partitions,
                   command_plural((size_t)partitions));
            continue;
        }
        if (!create(client, wanted, options, &err) || !await_topic(client, wanted->name, &err))
            return command_fail(name, &err);
        printf("%s created, with %ld partition%s\n", wanted->name, options->partitions,
               command_plural((size_t)options->partitions));
    }
    return EXIT_DONE;
}

struct standing {
    int partitions; /* 0: there is no such topic, and nothing else is known */
    char max_bytes[24], cleanup[64];
};

static bool look_at(rd_kafka_t *client, const char *topic, struct standing *ret,
                    struct error *err) {
    struct standing found = {.partitions = 0};
    if (!kafka_partition_count(client, topic, BROKER_TIMEOUT_MS, &found.partitions, err))
        return false;
    if (found.partitions > 0 &&
        (!kafka_topic_property(client, topic, "max.message.bytes", BROKER_TIMEOUT_MS,
                               found.max_bytes, sizeof found.max_bytes, err) ||
         !kafka_topic_property(client, topic, "cleanup.policy", BROKER_TIMEOUT_MS, found.cleanup,
                               sizeof found.cleanup, err)))
        return false;
    *ret = found;
    return true;
}

static const char well[] = "ok";

static const char *judge(const struct standing *standing) {
    if (standing->partitions == 0)
        return "MISSING: run siptrunkctl topics apply";
    return strcmp(standing->cleanup, "delete") == 0 ? well : "WRONG: cleanup.policy must be delete";
}

static bool add_rows(rd_kafka_t *client, const struct topics *topics, struct table *table,
                     bool *ret_all_well, struct error *err) {
    bool all_well = true;
    for (size_t i = 0; i < topics->count; i++) {
        const char *topic = topics->all[i].name;
        struct standing standing;
        if (!look_at(client, topic, &standing, err))
            return false;
        char count[16];
        snprintf(count, sizeof count, "%d", standing.partitions);
        const char *verdict = judge(&standing);
        const char *cells[] = {topic, count, standing.max_bytes, standing.cleanup, verdict};
        if (!table_row(table, cells))
            return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the table");
        all_well = all_well && verdict == well;
    }
    *ret_all_well = all_well;
    return true;
}

static int show(rd_kafka_t *client, const struct topics *topics) {
    static const char *const heads[] = {"TOPIC", ">PARTITIONS", ">MAX BYTES", "CLEANUP", "STATE"};
    struct table *table = table_new(stdout, heads, sizeof heads / sizeof heads[0]);
    struct error err = {0};
    bool all_well = false;
    bool ok = table && add_rows(client, topics, table, &all_well, &err);
    if (!table)
        error_set(&err, FAULT_RETRY, "out-of-memory", "no memory for the table");
    if (ok)
        table_flush(table);
    table_free(table);
    if (!ok)
        return command_fail(name, &err);
    return all_well ? EXIT_DONE : EXIT_STATE;
}

/* ---- the command ---- */

static bool parse_options(int argc, char **argv, struct options *options) {
    static const struct option longs[] = {{"partitions", required_argument, NULL, 'p'},
                                          {"replication", required_argument, NULL, 'r'},
                                          {0}};
    for (int option; (option = command_option(name, argc, argv, ":", longs)) != -1;) {
        bool ok = false;
        if (option == 'p')
            ok = option_number(name, "--partitions", optarg, 1, 10000, &options->partitions);
        else if (option == 'r')
            ok = option_number(name, "--replication", optarg, 1, 100, &options->replication);
        if (!ok)
            return false;
    }
    return true;
}

int command_topics(const struct config *config, int argc, char **argv) {
    struct options options = {.partitions = DEFAULT_PARTITIONS, .replication = -1};
    struct error err = {0};
    if (!parse_options(argc, argv, &options))
        return EXIT_USAGE;
    const char *verb = optind + 1 == argc ? argv[optind] : "";
    bool applying = strcmp(verb, "apply") == 0;
    if (!applying && strcmp(verb, "status") != 0)
        return command_usage(name, "say apply or status");
    struct topics topics = {.count = 0};
    add_all(&topics, config);
    rd_kafka_t *client = connect_broker(config, &err);
    if (!client)
        return command_fail(name, &err);
    int status = applying ? apply(client, &topics, &options) : show(client, &topics);
    rd_kafka_destroy(client);
    return status;
}
