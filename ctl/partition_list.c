/* Questions to the broker, one after the other; a group's positions in one request. */
#include "ctl/partition_list.h"

#include <inttypes.h>
#include <stdlib.h>

enum { POSITION_MS = 30000 /* a position waits for transactions that are about to move it */ };

static rd_kafka_t *client_of(const struct partition_list *list, const struct broker_lane *lane) {
    return list->groups[lane - broker_lanes];
}

static bool add_topic(struct partition_list *list, const struct broker_lane *lane,
                      const char *topic, struct error *err) {
    int count;
    if (!kafka_partition_count(client_of(list, lane), topic, BROKER_TIMEOUT_MS, &count, err))
        return false;
    if (count == 0)
        return error_set(err, FAULT_STATE, "missing-topic",
                         "there is no topic %s: run siptrunkctl topics apply", topic);
    struct command_partition *all =
        realloc(list->all, (list->count + (size_t)count) * sizeof *list->all);
    if (!all)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for partitions");
    list->all = all;
    for (int32_t id = 0; id < count; id++)
        all[list->count++] =
            (struct command_partition){.topic = topic, .id = id, .lane = lane, .committed = -1};
    return true;
}

static bool add_lane(struct partition_list *list, const struct config *config,
                     const struct broker_lane *lane, struct error *err) {
    for (size_t i = 0; i < config_item_count(config, lane->topics); i++) {
        if (!add_topic(list, lane, config_item(config, lane->topics, i), err))
            return false;
    }
    return true;
}

static bool ask_bounds(const struct partition_list *list, struct error *err) {
    for (size_t i = 0; i < list->count; i++) {
        struct command_partition *partition = &list->all[i];
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            client_of(list, partition->lane), partition->topic, partition->id, &partition->low,
            &partition->end, BROKER_TIMEOUT_MS);
        if (code)
            return kafka_code_error(code, "asking where a partition begins and ends", err);
    }
    return true;
}

/* K of some partitions, which stand side by side and are of one lane. */
static bool ask_committed(rd_kafka_t *client, struct command_partition *some, size_t count,
                          struct error *err) {
    rd_kafka_topic_partition_list_t *asked = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        rd_kafka_topic_partition_list_add(asked, some[i].topic, some[i].id);
    rd_kafka_resp_err_t code = count ? rd_kafka_committed(client, asked, POSITION_MS) : 0;
    for (size_t i = 0; !code && i < count; i++) {
        code = asked->elems[i].err;
        some[i].committed = asked->elems[i].offset < 0 ? -1 : asked->elems[i].offset;
    }
    rd_kafka_topic_partition_list_destroy(asked);
    return !code || kafka_code_error(code, "asking for the positions of a group", err);
}

static bool read_lane(struct partition_list *list, const struct config *config,
                      const struct broker_lane *lane, struct error *err) {
    size_t before = list->count;
    rd_kafka_t **group = &list->groups[lane - broker_lanes];
    return (*group = broker_group_client(config, lane, err)) && add_lane(list, config, lane, err) &&
           ask_committed(*group, list->all + before, list->count - before, err);
}

bool partition_list_read(struct partition_list *list, const struct config *config,
                         struct error *err) {
    if (!broker_reach(config, err))
        return false;
    for (size_t i = 0; i < BROKER_LANES; i++) {
        if (!read_lane(list, config, &broker_lanes[i], err))
            return false;
    }
    return ask_bounds(list, err);
}

void partition_list_free(struct partition_list *list) {
    for (size_t i = 0; i < BROKER_LANES; i++) {
        if (list->groups[i])
            rd_kafka_destroy(list->groups[i]);
    }
    free(list->all);
}

struct command_partition *partition_list_find(const struct partition_list *list, struct slice topic,
                                              int64_t id) {
    for (size_t i = 0; i < list->count; i++) {
        if (list->all[i].id == id && slice_is(topic, list->all[i].topic))
            return &list->all[i];
    }
    return NULL;
}

bool partition_list_ask(const struct partition_list *list, struct command_partition *partition,
                        struct error *err) {
    return ask_committed(client_of(list, partition->lane), partition, 1, err);
}
