/* librdkafka's consumer with an eager assignor and positions given by rd_kafka_assign: an explicit
 * list of offsets replaces whatever was fetched, in every state of the group. */
#include "worker/consumer.h"

#include "common/failpoint.h"
#include "common/log.h"
#include "worker/metrics.h"

#include <stdlib.h>

enum { COMMITTED_TIMEOUT_MS = 15000, WATERMARK_TIMEOUT_MS = 5000 };

struct consumer {
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue; /* what was fetched and not taken yet */
    struct metrics *metrics;
    const char *user, *password;               /* of SASL, or empty; the configuration's */
    rd_kafka_topic_partition_list_t *assigned; /* owns the topic names */
    struct position *positions;                /* assigned->cnt */
    bool changed;                              /* a rebalance came since the last poll returned */
    bool failed;                               /* there was no memory for what it gave */
    size_t last_found;
};

/* ---- assignment; runs inside rd_kafka_consumer_poll, on our thread ---- */

static bool assign_nothing(rd_kafka_t *handle, struct error *err) {
    rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);
    rd_kafka_resp_err_t code = rd_kafka_assign(handle, none);
    rd_kafka_topic_partition_list_destroy(none);
    return code ? kafka_code_error(code, "stopping to read", err) : true;
}

static void forget_assignment(struct consumer *consumer) {
    if (consumer->assigned)
        rd_kafka_topic_partition_list_destroy(consumer->assigned);
    free(consumer->positions);
    consumer->assigned = NULL;
    consumer->positions = NULL;
    consumer->last_found = 0;
}

static void take_assignment(struct consumer *consumer,
                            const rd_kafka_topic_partition_list_t *partitions) {
    forget_assignment(consumer);
    size_t count = (size_t)partitions->cnt;
    consumer->positions = calloc(count ? count : 1, sizeof *consumer->positions);
    consumer->failed = !consumer->positions;
    if (consumer->failed)
        return;
    consumer->assigned = rd_kafka_topic_partition_list_copy(partitions);
    rd_kafka_topic_partition_list_sort(consumer->assigned, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        consumer->positions[i] = (struct position){
            .topic = slice_of(consumer->assigned->elems[i].topic),
            .partition = consumer->assigned->elems[i].partition,
            .batch_end = -1,
            .lag = -1,
        };
    }
}

static void on_rebalance(rd_kafka_t *handle, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque) {
    struct consumer *consumer = opaque;
    consumer->changed = true;
    log_write(LOG_INFO, "rebalance",
              LOG_WITH(LOG_TEXT("client", rd_kafka_name(handle)),
                       LOG_INT("partitions", partitions ? partitions->cnt : 0)),
              "%s",
              code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
                  ? "the group gave partitions to this thread"
                  : "the group took the partitions back");
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        take_assignment(consumer, partitions);
        assign_nothing(handle, NULL);
    } else {
        forget_assignment(consumer);
        rd_kafka_assign(handle, NULL);
    }
    rd_kafka_yield(handle); /* poll returns now, not when its time is over */
}

static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque) {
    struct consumer *consumer = opaque;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        metrics_brokers_down(consumer->metrics);
    log_write(LOG_WARN, "kafka-consumer",
              LOG_WITH(LOG_TEXT("client", rd_kafka_name(handle)),
                       LOG_TEXT("code", rd_kafka_err2name((rd_kafka_resp_err_t)code))),
              "%s", reason);
}

/* ---- hearing of brokers; runs on librdkafka's broker threads. A member of a group sends a
 * heartbeat each second, so that silence means something. ---- */

static rd_kafka_resp_err_t on_response(rd_kafka_t *handle, int socket, const char *broker,
                                       int32_t broker_id, int16_t api_key, int16_t version,
                                       int32_t correlation, size_t size, int64_t rtt,
                                       rd_kafka_resp_err_t code, void *metrics) {
    (void)handle, (void)socket, (void)broker, (void)broker_id, (void)api_key, (void)version;
    (void)correlation, (void)size, (void)rtt;
    if (!code)
        metrics_broker_answered(metrics);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *handle, const rd_kafka_conf_t *conf, void *metrics,
                                  char *reason, size_t reason_size) {
    (void)conf, (void)reason, (void)reason_size;
    return rd_kafka_interceptor_add_on_response_received(handle, "answers", on_response, metrics);
}

/* ---- life ---- */

/* From 2.2.0 on librdkafka looks every fetch.queue.backoff.ms whether there is room for records
 * again, before that once a second, and when its threads are woken up for another reason. */
static bool looks_again(void) {
    return rd_kafka_version() >= 0x02020000;
}

static rd_kafka_conf_t *consumer_conf(const struct config *config, struct consumer *consumer,
                                      const struct consumer_options *options, struct error *err) {
    const struct kafka_property defaults[] = {
        {"session.timeout.ms", "10000"},
        {"heartbeat.interval.ms", "1000"},
        /* One answer of a broker at a time, and the next one is asked for when that has been taken
         * (consumer_fetch_more). librdkafka's limits of bytes do not count headers. */
        {"queued.min.messages", "1"},
        {"fetch.message.max.bytes", "1048576"},
        {"fetch.max.bytes", "1048576"}, /* of all partitions together */
        /* A partition that joins while a fetch is on its way waits for that one's end. */
        {"fetch.wait.max.ms", "100"},
        {"retry.backoff.ms", "5"},
        {looks_again() ? "fetch.queue.backoff.ms" : NULL, "1"},
        {NULL, NULL},
    };
    const struct kafka_property enforced[] = {
        {"group.id", options->group_id},
        {"group.instance.id", options->instance_id},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"isolation.level", "read_committed"},
        {"auto.offset.reset", "error"},
        {"partition.assignment.strategy", "range,roundrobin"},
        {NULL, NULL},
    };
    rd_kafka_conf_t *conf = kafka_conf(config, defaults, enforced, err);
    if (conf) {
        rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
        rd_kafka_conf_set_error_cb(conf, on_error);
        rd_kafka_conf_set_opaque(conf, consumer);
        rd_kafka_conf_interceptor_add_on_new(conf, "answers", on_new, options->metrics);
    }
    return conf;
}

static bool subscribe(struct consumer *consumer, const struct config *config, enum config_key key,
                      struct error *err) {
    size_t count = config_item_count(config, key);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        rd_kafka_topic_partition_list_add(topics, config_item(config, key, i),
                                          RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(consumer->handle, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return code ? kafka_code_error(code, "subscribing", err) : true;
}

static void note_credentials(struct consumer *consumer, const struct config *config) {
    const char *name, *value;
    consumer->user = consumer->password = "";
    for (size_t i = 0; config_kafka_property(config, i, &name, &value); i++) {
        if (strcmp(name, "sasl.username") == 0)
            consumer->user = value;
        else if (strcmp(name, "sasl.password") == 0)
            consumer->password = value;
    }
}

struct consumer *consumer_new(const struct config *config, const struct consumer_options *options,
                              struct error *err) {
    struct consumer *consumer = calloc(1, sizeof *consumer);
    if (!consumer) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a consumer");
        return NULL;
    }
    consumer->metrics = options->metrics;
    note_credentials(consumer, config);
    rd_kafka_conf_t *conf = consumer_conf(config, consumer, options, err);
    consumer->handle = conf ? kafka_new(RD_KAFKA_CONSUMER, conf, err) : NULL;
    if (consumer->handle) {
        rd_kafka_poll_set_consumer(consumer->handle);
        consumer->queue = rd_kafka_queue_get_consumer(consumer->handle);
        if (subscribe(consumer, config, options->topics, err))
            return consumer;
    }
    consumer_free(consumer);
    return NULL;
}

/* A member whose heartbeats come later than the group waits for them is put out again and again. */
bool consumer_check(const struct config *config, struct error *err) {
    const struct consumer_options options = {.group_id = "check", .instance_id = "check"};
    struct consumer nobody = {0};
    rd_kafka_conf_t *conf = consumer_conf(config, &nobody, &options, err);
    if (!conf)
        return false;
    if (kafka_check_less(conf, "heartbeat.interval.ms", "session.timeout.ms", err))
        return kafka_check(RD_KAFKA_CONSUMER, conf, err);
    rd_kafka_conf_destroy(conf);
    return false;
}

void consumer_free(struct consumer *consumer) {
    if (!consumer)
        return;
    if (consumer->queue)
        rd_kafka_queue_destroy(consumer->queue);
    if (consumer->handle) {
        rd_kafka_consumer_close(consumer->handle);
        rd_kafka_destroy(consumer->handle);
    }
    forget_assignment(consumer);
    free(consumer);
}

rd_kafka_t *consumer_handle(const struct consumer *consumer) {
    return consumer->handle;
}

/* ---- messages ---- */

/* It will never give a message again. librdkafka tells so once, in a message that may come together
 * with a rebalance, so that it is asked whenever no record comes. */
static bool has_failed(struct consumer *consumer, struct error *err) {
    char reason[256];
    if (consumer->failed)
        error_set(err, FAULT_REBUILD, "kafka-consumer-fatal",
                  "no memory for the partitions that the group gave");
    else if (rd_kafka_fatal_error(consumer->handle, reason, sizeof reason))
        error_set(err, FAULT_REBUILD, "kafka-consumer-fatal", "the consumer failed: %s", reason);
    else
        return false;
    return true;
}

/* Errors that arrive in the place of a message. What passes by itself is not one for us. */
static bool describe_failure(const rd_kafka_message_t *message, struct error *err) {
    kafka_code_error(message->err, rd_kafka_message_errstr(message), err);
    if (err->fault != FAULT_CONFIG)
        err->fault = FAULT_REBUILD;
    return false;
}

static bool passes_by_itself(rd_kafka_resp_err_t code) {
    return code == RD_KAFKA_RESP_ERR__PARTITION_EOF || code == RD_KAFKA_RESP_ERR__TRANSPORT ||
           code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
           code == RD_KAFKA_RESP_ERR__RESOLVE;
}

/* What came is no record: whether it, or what came with it, is trouble. */
static bool look_for_trouble(struct consumer *consumer, const rd_kafka_message_t *message,
                             struct error *err) {
    if (has_failed(consumer, err))
        return false;
    if (consumer->changed) {
        consumer->changed = false;
        return error_set(err, FAULT_FENCED, "rebalance", "the assignment of partitions changed");
    }
    return !message || passes_by_itself(message->err) || describe_failure(message, err);
}

bool consumer_poll(struct consumer *consumer, int timeout_ms, rd_kafka_message_t **ret,
                   struct error *err) {
    *ret = rd_kafka_consumer_poll(consumer->handle, timeout_ms);
    if (*ret && !(*ret)->err && !consumer->changed)
        return true;
    bool ok = look_for_trouble(consumer, *ret, err);
    if (*ret)
        rd_kafka_message_destroy(*ret);
    *ret = NULL;
    return ok;
}

/* The only call for consumers that wakes librdkafka's broker threads up without sending anything;
 * the credentials are those that it has. */
static void wake_fetchers(const struct consumer *consumer) {
    rd_kafka_error_t *error =
        rd_kafka_sasl_set_credentials(consumer->handle, consumer->user, consumer->password);
    if (error)
        rd_kafka_error_destroy(error);
}

void consumer_fetch_more(const struct consumer *consumer) {
    if (!looks_again() && rd_kafka_queue_length(consumer->queue) == 0)
        wake_fetchers(consumer);
}

struct position *consumer_positions(struct consumer *consumer, size_t *ret_count) {
    *ret_count = consumer->assigned ? (size_t)consumer->assigned->cnt : 0;
    return consumer->positions;
}

bool consumer_joined(const struct consumer *consumer) {
    return consumer->assigned != NULL;
}

struct position *consumer_position(struct consumer *consumer, struct slice topic,
                                   int32_t partition) {
    size_t count = consumer->assigned ? (size_t)consumer->assigned->cnt : 0;
    for (size_t k = 0; k < count; k++) {
        size_t i = (consumer->last_found + k) % count;
        struct position *position = &consumer->positions[i];
        if (position->partition == partition && slice_equal(position->topic, topic)) {
            consumer->last_found = i;
            return position;
        }
    }
    return NULL;
}

struct position *consumer_position_of(struct consumer *consumer,
                                      const rd_kafka_message_t *message) {
    return consumer_position(consumer, slice_of(rd_kafka_topic_name(message->rkt)),
                             message->partition);
}

/* ---- positions ---- */

void consumer_look_for_ends(struct consumer *consumer) {
    size_t count;
    struct position *positions = consumer_positions(consumer, &count);
    for (size_t i = 0; i < count; i++) {
        int64_t low, high = -1;
        rd_kafka_resp_err_t code =
            rd_kafka_get_watermark_offsets(consumer->handle, consumer->assigned->elems[i].topic,
                                           positions[i].partition, &low, &high);
        int64_t from = positions[i].committed_offset >= 0 ? positions[i].committed_offset : low;
        bool known = !code && high >= 0 && from >= 0;
        positions[i].lag = !known ? -1 : high > from ? high - from : 0;
        positions[i].at_end = !code && high >= 0 && positions[i].read_next >= high;
    }
}

bool consumer_stop_reading(struct consumer *consumer, struct error *err) {
    return !consumer->assigned || assign_nothing(consumer->handle, err);
}

bool consumer_read_committed(struct consumer *consumer, struct error *err) {
    if (!consumer->assigned)
        return true;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_copy(consumer->assigned);
    rd_kafka_resp_err_t code = rd_kafka_committed(consumer->handle, list, COMMITTED_TIMEOUT_MS);
    for (int i = 0; !code && i < list->cnt; i++) {
        code = list->elems[i].err;
        consumer->positions[i].committed_offset =
            list->elems[i].offset >= 0 ? list->elems[i].offset : -1;
        consumer->positions[i].k_forgotten = list->elems[i].offset < 0;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code ? kafka_code_error(code, "reading the committed offsets", err) : true;
}

bool consumer_log_end(struct consumer *consumer, const struct position *position, int64_t *ret,
                      struct error *err) {
    int64_t low;
    size_t i = (size_t)(position - consumer->positions);
    rd_kafka_resp_err_t code =
        rd_kafka_query_watermark_offsets(consumer->handle, consumer->assigned->elems[i].topic,
                                         position->partition, &low, ret, WATERMARK_TIMEOUT_MS);
    return code ? kafka_code_error(code, "looking for a partition's end", err) : true;
}

/* The broker is asked, rather than the client told "from the beginning": that one looks it up in
 * its own time, and holds the other partitions up meanwhile. */
static bool find_start(struct consumer *consumer, const rd_kafka_topic_partition_t *partition,
                       int64_t start, int64_t *ret, struct error *err) {
    int64_t low = start, high;
    rd_kafka_resp_err_t code =
        start >= 0 ? RD_KAFKA_RESP_ERR_NO_ERROR
                   : rd_kafka_query_watermark_offsets(consumer->handle, partition->topic,
                                                      partition->partition, &low, &high,
                                                      WATERMARK_TIMEOUT_MS);
    *ret = start < 0 && planted_bug(BUG_OFFSETS_LATEST) ? high : low;
    return code ? kafka_code_error(code, "looking for a partition's beginning", err) : true;
}

bool consumer_start_reading(struct consumer *consumer, const int64_t *starts, struct error *err) {
    if (!consumer->assigned)
        return true;
    const rd_kafka_topic_partition_list_t *all = consumer->assigned;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(all->cnt);
    bool ok = true;
    for (int i = 0; ok && i < all->cnt; i++) {
        if (consumer->positions[i].held_reason[0])
            continue;
        progress_at(metrics_progress(consumer->metrics), STEP_CLAIM);
        rd_kafka_topic_partition_t *item =
            rd_kafka_topic_partition_list_add(list, all->elems[i].topic, all->elems[i].partition);
        ok = find_start(consumer, item, starts[i], &item->offset, err);
    }
    rd_kafka_resp_err_t code = ok ? rd_kafka_assign(consumer->handle, list) : 0;
    rd_kafka_topic_partition_list_destroy(list);
    return code ? kafka_code_error(code, "beginning to read", err) : ok;
}
