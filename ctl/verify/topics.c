/* Two readers, of committed and of all records, and a client for each lane's group. */
#include "ctl/verify/topics.h"

#include "common/stop.h"
#include "ctl/broker.h"
#include "ctl/topic_reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    LANES = BROKER_LANES,
    POLL_MS = 200,
    SILENCE_MS = 30000,
    POSITION_MS = 30000, /* a position waits for transactions that are about to move it */
    OPEN_MS = 30000,     /* a transaction's timeout, and the broker's interval for noticing it */
    OPEN_STEP_MS = 100,
    NAME_BYTES = 512
};

struct topics {
    const struct config *config;
    struct topic_reader *committed, *uncommitted;
    rd_kafka_t *groups[LANES];
};

/* ---- life ---- */

static bool open_clients(struct topics *topics, struct error *err) {
    const struct config *config = topics->config;
    return (topics->committed = topic_reader_new(config, err)) &&
           (topics->uncommitted = topic_reader_new_uncommitted(config, err)) &&
           (topics->groups[0] = broker_group_client(config, &broker_lanes[0], err)) &&
           (topics->groups[1] = broker_group_client(config, &broker_lanes[1], err));
}

struct topics *topics_new(const struct config *config, struct error *err) {
    struct topics *topics = calloc(1, sizeof *topics);
    if (!topics) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the readers");
        return NULL;
    }
    topics->config = config;
    if (open_clients(topics, err))
        return topics;
    topics_free(topics);
    return NULL;
}

void topics_free(struct topics *topics) {
    if (!topics)
        return;
    topic_reader_free(topics->committed);
    topic_reader_free(topics->uncommitted);
    for (int lane = 0; lane < LANES; lane++) {
        if (topics->groups[lane])
            rd_kafka_destroy(topics->groups[lane]);
    }
    free(topics);
}

/* ---- partitions ---- */

static bool list_topic(struct topics *topics, struct history *history, const char *topic,
                       enum part_role role, unsigned lanes, uint16_t number, struct error *err) {
    int count;
    if (!kafka_partition_count(topic_reader_client(topics->committed), topic, BROKER_TIMEOUT_MS,
                               &count, err))
        return false;
    if (count == 0)
        return error_set(err, FAULT_STATE, "topic", "there is no topic %s", topic);
    for (int32_t id = 0; id < count; id++) {
        struct part *part = history_new_part(history, topic, id, role);
        if (!part)
            return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a partition");
        part->lanes = lanes;
        part->number = number;
    }
    return true;
}

static bool list_commands(struct topics *topics, struct history *history, enum config_key key,
                          unsigned lane, uint16_t *number, struct error *err) {
    const struct config *config = topics->config;
    for (size_t i = 0; i < config_item_count(config, key); i++, ++*number) {
        const char *topic = config_item(config, key, i);
        char letters[NAME_BYTES];
        snprintf(letters, sizeof letters, "%s%s", topic,
                 config_text(config, CONFIG_TOPICS_DEAD_LETTER_SUFFIX));
        if (!list_topic(topics, history, topic, PART_COMMANDS, lane, *number, err) ||
            !list_topic(topics, history, letters, PART_DEAD_LETTERS, lane, *number, err))
            return false;
    }
    return true;
}

static bool list_results(struct topics *topics, struct history *history, struct error *err) {
    const char *results = config_text(topics->config, CONFIG_TOPICS_RESULTS);
    const char *bulk = config_text(topics->config, CONFIG_TOPICS_RESULTS_BULK);
    if (strcmp(results, bulk) == 0)
        return list_topic(topics, history, results, PART_RESULTS, 1U | 2U, 0, err);
    return list_topic(topics, history, results, PART_RESULTS, 1U, 0, err) &&
           list_topic(topics, history, bulk, PART_RESULTS, 2U, 0, err);
}

bool topics_list(struct topics *topics, struct history *history, struct error *err) {
    uint16_t number = 0;
    char *cluster = rd_kafka_clusterid(topic_reader_client(topics->committed), BROKER_TIMEOUT_MS);
    if (!cluster)
        return error_set(err, FAULT_RETRY, "kafka", "the broker does not tell its cluster's id");
    snprintf(history->cluster_id, sizeof history->cluster_id, "%s", cluster);
    rd_kafka_mem_free(topic_reader_client(topics->committed), cluster);
    return list_commands(topics, history, CONFIG_TOPICS_COMMANDS, 1U, &number, err) &&
           list_commands(topics, history, CONFIG_TOPICS_BULK, 2U, &number, err) &&
           list_results(topics, history, err);
}

/* ---- positions ---- */

static bool read_group(struct topics *topics, int lane, struct history *history,
                       int64_t *ret_offsets, struct error *err) {
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)history->part_count);
    for (uint16_t i = 0; i < history->part_count; i++) {
        const struct part *part = &history->parts[i];
        if (part->role == PART_COMMANDS && part->lanes == 1U << lane)
            rd_kafka_topic_partition_list_add(list, part->topic, part->id);
    }
    rd_kafka_resp_err_t code = rd_kafka_committed(topics->groups[lane], list, POSITION_MS);
    for (int i = 0; !code && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *item = &list->elems[i];
        uint16_t part =
            history_part(history, slice_of(item->topic), item->partition, PART_COMMANDS);
        code = item->err;
        ret_offsets[part] = item->offset < 0 ? -1 : item->offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return !code || kafka_code_error(code, "asking for the positions of a group", err);
}

/* K of each partition of commands, -1 for none; the caller's to free. */
static int64_t *read_groups(struct topics *topics, struct history *history, struct error *err) {
    int64_t *offsets = calloc(history->part_count, sizeof *offsets);
    if (!offsets)
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for positions");
    for (int lane = 0; offsets && lane < LANES; lane++) {
        if (read_group(topics, lane, history, offsets, err))
            continue;
        free(offsets);
        return NULL;
    }
    return offsets;
}

bool topics_take_answered(struct topics *topics, struct history *history, struct error *err) {
    int64_t *offsets = read_groups(topics, history, err);
    for (uint32_t i = 0; offsets && i < history->part_count; i++) {
        struct part *part = &history->parts[i];
        if (part->role == PART_COMMANDS && offsets[i] > part->answered_before)
            part->answered_before = offsets[i];
    }
    free(offsets);
    return offsets != NULL;
}

/* The client must not be reading: its answer would wait behind a fetch. */
static bool query_bounds(rd_kafka_t *client, const struct part *part, int64_t *ret_low,
                         int64_t *ret_high, struct error *err) {
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        client, part->topic, part->id, ret_low, ret_high, BROKER_TIMEOUT_MS);
    return !code || kafka_code_error(code, "asking where a partition begins and ends", err);
}

bool topics_take_positions(struct topics *topics, struct history *history, struct error *err) {
    int64_t low, *offsets = read_groups(topics, history, err);
    bool ok = offsets != NULL;
    for (uint32_t i = 0; ok && i < history->part_count; i++) {
        struct part *part = &history->parts[i];
        if (part->role != PART_COMMANDS)
            continue;
        part->answered_after = offsets[i];
        ok =
            query_bounds(topic_reader_client(topics->uncommitted), part, &low, &part->log_end, err);
    }
    free(offsets);
    return ok;
}

/* ---- ends ---- */

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Until readers of committed records get as far as the end, or the time is over. */
static bool wait_until_stable(struct topics *topics, struct part *part, int64_t deadline_ms,
                              struct progress *progress, struct error *err) {
    for (;;) {
        int64_t low, stable;
        if (!query_bounds(topics->groups[0], part, &low, &stable, err))
            return false;
        part->stable_end = stable < part->end ? stable : part->end;
        if (part->stable_end == part->end || monotonic_ms() >= deadline_ms)
            return true;
        if (stop_requested())
            return error_set(err, FAULT_STOP, "stopped", "interrupted");
        progress_step(progress, 1);
        pause_ms(OPEN_STEP_MS);
    }
}

bool topics_take_ends(struct topics *topics, struct history *history, struct progress *progress,
                      struct error *err) {
    int64_t deadline_ms = monotonic_ms() + OPEN_MS;
    bool ok = true;
    progress_begin(progress, "waiting for open transactions", 0);
    for (uint32_t i = 0; ok && i < history->part_count; i++) {
        struct part *part = &history->parts[i];
        if (part->role != PART_COMMANDS)
            ok = query_bounds(topic_reader_client(topics->uncommitted), part, &part->low,
                              &part->end, err);
    }
    for (uint32_t i = 0; ok && i < history->part_count; i++) {
        struct part *part = &history->parts[i];
        if (part->role != PART_COMMANDS)
            ok = wait_until_stable(topics, part, deadline_ms, progress, err);
    }
    for (uint32_t i = 0; ok && i < history->part_count; i++) {
        struct part *part = &history->parts[i];
        if (part->role != PART_COMMANDS)
            continue;
        ok = query_bounds(topics->groups[0], part, &part->low, &part->end, err);
        part->stable_end = part->end;
    }
    return ok;
}

/* ---- records ---- */

/* One reading of partitions. */
struct pass {
    struct topic_reader *reader;
    struct records *records;
    struct history *history;
    struct progress *progress;
    uint16_t last; /* part of the last record: the next one is mostly of the same */
    bool again;
};

static uint16_t part_of(struct pass *pass, const rd_kafka_message_t *message) {
    const struct history *history = pass->history;
    const char *topic = rd_kafka_topic_name(message->rkt);
    for (uint32_t i = 0; i < history->part_count; i++) {
        uint16_t place = (uint16_t)((pass->last + i) % history->part_count);
        const struct part *part = &history->parts[place];
        if (part->id == message->partition && strcmp(part->topic, topic) == 0)
            return pass->last = place;
    }
    return NO_PART;
}

static bool take_record(struct pass *pass, const rd_kafka_message_t *message, struct error *err) {
    rd_kafka_timestamp_type_t ignored;
    rd_kafka_headers_t *headers = NULL;
    uint16_t part = part_of(pass, message);
    if (part == NO_PART || message->offset >= pass->history->parts[part].end)
        return true;
    if (rd_kafka_message_headers(message, &headers))
        headers = NULL;
    const struct record_view record = {
        .part = part,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &ignored),
        .key = {.data = message->key, .size = message->key_len},
        .value = {.data = message->payload, .size = message->len},
        .headers = headers,
    };
    switch (pass->history->parts[part].role) {
    case PART_COMMANDS:
        return records_command(pass->records, pass->history, &record, err);
    case PART_DEAD_LETTERS:
        return records_letter(pass->records, pass->history, &record, err);
    case PART_RESULTS:
        break;
    }
    return pass->again ? records_result_again(pass->records, pass->history, &record, err)
                       : records_result(pass->records, pass->history, &record, err);
}

static bool read_all(struct pass *pass, struct error *err) {
    int64_t heard_ms = monotonic_ms();
    bool ok = topic_reader_start(pass->reader, err);
    while (ok && !topic_reader_at_end(pass->reader)) {
        rd_kafka_message_t *message;
        ok = topic_reader_next(pass->reader, POLL_MS, &message, err);
        if (stop_requested())
            ok = error_set(err, FAULT_STOP, "stopped", "interrupted");
        if (message) {
            ok = ok && take_record(pass, message, err);
            progress_step(pass->progress, 1);
            rd_kafka_message_destroy(message);
            heard_ms = -1;
        } else if (heard_ms < 0) {
            heard_ms = monotonic_ms();
        } else if (ok && monotonic_ms() - heard_ms > SILENCE_MS) {
            ok = error_set(err, FAULT_RETRY, "silence", "the broker is silent");
        }
    }
    return ok;
}

/* The partitions of a topic stand one behind the other in the history. */
static bool add_topics(struct topic_reader *reader, const struct history *history,
                       bool only_results, int64_t *ret_total, struct error *err) {
    *ret_total = 0;
    for (uint32_t i = 0; i < history->part_count; i++) {
        const struct part *part = &history->parts[i];
        if (only_results && part->role != PART_RESULTS)
            continue;
        *ret_total += part->end - part->low;
        if (part->id == 0 && !topic_reader_add_topic(reader, part->topic, false, err))
            return false;
    }
    return true;
}

bool topics_read_committed(struct topics *topics, struct records *records, struct history *history,
                           struct progress *progress, struct error *err) {
    struct pass pass = {
        .reader = topics->committed, .records = records, .history = history, .progress = progress};
    int64_t total;
    if (!add_topics(pass.reader, history, false, &total, err))
        return false;
    progress_begin(progress, "committed records", total);
    bool ok = read_all(&pass, err);
    topic_reader_free(topics->committed); /* with what it has fetched and not given */
    topics->committed = NULL;
    return ok;
}

/* What was there at the start may have been deleted before it was read. */
static bool note_taken(struct topics *topics, struct history *history, struct error *err) {
    bool ok = true;
    for (uint32_t i = 0; ok && i < history->part_count; i++) {
        struct part *part = &history->parts[i];
        int64_t low, high;
        ok = query_bounds(topics->groups[0], part, &low, &high, err);
        part->low = ok && low > part->low ? low : part->low;
    }
    return ok;
}

bool topics_read_results(struct topics *topics, struct records *records, struct history *history,
                         struct progress *progress, struct error *err) {
    struct pass pass = {.reader = topics->uncommitted,
                        .records = records,
                        .history = history,
                        .progress = progress,
                        .again = true};
    int64_t total;
    if (!add_topics(pass.reader, history, true, &total, err))
        return false;
    progress_begin(progress, "results with those of aborted transactions", total);
    return read_all(&pass, err) && note_taken(topics, history, err);
}
