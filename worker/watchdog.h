/* The thread that ends a process which cannot be helped: one whose threads do not leave although
 * told to, or hang in a library. Every state is safe to end in: the next start does again what was
 * not finished. */
#ifndef SIPTRUNK_WORKER_WATCHDOG_H
#define SIPTRUNK_WORKER_WATCHDOG_H

#include "worker/metrics.h"

/* How long threads have to leave after a stop was asked for. */
enum { WATCHDOG_STOP_LIMIT_MS = 4500 };

struct watchdog;

/* Before anything is waited for. Until there are threads only the stop is watched. The registry
 * must outlive it. */
struct watchdog *watchdog_start(const struct metrics_registry *registry, struct error *err);
/* Accepts NULL. When the threads have left. */
void watchdog_stop(struct watchdog *watchdog);

#endif
