/* The steps of a thread. Judging how long one may take is left to worker/health.h. */
#include "worker/progress.h"

#include "common/stop.h"

static const char nothing[] = "nothing", database[] = "a database transaction",
                  kafka[] = "a Kafka transaction";

const struct step_info step_infos[STEP_COUNT] = {
    [STEP_TURN] = {"turn", nothing, false},        [STEP_INTAKE] = {"intake", nothing, true},
    [STEP_DECODE] = {"decode", nothing, false},    [STEP_LOAD] = {"load", database, false},
    [STEP_DECIDE] = {"decide", database, false},   [STEP_STORE] = {"store", database, false},
    [STEP_PUBLISH] = {"publish", kafka, true},     [STEP_OFFSETS] = {"offsets", kafka, true},
    [STEP_COMMIT] = {"commit", kafka, true},       [STEP_IDLE] = {"idle", nothing, false},
    [STEP_BACK_OFF] = {"back-off", nothing, true}, [STEP_DATABASE] = {"database", nothing, false},
    [STEP_SLOT] = {"slot", nothing, false},        [STEP_ABORT] = {"abort", kafka, true},
    [STEP_PRODUCER] = {"producer", nothing, true}, [STEP_TOPICS] = {"topics", nothing, true},
    [STEP_CONSUMER] = {"consumer", nothing, true}, [STEP_CLAIM] = {"claim", database, true},
    [STEP_LEAVE] = {"leave", nothing, true},
};

void progress_at(struct progress *progress, enum step step) {
    if (!progress)
        return;
    atomic_store_explicit(&progress->step, (int)step, memory_order_relaxed);
    atomic_store_explicit(&progress->moved_ms, monotonic_ms(), memory_order_relaxed);
}

void progress_holds(struct progress *progress, size_t records) {
    atomic_store_explicit(&progress->records, records, memory_order_relaxed);
}
