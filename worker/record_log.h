/* Log lines about single records: dead letters, tombstones, reply topics that were asked for in
 * vain. Bounded, since anybody who may write commands can cause them. Names where the record stood
 * and its command id, never what was in it. */
#ifndef SIPTRUNK_WORKER_RECORD_LOG_H
#define SIPTRUNK_WORKER_RECORD_LOG_H

#include "common/log_limit.h"
#include "worker/batch.h"

enum { RECORD_LOG_EVENTS = 3 };

/* Of one thread. Starts as {0}. */
struct record_log {
    struct log_limit limits[RECORD_LOG_EVENTS];
};

/* Of the batch's part, whose reply was committed. worker: the thread's name. */
void record_log_batch(struct record_log *log, const char *worker, const struct batch *batch);

/* With nothing to do: tells how many lines were left out, if any were. */
void record_log_idle(struct record_log *log, const char *worker);

#endif
