/* Asks for metadata until there is an answer, and listens to what the client complains of. */
#include "ctl/broker.h"

#include "common/kafka.h"
#include "common/stop.h"

#include <stdio.h>

enum { REACH_MS = 5000, STEP_MS = 250 };

/* The complaint that says most. */
struct complaint {
    rd_kafka_resp_err_t code; /* 0: none */
    char text[300];
};

/* That all brokers are down comes behind the reason why each of them is. */
static void on_error(rd_kafka_t *client, int code, const char *text, void *opaque) {
    struct complaint *complaint = opaque;
    (void)client;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        return;
    complaint->code = (rd_kafka_resp_err_t)code;
    snprintf(complaint->text, sizeof complaint->text, "%s", text);
}

static rd_kafka_t *new_client(const struct config *config, struct complaint *complaint,
                              struct error *err) {
    /* What it would log is in the error that we make. */
    static const struct kafka_property defaults[] = {{"log_level", "0"}, {NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf(config, defaults, NULL, err);
    if (!conf)
        return NULL;
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_opaque(conf, complaint);
    return kafka_new(RD_KAFKA_PRODUCER, conf, err);
}

static bool ask(rd_kafka_t *client) {
    const struct rd_kafka_metadata *metadata;
    if (rd_kafka_metadata(client, 0, NULL, &metadata, STEP_MS))
        return false;
    rd_kafka_metadata_destroy(metadata);
    return true;
}

static bool ask_until_refused(rd_kafka_t *client, const struct complaint *complaint) {
    int64_t deadline = monotonic_ms() + REACH_MS;
    do {
        if (ask(client))
            return true;
        rd_kafka_poll(client, 0);
    } while (complaint->code != RD_KAFKA_RESP_ERR__AUTHENTICATION && monotonic_ms() < deadline);
    return false;
}

bool broker_reach(const struct config *config, struct error *err) {
    struct complaint complaint = {.text = "there is no answer"};
    rd_kafka_t *client = new_client(config, &complaint, err);
    if (!client)
        return false;
    bool reached = ask_until_refused(client, &complaint);
    rd_kafka_destroy(client);
    if (reached)
        return true;
    bool refused = complaint.code == RD_KAFKA_RESP_ERR__AUTHENTICATION;
    return error_set(err, refused ? FAULT_AUTH : FAULT_RETRY, "kafka-reach",
                     "cannot reach a broker at %s: %s",
                     config_text(config, CONFIG_KAFKA_BOOTSTRAP_SERVERS), complaint.text);
}
