/* One batch: decode, then load, decide and store for all of it or for its parts, then one reply. */
#include "common/failpoint.h"
#include "common/log.h"
#include "common/stop.h"
#include "worker/decide.h"
#include "worker/decode.h"
#include "worker/divergence.h"
#include "worker/hold.h"
#include "worker/intake.h"
#include "worker/store.h"
#include "worker/worker_internal.h"

#include <stdio.h>

enum {
    IDLE_POLL_MS = 100,
    LOOK_EVERY_MS = 5000,
    HOLDS_EVERY_MS = 1000,
    SHUN_MS = 60000,
    MAX_ATTEMPTS = 3, /* that a record may kill a process */
};

/* ---- decode, and records that may kill ---- */

/* A record of which this process has not died is not counted. */
static bool forgive_attempt(struct worker *worker, struct error *err) {
    if (!worker->attempted.topic.data || planted_bug(BUG_OUTAGE_COUNTED))
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

static bool decode_batch(struct worker *worker, struct error *err) {
    struct batch *batch = &worker->batch;
    const struct decoder decoder = {.schemas = worker->shared->schemas,
                                    .digests = worker->digests,
                                    .cluster_id = slice_of(worker->shared->cluster_id)};
    bool give_up = false;
    for (size_t i = 0; i < batch->count; i++) {
        struct record record = intake_record(batch->messages[i]);
        struct command *command = &batch->commands[i];
        progress_at(worker->progress, STEP_DECODE);
        if (batch->careful && !note_attempt(worker, &record.source, &give_up, err))
            return false;
        if (!(give_up ? decode_give_up(&record, batch->arena, command, err)
                      : decode_record(&decoder, &record, batch->arena, command, err)))
            return false;
        batch->decoded = i + 1;
    }
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
    progress_at(worker->progress, STEP_LOAD);
    if (!working_set_init(&batch->set, batch->part, batch->part_count))
        return arena_exhausted(err);
    if (!decide_want(&batch->set, commands, batch->part_count, err) ||
        !load_batch(worker->pg, positions, count, &batch->set, &now_us, err))
        return false;
    metrics_stage_done(worker->metrics, STAGE_LOAD);
    FAILPOINT("loaded");
    progress_at(worker->progress, STEP_DECIDE);
    if (!decide_batch(&decider, &batch->set, commands, batch->part_count, now_us, err) ||
        !divergence_look_at_ledger(worker, commands, batch->part_count, err))
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

/* For all of the batch, however many parts it was stored in. */
static bool reply(struct worker *worker, struct error *err) {
    size_t count;
    struct position *positions = consumer_positions(worker->consumer, &count);
    intake_part(worker->consumer, &worker->batch, 0, worker->batch.count);
    if (planted_bug(BUG_NO_GENERATION))
        worker->batch.group = rd_kafka_consumer_group_metadata_new(worker->group);
    if (!reply_batch(worker->producer, &worker->outputs, &worker->batch, positions, count, err)) {
        shun_reply_topics(worker, err);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (positions[i].batch_end >= 0)
            positions[i].committed_offset = positions[i].batch_end;
    }
    worker->noted = false;
    worker->answered = true;
    metrics_stage_done(worker->metrics, STAGE_REPLY);
    metrics_answered(worker->metrics, &worker->batch);
    record_log_batch(&worker->record_log, worker->name, &worker->batch);
    return true;
}

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
    progress_at(worker->progress, STEP_STORE);
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
    progress_at(worker->progress, STEP_IDLE);
    record_log_idle(&worker->record_log, worker->name);
    if (!note_state(worker, false, err))
        return false;
    if (monotonic_ms() - worker->looked_ms < LOOK_EVERY_MS)
        return true;
    worker->looked_ms = monotonic_ms();
    worker->noted = false; /* the ends may not have been known yet */
    return claim_installation(worker->pg, worker->shared->cluster_id, &worker->installation, err);
}

/* ---- partitions that an operator holds or has released ---- */

/* The others go on from where they are: what was fetched of them, and not taken, is fetched again.
 * One that was released begins where it was when it was held. */
static bool begin_anew(struct worker *worker, struct position *positions, size_t count,
                       struct error *err) {
    int64_t *starts = arena_array(worker->batch.arena, count, sizeof *starts);
    if (!starts)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for positions");
    for (size_t i = 0; i < count; i++) {
        bool at_beginning = positions[i].read_next == 0 && positions[i].committed_offset < 0;
        starts[i] = at_beginning ? -1 : positions[i].read_next;
    }
    return consumer_start_reading(worker->consumer, starts, err);
}

/* Between two batches, so that nothing is on its way. */
static bool look_at_holds(struct worker *worker, struct error *err) {
    size_t count;
    bool changed = false;
    struct position *positions = consumer_positions(worker->consumer, &count);
    if (count == 0 || monotonic_ms() - worker->holds_seen_ms < HOLDS_EVERY_MS)
        return true;
    worker->holds_seen_ms = monotonic_ms();
    progress_at(worker->progress, STEP_DATABASE);
    bool ok =
        hold_look(worker->pg, worker->batch.arena, worker->name, positions, count, &changed, err) &&
        (!changed || begin_anew(worker, positions, count, err));
    if (changed)
        batch_forget(&worker->batch);
    else
        batch_clear(&worker->batch);
    return ok;
}

/* ---- the stages behind decode, for all of a batch or for parts of it ---- */

static bool store_part(struct worker *worker, size_t first, size_t part, struct error *err) {
    struct batch *batch = &worker->batch;
    size_t count;
    struct position *positions = consumer_positions(worker->consumer, &count);
    int64_t began_us = monotonic_us();
    arena_reset(batch->part);
    intake_part(worker->consumer, batch, first, part);
    if (!load_and_decide(worker, positions, count, err))
        return false;
    FAILPOINT("decided");
    if (planted_bug(BUG_REPLY_FIRST) && !reply(worker, err))
        return false;
    if (!store(worker, positions, count, err) || !batch_keep_answers(batch, err))
        return false;
    batch_fit(batch, part, monotonic_us() - began_us);
    return true;
}

/* The part's transaction is over: an error that is not the data's, or *ret_refused, after which the
 * connection is as good as before. */
static bool try_part(struct worker *worker, size_t first, size_t part, bool *ret_refused,
                     struct error *err) {
    *ret_refused = false;
    if (store_part(worker, first, part, err))
        return true;
    bool refused = err->fault == FAULT_STATEMENT || planted_bug(BUG_OUTAGE_ANSWERED);
    *ret_refused = refused && pg_rollback(worker->pg);
    metrics_stages_begin(worker->metrics); /* what was refused counts for no stage */
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

/* The first command of the part for the number that the server named, and how many there are. */
static size_t find_named(const struct worker *worker, size_t first, size_t part,
                         size_t *ret_count) {
    size_t found = first;
    *ret_count = 0;
    for (size_t i = first + part; i-- > first;) {
        const struct command *command = &worker->batch.commands[i];
        if (command->refused_by_store ||
            !pg_error_names(worker->pg, "number", command_number(command)))
            continue;
        found = i;
        ++*ret_count;
    }
    return found;
}

/* Whose doing the refusal is when that is certain: the only command there is, or the only one that
 * writes the row which the server named. It is to be answered as our own mistake; NULL otherwise.
 * What is not a command can bring nothing to the store that it refuses. */
static struct command *find_culprit(struct worker *worker, size_t first, size_t part) {
    size_t named;
    size_t at = find_named(worker, first, part, &named);
    struct command *command = &worker->batch.commands[at];
    bool certain = (part == 1 || named == 1) && command->handling == HANDLE_COMMAND;
    return certain && !command->refused_by_store ? command : NULL;
}

static bool store_parts(struct worker *worker, size_t first, size_t part, struct error *err);

/* Cuts what is refused: at the first command for the number that the server named, which then
 * stands alone, else into halves. */
static bool cut(struct worker *worker, size_t first, size_t part, struct error *err) {
    size_t named;
    size_t at = find_named(worker, first, part, &named);
    size_t alone = named > 0, rest;
    if (!alone)
        at = first + part / 2;
    rest = at + alone;
    return part > 1 && store_parts(worker, first, at - first, err) &&
           store_parts(worker, at, alone, err) &&
           store_parts(worker, rest, first + part - rest, err);
}

/* Stores it as a whole, without the effects of commands that the store refuses; in smaller parts
 * where it does not show which these are. */
static bool store_parts(struct worker *worker, size_t first, size_t part, struct error *err) {
    bool refused = part > 0;
    while (refused) {
        if (!try_part(worker, first, part, &refused, err))
            return false;
        if (!refused)
            break;
        struct command *culprit = find_culprit(worker, first, part);
        if (!culprit)
            return cut(worker, first, part, err);
        report_refused(culprit, err);
        culprit->refused_by_store = true;
    }
    return true;
}

/* Each part in a transaction of its own, of which locks are held no longer than the lane allows. */
static bool store_all(struct worker *worker, struct error *err) {
    const struct batch *batch = &worker->batch;
    size_t part;
    for (size_t first = 0; first < batch->count; first += part) {
        size_t left = batch->count - first;
        part = left < batch->limit ? left : batch->limit;
        if (!store_parts(worker, first, part, err))
            return false;
    }
    return true;
}

bool round_run(struct worker *worker, struct error *err) {
    struct batch *batch = &worker->batch;
    if (!look_at_holds(worker, err))
        return false;
    progress_at(worker->progress, STEP_INTAKE);
    if (!intake_batch(worker->consumer, IDLE_POLL_MS, batch, err))
        return false;
    progress_holds(worker->progress, batch->count);
    if (batch->count == 0)
        return idle(worker, err);
    worker->looked_ms = monotonic_ms();
    metrics_stages_begin(worker->metrics);
    FAILPOINT("taken");
    if (!decode_batch(worker, err))
        return false;
    FAILPOINT("decoded");
    if (!store_all(worker, err))
        return false;
    if (!planted_bug(BUG_REPLY_FIRST) && !reply(worker, err))
        return false;
    FAILPOINT("replied");
    worker->attempted = (struct source){0};
    batch_clear(batch);
    /* The transaction is published, but its producer may have a late request on the way. */
    return !producer_tainted(worker->producer) ||
           error_set(err, FAULT_REBUILD, "producer-tainted",
                     "a request to the broker went unanswered and may come late: the producer is "
                     "replaced");
}

void round_leave(struct worker *worker) {
    struct error err = {0};
    batch_forget(&worker->batch);
    if (!worker->pg || !pg_rollback(worker->pg))
        return;
    if (!forgive_attempt(worker, &err) || (worker->ready && !note_state(worker, true, &err)))
        log_error(LOG_INFO, "not-noted", LOG_WITH(LOG_TEXT("worker", worker->name)), &err);
}
