/* What a thread is at and when it last got on, told by the thread, and read by whoever asks whether
 * it hangs. */
#ifndef SIPTRUNK_WORKER_PROGRESS_H
#define SIPTRUNK_WORKER_PROGRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each is told anew before each wait of its own, so that the longest time in one is that of its
 * longest single wait: 15 s for an answer of the database, 15 s for committed offsets, and for a
 * call of a transaction 1 s, which librdkafka may make 20 s; or much more while no broker answers,
 * for then it may wait for the group's coordinator as long as there is none. */
enum step {
    STEP_TURN,
    STEP_INTAKE,
    STEP_DECODE,
    STEP_LOAD,
    STEP_DECIDE,
    STEP_STORE,
    STEP_PUBLISH,
    STEP_OFFSETS,
    STEP_COMMIT,
    STEP_IDLE,
    STEP_BACK_OFF,
    STEP_DATABASE,
    STEP_SLOT,
    STEP_ABORT,
    STEP_PRODUCER,
    STEP_TOPICS,
    STEP_CONSUMER,
    STEP_CLAIM,
    STEP_LEAVE,
    STEP_COUNT
};

struct step_info {
    const char *name; /* stable, part of the log */
    const char *open; /* what a thread that hangs there leaves open, for people */
    bool waits_for_broker;
};

extern const struct step_info step_infos[STEP_COUNT];

struct progress {
    _Atomic int64_t moved_ms; /* of the monotonic clock */
    _Atomic int step;
    _Atomic size_t records; /* in hand */
};

/* By the thread alone. Accepts NULL. */
void progress_at(struct progress *progress, enum step step);
void progress_holds(struct progress *progress, size_t records);

#endif
