/* A consumer without a group. A transactional partition ends with control records that are never
 * given, so its end is known by the broker's end-of-partition signal as well as by offsets. */
#include "ctl/topic_reader.h"

#include "common/kafka.h"
#include "common/log.h"
#include "ctl/broker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct partition {
    char *topic;
    int32_t id;
    int64_t start; /* where to begin */
    int64_t end;   /* the first offset that was not there, or not committed, at the start */
    bool done;
};

struct topic_reader {
    rd_kafka_t *consumer;
    struct partition *partitions;
    size_t count;
    size_t done;
    size_t last; /* the partition of the last record: the next one is mostly of the same */
};

static struct topic_reader *new_reader(const struct config *config, const char *isolation,
                                       struct error *err) {
    /* What is fetched and not given yet takes memory. */
    static const struct kafka_property defaults[] = {{"queued.max.messages.kbytes", "32768"},
                                                     {NULL, NULL}};
    const struct kafka_property enforced[] = {
        {"group.id", "siptrunkctl"}, /* never joined; the client insists */
        {"enable.auto.commit", "false"},
        {"enable.partition.eof", "true"},
        {"isolation.level", isolation},
        {"auto.offset.reset", "earliest"},
        {NULL, NULL},
    };
    struct topic_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a reader");
        return NULL;
    }
    rd_kafka_conf_t *conf =
        broker_reach(config, err) ? kafka_conf(config, defaults, enforced, err) : NULL;
    reader->consumer = conf ? kafka_new(RD_KAFKA_CONSUMER, conf, err) : NULL;
    if (reader->consumer) {
        rd_kafka_poll_set_consumer(reader->consumer);
        return reader;
    }
    free(reader);
    return NULL;
}

struct topic_reader *topic_reader_new(const struct config *config, struct error *err) {
    return new_reader(config, "read_committed", err);
}

struct topic_reader *topic_reader_new_uncommitted(const struct config *config, struct error *err) {
    return new_reader(config, "read_uncommitted", err);
}

rd_kafka_t *topic_reader_client(const struct topic_reader *reader) {
    return reader->consumer;
}

void topic_reader_free(struct topic_reader *reader) {
    if (!reader)
        return;
    rd_kafka_consumer_close(reader->consumer);
    rd_kafka_destroy(reader->consumer);
    for (size_t i = 0; i < reader->count; i++)
        free(reader->partitions[i].topic);
    free(reader->partitions);
    free(reader);
}

/* ---- what to read ---- */

static struct partition *new_partition(struct topic_reader *reader, const char *topic, int32_t id,
                                       struct error *err) {
    size_t size = (reader->count + 1) * sizeof *reader->partitions;
    struct partition *bigger = realloc(reader->partitions, size);
    char *name = bigger ? strdup(topic) : NULL;
    if (bigger)
        reader->partitions = bigger;
    if (!name) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a partition");
        return NULL;
    }
    struct partition *partition = &reader->partitions[reader->count++];
    *partition = (struct partition){.topic = name, .id = id};
    return partition;
}

static bool query_bounds(struct topic_reader *reader, const char *topic, int32_t id,
                         int64_t *ret_low, int64_t *ret_high, struct error *err) {
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        reader->consumer, topic, id, ret_low, ret_high, BROKER_TIMEOUT_MS);
    return !code || kafka_code_error(code, "asking where a partition begins and ends", err);
}

static bool resolve_offset(int64_t wanted, int64_t low, int64_t high, int64_t *ret) {
    if (wanted <= RD_KAFKA_OFFSET_TAIL_BASE) {
        int64_t offset = high - (RD_KAFKA_OFFSET_TAIL_BASE - wanted);
        *ret = offset < low ? low : offset;
        return true;
    }
    *ret = wanted == RD_KAFKA_OFFSET_BEGINNING ? low : wanted;
    return *ret >= low && *ret <= high;
}

static bool add_partition(struct topic_reader *reader, const char *topic, int32_t id,
                          int64_t offset, struct error *err) {
    int64_t low, high;
    if (!query_bounds(reader, topic, id, &low, &high, err))
        return error_prefix(err, "%s-%" PRId32, topic, id);
    struct partition *partition = new_partition(reader, topic, id, err);
    if (!partition)
        return false;
    if (!resolve_offset(offset, low, high, &partition->start))
        return error_set(err, FAULT_INPUT, "offset",
                         "%s-%" PRId32 " has offsets from %" PRId64 " to %" PRId64
                         ", and not %" PRId64,
                         topic, id, low, high - 1, offset);
    partition->end = high;
    partition->done = partition->start >= high;
    reader->done += partition->done;
    return true;
}

static bool count_partitions(struct topic_reader *reader, const char *topic, int *ret,
                             struct error *err) {
    if (!kafka_partition_count(reader->consumer, topic, BROKER_TIMEOUT_MS, ret, err))
        return false;
    return *ret > 0 || error_set(err, FAULT_STATE, "topic", "there is no topic %s", topic);
}

bool topic_reader_add_partition(struct topic_reader *reader, const char *topic, int32_t id,
                                int64_t offset, struct error *err) {
    int count = 0;
    if (!count_partitions(reader, topic, &count, err))
        return false;
    if (id >= count)
        return error_set(err, FAULT_INPUT, "partition",
                         "%s has partitions 0 to %d, and not %" PRId32, topic, count - 1, id);
    return add_partition(reader, topic, id, offset, err);
}

bool topic_reader_add_topic(struct topic_reader *reader, const char *topic, bool from_end,
                            struct error *err) {
    int count = 0;
    if (!count_partitions(reader, topic, &count, err))
        return false;
    int64_t offset = from_end ? RD_KAFKA_OFFSET_TAIL(0) : RD_KAFKA_OFFSET_BEGINNING;
    for (int32_t id = 0; id < count; id++) {
        if (!add_partition(reader, topic, id, offset, err))
            return false;
    }
    return true;
}

bool topic_reader_add_results(struct topic_reader *reader, const struct config *config,
                              bool from_end, struct error *err) {
    const char *results = config_text(config, CONFIG_TOPICS_RESULTS);
    const char *bulk = config_text(config, CONFIG_TOPICS_RESULTS_BULK);
    return topic_reader_add_topic(reader, results, from_end, err) &&
           (strcmp(bulk, results) == 0 || topic_reader_add_topic(reader, bulk, from_end, err));
}

bool topic_reader_start(struct topic_reader *reader, struct error *err) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)reader->count);
    for (size_t i = 0; i < reader->count; i++) {
        const struct partition *partition = &reader->partitions[i];
        rd_kafka_topic_partition_list_add(list, partition->topic, partition->id)->offset =
            partition->start;
    }
    rd_kafka_resp_err_t code = rd_kafka_assign(reader->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    return !code || kafka_code_error(code, "starting to read", err);
}

/* ---- reading ---- */

static void reached(struct topic_reader *reader, const rd_kafka_message_t *message, int64_t next) {
    const char *topic = rd_kafka_topic_name(message->rkt);
    for (size_t i = 0; i < reader->count; i++) {
        size_t place = (reader->last + i) % reader->count;
        struct partition *partition = &reader->partitions[place];
        if (partition->id != message->partition || strcmp(partition->topic, topic) != 0)
            continue;
        reader->last = place;
        reader->done += !partition->done && next >= partition->end;
        partition->done |= next >= partition->end;
        return;
    }
}

/* An event in place of a record: the end of a partition, or trouble. What may pass is the client's
 * to repair. */
static bool handle_event(struct topic_reader *reader, const rd_kafka_message_t *message,
                         struct error *err) {
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        reached(reader, message, message->offset);
        return true;
    }
    struct error why;
    kafka_code_error(message->err, "reading", &why);
    if (why.fault == FAULT_RETRY) {
        log_error(LOG_WARN, "kafka-read", LOG_PLAIN, &why);
        return true;
    }
    *err = why;
    return false;
}

bool topic_reader_next(struct topic_reader *reader, int timeout_ms, rd_kafka_message_t **ret,
                       struct error *err) {
    rd_kafka_message_t *message = rd_kafka_consumer_poll(reader->consumer, timeout_ms);
    *ret = NULL;
    if (!message)
        return true;
    if (message->err) {
        bool ok = handle_event(reader, message, err);
        rd_kafka_message_destroy(message);
        return ok;
    }
    reached(reader, message, message->offset + 1);
    *ret = message;
    return true;
}

bool topic_reader_at_end(const struct topic_reader *reader) {
    return reader->done == reader->count;
}
