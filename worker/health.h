/* Whether a process is alive, and whether it is at work, with the reasons, as text for people. */
#ifndef SIPTRUNK_WORKER_HEALTH_H
#define SIPTRUNK_WORKER_HEALTH_H

#include "common/buffer.h"
#include "worker/metrics.h"

/* No wait of a thread that is at work or finds its way back is longer than a fifth of it (see
 * worker/progress.h), but one for a broker that is away: time counts when a broker answers, or is
 * not what the thread waits for. Only a thread that hangs takes longer, and a restart helps that
 * one alone. */
enum { HEALTH_HANGS_AFTER_MS = 120000 };

/* Whether the time in which such a thread does not get on counts. */
bool health_counts(const struct thread_view *view);

/* False when a thread hangs. Appends "alive", or a line for each thread that does. */
bool health_alive(const struct metrics_registry *registry, int64_t now_ms, struct buffer *text);

/* False when a thread does not own what the group gave it, or cannot reach a broker. Appends
 * "ready", or a line for each thread that is not: name, error id, message. */
bool health_ready(struct metrics_registry *registry, int64_t now_ms, struct buffer *text);

#endif
