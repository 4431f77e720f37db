/* Connection, producer, consumer, claim: each is kept when it is still good, and made anew
 * otherwise. */
#include "common/log.h"
#include "common/stop.h"
#include "worker/divergence.h"
#include "worker/hold.h"
#include "worker/store.h"
#include "worker/worker_internal.h"

#include <inttypes.h>
#include <time.h>

enum { TWIN_WAIT_MS = 10000, METADATA_TIMEOUT_MS = 5000, MAX_STATEMENTS = 64 };

static size_t gather_statements(struct pg_statement *all) {
    size_t count = 0;
    for (size_t i = 0; i < claim_statement_count; i++)
        all[count++] = claim_statements[i];
    for (size_t i = 0; i < load_statement_count; i++)
        all[count++] = load_statements[i];
    for (size_t i = 0; i < store_statement_count; i++)
        all[count++] = store_statements[i];
    for (size_t i = 0; i < hold_statement_count; i++)
        all[count++] = hold_statements[i];
    return count;
}

/* A second process of the same name waits, then gives up; a session of ours that outlived its
 * connection is ended. */
static bool take_slot(struct worker *worker, struct error *err) {
    int64_t deadline = monotonic_ms() + TWIN_WAIT_MS;
    if (worker->last_backend &&
        !claim_end_session(worker->pg, worker->last_backend, worker->name, err))
        return false;
    for (;;) {
        bool taken;
        progress_at(worker->progress, STEP_SLOT);
        if (!claim_slot(worker->pg, worker->name, &taken, err))
            return false;
        if (taken)
            return true;
        if (stop_requested())
            return error_set(err, FAULT_STOP, "stopped", "told to stop");
        if (monotonic_ms() >= deadline)
            return error_set(err, FAULT_STATE, "twin",
                             "another process runs as %s: give each its own instance.id",
                             worker->name);
        struct timespec pause = {.tv_nsec = 100000000};
        nanosleep(&pause, NULL);
    }
}

static bool check_database(struct worker *worker, struct error *err) {
    if (!claim_check_durability(worker->pg, err) || !take_slot(worker, err))
        return false;
    progress_at(worker->progress, STEP_DATABASE);
    return claim_installation(worker->pg, worker->shared->cluster_id, &worker->installation, err) &&
           claim_mac_keys(&worker->installation, worker->vault, worker->digests, err);
}

static void drop_database(struct worker *worker) {
    if (worker->pg)
        worker->last_backend = pg_backend_pid(worker->pg);
    pg_close(worker->pg);
    worker->pg = NULL;
    worker->compared = false;
}

static bool restore_database(struct worker *worker, struct error *err) {
    struct pg_statement statements[MAX_STATEMENTS];
    if (worker->pg && !pg_rollback(worker->pg))
        drop_database(worker);
    if (worker->pg)
        return claim_installation(worker->pg, worker->shared->cluster_id, &worker->installation,
                                  err);
    if (claim_statement_count + load_statement_count + store_statement_count +
            hold_statement_count >
        MAX_STATEMENTS)
        return error_set(err, FAULT_BUG, "statements", "there are more statements than room");
    size_t count = gather_statements(statements);
    worker->pg = pg_connect(config_text(worker->shared->config, CONFIG_POSTGRES_CONNINFO),
                            worker->name, claim_session_settings, statements, count, err);
    if (!worker->pg)
        return false;
    if (check_database(worker, err))
        return true;
    drop_database(worker);
    return false;
}

/* What a topic that is written to allows; it must be there, and allow enough. */
static bool ask_limit(struct worker *worker, const char *topic, int64_t *ret_limit,
                      struct error *err) {
    rd_kafka_t *handle = producer_handle(worker->producer);
    int partitions;
    progress_at(worker->progress, STEP_TOPICS);
    if (!kafka_partition_count(handle, topic, METADATA_TIMEOUT_MS, &partitions, err))
        return false;
    if (partitions == 0)
        return error_set(err, FAULT_STATE, "missing-topic",
                         "topic %s does not exist: run siptrunkctl topics apply", topic);
    if (!kafka_max_message_bytes(handle, topic, METADATA_TIMEOUT_MS, ret_limit, err))
        return false;
    return *ret_limit >= PRODUCER_LEAST_LIMIT ||
           error_set(err, FAULT_STATE, "topic-limit",
                     "max.message.bytes of topic %s is %" PRId64 ", at least %d is needed", topic,
                     *ret_limit, PRODUCER_LEAST_LIMIT);
}

static bool ask_output_limits(struct worker *worker, struct error *err) {
    int64_t results_limit;
    if (!ask_limit(worker, worker->outputs.results, &results_limit, err))
        return false;
    for (size_t i = 0; i < worker->outputs.dead_letter_count; i++) {
        struct dead_letter_topic *topic = &worker->outputs.dead_letters[i];
        if (!ask_limit(worker, topic->name, &topic->max_message_bytes, err))
            return false;
    }
    return true;
}

/* A topic that is not there, or that we may not look at, gets no replies. */
static bool ask_reply_topic(rd_kafka_t *handle, struct reply_topic *topic, struct error *err) {
    int partitions;
    bool known =
        kafka_partition_count(handle, topic->name, METADATA_TIMEOUT_MS, &partitions, err) &&
        (partitions == 0 || kafka_max_message_bytes(handle, topic->name, METADATA_TIMEOUT_MS,
                                                    &topic->max_message_bytes, err));
    if (!known && err->fault != FAULT_AUTH)
        return false;
    topic->partitions = known ? partitions : 0;
    if (topic->partitions == 0 && !topic->missing)
        log_write(LOG_WARN, "reply-topic", LOG_WITH(LOG_TEXT("topic", topic->name)),
                  "reply topic %s %s: its answers go to the results topic only", topic->name,
                  known ? "does not exist" : "may not be written or described");
    topic->missing = topic->partitions == 0;
    return true;
}

/* Anew at every recovery: a reply topic that went away must not be tried for ever. */
static bool ask_reply_topics(struct worker *worker, struct error *err) {
    for (size_t i = 0; i < worker->outputs.reply_topic_count; i++) {
        struct reply_topic *topic = &worker->outputs.reply_topics[i];
        topic->partitions = 0;
        topic->max_message_bytes = 0;
        progress_at(worker->progress, STEP_TOPICS);
        if (monotonic_ms() >= topic->shunned_until_ms &&
            !ask_reply_topic(producer_handle(worker->producer), topic, err))
            return false;
    }
    return true;
}

static bool restore_producer(struct worker *worker, struct error *err) {
    if (worker->producer && !producer_abort(worker->producer)) {
        producer_free(worker->producer);
        worker->producer = NULL;
        metrics_add(worker->metrics, METRIC_PRODUCERS_REBUILT, 0, 1);
    }
    if (worker->producer)
        return ask_reply_topics(worker, err);
    worker->producer = producer_new(worker->shared->config, worker->name, worker->progress, err);
    if (!worker->producer)
        return false;
    if (ask_output_limits(worker, err) && ask_reply_topics(worker, err))
        return true;
    producer_free(worker->producer);
    worker->producer = NULL;
    return false;
}

static bool restore_consumer(struct worker *worker, struct error *err) {
    const struct consumer_options options = {.group_id = worker->group,
                                             .instance_id = worker->name,
                                             .topics = worker->lane->topics,
                                             .metrics = worker->metrics};
    progress_at(worker->progress, STEP_CONSUMER);
    if (!worker->consumer)
        worker->consumer = consumer_new(worker->shared->config, &options, err);
    return worker->consumer != NULL;
}

static bool claim(struct worker *worker, struct error *err) {
    size_t count;
    struct position *positions = consumer_positions(worker->consumer, &count);
    const struct claim_options options = {.group = worker->group,
                                          .instance = worker->shared->instance_id,
                                          .process = worker->shared->process,
                                          .careful_span = (int64_t)batch_capacity(&worker->batch)};
    int64_t *starts = arena_array(worker->batch.arena, count, sizeof *starts);
    bool changed; /* reading begins in any case */
    if (count == 0)
        return true;
    if (!starts)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a claim");
    progress_at(worker->progress, STEP_CLAIM);
    if (!consumer_read_committed(worker->consumer, err) ||
        !claim_partitions(worker->pg, &options, worker->batch.arena, positions, count, starts,
                          err) ||
        !divergence_look_at_logs(worker, err) ||
        !hold_look(worker->pg, worker->batch.arena, worker->name, positions, count, &changed,
                   err) ||
        !consumer_start_reading(worker->consumer, starts, err))
        return false;
    worker->noted = false;
    worker->has_worked = true;
    worker->holds_seen_ms = monotonic_ms();
    size_t careful = 0, held = 0;
    for (size_t i = 0; i < count; i++) {
        careful += positions[i].careful_until > 0;
        held += positions[i].held_reason[0] != '\0';
    }
    log_write(LOG_INFO, "claimed",
              LOG_WITH(LOG_TEXT("worker", worker->name), LOG_INT("partitions", (int64_t)count),
                       LOG_INT("careful", (int64_t)careful), LOG_INT("held", (int64_t)held)),
              careful
                  ? "reading %zu partitions, some of them record by record, since processes died"
                    " there without getting on"
                  : "reading %zu partitions",
              count - held);
    return true;
}

bool recovery_run(struct worker *worker, struct error *err) {
    batch_forget(&worker->batch);
    progress_holds(worker->progress, 0);
    progress_at(worker->progress, STEP_DATABASE);
    if (worker->consumer && !consumer_stop_reading(worker->consumer, err))
        return false;
    bool ok = restore_database(worker, err) && restore_producer(worker, err) &&
              divergence_look_everywhere(worker, err) && restore_consumer(worker, err) &&
              claim(worker, err);
    batch_clear(&worker->batch);
    return ok;
}
