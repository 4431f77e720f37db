/* Life of a worker, the loop, and what to do about an error. */
#include "worker/worker_internal.h"

#include "common/log.h"
#include "common/stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    BACKOFF_FIRST_MS = 50,
    BACKOFF_MAX_MS = 2000,
    FENCES_WINDOW_MS = 10000,
    REPORT_AGAIN_MS = 30000,
    SETTLED_MS = 1000,
    BULK_AIM_US =
        40000, /* an order of an account that bulk works on waits that long for its lock */
};

static const struct lane_keys lanes[] = {
    [LANE_INTERACTIVE] = {"interactive", CONFIG_TOPICS_COMMANDS,
                          CONFIG_BATCH_MAX_COMMANDS_INTERACTIVE, 1, 0},
    [LANE_BULK] = {"bulk", CONFIG_TOPICS_BULK, CONFIG_BATCH_MAX_COMMANDS_BULK, BATCH_BULK_PARTS,
                   BULK_AIM_US},
};

const char *lane_name(enum lane lane) {
    return lanes[lane].name;
}

/* ---- life ---- */

static bool name_slot(struct worker *worker, int slot, struct error *err) {
    const struct config *config = worker->shared->config;
    bool bulk = worker->lane == &lanes[LANE_BULK];
    int group = snprintf(worker->group, sizeof worker->group, "%s%s",
                         config_text(config, CONFIG_KAFKA_GROUP_ID), bulk ? "-bulk" : "");
    int name = snprintf(worker->name, sizeof worker->name, "%s-%s-%s-%d",
                        config_text(config, CONFIG_KAFKA_GROUP_ID), worker->shared->instance_id,
                        worker->lane->name, slot);
    snprintf(worker->source, sizeof worker->source, "urn:siptrunk:%s", worker->shared->cluster_id);
    if ((size_t)group < sizeof worker->group && (size_t)name < sizeof worker->name)
        return true;
    return error_set(err, FAULT_CONFIG, "name-too-long",
                     "kafka.group.id and instance.id are too long together");
}

/* The dead letter topics of the lane; limits are asked for when the producer is made. */
static bool name_outputs(struct worker *worker, struct error *err) {
    const struct config *config = worker->shared->config;
    const char *bulk_results = config_text(config, CONFIG_TOPICS_RESULTS_BULK);
    bool own = worker->lane == &lanes[LANE_BULK] && bulk_results[0];
    size_t count = config_item_count(config, worker->lane->topics);
    const char *suffix = config_text(config, CONFIG_TOPICS_DEAD_LETTER_SUFFIX);
    worker->outputs = (struct outputs){
        .results = own ? bulk_results : config_text(config, CONFIG_TOPICS_RESULTS),
        .dead_letters = calloc(count, sizeof *worker->outputs.dead_letters),
        .source = slice_of(worker->source),
        .result_plan = worker->shared->result_plan,
        .result_schema = result_encoder_fingerprint(worker->encoder),
    };
    for (size_t i = 0; worker->outputs.dead_letters && i < count; i++) {
        struct dead_letter_topic *topic = &worker->outputs.dead_letters[i];
        char *name = NULL;
        topic->commands = config_item(config, worker->lane->topics, i);
        if (asprintf(&name, "%s%s", topic->commands, suffix) < 0)
            break;
        topic->name = name;
        worker->outputs.dead_letter_count++;
    }
    size_t replies = config_item_count(config, CONFIG_REPLIES_ALLOWED_TOPICS);
    worker->outputs.reply_topics = calloc(replies + 1, sizeof *worker->outputs.reply_topics);
    for (size_t i = 0; worker->outputs.reply_topics && i < replies; i++)
        worker->outputs.reply_topics[worker->outputs.reply_topic_count++].name =
            config_item(config, CONFIG_REPLIES_ALLOWED_TOPICS, i);
    return (worker->outputs.dead_letter_count == count && worker->outputs.reply_topics) ||
           error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a worker");
}

struct worker *worker_new(const struct shared *shared, enum lane lane, int slot,
                          struct error *err) {
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a worker");
        return NULL;
    }
    worker->shared = shared;
    worker->lane = &lanes[lane];
    worker->digests = digests_new(err);
    if (worker->digests)
        worker->encoder = result_encoder_new(shared->result_schema_json, worker->digests, err);
    if (worker->encoder)
        worker->vault = vault_new(config_text(shared->config, CONFIG_SECRETS_KEY_FILE),
                                  config_bool(shared->config, CONFIG_SECRETS_ALLOW_PLAINTEXT), err);
    if (worker->vault && name_slot(worker, slot, err))
        worker->metrics = metrics_thread(shared->metrics, lane, worker->name, err);
    if (worker->metrics)
        worker->progress = metrics_progress(worker->metrics);
    if (worker->metrics && name_outputs(worker, err) &&
        batch_init(&worker->batch, worker->lane->parts,
                   (size_t)config_int(shared->config, worker->lane->batch_max),
                   (size_t)config_int(shared->config, CONFIG_BATCH_MAX_BYTES), err)) {
        worker->batch.aim_us = worker->lane->aim_us;
        return worker;
    }
    worker_free(worker);
    return NULL;
}

void worker_free(struct worker *worker) {
    if (!worker)
        return;
    batch_release(&worker->batch);
    consumer_free(worker->consumer);
    producer_free(worker->producer);
    pg_close(worker->pg);
    result_encoder_free(worker->encoder);
    vault_free(worker->vault);
    digests_free(worker->digests);
    for (size_t i = 0; i < worker->outputs.dead_letter_count; i++)
        free((void *)(uintptr_t)worker->outputs.dead_letters[i].name);
    free(worker->outputs.dead_letters);
    free(worker->outputs.reply_topics);
    free(worker);
}

/* ---- what to do about an error ---- */

static bool too_many_fences(struct worker *worker) {
    int64_t now = monotonic_ms();
    int64_t oldest = worker->fences[0];
    for (size_t i = 0; i + 1 < FENCES_LIMIT; i++)
        worker->fences[i] = worker->fences[i + 1];
    worker->fences[FENCES_LIMIT - 1] = now;
    return oldest != 0 && now - oldest < FENCES_WINDOW_MS;
}

/* Logged when it changes, and again from time to time: a long outage must not fill the disk. */
static void report(struct worker *worker, const struct error *err) {
    bool expected = strcmp(err->id, "rebalance") == 0 || strcmp(err->id, "held") == 0;
    bool repeated =
        strcmp(err->id, worker->last.id) == 0 && strcmp(err->message, worker->last.message) == 0;
    int64_t now = monotonic_ms();
    if (repeated && !expected && now - worker->reported_at_ms < REPORT_AGAIN_MS)
        return;
    worker->last = *err;
    worker->reported_at_ms = now;
    log_error(expected ? LOG_INFO : LOG_WARN, "recover", LOG_WITH(LOG_TEXT("worker", worker->name)),
              err);
}

/* Drops what the error says is of no more use, and decides how long to wait. False: leave. */
static bool handle_error(struct worker *worker, const struct error *err) {
    bool rebalance = strcmp(err->id, "rebalance") == 0;
    worker->ready = false;
    metrics_trouble(worker->metrics, err);
    bool useless = err->fault == FAULT_CONFIG && !worker->has_worked;
    if (err->fault == FAULT_STOP || useless || strcmp(err->id, "twin") == 0)
        return false;
    report(worker, err);
    if (err->fault == FAULT_FENCED && !rebalance && too_many_fences(worker))
        return false;
    if (strcmp(err->id, "kafka-consumer-fatal") == 0) {
        batch_forget(&worker->batch);
        consumer_free(worker->consumer);
        worker->consumer = NULL;
    }
    bool at_once =
        rebalance || strcmp(err->id, "producer-tainted") == 0 || strcmp(err->id, "held") == 0;
    int64_t next = worker->backoff_ms ? 2 * worker->backoff_ms : BACKOFF_FIRST_MS;
    worker->backoff_ms = at_once ? 0 : next < BACKOFF_MAX_MS ? next : BACKOFF_MAX_MS;
    return true;
}

/* Waits, with jitter, and keeps the group membership alive. */
static void back_off(struct worker *worker) {
    int64_t wait = worker->backoff_ms / 2 + random() % (worker->backoff_ms / 2 + 1);
    int64_t until = monotonic_ms() + wait;
    while (!stop_requested() && monotonic_ms() < until) {
        progress_at(worker->progress, STEP_BACK_OFF);
        int slice = (int)(until - monotonic_ms());
        if (!worker->consumer) {
            struct timespec pause = {.tv_nsec = 20000000};
            nanosleep(&pause, NULL);
            continue;
        }
        rd_kafka_message_t *message = NULL;
        struct error ignored;
        if (consumer_poll(worker->consumer, slice > 0 ? slice : 0, &message, &ignored) && message)
            rd_kafka_message_destroy(message);
    }
}

/* For whoever scrapes: that the loop turns, and how things are. */
static void show(struct worker *worker) {
    size_t count = 0;
    metrics_turn(worker->metrics, worker->ready && consumer_joined(worker->consumer),
                 worker->pg && pg_usable(worker->pg));
    if (!worker->consumer || !metrics_positions_due(worker->metrics))
        return;
    consumer_look_for_ends(worker->consumer);
    struct position *positions = consumer_positions(worker->consumer, &count);
    metrics_show_positions(worker->metrics, positions, count);
}

static void note_recovery(struct worker *worker) {
    worker->ready = true;
    worker->ready_since_ms = monotonic_ms();
    worker->answered = false;
}

/* A round is done. Behind a recovery that proves something when it had records, or when none have
 * come for a while: what fails again must wait longer. */
static void note_success(struct worker *worker) {
    if (worker->backoff_ms == 0)
        return;
    if (!worker->answered && monotonic_ms() - worker->ready_since_ms < SETTLED_MS)
        return;
    log_write(LOG_INFO, "recovered", LOG_WITH(LOG_TEXT("worker", worker->name)), "at work again");
    worker->backoff_ms = 0;
}

bool worker_run(struct worker *worker, struct error *err) {
    *err = (struct error){0};
    while (!stop_requested()) {
        show(worker);
        if (!worker->ready && worker->backoff_ms > 0)
            back_off(worker);
        bool ok = worker->ready ? round_run(worker, err) : recovery_run(worker, err);
        if (ok) {
            if (worker->ready)
                note_success(worker);
            else
                note_recovery(worker);
            continue;
        }
        if (!handle_error(worker, err))
            break;
    }
    progress_at(worker->progress, STEP_LEAVE);
    round_leave(worker);
    if (stop_requested() || err->fault == FAULT_STOP)
        return true;
    if (err->fault == FAULT_FENCED)
        error_set(err, FAULT_STATE, "twin",
                  "fenced %d times within %d seconds: another process runs as %s", FENCES_LIMIT + 1,
                  FENCES_WINDOW_MS / 1000, worker->name);
    return false;
}
