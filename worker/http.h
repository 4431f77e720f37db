/* The HTTP server of a worker: /livez, /readyz and /metrics, read only. A thread of its own, which
 * nothing waits for and which waits for nobody: connections are few, bounded in memory, closed
 * after each answer, and given up when they are silent. */
#ifndef SIPTRUNK_WORKER_HTTP_H
#define SIPTRUNK_WORKER_HTTP_H

#include "common/config.h"
#include "worker/metrics.h"

struct http;

/* Listens at http.listen. *ret is NULL when that is empty, and when another program has the default
 * address: two workers of one host are served without being configured, the second one without
 * metrics, which it logs. An address that was asked for and cannot be had is FAULT_CONFIG. */
bool http_start(const struct config *config, struct metrics_registry *registry, struct http **ret,
                struct error *err) MUST_CHECK;

/* Closes all connections, whatever they are at. Accepts NULL. */
void http_stop(struct http *http);

#endif
