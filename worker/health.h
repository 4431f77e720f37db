/* Whether a process is alive, and whether it is at work, with the reasons, as text for people. */
#ifndef SIPTRUNK_WORKER_HEALTH_H
#define SIPTRUNK_WORKER_HEALTH_H

#include "common/buffer.h"
#include "worker/metrics.h"

/* A turn of the loop may wait for a broker that is frozen (30 s to end a transaction, 30 s to begin
 * with a new producer), for the database (10 s a statement) and for a twin (10 s). Only a thread
 * that hangs takes longer, and a restart helps that one alone. */
enum { HEALTH_HANGS_AFTER_MS = 120000 };

/* False when a thread hangs. Appends "alive", or a line for each thread that does. */
bool health_alive(const struct metrics_registry *registry, int64_t now_ms, struct buffer *text);

/* False when a thread does not own what the group gave it, or cannot reach a broker. Appends
 * "ready", or a line for each thread that is not: name, error id, message. */
bool health_ready(struct metrics_registry *registry, int64_t now_ms, struct buffer *text);

#endif
