/* Judges what the threads show of themselves; asks neither broker nor database. */
#include "worker/health.h"

#include "common/stop.h"

#include <inttypes.h>
#include <stdio.h>

/* One line; what a server says may hold line ends. */
static void put_line(struct buffer *text, const char *who, const char *what, const char *why) {
    char line[1024];
    int size = snprintf(line, sizeof line - 1, "%s: %s%s%s", who, what, *why ? ": " : "", why);
    size_t end = (size_t)size < sizeof line - 1 ? (size_t)size : sizeof line - 2;
    for (size_t i = 0; i < end; i++) {
        if ((unsigned char)line[i] < ' ')
            line[i] = ' ';
    }
    line[end] = '\n';
    buffer_add(text, line, end + 1);
}

bool health_counts(const struct thread_view *view) {
    return view->broker || !step_infos[view->step].waits_for_broker;
}

bool health_alive(const struct metrics_registry *registry, int64_t now_ms, struct buffer *text) {
    bool alive = true;
    for (size_t i = 0; i < metrics_thread_count(registry); i++) {
        struct thread_view view = metrics_view(registry, i, now_ms);
        int64_t silent_ms = now_ms - view.moved_ms;
        if (silent_ms < HEALTH_HANGS_AFTER_MS || !health_counts(&view))
            continue;
        char why[64];
        snprintf(why, sizeof why, "at %s for %" PRId64 " s", step_infos[view.step].name,
                 silent_ms / 1000);
        put_line(text, view.name, "hangs", why);
        alive = false;
    }
    if (alive)
        buffer_add_text(text, "alive\n");
    return alive;
}

static void put_trouble(struct buffer *text, const char *who, const struct error *trouble) {
    put_line(text, who, trouble->id[0] ? trouble->id : "starting", trouble->message);
}

/* A rebalance is no trouble, so when no broker answers that is what the group waits for. */
static bool thread_ready(const struct thread_view *view, int64_t now_ms, struct buffer *text) {
    char why[64];
    bool silent = !view->broker && view->answered_ms > 0;
    bool in_group = view->ready || strcmp(view->trouble.id, "rebalance") == 0;
    if (in_group && silent) {
        snprintf(why, sizeof why, "no broker has answered for %" PRId64 " s",
                 (now_ms - view->answered_ms) / 1000);
        put_line(text, view->name, "kafka-silent", why);
    } else if (!view->ready) {
        put_trouble(text, view->name, &view->trouble);
    }
    return view->ready && !silent;
}

bool health_ready(struct metrics_registry *registry, int64_t now_ms, struct buffer *text) {
    size_t count = metrics_thread_count(registry);
    bool ready = count > 0;
    if (stop_requested()) {
        put_line(text, "siptrunk-worker", "stopping", "");
        return false;
    }
    if (count == 0) {
        struct error waited_for;
        metrics_waited_for(registry, &waited_for);
        put_trouble(text, "siptrunk-worker", &waited_for);
    }
    for (size_t i = 0; i < count; i++) {
        struct thread_view view = metrics_view(registry, i, now_ms);
        ready &= thread_ready(&view, now_ms, text);
    }
    if (ready)
        buffer_add_text(text, "ready\n");
    return ready;
}
