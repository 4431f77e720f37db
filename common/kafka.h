/* librdkafka as both programs use it: handles from the configuration, its log lines in our log, its
 * errors as our errors. What is consumed or produced is left to others. */
#ifndef SIPTRUNK_COMMON_KAFKA_H
#define SIPTRUNK_COMMON_KAFKA_H

#include "common/config.h"
#include "common/error.h"
#include "common/slice.h"

#include <librdkafka/rdkafka.h>

struct kafka_property {
    const char *name;
    const char *value;
};

/* A configuration from three layers: defaults (the operator's kafka.* keys override them), the
 * operator's keys, enforced (override those). Tables end with a NULL name; either may be NULL.
 * bootstrap.servers, client.id and the log callback are set here. NULL with FAULT_CONFIG that names
 * the property. */
rd_kafka_conf_t *kafka_conf(const struct config *config, const struct kafka_property *defaults,
                            const struct kafka_property *enforced, struct error *err);

/* A handle; consumes conf also on failure. NULL with FAULT_CONFIG when the properties do not fit
 * together, with FAULT_RETRY when the system lacks something. */
rd_kafka_t *kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct error *err);

/* Whether a handle could be had, without a broker; consumes conf. */
bool kafka_check(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct error *err) MUST_CHECK;

/* Whether the number of one property is less than that of another; FAULT_CONFIG names both. For
 * what librdkafka itself does not compare. */
bool kafka_check_less(const rd_kafka_conf_t *conf, const char *lesser, const char *greater,
                      struct error *err) MUST_CHECK;

/* Error values from librdkafka's; what: half a sentence. Both return false; the first one consumes
 * error. */
bool kafka_error(rd_kafka_error_t *error, const char *what, struct error *err);
bool kafka_code_error(rd_kafka_resp_err_t code, const char *what, struct error *err);

/* Partitions of a topic; 0 when it does not exist. False when no broker answers within timeout_ms.
 */
bool kafka_partition_count(rd_kafka_t *handle, const char *topic, int timeout_ms, int *ret_count,
                           struct error *err) MUST_CHECK;

/* A setting of a topic as the broker has it, as text, cut at size. */
bool kafka_topic_property(rd_kafka_t *handle, const char *topic, const char *property,
                          int timeout_ms, char *ret_value, size_t size,
                          struct error *err) MUST_CHECK;

/* The broker's limit on one record of the topic (max.message.bytes). */
bool kafka_max_message_bytes(rd_kafka_t *handle, const char *topic, int timeout_ms,
                             int64_t *ret_bytes, struct error *err) MUST_CHECK;

/* The first header of that name; SLICE_NONE when there is none or it is null. */
struct slice kafka_header(const rd_kafka_headers_t *headers, const char *name);

#endif
