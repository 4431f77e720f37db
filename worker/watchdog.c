/* Looks at what the threads tell of themselves, and leaves judging servers to them: one that waits
 * for a server gets on all the time. */
#include "worker/watchdog.h"

#include "common/failpoint.h"
#include "common/log.h"
#include "common/stop.h"
#include "worker/health.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOK_EVERY_MS = 50,
    LOOK_COUNTS_MS = 1000, /* at most: a longer pause was not ours */
};

/* Counts what this process could have run: it stands while the process is stopped or the machine
 * sleeps. */
struct awake_clock {
    int64_t seen_ms, awake_ms;
};

/* When a thread was last seen to get on. */
struct watched {
    int64_t moved_ms; /* its own word */
    int64_t since_ms; /* of the awake clock */
};

struct watchdog {
    const struct metrics_registry *registry;
    struct awake_clock clock;
    struct watched *threads;
    size_t thread_count; /* seen so far */
    int64_t hangs_after_ms;
    pthread_t thread;
    atomic_bool done;
};

static int64_t awake_ms(struct awake_clock *clock, int64_t now_ms) {
    int64_t passed = clock->seen_ms ? now_ms - clock->seen_ms : 0;
    clock->seen_ms = now_ms;
    clock->awake_ms += passed < LOOK_COUNTS_MS ? passed : LOOK_COUNTS_MS;
    return clock->awake_ms;
}

/* ---- threads that hang ---- */

static void leave_hanging(const struct thread_view *view, int64_t silent_ms) {
    const struct step_info *step = &step_infos[view->step];
    log_write(LOG_ERROR, "hangs",
              LOG_WITH(LOG_TEXT("worker", view->name), LOG_TEXT("step", step->name),
                       LOG_INT("silent_ms", silent_ms), LOG_TEXT("open", step->open),
                       LOG_INT("records", (int64_t)view->records)),
              "a thread has not got on for %" PRId64
              " s: the process leaves, and its next start does again what was not finished",
              silent_ms / 1000);
    _exit(fault_exit_code(FAULT_BUG));
}

static void look_at_threads(struct watchdog *watchdog) {
    int64_t now_ms = monotonic_ms();
    int64_t awake = awake_ms(&watchdog->clock, now_ms);
    size_t count = metrics_thread_count(watchdog->registry);
    for (size_t i = 0; i < count; i++) {
        struct thread_view view = metrics_view(watchdog->registry, i, now_ms);
        struct watched *watched = &watchdog->threads[i];
        if (i >= watchdog->thread_count || view.moved_ms != watched->moved_ms ||
            !health_counts(&view))
            *watched = (struct watched){.moved_ms = view.moved_ms, .since_ms = awake};
        else if (awake - watched->since_ms >= watchdog->hangs_after_ms)
            leave_hanging(&view, awake - watched->since_ms);
    }
    watchdog->thread_count = count;
}

/* ---- the thread ---- */

static void *watchdog_main(void *argument) {
    struct watchdog *watchdog = argument;
    while (!stop_overdue(WATCHDOG_STOP_LIMIT_MS)) {
        struct timespec pause = {.tv_nsec = LOOK_EVERY_MS * 1000000L};
        nanosleep(&pause, NULL);
        if (atomic_load(&watchdog->done))
            return NULL;
        if (!stop_requested())
            look_at_threads(watchdog);
    }
    log_write(LOG_WARN, "stop-forced", LOG_PLAIN,
              "not all threads have left in time; what they had not finished is done again at the "
              "next start");
    _exit(stop_exit_code());
}

static struct watchdog *watchdog_new(const struct metrics_registry *registry) {
    struct watchdog *watchdog = calloc(1, sizeof *watchdog);
    if (!watchdog)
        return NULL;
    watchdog->registry = registry;
    watchdog->hangs_after_ms = failpoint_number("HANGS_AFTER_MS", HEALTH_HANGS_AFTER_MS);
    watchdog->threads = calloc(metrics_max_threads(registry), sizeof *watchdog->threads);
    if (watchdog->threads)
        return watchdog;
    free(watchdog);
    return NULL;
}

static void watchdog_free(struct watchdog *watchdog) {
    free(watchdog->threads);
    free(watchdog);
}

struct watchdog *watchdog_start(const struct metrics_registry *registry, struct error *err) {
    struct watchdog *watchdog = watchdog_new(registry);
    if (watchdog && !pthread_create(&watchdog->thread, NULL, watchdog_main, watchdog))
        return watchdog;
    if (watchdog)
        watchdog_free(watchdog);
    error_set(err, FAULT_RETRY, "thread", "cannot start a thread");
    return NULL;
}

void watchdog_stop(struct watchdog *watchdog) {
    if (!watchdog)
        return;
    atomic_store(&watchdog->done, true);
    pthread_join(watchdog->thread, NULL);
    watchdog_free(watchdog);
}
