/* The kafka.* keys: librdkafka is asked which there are and what they take; those that exactly-once
 * rests on are ours. Handles are made elsewhere, see common/kafka.c. */
#include "common/config_internal.h"

#include <ctype.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Properties that are not the operator's to choose. The values named, separated by "|", are what
 * the worker uses anyway, and may be written. */
static const struct {
    const char *name, *allowed, *why;
} owned[] = {
    {"enable.auto.commit", "false", "offsets are committed in the transaction of the results"},
    {"auto.commit.enable", "false", "offsets are committed in the transaction of the results"},
    {"enable.auto.offset.store", "false",
     "offsets are committed in the transaction of the results"},
    {"offset.store.method", "broker", "offsets are committed in the transaction of the results"},
    {"isolation.level", "read_committed", "what a producer took back must not be applied"},
    {"enable.idempotence", "true", "a result must not be written twice or out of order"},
    {"acks", "all|-1", "a result must not be lost with one broker"},
    {"request.required.acks", "all|-1", "a result must not be lost with one broker"},
    {"transactional.id", NULL, "it is made from group, instance.id, lane and thread"},
    {"group.instance.id", NULL, "it is made from group, instance.id, lane and thread"},
    {"auto.offset.reset", "error", "a group that has lost its place must not skip or guess"},
    {"partition.assignment.strategy", NULL, "a partition must not change hands within a batch"},
    {"group.protocol", "classic",
     "static members and transactions are tested with the classic one"},
    {"partitioner", "murmur2_random",
     "an account's results keep to the partition Java would choose"},
    {"delivery.report.only.error", "false", "a transaction waits for its delivery reports"},
    {"dr_cb", NULL, "it is no text"},
    {"enabled_events", NULL, "events replace the callbacks that the worker lives on"},
    {"metadata.broker.list", NULL, "write kafka.bootstrap.servers instead"},
};

/* Parts of names whose values are secrets, or paths and texts that tell of one. */
static const char *const secret_parts[] = {
    "password", "secret", "pem", "token", "ssl.key", "ssl_key", "oauthbearer.config"};

bool config_kafka_is_secret(const char *name) {
    for (size_t i = 0; i < sizeof secret_parts / sizeof secret_parts[0]; i++) {
        if (strstr(name, secret_parts[i]))
            return true;
    }
    return false;
}

/* Whether value is one of those in allowed, which are separated by "|". */
static bool is_among(const char *value, const char *allowed) {
    size_t size = strlen(value);
    for (const char *at = allowed; at; at = strchr(at, '|')) {
        at += *at == '|';
        if (size && strncmp(at, value, size) == 0 && strchr("|", at[size]))
            return true;
    }
    return false;
}

static bool check_owned(const char *name, const char *value, struct error *err) {
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) {
        if (strcmp(name, owned[i].name) != 0 || is_among(value, owned[i].allowed))
            continue;
        return error_set(err, FAULT_CONFIG, "config-refused", "this cannot be changed: %s%s%s",
                         owned[i].why, owned[i].allowed ? "; the worker uses " : "",
                         owned[i].allowed ? owned[i].allowed : "");
    }
    return true;
}

static bool unknown(const char *name, struct error *err) {
    char key[NEAREST_MAX_NAME + 8], hint[2 * NEAREST_MAX_NAME];
    snprintf(key, sizeof key, "kafka.%.*s", NEAREST_MAX_NAME, name);
    struct nearest nearest = nearest_to(key);
    config_kafka_offer(&nearest);
    return error_set(err, FAULT_CONFIG, "config-unknown-key", "librdkafka knows no such property%s",
                     nearest_hint(&nearest, hint, sizeof hint));
}

static bool try_property(const char *name, const char *value, struct error *err) {
    char reason[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, name, value, reason, sizeof reason);
    rd_kafka_conf_destroy(conf);
    if (result == RD_KAFKA_CONF_OK)
        return true;
    if (result == RD_KAFKA_CONF_UNKNOWN)
        return unknown(name, err);
    return error_set(err, FAULT_CONFIG, "config-value", "%s",
                     config_kafka_is_secret(name) ? "librdkafka does not take this value" : reason);
}

bool config_kafka_check(const char *name, const char *value, struct error *err) {
    return check_owned(name, value, err) && try_property(name, value, err);
}

/* ---- names ---- */

/* Calls visit with the name of each property and alias, of clients and of topics. librdkafka's dump
 * of a configuration leaves out aliases and what has no value. Its table for people has all: rows
 * begin with a name, heads and rules with other characters. */
static void each_property(void (*visit)(const char *name, void *context), void *context) {
    char *table = NULL, *rest = NULL;
    size_t size;
    FILE *out = open_memstream(&table, &size);
    if (!out)
        return;
    rd_kafka_conf_properties_show(out);
    fclose(out);
    for (char *row = table ? strtok_r(table, "\n", &rest) : NULL; row;
         row = strtok_r(NULL, "\n", &rest)) {
        row[strcspn(row, " ")] = '\0';
        if (islower((unsigned char)row[0]))
            visit(row, context);
    }
    free(table);
}

static void offer(const char *name, void *context) {
    char key[NEAREST_MAX_NAME];
    snprintf(key, sizeof key, "kafka.%s", name);
    nearest_offer(context, key);
}

void config_kafka_offer(struct nearest *nearest) {
    each_property(offer, nearest);
}

struct search {
    const char *variable;
    char *name;
    size_t size;
    bool found;
};

/* Whether the variable is this property's name in upper case with "." as "_". */
static bool spells(const char *variable, const char *name) {
    for (; *variable && *name; variable++, name++) {
        if (*variable != (*name == '.' ? '_' : toupper((unsigned char)*name)))
            return false;
    }
    return *variable == *name;
}

static void compare(const char *name, void *context) {
    struct search *search = context;
    if (search->found || !spells(search->variable, name))
        return;
    search->found = true;
    snprintf(search->name, search->size, "%s", name);
}

bool config_kafka_from_environment(const char *variable, char *name, size_t size) {
    struct search search = {.variable = variable, .name = name, .size = size};
    if (strlen(variable) < size)
        each_property(compare, &search);
    return search.found;
}
