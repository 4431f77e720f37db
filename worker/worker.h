/* One worker thread: a consumer, a transactional producer, a database connection and an arena of
 * its own, and the loop that takes batches through the six stages. Nothing is shared with other
 * workers but what is immutable, and the registry of metrics. */
#ifndef SIPTRUNK_WORKER_WORKER_H
#define SIPTRUNK_WORKER_WORKER_H

#include "common/config.h"
#include "common/schema_set.h"

enum lane { LANE_INTERACTIVE, LANE_BULK, LANE_COUNT };

const char *lane_name(enum lane lane);

struct metrics_registry;

/* What all workers of a process share; immutable while they run, but for the metrics. */
struct shared {
    const struct config *config;
    const struct schema_set *schemas;
    const char *cluster_id;
    const char *instance_id;
    const char *process; /* drawn at random: which process of that id this is */
    struct slice result_schema_json;
    const struct avro_plan *result_plan;
    struct metrics_registry *metrics;
};

struct worker;

/* Allocates; connects to nothing. slot: 0, 1, ... within process and lane. */
struct worker *worker_new(const struct shared *shared, enum lane lane, int slot, struct error *err);
void worker_free(struct worker *worker);

/* Runs until a stop is asked for (true), or until going on would be wrong, such as a twin with the
 * same instance id (false, FAULT_STATE). Trouble of Kafka or PostgreSQL never ends it. */
bool worker_run(struct worker *worker, struct error *err);

#endif
