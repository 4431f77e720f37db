/* What the files of a worker thread share: the loop (worker.c), a round of it (round.c), and the
 * way back from trouble (recovery.c). */
#ifndef SIPTRUNK_WORKER_WORKER_INTERNAL_H
#define SIPTRUNK_WORKER_WORKER_INTERNAL_H

#include "common/vault.h"
#include "worker/batch.h"
#include "worker/claim.h"
#include "worker/consumer.h"
#include "worker/metrics.h"
#include "worker/producer.h"
#include "worker/record_log.h"
#include "worker/reply.h"
#include "worker/result.h"
#include "worker/worker.h"

enum { FENCES_LIMIT = 3 };

struct lane_keys {
    const char *name;
    enum config_key topics, batch_max;
    size_t parts;   /* of a batch at most */
    int64_t aim_us; /* how long a part may hold its locks */
};

struct worker {
    const struct shared *shared;
    const struct lane_keys *lane;
    char name[256]; /* of the slot: transactional id, static member id, session lock */
    char group[200];
    char source[128]; /* ce_source */

    struct digests *digests;
    struct result_encoder *encoder;
    struct vault *vault;
    struct batch batch;
    struct outputs outputs;
    struct installation installation;
    struct metrics *metrics; /* the registry's, as is progress */
    struct progress *progress;
    struct record_log record_log;

    struct producer *producer;
    struct consumer *consumer;
    struct pg *pg;
    bool compared;    /* all positions of the database that pg reaches, with those of Kafka */
    int last_backend; /* of a connection that was lost; 0: none */

    struct source attempted; /* the record that was begun alone and may not be done with */
    char attempted_topic[256];

    bool
        has_worked; /* has had partitions: what a server refuses later is not the settings' fault */
    bool ready;     /* positions are claimed and the consumer reads */
    int64_t ready_since_ms;
    bool answered;                /* a batch, since then */
    bool noted;                   /* the database knows K as it is */
    int64_t backoff_ms;           /* before the next attempt; 0: at once */
    int64_t fences[FENCES_LIMIT]; /* when the last ones came */
    struct error last;            /* the last trouble that was logged */
    int64_t reported_at_ms;
    int64_t looked_ms;     /* when the database was last used */
    int64_t holds_seen_ms; /* when it was last asked which partitions are held */
};

/* ---- round.c ---- */

/* One batch through the six stages, or a look around when nothing came. Anything but a full round
 * is an error, and an error leads to recovery. */
bool round_run(struct worker *worker, struct error *err) MUST_CHECK;

/* Before leaving: tells the database what the next start would otherwise have to find out. */
void round_leave(struct worker *worker);

/* ---- recovery.c ---- */

/* The one way back from any trouble, and the way to begin: whatever state things are in, afterwards
 * this worker owns its partitions in both stores and reads from what Kafka has committed. */
bool recovery_run(struct worker *worker, struct error *err) MUST_CHECK;

#endif
