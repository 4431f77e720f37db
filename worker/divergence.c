/* Three places where lost work shows: positions, logs, ledger. */
#include "worker/divergence.h"

#include <inttypes.h>
#include <stdio.h>

enum { GROUP_TIMEOUT_MS = 5000 };

/* ---- positions ---- */

/* A client of a lane's group, which never joins it. The admin interface of librdkafka 2.0.2 would
 * need none, but a later disconnection then ends the process (an assertion on its request). Does
 * not wait for transactions: who claims a partition does that. */
static rd_kafka_t *new_group_client(const struct config *config, const char *group,
                                    struct error *err) {
    const struct kafka_property enforced[] = {
        {"group.id", group},
        {"enable.auto.commit", "false"},
        {"isolation.level", "read_uncommitted"},
        {NULL, NULL},
    };
    rd_kafka_conf_t *conf = kafka_conf(config, NULL, enforced, err);
    return conf ? kafka_new(RD_KAFKA_CONSUMER, conf, err) : NULL;
}

static bool list_partitions(rd_kafka_t *client, const struct config *config, enum config_key topics,
                            rd_kafka_topic_partition_list_t *list, struct error *err) {
    for (size_t i = 0; i < config_item_count(config, topics); i++) {
        const char *topic = config_item(config, topics, i);
        int count;
        if (!kafka_partition_count(client, topic, GROUP_TIMEOUT_MS, &count, err))
            return false;
        if (count > 0)
            rd_kafka_topic_partition_list_add_range(list, topic, 0, count - 1);
    }
    return true;
}

/* Those with a K. */
static size_t gather(const rd_kafka_topic_partition_list_t *offsets, struct committed *ret) {
    size_t count = 0;
    for (int i = 0; i < offsets->cnt; i++) {
        const rd_kafka_topic_partition_t *item = &offsets->elems[i];
        if (!item->err && item->offset >= 0)
            ret[count++] = (struct committed){item->topic, item->partition, item->offset};
    }
    return count;
}

static bool compare(struct worker *worker, rd_kafka_t *client, enum config_key topics,
                    rd_kafka_topic_partition_list_t *list, struct error *err) {
    struct arena *arena = worker->batch.arena;
    if (!list_partitions(client, worker->shared->config, topics, list, err))
        return false;
    rd_kafka_resp_err_t code = rd_kafka_committed(client, list, GROUP_TIMEOUT_MS);
    if (code)
        return kafka_code_error(code, "asking for the positions of a group", err);
    struct committed *committed = arena_array(arena, (size_t)list->cnt, sizeof *committed);
    if (!committed)
        return arena_exhausted(err);
    return claim_compare(worker->pg, arena, committed, gather(list, committed), err);
}

static bool compare_lane(struct worker *worker, enum config_key topics, const char *suffix,
                         struct error *err) {
    const struct config *config = worker->shared->config;
    char group[sizeof worker->group];
    progress_at(worker->progress, STEP_CLAIM);
    snprintf(group, sizeof group, "%s%s", config_text(config, CONFIG_KAFKA_GROUP_ID), suffix);
    rd_kafka_t *client = new_group_client(config, group, err);
    if (!client)
        return false;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    bool ok = compare(worker, client, topics, list, err);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(client);
    return ok;
}

bool divergence_look_everywhere(struct worker *worker, struct error *err) {
    if (worker->compared)
        return true;
    worker->compared = compare_lane(worker, CONFIG_TOPICS_COMMANDS, "", err) &&
                       compare_lane(worker, CONFIG_TOPICS_BULK, "-bulk", err);
    return worker->compared;
}

/* ---- logs ---- */

static bool log_reaches(struct worker *worker, const struct position *position, struct error *err) {
    char reason[256];
    int64_t end;
    progress_at(worker->progress, STEP_CLAIM);
    if (!consumer_log_end(worker->consumer, position, &end, err))
        return false;
    if (end >= position->next_offset)
        return true;
    snprintf(reason, sizeof reason,
             SLICE_FMT "/%" PRId32 ": the topic ends at offset %" PRId64
                       ", the database has commands up to %" PRId64,
             SLICE_ARG(position->topic), position->partition, end, position->next_offset);
    return claim_diverge(worker->pg, reason, err);
}

bool divergence_look_at_logs(struct worker *worker, struct error *err) {
    size_t count;
    const struct position *positions = consumer_positions(worker->consumer, &count);
    for (size_t i = 0; i < count; i++) {
        bool doubtful =
            positions[i].k_forgotten || positions[i].next_offset > positions[i].committed_offset;
        if (doubtful && positions[i].next_offset > 0 && !log_reaches(worker, &positions[i], err))
            return false;
    }
    return true;
}

/* ---- ledger ---- */

/* Most of the time nothing is read again. */
static bool reads_again(struct worker *worker) {
    size_t count;
    const struct position *positions = consumer_positions(worker->consumer, &count);
    for (size_t i = 0; i < count; i++) {
        if (positions[i].batch_end >= 0 && positions[i].next_offset > positions[i].committed_offset)
            return true;
    }
    return false;
}

bool divergence_look_at_ledger(struct worker *worker, const struct command *commands, size_t count,
                               struct error *err) {
    if (!reads_again(worker))
        return true;
    for (size_t i = 0; i < count; i++) {
        const struct source *source = &commands[i].record.source;
        const struct ledger_entry *answer = commands[i].answer;
        if (!answer || !answer->added)
            continue;
        const struct position *position =
            consumer_position(worker->consumer, source->topic, source->partition);
        if (!position || source->offset >= position->next_offset)
            continue;
        char reason[256];
        snprintf(reason, sizeof reason,
                 SLICE_FMT "/%" PRId32 ": the ledger lacks the command at offset %" PRId64
                           ", although the database has commands up to %" PRId64,
                 SLICE_ARG(source->topic), source->partition, source->offset,
                 position->next_offset);
        return claim_diverge(worker->pg, reason, err);
    }
    return true;
}
