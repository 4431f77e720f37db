/* Asks for metadata until there is an answer, and listens to what the client complains of; makes
 * clients of the groups. */
#include "ctl/broker.h"

#include "common/stop.h"

#include <stdio.h>

enum { REACH_MS = 5000, FIRST_STEP_MS = 250, GROUP_BYTES = 512 };

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

static bool ask(rd_kafka_t *client, int timeout_ms) {
    const struct rd_kafka_metadata *metadata;
    if (rd_kafka_metadata(client, 0, NULL, &metadata, timeout_ms))
        return false;
    rd_kafka_metadata_destroy(metadata);
    return true;
}

/* In steps, so that a refusal is soon noticed; in longer ones for a broker that is slow. */
static bool ask_until_refused(rd_kafka_t *client, const struct complaint *complaint) {
    int64_t deadline = monotonic_ms() + REACH_MS;
    int step_ms = FIRST_STEP_MS;
    do {
        if (ask(client, step_ms))
            return true;
        rd_kafka_poll(client, 0);
        step_ms *= 2;
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

/* ---- groups ---- */

const struct broker_lane broker_lanes[BROKER_LANES] = {
    {"interactive", "", CONFIG_TOPICS_COMMANDS},
    {"bulk", "-bulk", CONFIG_TOPICS_BULK},
};

rd_kafka_t *broker_group_client(const struct config *config, const struct broker_lane *lane,
                                struct error *err) {
    char group[GROUP_BYTES];
    snprintf(group, sizeof group, "%s%s", config_text(config, CONFIG_KAFKA_GROUP_ID),
             lane->group_suffix);
    const struct kafka_property enforced[] = {
        {"group.id", group},
        {"enable.auto.commit", "false"},
        {"isolation.level", "read_committed"},
        {NULL, NULL},
    };
    rd_kafka_conf_t *conf = kafka_conf(config, NULL, enforced, err);
    return conf ? kafka_new(RD_KAFKA_CONSUMER, conf, err) : NULL;
}
