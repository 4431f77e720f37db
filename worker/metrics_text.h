/* The metrics of a process in Prometheus' text format, version 0.0.4. */
#ifndef SIPTRUNK_WORKER_METRICS_TEXT_H
#define SIPTRUNK_WORKER_METRICS_TEXT_H

#include "common/buffer.h"
#include "worker/metrics.h"

/* The media type that Prometheus insists on. */
#define METRICS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends the whole text. now_ms: of monotonic_ms(). A failed allocation is the buffer's. */
void metrics_text(const struct metrics_registry *registry, int64_t now_ms, struct buffer *text);

#endif
