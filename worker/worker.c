/* The loop, and the one recovery path. What the stages do is in their own files. */
#include "worker/worker.h"

#include "common/failpoint.h"
#include "common/log.h"
#include "common/stop.h"
#include "worker/batch.h"
#include "worker/claim.h"
#include "worker/consumer.h"
#include "worker/decide.h"
#include "worker/decode.h"
#include "worker/intake.h"
#include "worker/metrics.h"
#include "worker/producer.h"
#include "worker/record_log.h"
#include "worker/reply.h"
#include "worker/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    IDLE_POLL_MS = 100,
    BACKOFF_FIRST_MS = 50,
    BACKOFF_MAX_MS = 2000,
    TWIN_WAIT_MS = 10000,
    FENCES_LIMIT = 3,
    FENCES_WINDOW_MS = 10000,
    METADATA_TIMEOUT_MS = 5000,
    MAX_STATEMENTS = 64,
    LOOK_EVERY_MS = 5000,
    REPORT_AGAIN_MS = 30000,
    SHUN_MS = 60000,
    MAX_ATTEMPTS = 3, /* that a record may kill a process */
};

struct lane_keys {
    const char *name;
    enum config_key topics, batch_max;
};

static const struct lane_keys lanes[] = {
    [LANE_INTERACTIVE] = {"interactive", CONFIG_TOPICS_COMMANDS,
                          CONFIG_BATCH_MAX_COMMANDS_INTERACTIVE},
    [LANE_BULK] = {"bulk", CONFIG_TOPICS_BULK, CONFIG_BATCH_MAX_COMMANDS_BULK},
};

const char *lane_name(enum lane lane) {
    return lanes[lane].name;
}

struct worker {
    const struct shared *shared;
    const struct lane_keys *lane;
    char name[256]; /* of the slot: transactional id, static member id, session lock */
    char group[200];
    char source[128]; /* ce_source */

    struct digests *digests;
    struct result_encoder *encoder;
    struct vault *vault;
    struct batch batch;
    struct outputs outputs;
    struct installation installation;
    struct metrics *metrics; /* the registry's */
    struct record_log record_log;

    struct producer *producer;
    struct consumer *consumer;
    struct pg *pg;
    int last_backend; /* of a connection that was lost; 0: none */

    struct source attempted; /* the record that was begun alone and may not be done with */
    char attempted_topic[256];

    bool ready;                   /* positions are claimed and the consumer reads */
    bool noted;                   /* the database knows K as it is */
    int64_t backoff_ms;           /* before the next attempt; 0: at once */
    int64_t fences[FENCES_LIMIT]; /* when the last ones came */
    struct error last;            /* the last trouble that was logged */
    int64_t reported_at_ms;
    int64_t looked_ms; /* when the database was last used */
};

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
    if (worker->metrics && name_outputs(worker, err) &&
        batch_init(&worker->batch, (size_t)config_int(shared->config, worker->lane->batch_max),
                   (size_t)config_int(shared->config, CONFIG_BATCH_MAX_BYTES), err))
        return worker;
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

/* ---- the loop: one batch through the six stages ---- */

/* A record of which this process has not died is not counted. */
static bool forgive_attempt(struct worker *worker, struct error *err) {
    if (!worker->attempted.topic.data)
        return true;
    if (!claim_forgive(worker->pg, &worker->attempted, err))
        return false;
    worker->attempted = (struct source){0};
    return true;
}

/* Tells the database which record is begun, before anything of it is looked at. */
static bool note_attempt(struct worker *worker, const struct source *source, bool *ret_give_up,
                         struct error *err) {
    int attempts;
    if (!forgive_attempt(worker, err) || !claim_attempt(worker->pg, source, &attempts, err))
        return false;
    snprintf(worker->attempted_topic, sizeof worker->attempted_topic, SLICE_FMT,
             SLICE_ARG(source->topic));
    worker->attempted = *source;
    worker->attempted.topic = slice_of(worker->attempted_topic);
    *ret_give_up = attempts > MAX_ATTEMPTS;
    if (attempts == 1)
        return true;
    log_write(*ret_give_up ? LOG_ERROR : LOG_WARN, "careful",
              LOG_WITH(LOG_TEXT("topic", worker->attempted_topic),
                       LOG_INT("partition", source->partition), LOG_INT("offset", source->offset),
                       LOG_INT("attempt", attempts)),
              *ret_give_up ? "processes died of this record: it becomes a dead letter"
                           : "a process died of this record, perhaps: it is tried again");
    return true;
}

/* In a batch of one record, which may kill the process. */
static bool decode_carefully(struct worker *worker, const struct decoder *decoder,
                             struct error *err) {
    struct batch *batch = &worker->batch;
    struct record record = intake_record(batch->messages[0]);
    bool give_up;
    if (!note_attempt(worker, &record.source, &give_up, err))
        return false;
    if (give_up)
        decode_give_up(&record, batch->arena, &batch->commands[0]);
    else if (!decode_record(decoder, &record, batch->arena, &batch->commands[0], err))
        return false;
    batch->decoded = 1;
    batch->parsed = arena_mark(batch->arena);
    return true;
}

static bool decode_batch(struct worker *worker, struct error *err) {
    struct batch *batch = &worker->batch;
    const struct decoder decoder = {.schemas = worker->shared->schemas,
                                    .digests = worker->digests,
                                    .cluster_id = slice_of(worker->shared->cluster_id)};
    if (batch->careful)
        return decode_carefully(worker, &decoder, err);
    for (size_t i = 0; i < batch->count; i++) {
        struct record record = intake_record(batch->messages[i]);
        if (!decode_record(&decoder, &record, batch->arena, &batch->commands[i], err))
            return false;
        batch->decoded = i + 1;
    }
    batch->parsed = arena_mark(batch->arena);
    metrics_stage_done(worker->metrics, STAGE_DECODE);
    return true;
}

static bool load_and_decide(struct worker *worker, const struct position *positions, size_t count,
                            struct error *err) {
    struct batch *batch = &worker->batch;
    const struct decider decider = {.digests = worker->digests,
                                    .encoder = worker->encoder,
                                    .can_keep_secrets = vault_is_open(worker->vault)};
    struct command *commands = &batch->commands[batch->part_first];
    int64_t now_us;
    if (!working_set_init(&batch->set, batch->arena, batch->part_count))
        return error_set(err, FAULT_RETRY, "out-of-memory", "the batch's memory is exhausted");
    if (!decide_want(&batch->set, commands, batch->part_count, err) ||
        !load_batch(worker->pg, positions, count, &batch->set, &now_us, err))
        return false;
    metrics_stage_done(worker->metrics, STAGE_LOAD);
    FAILPOINT("loaded");
    if (!decide_batch(&decider, &batch->set, commands, batch->part_count, now_us, err))
        return false;
    metrics_stage_done(worker->metrics, STAGE_DECIDE);
    return true;
}

/* A reply topic that may not be written would make each transaction fail again: after such a
 * failure those that took part are left out for a while. */
static void shun_reply_topics(struct worker *worker, const struct error *err) {
    if (err->fault != FAULT_AUTH && err->fault != FAULT_STATE)
        return;
    for (size_t i = 0; i < worker->outputs.reply_topic_count; i++) {
        struct reply_topic *topic = &worker->outputs.reply_topics[i];
        if (!topic->used)
            continue;
        topic->shunned_until_ms = monotonic_ms() + SHUN_MS;
        metrics_add(worker->metrics, METRIC_REPLY_TOPICS_SHUNNED, 0, 1);
        log_write(LOG_WARN, "reply-topic", LOG_WITH(LOG_TEXT("topic", topic->name)),
                  "answers go to the results topic only for a while: %s", err->message);
    }
}

static bool reply(struct worker *worker, struct position *positions, size_t count,
                  struct error *err) {
    if (!reply_batch(worker->producer, &worker->outputs, &worker->batch, positions, count, err)) {
        shun_reply_topics(worker, err);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (positions[i].batch_end >= 0)
            positions[i].committed_offset = positions[i].batch_end;
    }
    worker->noted = false;
    metrics_stage_done(worker->metrics, STAGE_REPLY);
    metrics_answered(worker->metrics, &worker->batch);
    record_log_batch(&worker->record_log, worker->name, &worker->batch);
    return true;
}

/* With nothing else to do, or before leaving. */
static bool note_state(struct worker *worker, bool leaving, struct error *err) {
    size_t count;
    struct position *positions = consumer_positions(worker->consumer, &count);
    if ((worker->noted && !leaving) || count == 0)
        return true;
    consumer_look_for_ends(worker->consumer);
    worker->noted = forgive_attempt(worker, err) &&
                    claim_note(worker->pg, worker->batch.arena, positions, count, leaving, err);
    batch_clear(&worker->batch);
    return worker->noted;
}

static bool store(struct worker *worker, struct position *positions, size_t count,
                  struct error *err) {
    if (!store_batch(worker->pg, positions, count, &worker->batch.set,
                     digests_mac_key_id(worker->digests), worker->vault, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (positions[i].batch_end > positions[i].next_offset)
            positions[i].next_offset = positions[i].batch_end;
    }
    metrics_stage_done(worker->metrics, STAGE_STORE);
    FAILPOINT("stored");
    return true;
}

/* With nothing to do: the database learns what was committed, and is looked at from time to time,
 * so that a lost connection and a diverged installation are noticed before a command has to wait
 * for it. */
static bool idle(struct worker *worker, struct error *err) {
    record_log_idle(&worker->record_log, worker->name);
    if (!note_state(worker, false, err))
        return false;
    if (monotonic_ms() - worker->looked_ms < LOOK_EVERY_MS)
        return true;
    worker->looked_ms = monotonic_ms();
    worker->noted = false; /* the ends may not have been known yet */
    return claim_installation(worker->pg, worker->shared->cluster_id, &worker->installation, err);
}

/* ---- the stages behind decode, for all of a batch or for parts of it ---- */

static bool run_part(struct worker *worker, size_t first, size_t part, struct error *err) {
    size_t count;
    struct position *positions = consumer_positions(worker->consumer, &count);
    metrics_stages_begin(worker->metrics);
    intake_part(worker->consumer, &worker->batch, first, part);
    if (!load_and_decide(worker, positions, count, err))
        return false;
    FAILPOINT("decided");
    bool reply_first = planted_bug("reply-first");
    if (reply_first && !reply(worker, positions, count, err))
        return false;
    if (!store(worker, positions, count, err))
        return false;
    if (!reply_first && !reply(worker, positions, count, err))
        return false;
    FAILPOINT("replied");
    /* The transaction is published, but its producer may have a late request on the way. */
    return !producer_tainted(worker->producer) ||
           error_set(err, FAULT_REBUILD, "producer-tainted",
                     "a request to the broker went unanswered and may come late: the producer is "
                     "replaced");
}

/* The part's transaction is over: an error that is not the data's, or *ret_refused, after which the
 * connection is as good as before. */
static bool try_part(struct worker *worker, size_t first, size_t part, bool *ret_refused,
                     struct error *err) {
    *ret_refused = false;
    if (run_part(worker, first, part, err))
        return true;
    *ret_refused = err->fault == FAULT_STATEMENT && pg_rollback(worker->pg);
    return *ret_refused;
}

static void report_refused(const struct command *command, const struct error *err) {
    char trace[UUID_TEXT_SIZE + 1], id[UUID_TEXT_SIZE + 1], topic[256];
    const struct source *source = &command->record.source;
    uuid_format(&command->derived_id, trace);
    uuid_format(&command->command_id, id);
    snprintf(topic, sizeof topic, SLICE_FMT, SLICE_ARG(source->topic));
    log_write(LOG_ERROR, "refused-by-store",
              LOG_WITH(LOG_TEXT("topic", topic), LOG_INT("partition", source->partition),
                       LOG_INT("offset", source->offset), LOG_TEXT("command_id", id),
                       LOG_TEXT("sqlstate", err->sqlstate), LOG_TEXT("trace", trace)),
              "the database refuses this command, which is answered internal:bug: %s",
              err->message);
}

static bool run_parts(struct worker *worker, size_t first, size_t part, struct error *err);

/* The store refuses something of this part: halves it until one command is left, and answers that
 * one as our own mistake. What is not a command can bring nothing to the store that it refuses. */
static bool isolate(struct worker *worker, size_t first, size_t part, struct error *err) {
    struct command *command = &worker->batch.commands[first];
    size_t half = part / 2;
    if (part > 1)
        return run_parts(worker, first, half, err) &&
               run_parts(worker, first + half, part - half, err);
    if (command->handling != HANDLE_COMMAND)
        return false;
    report_refused(command, err);
    command->refused_by_store = true;
    return run_part(worker, first, part, err);
}

static bool run_parts(struct worker *worker, size_t first, size_t part, struct error *err) {
    bool refused;
    return try_part(worker, first, part, &refused, err) &&
           (!refused || isolate(worker, first, part, err));
}

/* Anything but a full round is an error, and an error leads to recovery. */
static bool run_batch(struct worker *worker, struct error *err) {
    struct batch *batch = &worker->batch;
    if (!intake_batch(worker->consumer, IDLE_POLL_MS, batch, err))
        return false;
    if (batch->count == 0)
        return idle(worker, err);
    worker->looked_ms = monotonic_ms();
    metrics_stages_begin(worker->metrics);
    FAILPOINT("taken");
    if (!decode_batch(worker, err))
        return false;
    FAILPOINT("decoded");
    if (!run_parts(worker, 0, batch->count, err))
        return false;
    worker->attempted = (struct source){0};
    batch_clear(batch);
    return true;
}

/* ---- recovery ---- */

static size_t gather_statements(struct pg_statement *all) {
    size_t count = 0;
    for (size_t i = 0; i < claim_statement_count; i++)
        all[count++] = claim_statements[i];
    for (size_t i = 0; i < load_statement_count; i++)
        all[count++] = load_statements[i];
    for (size_t i = 0; i < store_statement_count; i++)
        all[count++] = store_statements[i];
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

/* Those of the key file, else the database's own; with all of them, so that what was kept under an
 * earlier one can still be compared. */
static bool take_mac_keys(struct worker *worker, struct error *err) {
    const struct installation *installation = &worker->installation;
    uint8_t key[VAULT_MAC_KEY_SIZE];
    const char *id;
    bool ok = true;
    digests_forget_mac_keys(worker->digests);
    for (size_t i = 0; ok && (id = vault_mac_key(worker->vault, i, key)); i++)
        ok =
            digests_add_mac_key(worker->digests, id,
                                (struct slice){.data = (const char *)key, .size = sizeof key}, err);
    explicit_bzero(key, sizeof key);
    return ok && digests_add_mac_key(worker->digests, installation->mac_key_id,
                                     (struct slice){.data = (const char *)installation->mac_key,
                                                    .size = sizeof installation->mac_key},
                                     err);
}

static bool check_database(struct worker *worker, struct error *err) {
    return claim_check_durability(worker->pg, err) && take_slot(worker, err) &&
           claim_installation(worker->pg, worker->shared->cluster_id, &worker->installation, err) &&
           take_mac_keys(worker, err);
}

static void drop_database(struct worker *worker) {
    if (worker->pg)
        worker->last_backend = pg_backend_pid(worker->pg);
    pg_close(worker->pg);
    worker->pg = NULL;
}

static bool restore_database(struct worker *worker, struct error *err) {
    struct pg_statement statements[MAX_STATEMENTS];
    if (worker->pg && !pg_rollback(worker->pg))
        drop_database(worker);
    if (worker->pg)
        return claim_installation(worker->pg, worker->shared->cluster_id, &worker->installation,
                                  err);
    if (claim_statement_count + load_statement_count + store_statement_count > MAX_STATEMENTS)
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
    worker->producer = producer_new(worker->shared->config, worker->name, err);
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
                                          .careful_span = (int64_t)worker->batch.max_count};
    int64_t *starts = arena_array(worker->batch.arena, count, sizeof *starts);
    if (count == 0)
        return true;
    if (!starts)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a claim");
    if (!consumer_read_committed(worker->consumer, err) ||
        !claim_partitions(worker->pg, &options, worker->batch.arena, positions, count, starts,
                          err) ||
        !consumer_start_reading(worker->consumer, starts, err))
        return false;
    worker->noted = false;
    size_t careful = 0;
    for (size_t i = 0; i < count; i++)
        careful += positions[i].careful_until > 0;
    log_write(LOG_INFO, "claimed",
              LOG_WITH(LOG_TEXT("worker", worker->name), LOG_INT("partitions", (int64_t)count),
                       LOG_INT("careful", (int64_t)careful)),
              careful
                  ? "reading %zu partitions, some of them record by record, since processes died"
                    " there without getting on"
                  : "reading %zu partitions",
              count);
    return true;
}

/* The one way back from any trouble, and the way to begin: whatever state things are in, afterwards
 * this worker owns its partitions in both stores and reads from what Kafka has committed. */
static bool recover(struct worker *worker, struct error *err) {
    batch_forget(&worker->batch);
    if (worker->consumer && !consumer_stop_reading(worker->consumer, err))
        return false;
    bool ok = restore_database(worker, err) && restore_producer(worker, err) &&
              restore_consumer(worker, err) && claim(worker, err);
    batch_clear(&worker->batch);
    return ok;
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
    bool expected = strcmp(err->id, "rebalance") == 0;
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
    if (err->fault == FAULT_STOP || strcmp(err->id, "twin") == 0)
        return false;
    report(worker, err);
    if (err->fault == FAULT_FENCED && !rebalance && too_many_fences(worker))
        return false;
    if (strcmp(err->id, "kafka-consumer-fatal") == 0) {
        batch_forget(&worker->batch);
        consumer_free(worker->consumer);
        worker->consumer = NULL;
    }
    bool at_once = rebalance || strcmp(err->id, "producer-tainted") == 0;
    int64_t next = worker->backoff_ms ? 2 * worker->backoff_ms : BACKOFF_FIRST_MS;
    worker->backoff_ms = at_once ? 0 : next < BACKOFF_MAX_MS ? next : BACKOFF_MAX_MS;
    return true;
}

/* Waits, with jitter, and keeps the group membership alive. */
static void back_off(struct worker *worker) {
    int64_t wait = worker->backoff_ms / 2 + random() % (worker->backoff_ms / 2 + 1);
    int64_t until = monotonic_ms() + wait;
    while (!stop_requested() && monotonic_ms() < until) {
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

/* What is told to the database now need not be found out by the next start. */
static void leave(struct worker *worker) {
    struct error err = {0};
    batch_forget(&worker->batch);
    if (!worker->pg || !pg_rollback(worker->pg))
        return;
    if (!forgive_attempt(worker, &err) || (worker->ready && !note_state(worker, true, &err)))
        log_error(LOG_INFO, "not-noted", LOG_WITH(LOG_TEXT("worker", worker->name)), &err);
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

bool worker_run(struct worker *worker, struct error *err) {
    *err = (struct error){0};
    while (!stop_requested()) {
        show(worker);
        if (worker->backoff_ms > 0)
            back_off(worker);
        bool ok = worker->ready ? run_batch(worker, err) : recover(worker, err);
        if (ok) {
            if (worker->backoff_ms > 0)
                log_write(LOG_INFO, "recovered", LOG_WITH(LOG_TEXT("worker", worker->name)),
                          "at work again");
            worker->ready = true;
            worker->backoff_ms = 0;
            continue;
        }
        if (!handle_error(worker, err))
            break;
    }
    leave(worker);
    if (stop_requested() || err->fault == FAULT_STOP)
        return true;
    if (err->fault == FAULT_FENCED)
        error_set(err, FAULT_STATE, "twin",
                  "fenced %d times within %d seconds: another process runs as %s", FENCES_LIMIT + 1,
                  FENCES_WINDOW_MS / 1000, worker->name);
    return false;
}
