/* The floor beside which the worker is measured: consume, produce, commit in Kafka transactions,
 * with the same client settings and batch sizes as the worker, and no database. Usage: echo -X
 * key=value... */
#include "common/log.h"
#include "common/stop.h"
#include "worker/batch.h"
#include "worker/consumer.h"
#include "worker/intake.h"
#include "worker/metrics.h"
#include "worker/producer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void on_signal(int number) {
    (void)number;
    stop_request();
}

static int fail(const struct error *err) {
    log_error(LOG_ERROR, "echo", LOG_PLAIN, err);
    return 1;
}

static bool begin_reading(struct consumer *consumer, struct error *err) {
    size_t count;
    struct position *positions = consumer_positions(consumer, &count);
    int64_t starts[256];
    if (!consumer_read_committed(consumer, err))
        return false;
    for (size_t i = 0; i < count && i < 256; i++) {
        bool known = positions[i].committed_offset >= 0;
        starts[i] = known ? positions[i].committed_offset : -1;
        positions[i].read_next = known ? positions[i].committed_offset : 0;
    }
    return consumer_start_reading(consumer, starts, err);
}

static bool echo_batch(struct consumer *consumer, struct producer *producer, struct batch *batch,
                       const char *results, struct error *err) {
    size_t count;
    const struct position *positions = consumer_positions(consumer, &count);
    if (!producer_begin(producer, err))
        return false;
    for (size_t i = 0; i < batch->count; i++) {
        struct record record = intake_record(batch->messages[i]);
        rd_kafka_headers_t *headers =
            record.headers ? rd_kafka_headers_copy(record.headers) : rd_kafka_headers_new(1);
        if (!producer_send(producer, results, RD_KAFKA_PARTITION_UA, record.key, record.value,
                           headers, err))
            return false;
    }
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++) {
        if (positions[i].batch_end >= 0)
            rd_kafka_topic_partition_list_add(offsets, positions[i].topic.data,
                                              positions[i].partition)
                ->offset = positions[i].batch_end;
    }
    bool ok = producer_commit(producer, offsets, batch->group, err);
    rd_kafka_topic_partition_list_destroy(offsets);
    return ok;
}

static bool run(const struct config *config, struct error *err) {
    struct metrics_registry *registry = metrics_registry_new(1, err);
    struct metrics *metrics = registry ? metrics_thread(registry, LANE_BULK, "echo", err) : NULL;
    if (!metrics)
        return false;
    const struct consumer_options options = {.group_id = config_text(config, CONFIG_KAFKA_GROUP_ID),
                                             .metrics = metrics,
                                             .instance_id = config_text(config, CONFIG_INSTANCE_ID),
                                             .topics = CONFIG_TOPICS_BULK};
    struct producer *producer =
        producer_new(config, config_text(config, CONFIG_INSTANCE_ID), NULL, err);
    struct consumer *consumer = producer ? consumer_new(config, &options, err) : NULL;
    struct batch batch;
    if (!consumer || !batch_init(&batch, BATCH_BULK_PARTS,
                                 (size_t)config_int(config, CONFIG_BATCH_MAX_COMMANDS_BULK),
                                 (size_t)config_int(config, CONFIG_BATCH_MAX_BYTES), err))
        return false;
    while (!stop_requested()) {
        bool ok = intake_batch(consumer, 100, &batch, err);
        if (ok && batch.count > 0)
            ok = echo_batch(consumer, producer, &batch, config_text(config, CONFIG_TOPICS_RESULTS),
                            err);
        batch_clear(&batch);
        if (!ok && strcmp(err->id, "rebalance") == 0)
            ok = begin_reading(consumer, err);
        if (!ok)
            return false;
    }
    consumer_free(consumer);
    producer_free(producer);
    batch_release(&batch);
    metrics_registry_free(registry);
    return true;
}

int main(int argc, char **argv) {
    const char *overrides[32];
    size_t count = 0;
    for (int i = 1; i + 1 < argc && count < 32; i += 2)
        overrides[count++] = argv[i + 1];
    signal(SIGTERM, on_signal);
    struct error err = {0};
    struct config *config = config_new();
    if (!config || !config_load(config, NULL, overrides, count, &err) || !run(config, &err))
        return fail(&err);
    config_free(config);
    return 0;
}
