/* librdkafka's transactions, with bounded waits and the taint rule. */
#include "worker/producer.h"

#include "common/failpoint.h"
#include "common/log.h"
#include "common/stop.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CALL_TIMEOUT_MS = 1000,   /* one call; a retriable error calls again with the same arguments */
    WHOLE_TIMEOUT_MS = 30000, /* all calls of one step */
    STOP_GRACE_MS = 2000,     /* how long a step goes on after a stop was asked for */
    QUEUE_FULL_WAIT_MS = 50,
    CLIENTS = 2,
};

struct client {
    rd_kafka_t *handle;
    atomic_bool unanswered; /* a request of a transaction may still be on its way to the broker */
};

/* Two clients take turns. The broker answers a commit before it has written the transaction's
 * markers, and refuses the next one of the same transactional id until then: librdkafka would wait
 * for 20 ms, the last of which it spins. */
struct producer {
    struct client clients[CLIENTS];
    struct client *turn;
    struct progress *progress; /* the thread's, or NULL */
    bool open;
    bool tainted;
};

/* ---- requests without an answer; runs on librdkafka's threads ---- */

/* By which a transaction's content or end changes. */
static bool belongs_to_transaction(int16_t api_key) {
    static const int16_t keys[] = {
        0,  /* Produce */
        24, /* AddPartitionsToTxn */
        25, /* AddOffsetsToTxn */
        26, /* EndTxn */
        28, /* TxnOffsetCommit */
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (keys[i] == api_key)
            return true;
    }
    return false;
}

/* Also called for a request that failed without a response: then err says why. */
static rd_kafka_resp_err_t on_response(rd_kafka_t *handle, int socket, const char *broker,
                                       int32_t broker_id, int16_t api_key, int16_t version,
                                       int32_t correlation, size_t size, int64_t round_trip_us,
                                       rd_kafka_resp_err_t err, void *opaque) {
    (void)handle, (void)socket, (void)broker, (void)broker_id, (void)version, (void)correlation;
    (void)size, (void)round_trip_us;
    struct client *client = opaque;
    if (err && belongs_to_transaction(api_key))
        atomic_store(&client->unanswered, true);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *handle, const rd_kafka_conf_t *conf, void *opaque,
                                  char *reason, size_t reason_size) {
    (void)conf, (void)reason, (void)reason_size;
    return rd_kafka_interceptor_add_on_response_received(handle, "unanswered", on_response, opaque);
}

/* Without a delivery callback librdkafka looks whether a flush is done only every 10 ms. */
static void on_delivery(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque) {
    (void)handle, (void)message, (void)opaque;
}

static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque) {
    (void)opaque;
    log_write(LOG_WARN, "kafka-producer",
              LOG_WITH(LOG_TEXT("client", rd_kafka_name(handle)),
                       LOG_TEXT("code", rd_kafka_err2name((rd_kafka_resp_err_t)code))),
              "%s", reason);
}

/* ---- calls with bounded waits ---- */

/* One attempt of a step; NULL on success. */
typedef rd_kafka_error_t *attempt_fn(struct producer *producer, const void *a, const void *b);

static rd_kafka_error_t *attempt_init(struct producer *producer, const void *a, const void *b) {
    (void)a, (void)b;
    return rd_kafka_init_transactions(producer->turn->handle, CALL_TIMEOUT_MS);
}

static rd_kafka_error_t *attempt_offsets(struct producer *producer, const void *offsets,
                                         const void *group) {
    return rd_kafka_send_offsets_to_transaction(producer->turn->handle, offsets, group,
                                                CALL_TIMEOUT_MS);
}

static rd_kafka_error_t *attempt_commit(struct producer *producer, const void *a, const void *b) {
    (void)a, (void)b;
    return rd_kafka_commit_transaction(producer->turn->handle, CALL_TIMEOUT_MS);
}

static rd_kafka_error_t *attempt_abort(struct producer *producer, const void *a, const void *b) {
    (void)a, (void)b;
    return rd_kafka_abort_transaction(producer->turn->handle, CALL_TIMEOUT_MS);
}

static const struct call {
    attempt_fn *attempt;
    const char *what;
    enum step step;
} call_init = {attempt_init, "starting transactions", STEP_PRODUCER},
  call_offsets = {attempt_offsets, "sending offsets", STEP_OFFSETS},
  call_commit = {attempt_commit, "committing a transaction", STEP_COMMIT},
  call_abort = {attempt_abort, "aborting a transaction", STEP_ABORT};

/* The broker forgot the producer. librdkafka asks for a new id when a partition could not be added,
 * not when the offsets were refused first: aborting then sends nothing, and the old id stays. */
static bool forgotten(const rd_kafka_error_t *error) {
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    return code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID;
}

/* Repeats a call while it is retriable; an error that no abort mends taints. */
static bool run_call(struct producer *producer, const struct call *call, const void *a,
                     const void *b, struct error *err) {
    int64_t deadline = monotonic_ms() + WHOLE_TIMEOUT_MS;
    for (;;) {
        progress_at(producer->progress, call->step);
        rd_kafka_error_t *error = call->attempt(producer, a, b);
        if (!error)
            return true;
        bool again = rd_kafka_error_is_retriable(error);
        if (rd_kafka_error_is_fatal(error) || forgotten(error) ||
            (!again && !rd_kafka_error_txn_requires_abort(error)))
            producer->tainted = true;
        kafka_error(error, call->what, err);
        if (!again)
            return false;
        if (stop_overdue(STOP_GRACE_MS))
            return error_set(err, FAULT_STOP, "stopped", "%s: gave up, told to stop", call->what);
        if (monotonic_ms() >= deadline)
            return false;
    }
}

/* ---- life ---- */

static rd_kafka_conf_t *producer_conf(const struct config *config, struct client *client,
                                      const char *transactional_id, struct error *err) {
    static const struct kafka_property defaults[] = {
        {"linger.ms", "0"},
        {"retry.backoff.ms", "5"},
        {"transaction.timeout.ms", "10000"},
        {"message.timeout.ms", "10000"},
        {"queue.buffering.max.kbytes", "65536"},
        {NULL, NULL},
    };
    const struct kafka_property enforced[] = {
        {"transactional.id", transactional_id},
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"partitioner", "murmur2_random"},
        /* The topic's own limit decides, and reply looks at it; a batch stays below every limit
         * that is accepted at the start (PRODUCER_LEAST_LIMIT). */
        {"message.max.bytes", "67108864"},
        {"batch.size", "1000000"},
        {NULL, NULL},
    };
    rd_kafka_conf_t *conf = kafka_conf(config, defaults, enforced, err);
    if (conf) {
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
        rd_kafka_conf_set_error_cb(conf, on_error);
        rd_kafka_conf_interceptor_add_on_new(conf, "unanswered", on_new, client);
    }
    return conf;
}

static bool start_client(struct producer *producer, const struct config *config,
                         const char *transactional_id, struct error *err) {
    struct client *client = producer->turn;
    rd_kafka_conf_t *conf = producer_conf(config, client, transactional_id, err);
    client->handle = conf ? kafka_new(RD_KAFKA_PRODUCER, conf, err) : NULL;
    return client->handle && run_call(producer, &call_init, NULL, NULL, err);
}

static void next_turn(struct producer *producer) {
    size_t turn = (size_t)(producer->turn - producer->clients);
    producer->turn = &producer->clients[(turn + 1) % CLIENTS];
}

struct producer *producer_new(const struct config *config, const char *transactional_id,
                              struct progress *progress, struct error *err) {
    struct producer *producer = calloc(1, sizeof *producer);
    char second_id[512];
    snprintf(second_id, sizeof second_id, "%s-b", transactional_id);
    if (!producer) {
        error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a producer");
        return NULL;
    }
    producer->progress = progress;
    producer->turn = &producer->clients[1];
    bool ok = start_client(producer, config, second_id, err);
    producer->turn = &producer->clients[0];
    if (ok && start_client(producer, config, transactional_id, err)) {
        FAILPOINT("producer-started");
        return producer;
    }
    producer_free(producer);
    return NULL;
}

bool producer_check(const struct config *config, struct error *err) {
    struct client nobody = {0};
    rd_kafka_conf_t *conf = producer_conf(config, &nobody, "check", err);
    return conf && kafka_check(RD_KAFKA_PRODUCER, conf, err);
}

void producer_free(struct producer *producer) {
    if (!producer)
        return;
    for (size_t i = 0; i < CLIENTS; i++) {
        if (!producer->clients[i].handle)
            continue;
        rd_kafka_purge(producer->clients[i].handle,
                       RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(producer->clients[i].handle);
    }
    free(producer);
}

bool producer_tainted(const struct producer *producer) {
    return producer->tainted;
}

rd_kafka_t *producer_handle(const struct producer *producer) {
    return producer->turn->handle;
}

/* ---- a transaction ---- */

bool producer_begin(struct producer *producer, struct error *err) {
    char reason[200];
    progress_at(producer->progress, STEP_PUBLISH);
    rd_kafka_t *handle = producer->turn->handle;
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(handle, reason, sizeof reason);
    rd_kafka_error_t *error = fatal ? NULL : rd_kafka_begin_transaction(handle);
    if (fatal || error) {
        producer->tainted = true;
        return fatal ? kafka_code_error(fatal, "beginning a transaction", err)
                     : kafka_error(error, "beginning a transaction", err);
    }
    producer->open = true;
    return true;
}

bool producer_send(struct producer *producer, const char *topic, int32_t partition,
                   struct slice key, struct slice value, rd_kafka_headers_t *headers,
                   struct error *err) {
    for (;;) {
        rd_kafka_vu_t arguments[] = {
            {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
            {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
            {.vtype = RD_KAFKA_VTYPE_KEY,
             .u.mem = {.ptr = (void *)(uintptr_t)key.data, .size = key.size}},
            {.vtype = RD_KAFKA_VTYPE_VALUE,
             .u.mem = {.ptr = (void *)(uintptr_t)value.data, .size = value.size}},
            {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        };
        rd_kafka_error_t *error = rd_kafka_produceva(producer->turn->handle, arguments,
                                                     sizeof arguments / sizeof arguments[0]);
        if (!error)
            return true;
        bool full = rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__QUEUE_FULL;
        kafka_error(error, "publishing", err);
        if (!full || stop_overdue(STOP_GRACE_MS)) {
            rd_kafka_headers_destroy(headers);
            return false;
        }
        progress_at(producer->progress, STEP_PUBLISH);
        rd_kafka_poll(producer->turn->handle, QUEUE_FULL_WAIT_MS);
    }
}

/* What got no answer was sent again, or given up, and may yet arrive: in the next transaction of
 * this producer, which it would end, or whose offsets it would replace. The broker refuses it only
 * when the producer has a new epoch. */
static void look_for_late_requests(struct producer *producer) {
    for (size_t i = 0; i < CLIENTS; i++) {
        if (atomic_load(&producer->clients[i].unanswered) && !planted_bug(BUG_TAINTED_PRODUCER))
            producer->tainted = true;
    }
}

bool producer_commit(struct producer *producer, const rd_kafka_topic_partition_list_t *offsets,
                     const rd_kafka_consumer_group_metadata_t *group, struct error *err) {
    if (planted_bug(BUG_RESULTS_APART) &&
        !(run_call(producer, &call_commit, NULL, NULL, err) && producer_begin(producer, err)))
        return false;
    if (!run_call(producer, &call_offsets, offsets, group, err))
        return false;
    FAILPOINT("offsets-sent");
    bool committed = run_call(producer, &call_commit, NULL, NULL, err);
    look_for_late_requests(producer);
    producer->open = !committed;
    if (committed)
        next_turn(producer);
    return committed;
}

bool producer_abort(struct producer *producer) {
    struct error err;
    if (producer->tainted)
        return false;
    if (!producer->open)
        return true;
    if (!run_call(producer, &call_abort, NULL, NULL, &err))
        producer->tainted = true;
    look_for_late_requests(producer);
    producer->open = false;
    return !producer->tainted;
}
