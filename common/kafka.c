/* Handles, errors and look-ups of librdkafka. */
#include "common/kafka.h"

#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* syslog severities of librdkafka: 0-3 error, 4 warning, 5-6 info, 7 debug. */
static void on_log(const rd_kafka_t *handle, int severity, const char *facility, const char *text) {
    enum log_level level = severity <= 3   ? LOG_ERROR
                           : severity == 4 ? LOG_WARN
                           : severity <= 6 ? LOG_INFO
                                           : LOG_DEBUG;
    /* Properties of the other kind of client are expected: the operator's keys go to both. */
    if (strcmp(facility, "CONFWARN") == 0)
        level = LOG_DEBUG;
    log_write(level, "librdkafka",
              LOG_WITH(LOG_TEXT("client", handle ? rd_kafka_name(handle) : ""),
                       LOG_TEXT("facility", facility)),
              "%s", text);
}

static bool set_property(rd_kafka_conf_t *conf, const char *name, const char *value,
                         struct error *err) {
    char reason[256];
    if (rd_kafka_conf_set(conf, name, value, reason, sizeof reason) == RD_KAFKA_CONF_OK)
        return true;
    return error_set(err, FAULT_CONFIG, "kafka-property", "kafka.%s: %s", name, reason);
}

static bool set_table(rd_kafka_conf_t *conf, const struct kafka_property *table,
                      struct error *err) {
    for (; table && table->name; table++) {
        if (!set_property(conf, table->name, table->value, err))
            return false;
    }
    return true;
}

static bool set_operators(rd_kafka_conf_t *conf, const struct config *config, struct error *err) {
    const char *name, *value;
    for (size_t i = 0; config_kafka_property(config, i, &name, &value); i++) {
        if (!set_property(conf, name, value, err))
            return false;
    }
    return true;
}

rd_kafka_conf_t *kafka_conf(const struct config *config, const struct kafka_property *defaults,
                            const struct kafka_property *enforced, struct error *err) {
    static const struct kafka_property common[] = {
        {"client.id", "siptrunk"},           {"reconnect.backoff.ms", "50"},
        {"reconnect.backoff.max.ms", "500"}, {"socket.nagle.disable", "true"},
        {"socket.keepalive.enable", "true"}, {NULL, NULL},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, on_log);
    if (set_table(conf, common, err) && set_table(conf, defaults, err) &&
        set_operators(conf, config, err) &&
        set_property(conf, "bootstrap.servers", config_text(config, CONFIG_KAFKA_BOOTSTRAP_SERVERS),
                     err) &&
        set_table(conf, enforced, err))
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static bool number_of(const rd_kafka_conf_t *conf, const char *name, int64_t *ret) {
    char text[32];
    size_t size = sizeof text;
    if (rd_kafka_conf_get(conf, name, text, &size) != RD_KAFKA_CONF_OK)
        return false;
    *ret = strtoll(text, NULL, 10);
    return true;
}

bool kafka_check_less(const rd_kafka_conf_t *conf, const char *lesser, const char *greater,
                      struct error *err) {
    int64_t less, more;
    if (!number_of(conf, lesser, &less) || !number_of(conf, greater, &more) || less < more)
        return true;
    return error_set(err, FAULT_CONFIG, "kafka-property",
                     "kafka.%s is %" PRId64 " and must be less than kafka.%s, which is %" PRId64,
                     lesser, less, greater, more);
}

rd_kafka_t *kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct error *err) {
    char reason[512];
    rd_kafka_t *handle = rd_kafka_new(type, conf, reason, sizeof reason);
    if (!handle) {
        /* Other codes: a thread could not be had, or the like. */
        bool invalid = rd_kafka_last_error() == RD_KAFKA_RESP_ERR__INVALID_ARG;
        rd_kafka_conf_destroy(conf);
        error_set(err, invalid ? FAULT_CONFIG : FAULT_RETRY, "kafka-client",
                  invalid ? "the kafka.* keys, with our defaults, do not fit together: %s"
                          : "cannot create a Kafka client: %s",
                  reason);
    }
    return handle;
}

bool kafka_check(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct error *err) {
    char reason[128];
    rd_kafka_conf_set(conf, "bootstrap.servers", NULL, reason, sizeof reason); /* calls nobody */
    rd_kafka_t *handle = kafka_new(type, conf, err);
    if (handle)
        rd_kafka_destroy(handle);
    return handle != NULL;
}

/* ---- errors ---- */

static enum fault fault_of_code(rd_kafka_resp_err_t code) {
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
        return FAULT_FENCED;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return FAULT_AUTH;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        return FAULT_STATE;
    case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
        return FAULT_CONFIG;
    default:
        return FAULT_RETRY;
    }
}

/* For what the broker's own limits refuse: the key to change. */
static const char *advice_for(rd_kafka_resp_err_t code) {
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT:
        return ": kafka.session.timeout.ms must lie between the broker's "
               "group.min.session.timeout.ms and group.max.session.timeout.ms";
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
        return ": kafka.transaction.timeout.ms must be at most the broker's "
               "transaction.max.timeout.ms";
    default:
        return "";
    }
}

bool kafka_code_error(rd_kafka_resp_err_t code, const char *what, struct error *err) {
    return error_set(err, fault_of_code(code), "kafka", "%s: %s (%s)%s", what,
                     rd_kafka_err2str(code), rd_kafka_err2name(code), advice_for(code));
}

bool kafka_error(rd_kafka_error_t *error, const char *what, struct error *err) {
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    enum fault fault = fault_of_code(code);
    if (fault == FAULT_RETRY && rd_kafka_error_is_fatal(error))
        fault = FAULT_REBUILD;
    error_set(err, fault, "kafka", "%s: %s (%s)%s", what, rd_kafka_error_string(error),
              rd_kafka_error_name(error), advice_for(code));
    rd_kafka_error_destroy(error);
    return false;
}

/* ---- look-ups ---- */

bool kafka_partition_count(rd_kafka_t *handle, const char *topic, int timeout_ms, int *ret_count,
                           struct error *err) {
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(handle, topic, NULL);
    if (!rkt)
        return kafka_code_error(rd_kafka_last_error(), topic, err);
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(handle, 0, rkt, &metadata, timeout_ms);
    rd_kafka_topic_destroy(rkt);
    if (code)
        return kafka_code_error(code, "asking the broker for its topics", err);
    bool ok = true;
    int count = 0;
    if (metadata->topic_cnt == 1) {
        rd_kafka_resp_err_t topic_code = metadata->topics[0].err;
        if (topic_code == RD_KAFKA_RESP_ERR_NO_ERROR)
            count = metadata->topics[0].partition_cnt;
        else if (topic_code != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            ok = kafka_code_error(topic_code, topic, err);
    }
    rd_kafka_metadata_destroy(metadata);
    if (ok)
        *ret_count = count;
    return ok;
}

static bool read_property(rd_kafka_event_t *event, const char *topic, const char *property,
                          char *ret_value, size_t size, struct error *err) {
    size_t count = 0;
    const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event), &count);
    if (count != 1 || rd_kafka_ConfigResource_error(resources[0]))
        return kafka_code_error(count == 1 ? rd_kafka_ConfigResource_error(resources[0])
                                           : RD_KAFKA_RESP_ERR__BAD_MSG,
                                topic, err);
    size_t entry_count = 0;
    const rd_kafka_ConfigEntry_t **entries =
        rd_kafka_ConfigResource_configs(resources[0], &entry_count);
    for (size_t i = 0; i < entry_count; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), property) == 0) {
            const char *value = rd_kafka_ConfigEntry_value(entries[i]);
            snprintf(ret_value, size, "%s", value ? value : "");
            return true;
        }
    }
    return kafka_code_error(RD_KAFKA_RESP_ERR__BAD_MSG, topic, err);
}

bool kafka_topic_property(rd_kafka_t *handle, const char *topic, const char *property,
                          int timeout_ms, char *ret_value, size_t size, struct error *err) {
    static const char what[] = "asking the broker for a topic's settings";
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    char reason[128];
    rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, reason, sizeof reason);
    rd_kafka_DescribeConfigs(handle, &resource, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms + 1000);
    bool ok = false;
    if (!event || rd_kafka_event_type(event) != RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT)
        kafka_code_error(RD_KAFKA_RESP_ERR__TIMED_OUT, what, err);
    else if (rd_kafka_event_error(event))
        kafka_code_error(rd_kafka_event_error(event), what, err);
    else
        ok = read_property(event, topic, property, ret_value, size, err);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_queue_destroy(queue);
    return ok;
}

bool kafka_max_message_bytes(rd_kafka_t *handle, const char *topic, int timeout_ms,
                             int64_t *ret_bytes, struct error *err) {
    char text[32];
    if (!kafka_topic_property(handle, topic, "max.message.bytes", timeout_ms, text, sizeof text,
                              err))
        return false;
    *ret_bytes = strtoll(text, NULL, 10);
    return true;
}

struct slice kafka_header(const rd_kafka_headers_t *headers, const char *name) {
    const void *value = NULL;
    size_t size = 0;
    if (!headers || rd_kafka_header_get(headers, 0, name, &value, &size) || !value)
        return SLICE_NONE;
    return (struct slice){.data = value, .size = size};
}
