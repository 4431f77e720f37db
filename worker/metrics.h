/* What a process counts and how its threads are, for whoever scrapes it. Each thread has an object
 * of its own and writes it alone, without locks, allocations or lines of the cache that others
 * write; the scraper reads all of them at any time and sums. What is shown in which form is in
 * worker/metrics_text.h and worker/health.h. */
#ifndef SIPTRUNK_WORKER_METRICS_H
#define SIPTRUNK_WORKER_METRICS_H

#include "worker/batch.h"
#include "worker/progress.h"
#include "worker/worker.h"

#include <pthread.h>
#include <stdatomic.h>

enum metric {
#define RECORDED(symbol, kind, name, dimension, help) METRIC_##symbol,
#define COMPUTED(function, type, name, help)
#include "worker/metrics.def"
#undef RECORDED
#undef COMPUTED
    METRIC_COUNT
};

enum stage { STAGE_DECODE, STAGE_LOAD, STAGE_DECIDE, STAGE_STORE, STAGE_REPLY, STAGE_COUNT };

/* ---- of the process ---- */

struct metrics_registry;

struct metrics_registry *metrics_registry_new(size_t max_threads, struct error *err);
/* Accepts NULL. No thread may use its object any more. */
void metrics_registry_free(struct metrics_registry *registry);

size_t metrics_max_threads(const struct metrics_registry *registry);

/* What the start waits for; shown while there is no thread yet. */
void metrics_waiting(struct metrics_registry *registry, const struct error *err);

/* ---- of one thread; called by that thread alone, but where said otherwise ---- */

struct metrics;

/* One more thread, of that name. Owned by the registry, which it must not outlive. NULL without
 * memory or beyond max_threads. */
struct metrics *metrics_thread(struct metrics_registry *registry, enum lane lane, const char *name,
                               struct error *err);

/* cell: 0 for metrics without a dimension, else its value there. */
void metrics_add(struct metrics *metrics, enum metric metric, size_t cell, uint64_t count);

/* A value of a histogram: microseconds of SECONDS, a number of SIZE. */
void metrics_observe(struct metrics *metrics, enum metric metric, size_t cell, uint64_t value);

/* Where that thread tells what it is at; the registry's. */
struct progress *metrics_progress(struct metrics *metrics);

/* The clocks of the stages, of time and of processor time: begin, then take what passed since the
 * end of the stage before. */
void metrics_stages_begin(struct metrics *metrics);
void metrics_stage_done(struct metrics *metrics, enum stage stage);

/* Counts the records of the batch's part, whose reply was committed. */
void metrics_answered(struct metrics *metrics, const struct batch *batch);

/* The recovery path was entered because of err, which is shown until the thread is ready again. */
void metrics_trouble(struct metrics *metrics, const struct error *err);

/* At each turn of the loop. ready: the thread owns what the group gave it; database: it has its
 * session. */
void metrics_turn(struct metrics *metrics, bool ready, bool database);

/* Whether positions are to be shown again: twice a second. */
bool metrics_positions_due(const struct metrics *metrics);

/* Replaces the positions that are shown; those that are not claimed (epoch 0) are left out. */
void metrics_show_positions(struct metrics *metrics, const struct position *positions,
                            size_t count);

/* From any thread, such as librdkafka's: a broker has answered; none can be reached. */
void metrics_broker_answered(struct metrics *metrics);
void metrics_brokers_down(struct metrics *metrics);

/* ---- for the scraper ---- */

struct thread_view {
    const char *name;
    enum lane lane;
    bool ready, database;
    int64_t moved_ms; /* when it last got on, and with what */
    enum step step;
    size_t records;       /* in its hands */
    int64_t answered_ms;  /* when a broker last answered; 0: never */
    bool broker;          /* not too long ago, nor have all of them gone since */
    struct error trouble; /* the last one; id "" when there was none */
};

size_t metrics_thread_count(const struct metrics_registry *registry);
struct thread_view metrics_view(const struct metrics_registry *registry, size_t thread,
                                int64_t now_ms);
void metrics_waited_for(struct metrics_registry *registry, struct error *ret);

struct shown_position {
    enum lane lane;
    char topic[256];
    int32_t partition;
    int64_t epoch;                         /* of the claim, above 0 */
    int64_t committed_offset, next_offset; /* see struct position */
    int64_t lag;                           /* -1: not known */
    bool held;                             /* by an operator */
};

/* Those of all threads, by topic and partition, each once: a thread may still show a partition that
 * another one has claimed since, whose epoch is greater. A copy, to be freed; NULL (and count 0)
 * when there is none. */
struct shown_position *metrics_positions(const struct metrics_registry *registry,
                                         size_t *ret_count);

/* How often threads of a lane began anew because of one error. */
struct recovery {
    enum lane lane;
    char error_id[sizeof(((struct error *)NULL)->id)];
    uint64_t count;
};

/* At most max of them, each lane and error once; returns how many. */
size_t metrics_recoveries(const struct metrics_registry *registry, struct recovery *ret,
                          size_t max);

/* ---- the table ---- */

enum metric_kind { METRIC_COUNTER, METRIC_SECONDS, METRIC_SIZE };

enum metric_dimension {
    BY_NOTHING,
    BY_TYPE_AND_OUTCOME, /* type * METRIC_OUTCOMES + outcome */
    BY_REASON,           /* enum reason; REASON_NONE is none */
    BY_REPLY_PROBLEM,    /* enum reply_problem; REPLY_SENT is none */
    BY_STAGE
};

/* Those of the results, and "replayed" behind them. */
enum { METRIC_OUTCOME_REPLAYED = OUTCOME_WOULD_APPLY + 1, METRIC_OUTCOMES };

struct metric_info {
    const char *name, *help;
    enum metric_kind kind;
    enum metric_dimension dimension;
};

extern const struct metric_info metric_infos[METRIC_COUNT];

/* Upper bounds of a histogram's buckets, in what metrics_observe takes. */
const uint64_t *metric_bounds(enum metric_kind kind, size_t *ret_count);

size_t metric_cells(enum metric metric);

/* One number of a cell, summed over the threads of a lane: of a COUNTER the only one; of a
 * histogram 0..bounds are its buckets, the last one without a bound, and behind them the sum. */
uint64_t metrics_sum(const struct metrics_registry *registry, enum lane lane, enum metric metric,
                     size_t cell, size_t number);

#endif
