/* What the parts of the configuration share; for common/config*.c alone. */
#ifndef SIPTRUNK_COMMON_CONFIG_INTERNAL_H
#define SIPTRUNK_COMMON_CONFIG_INTERNAL_H

#include "common/config.h"
#include "common/nearest.h"

enum config_type {
    CONFIG_TYPE_TEXT,
    CONFIG_TYPE_NAME,    /* printable ASCII, at most 200 characters: part of ids that brokers see */
    CONFIG_TYPE_TOPIC,   /* Kafka's alphabet, at most 249 characters */
    CONFIG_TYPE_TOPICS,  /* several, separated by commas */
    CONFIG_TYPE_INTEGER, /* decimal */
    CONFIG_TYPE_BYTES,   /* decimal, optionally with KiB or MiB */
    CONFIG_TYPE_BOOLEAN, /* true or false */
    CONFIG_TYPE_CONNINFO, /* what libpq takes, key=value words or a URI */
    CONFIG_TYPE_URL,      /* http or https */
    CONFIG_TYPE_ADDRESS,  /* host:port or [IPv6]:port, or empty */
    CONFIG_TYPE_FORMAT,
    CONFIG_TYPE_LEVEL,
};

struct config_row {
    const char *name;
    enum config_type type;
    const char *default_value;
    int64_t min, max;
};

struct config_value {
    char *text;
    char *shown; /* text without its passwords; NULL: text may be shown */
    char *source;
    char **items;
    size_t item_count;
    int64_t number;
};

struct config_property {
    char *name;
    char *value;
};

struct config {
    struct config_value values[CONFIG_KEY_COUNT];
    struct config_property *properties;
    size_t property_count;
};

extern const struct config_row config_rows[CONFIG_KEY_COUNT];

bool config_out_of_memory(struct error *err);

/* ---- config_value.c ---- */

/* Checks text against the row's type and limits and takes it in; *value keeps what it had on
 * failure. The message speaks of neither key nor source. */
bool config_value_set(struct config_value *value, const struct config_row *row, const char *text,
                      const char *source, struct error *err) MUST_CHECK;
void config_value_clear(struct config_value *value);

/* ---- config_kafka.c ---- */

/* Whether librdkafka knows the property, takes the value, and our guarantees allow it. */
bool config_kafka_check(const char *name, const char *value, struct error *err) MUST_CHECK;

/* The property that an environment variable means, given what stands behind SIPTRUNK_KAFKA_; false
 * when there is none. */
bool config_kafka_from_environment(const char *variable, char *name, size_t size);

/* Offers the names of all properties, with kafka. before them. */
void config_kafka_offer(struct nearest *nearest);

/* ---- config_check.c ---- */

/* What no key can tell alone: topics in several roles, lanes that nobody serves. */
bool config_check(const struct config *config, struct error *err) MUST_CHECK;

#endif
