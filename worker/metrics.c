/* Storage and recording. A number has one writer, so that a relaxed load and store is all that
 * counting takes. */
#include "worker/metrics.h"

#include "common/buffer.h"
#include "common/stop.h"

#include <stdalign.h>
#include <stdlib.h>

enum {
    CACHE_LINE = 64,
    MAX_CAUSES = 64, /* of recoveries; any further one counts with the last */
    SHOW_EVERY_MS = 500,
    BROKER_SILENT_MS = 10000, /* ten heartbeats */
};

/* ---- the table ---- */

const struct metric_info metric_infos[METRIC_COUNT] = {
#define RECORDED(symbol, kind_of, name_of, dimension_of, help_of)                                  \
    [METRIC_##symbol] = {.name = name_of,                                                          \
                         .help = help_of,                                                          \
                         .kind = METRIC_##kind_of,                                                 \
                         .dimension = BY_##dimension_of},
#define COMPUTED(function, type, name, help)
#include "worker/metrics.def"
#undef RECORDED
#undef COMPUTED
};

static const uint64_t second_bounds_us[] = {100,     250,     500,     1000,    2500,   5000,
                                            10000,   25000,   50000,   100000,  250000, 500000,
                                            1000000, 2500000, 5000000, 10000000};
static const uint64_t size_bounds[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000};

static const struct {
    const uint64_t *bounds;
    size_t bound_count;
    size_t numbers; /* of a cell */
} kinds[] = {
    [METRIC_COUNTER] = {NULL, 0, 1},
    [METRIC_SECONDS] = {second_bounds_us, sizeof second_bounds_us / sizeof second_bounds_us[0],
                        sizeof second_bounds_us / sizeof second_bounds_us[0] + 2},
    [METRIC_SIZE] = {size_bounds, sizeof size_bounds / sizeof size_bounds[0],
                     sizeof size_bounds / sizeof size_bounds[0] + 2},
};

const uint64_t *metric_bounds(enum metric_kind kind, size_t *ret_count) {
    *ret_count = kinds[kind].bound_count;
    return kinds[kind].bounds;
}

size_t metric_cells(enum metric metric) {
    const size_t cells[] = {
        [BY_NOTHING] = 1,           [BY_TYPE_AND_OUTCOME] = command_type_count * METRIC_OUTCOMES,
        [BY_REASON] = REASON_COUNT, [BY_REPLY_PROBLEM] = REPLY_PROBLEM_COUNT,
        [BY_STAGE] = STAGE_COUNT,
    };
    return cells[metric_infos[metric].dimension];
}

/* ---- objects ---- */

struct cause {
    char error_id[sizeof(((struct error *)NULL)->id)];
    _Atomic uint64_t count;
};

struct metrics {
    const struct metrics_registry *registry;
    enum lane lane;
    char name[256];

    /* of the thread alone */
    int64_t stage_began_us, stage_cpu_us, shown_ms;

    /* not on the way of a command: both sides hold the lock for the time of a copy */
    pthread_mutex_t lock;
    struct error trouble;
    struct shown_position *positions;
    size_t position_count, position_capacity;

    /* written by librdkafka's threads */
    alignas(CACHE_LINE) _Atomic int64_t answered_ms;
    _Atomic int64_t brokers_down_ms;

    /* written by the thread */
    alignas(CACHE_LINE) struct progress progress;
    _Atomic bool ready, database;
    _Atomic size_t cause_count;
    struct cause causes[MAX_CAUSES];
    _Atomic uint64_t numbers[];
};

struct metrics_registry {
    size_t offsets[METRIC_COUNT], number_count; /* where a metric's numbers begin */
    pthread_mutex_t lock;                       /* of waiting, and of adding a thread */
    struct error waiting;
    size_t max_threads;
    _Atomic size_t thread_count;
    struct metrics *threads[];
};

static bool out_of_memory(struct error *err) {
    return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for metrics");
}

struct metrics_registry *metrics_registry_new(size_t max_threads, struct error *err) {
    struct metrics_registry *registry =
        calloc(1, sizeof *registry + max_threads * sizeof registry->threads[0]);
    if (!registry) {
        out_of_memory(err);
        return NULL;
    }
    registry->max_threads = max_threads;
    pthread_mutex_init(&registry->lock, NULL);
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        registry->offsets[i] = registry->number_count;
        registry->number_count +=
            metric_cells((enum metric)i) * kinds[metric_infos[i].kind].numbers;
    }
    return registry;
}

void metrics_registry_free(struct metrics_registry *registry) {
    if (!registry)
        return;
    for (size_t i = 0; i < metrics_thread_count(registry); i++) {
        pthread_mutex_destroy(&registry->threads[i]->lock);
        free(registry->threads[i]->positions);
        free(registry->threads[i]);
    }
    pthread_mutex_destroy(&registry->lock);
    free(registry);
}

size_t metrics_max_threads(const struct metrics_registry *registry) {
    return registry->max_threads;
}

/* Whole lines of the cache, so that no neighbour writes into one of them. */
static struct metrics *new_thread(const struct metrics_registry *registry) {
    size_t size = sizeof(struct metrics) + registry->number_count * sizeof(uint64_t);
    size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct metrics *metrics = aligned_alloc(CACHE_LINE, size);
    if (!metrics)
        return NULL;
    memset(metrics, 0, size);
    metrics->registry = registry;
    pthread_mutex_init(&metrics->lock, NULL);
    progress_at(&metrics->progress, STEP_TURN);
    return metrics;
}

struct metrics *metrics_thread(struct metrics_registry *registry, enum lane lane, const char *name,
                               struct error *err) {
    struct metrics *metrics = new_thread(registry);
    pthread_mutex_lock(&registry->lock);
    size_t count = atomic_load(&registry->thread_count);
    bool room = count < registry->max_threads;
    if (metrics && room) {
        metrics->lane = lane;
        snprintf(metrics->name, sizeof metrics->name, "%s", name);
        registry->threads[count] = metrics;
        atomic_store_explicit(&registry->thread_count, count + 1, memory_order_release);
    }
    pthread_mutex_unlock(&registry->lock);
    if (metrics && room)
        return metrics;
    free(metrics);
    out_of_memory(err);
    return NULL;
}

/* ---- counting ---- */

static _Atomic uint64_t *numbers_of(struct metrics *metrics, enum metric metric, size_t cell) {
    return &metrics->numbers[metrics->registry->offsets[metric] +
                             cell * kinds[metric_infos[metric].kind].numbers];
}

static void raise(_Atomic uint64_t *number, uint64_t count) {
    uint64_t value = atomic_load_explicit(number, memory_order_relaxed);
    atomic_store_explicit(number, value + count, memory_order_relaxed);
}

void metrics_add(struct metrics *metrics, enum metric metric, size_t cell, uint64_t count) {
    raise(numbers_of(metrics, metric, cell), count);
}

void metrics_observe(struct metrics *metrics, enum metric metric, size_t cell, uint64_t value) {
    size_t count, bucket = 0;
    const uint64_t *bounds = metric_bounds(metric_infos[metric].kind, &count);
    _Atomic uint64_t *numbers = numbers_of(metrics, metric, cell);
    while (bucket < count && value > bounds[bucket])
        bucket++;
    raise(&numbers[bucket], 1);
    raise(&numbers[count + 1], value);
}

struct progress *metrics_progress(struct metrics *metrics) {
    return &metrics->progress;
}

void metrics_stages_begin(struct metrics *metrics) {
    metrics->stage_began_us = monotonic_us();
    metrics->stage_cpu_us = thread_cpu_us();
}

void metrics_stage_done(struct metrics *metrics, enum stage stage) {
    int64_t now_us = monotonic_us(), cpu_us = thread_cpu_us();
    metrics_observe(metrics, METRIC_STAGE_DURATION, stage,
                    (uint64_t)(now_us - metrics->stage_began_us));
    metrics_observe(metrics, METRIC_STAGE_CPU, stage, (uint64_t)(cpu_us - metrics->stage_cpu_us));
    metrics->stage_began_us = now_us;
    metrics->stage_cpu_us = cpu_us;
}

/* The URN's last segment; REASON_NONE for one that the catalogue does not have. */
static enum reason reason_of(struct slice urn) {
    for (int reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        if (slice_is(urn, reason_info((enum reason)reason)->urn))
            return (enum reason)reason;
    }
    return REASON_NONE;
}

static void count_command(struct metrics *metrics, const struct command *command) {
    const struct ledger_entry *answer = command->answer;
    size_t type = 0;
    while (type + 1 < command_type_count && command_types[type] != command->type)
        type++;
    size_t outcome = command->replayed ? METRIC_OUTCOME_REPLAYED : answer->outcome;
    metrics_add(metrics, METRIC_COMMANDS, type * METRIC_OUTCOMES + outcome, 1);
    if (outcome == OUTCOME_REJECTED)
        metrics_add(metrics, METRIC_ERRORS, reason_of(answer->error_reason), 1);
    if (command->reply_problem != REPLY_SENT)
        metrics_add(metrics, METRIC_REPLIES_LEFT_OUT, command->reply_problem, 1);
}

void metrics_answered(struct metrics *metrics, const struct batch *batch) {
    metrics_observe(metrics, METRIC_BATCH_SIZE, 0, batch->part_count);
    for (size_t i = 0; i < batch->part_count; i++) {
        const struct command *command = &batch->commands[batch->part_first + i];
        switch (command->handling) {
        case HANDLE_COMMAND:
            count_command(metrics, command);
            break;
        case HANDLE_DEAD_LETTER:
            metrics_add(metrics, METRIC_DEAD_LETTERS, command->dead_reason, 1);
            break;
        case HANDLE_TOMBSTONE:
            metrics_add(metrics, METRIC_TOMBSTONES, 0, 1);
            break;
        }
    }
}

/* ---- the state of a thread ---- */

static void count_cause(struct metrics *metrics, const char *error_id) {
    size_t count = atomic_load_explicit(&metrics->cause_count, memory_order_relaxed), i = 0;
    while (i < count && strcmp(metrics->causes[i].error_id, error_id) != 0)
        i++;
    if (i == MAX_CAUSES)
        i--;
    if (i == count && count < MAX_CAUSES) {
        snprintf(metrics->causes[i].error_id, sizeof metrics->causes[i].error_id, "%s", error_id);
        atomic_store_explicit(&metrics->cause_count, count + 1, memory_order_release);
    }
    raise(&metrics->causes[i].count, 1);
}

void metrics_trouble(struct metrics *metrics, const struct error *err) {
    count_cause(metrics, err->id);
    if (err->fault == FAULT_FENCED && strcmp(err->id, "rebalance") != 0)
        metrics_add(metrics, METRIC_EPOCHS_LOST, 0, 1);
    atomic_store_explicit(&metrics->ready, false, memory_order_relaxed);
    pthread_mutex_lock(&metrics->lock);
    metrics->trouble = *err;
    pthread_mutex_unlock(&metrics->lock);
}

void metrics_turn(struct metrics *metrics, bool ready, bool database) {
    progress_at(&metrics->progress, STEP_TURN);
    atomic_store_explicit(&metrics->ready, ready, memory_order_relaxed);
    atomic_store_explicit(&metrics->database, database, memory_order_relaxed);
}

bool metrics_positions_due(const struct metrics *metrics) {
    return monotonic_ms() - metrics->shown_ms >= SHOW_EVERY_MS;
}

static bool make_room(struct metrics *metrics, size_t count) {
    if (count <= metrics->position_capacity)
        return true;
    struct shown_position *bigger = realloc(metrics->positions, count * sizeof *bigger);
    if (!bigger)
        return false; /* none are shown, which shows */
    metrics->positions = bigger;
    metrics->position_capacity = count;
    return true;
}

void metrics_show_positions(struct metrics *metrics, const struct position *positions,
                            size_t count) {
    metrics->shown_ms = monotonic_ms();
    pthread_mutex_lock(&metrics->lock);
    metrics->position_count = 0;
    for (size_t i = 0; make_room(metrics, count) && i < count; i++) {
        const struct position *position = &positions[i];
        struct shown_position *shown = &metrics->positions[metrics->position_count];
        if (position->epoch == 0)
            continue;
        shown->lane = metrics->lane;
        shown->epoch = position->epoch;
        snprintf(shown->topic, sizeof shown->topic, SLICE_FMT, SLICE_ARG(position->topic));
        shown->partition = position->partition;
        shown->committed_offset = position->committed_offset;
        shown->next_offset = position->next_offset;
        shown->lag = position->lag;
        shown->held = position->held_reason[0];
        metrics->position_count++;
    }
    pthread_mutex_unlock(&metrics->lock);
}

void metrics_broker_answered(struct metrics *metrics) {
    atomic_store_explicit(&metrics->answered_ms, monotonic_ms(), memory_order_relaxed);
}

void metrics_brokers_down(struct metrics *metrics) {
    atomic_store_explicit(&metrics->brokers_down_ms, monotonic_ms(), memory_order_relaxed);
}

void metrics_waiting(struct metrics_registry *registry, const struct error *err) {
    pthread_mutex_lock(&registry->lock);
    registry->waiting = *err;
    pthread_mutex_unlock(&registry->lock);
}

/* ---- reading ---- */

size_t metrics_thread_count(const struct metrics_registry *registry) {
    return atomic_load_explicit(&registry->thread_count, memory_order_acquire);
}

struct thread_view metrics_view(const struct metrics_registry *registry, size_t thread,
                                int64_t now_ms) {
    struct metrics *metrics = registry->threads[thread];
    int64_t answered = atomic_load_explicit(&metrics->answered_ms, memory_order_relaxed);
    int64_t down = atomic_load_explicit(&metrics->brokers_down_ms, memory_order_relaxed);
    struct thread_view view = {
        .name = metrics->name,
        .lane = metrics->lane,
        .ready = atomic_load_explicit(&metrics->ready, memory_order_relaxed),
        .database = atomic_load_explicit(&metrics->database, memory_order_relaxed),
        .moved_ms = atomic_load_explicit(&metrics->progress.moved_ms, memory_order_relaxed),
        .step = (enum step)atomic_load_explicit(&metrics->progress.step, memory_order_relaxed),
        .records = atomic_load_explicit(&metrics->progress.records, memory_order_relaxed),
        .answered_ms = answered,
        .broker = answered > down && now_ms - answered < BROKER_SILENT_MS,
    };
    pthread_mutex_lock(&metrics->lock);
    view.trouble = metrics->trouble;
    pthread_mutex_unlock(&metrics->lock);
    return view;
}

void metrics_waited_for(struct metrics_registry *registry, struct error *ret) {
    pthread_mutex_lock(&registry->lock);
    *ret = registry->waiting;
    pthread_mutex_unlock(&registry->lock);
}

/* By topic and partition, the latest claim first. */
static int compare_positions(const void *one, const void *other) {
    const struct shown_position *a = one, *b = other;
    int by_topic = strcmp(a->topic, b->topic);
    if (by_topic != 0)
        return by_topic;
    if (a->partition != b->partition)
        return a->partition < b->partition ? -1 : 1;
    return (a->epoch < b->epoch) - (a->epoch > b->epoch);
}

struct shown_position *metrics_positions(const struct metrics_registry *registry,
                                         size_t *ret_count) {
    struct buffer all = {0};
    for (size_t i = 0; i < metrics_thread_count(registry); i++) {
        struct metrics *metrics = registry->threads[i];
        pthread_mutex_lock(&metrics->lock);
        buffer_add(&all, metrics->positions, metrics->position_count * sizeof *metrics->positions);
        pthread_mutex_unlock(&metrics->lock);
    }
    if (all.failed)
        buffer_free(&all);
    struct shown_position *positions = (struct shown_position *)(void *)all.data;
    size_t count = all.size / sizeof *positions, kept = 0;
    if (count > 0)
        qsort(positions, count, sizeof *positions, compare_positions);
    for (size_t i = 0; i < count; i++) {
        const struct shown_position *last = kept > 0 ? &positions[kept - 1] : NULL;
        if (!last || last->partition != positions[i].partition ||
            strcmp(last->topic, positions[i].topic) != 0)
            positions[kept++] = positions[i];
    }
    *ret_count = kept;
    return positions;
}

/* Where the counts of that lane and error are, or a new place for them; NULL when it is full. */
static struct recovery *recovery_of(struct recovery *all, size_t *count, size_t max, enum lane lane,
                                    const char *error_id) {
    for (size_t i = 0; i < *count; i++) {
        if (all[i].lane == lane && strcmp(all[i].error_id, error_id) == 0)
            return &all[i];
    }
    if (*count == max)
        return NULL;
    struct recovery *added = &all[(*count)++];
    *added = (struct recovery){.lane = lane};
    snprintf(added->error_id, sizeof added->error_id, "%s", error_id);
    return added;
}

size_t metrics_recoveries(const struct metrics_registry *registry, struct recovery *ret,
                          size_t max) {
    size_t count = 0;
    for (size_t i = 0; i < metrics_thread_count(registry); i++) {
        struct metrics *metrics = registry->threads[i];
        size_t causes = atomic_load_explicit(&metrics->cause_count, memory_order_acquire);
        for (size_t k = 0; k < causes; k++) {
            struct recovery *recovery =
                recovery_of(ret, &count, max, metrics->lane, metrics->causes[k].error_id);
            if (recovery)
                recovery->count +=
                    atomic_load_explicit(&metrics->causes[k].count, memory_order_relaxed);
        }
    }
    return count;
}

uint64_t metrics_sum(const struct metrics_registry *registry, enum lane lane, enum metric metric,
                     size_t cell, size_t number) {
    uint64_t sum = 0;
    for (size_t i = 0; i < metrics_thread_count(registry); i++) {
        if (registry->threads[i]->lane == lane)
            sum += atomic_load_explicit(&numbers_of(registry->threads[i], metric, cell)[number],
                                        memory_order_relaxed);
    }
    return sum;
}
