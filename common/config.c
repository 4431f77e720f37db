/* Configuration: the table of keys, the four sources, and what the programs read. What a value may
 * be is in config_value.c, what kafka.* may be in config_kafka.c, what keys may be together in
 * config_check.c. */
#include "common/config.h"

#include "common/config_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prefix[] = "SIPTRUNK_";
static const char kafka_key[] = "kafka.";
static const char kafka_variable[] = "KAFKA_";
static const char file_suffix[] = "_FILE";

enum { MAX_KEY_BYTES = 128, MAX_VALUE_BYTES = 65536, MAX_CORES = 4 };

const struct config_row config_rows[CONFIG_KEY_COUNT] = {
#define CONFIG_ROW(symbol, name, type, default_value, min, max, help)                              \
    [CONFIG_##symbol] = {name, CONFIG_TYPE_##type, default_value, min, max},
#include "common/config.def"
#undef CONFIG_ROW
};

const char *config_help(void) {
    return
#define CONFIG_ROW(symbol, name, type, default_value, min, max, help)                              \
    "  " name "=" default_value "\n        " help "\n"
#include "common/config.def"
#undef CONFIG_ROW
        "  kafka.*\n        every other property of librdkafka, by its own name\n";
}

/* Variables of the developer's script and of fault tests, which share our prefix. */
static const char *const foreign_prefixes[] = {"DEV_", "FAILPOINT"};

bool config_out_of_memory(struct error *err) {
    return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the configuration");
}

/* ---- one key, one value ---- */

/* What a key means: a row of the table, or a property of librdkafka. */
struct target {
    const struct config_row *row; /* NULL: property counts */
    char property[MAX_KEY_BYTES];
};

static const struct config_row *find_row(const char *name) {
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (strcmp(config_rows[i].name, name) == 0)
            return &config_rows[i];
    }
    return NULL;
}

static struct nearest nearest_key(const char *key) {
    struct nearest nearest = nearest_to(key);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        nearest_offer(&nearest, config_rows[i].name);
    config_kafka_offer(&nearest);
    return nearest;
}

static bool find_target(const char *key, struct target *target, struct error *err) {
    target->row = find_row(key);
    if (target->row)
        return true;
    size_t skip = sizeof kafka_key - 1;
    if (strncmp(key, kafka_key, skip) == 0 && key[skip] && strlen(key) - skip < MAX_KEY_BYTES) {
        memcpy(target->property, key + skip, strlen(key + skip) + 1);
        return true;
    }
    struct nearest nearest = nearest_key(key);
    char hint[2 * NEAREST_MAX_NAME];
    return error_set(err, FAULT_CONFIG, "config-unknown-key", "there is no such key%s",
                     nearest_hint(&nearest, hint, sizeof hint));
}

static struct config_property *property_slot(struct config *config, const char *name) {
    for (size_t i = 0; i < config->property_count; i++) {
        if (strcmp(config->properties[i].name, name) == 0)
            return &config->properties[i];
    }
    struct config_property *grown =
        realloc(config->properties, (config->property_count + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    config->properties = grown;
    struct config_property *slot = &grown[config->property_count];
    *slot = (struct config_property){.name = strdup(name)};
    if (!slot->name)
        return NULL;
    config->property_count++;
    return slot;
}

static bool set_property(struct config *config, const char *name, const char *value,
                         struct error *err) {
    if (!config_kafka_check(name, value, err))
        return false;
    char *copy = strdup(value);
    struct config_property *slot = copy ? property_slot(config, name) : NULL;
    if (!slot) {
        free(copy);
        return config_out_of_memory(err);
    }
    free(slot->value);
    slot->value = copy;
    return true;
}

static bool set_target(struct config *config, const struct target *target, const char *value,
                       const char *source, struct error *err) {
    if (!target->row)
        return set_property(config, target->property, value, err);
    return config_value_set(&config->values[target->row - config_rows], target->row, value, source,
                            err);
}

static bool set_key(struct config *config, const char *key, const char *value, const char *source,
                    struct error *err) {
    struct target target;
    if (find_target(key, &target, err) && set_target(config, &target, value, source, err))
        return true;
    return error_prefix(err, "%s: %.*s", source, MAX_KEY_BYTES, key);
}

/* ---- "key=value" ---- */

static char *trim(char *text) {
    text += strspn(text, " \t\r\n");
    size_t size = strlen(text);
    while (size && strchr(" \t\r\n", text[size - 1]))
        size--;
    text[size] = '\0';
    return text;
}

/* line is changed. */
static bool set_pair(struct config *config, char *line, const char *source, struct error *err) {
    char *equals = strchr(line, '=');
    if (!equals)
        return error_set(err, FAULT_CONFIG, "config-syntax", "%s: expected key=value", source);
    *equals = '\0';
    return set_key(config, trim(line), trim(equals + 1), source, err);
}

/* ---- the sources, in the order in which they win ---- */

static bool load_defaults(struct config *config, struct error *err) {
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (!set_key(config, config_rows[i].name, config_rows[i].default_value, "default", err))
            return false;
    }
    return true;
}

/* line is changed; size counts what getline read. */
static bool set_line(struct config *config, char *line, size_t size, const char *source,
                     struct error *err) {
    if (memchr(line, '\0', size))
        return error_set(err, FAULT_CONFIG, "config-syntax", "%s: a zero byte", source);
    char *text = trim(line);
    return *text == '\0' || *text == '#' || set_pair(config, text, source, err);
}

static bool load_lines(struct config *config, FILE *in, const char *path, struct error *err) {
    char *line = NULL;
    size_t capacity = 0;
    bool ok = true;
    ssize_t size;
    for (size_t number = 1; ok && (size = getline(&line, &capacity, in)) >= 0; number++) {
        char source[512];
        snprintf(source, sizeof source, "file %s:%zu", path, number);
        ok = set_line(config, line, (size_t)size, source, err);
    }
    free(line);
    return ok;
}

static bool load_file(struct config *config, const char *path, struct error *err) {
    FILE *in = fopen(path, "re");
    if (!in)
        return error_set(err, FAULT_CONFIG, "config-file",
                         "cannot read the configuration file %s: %s", path, strerror(errno));
    errno = 0;
    bool ok = load_lines(config, in, path, err);
    if (ok && !feof(in)) /* also without memory for a line, which is no error of the stream */
        ok = error_set(err, FAULT_CONFIG, "config-file",
                       "cannot read the configuration file %s: %s", path, strerror(errno));
    fclose(in);
    return ok;
}

static void variable_of(const char *name, char *variable, size_t size) {
    size_t i = 0;
    for (; name[i] && i + 1 < size; i++)
        variable[i] = name[i] == '.' ? '_' : (char)toupper((unsigned char)name[i]);
    variable[i] = '\0';
}

/* The other way round, as far as that goes: "_" may have been either. */
static void key_of(const char *variable, char *name, size_t size) {
    size_t i = 0;
    for (; variable[i] && i + 1 < size; i++)
        name[i] = variable[i] == '_' ? '.' : (char)tolower((unsigned char)variable[i]);
    name[i] = '\0';
}

/* name: what stands behind SIPTRUNK_. */
static bool find_variable(const char *name, struct target *target) {
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char variable[MAX_KEY_BYTES];
        variable_of(config_rows[i].name, variable, sizeof variable);
        if (strcmp(variable, name) == 0) {
            target->row = &config_rows[i];
            return true;
        }
    }
    target->row = NULL;
    size_t skip = sizeof kafka_variable - 1;
    return strncmp(name, kafka_variable, skip) == 0 &&
           config_kafka_from_environment(name + skip, target->property, sizeof target->property);
}

static bool unknown_variable(const char *name, struct error *err) {
    char key[MAX_KEY_BYTES], variable[MAX_KEY_BYTES], hint[2 * NEAREST_MAX_NAME];
    key_of(name, key, sizeof key);
    struct nearest nearest = nearest_key(key);
    if (nearest.best[0]) {
        variable_of(nearest.best, variable, sizeof variable);
        snprintf(nearest.best, sizeof nearest.best, "%s%.*s", prefix,
                 (int)(sizeof nearest.best - sizeof prefix), variable);
    }
    return error_set(err, FAULT_CONFIG, "config-unknown-key",
                     "environment %s%.*s: there is no such key%s", prefix, MAX_KEY_BYTES, name,
                     nearest_hint(&nearest, hint, sizeof hint));
}

/* The whole file without the line ends behind it; the caller frees it. NULL with err set. */
static char *read_value_file(const char *path, struct error *err) {
    FILE *in = fopen(path, "re");
    char *value = in ? calloc(1, MAX_VALUE_BYTES + 2) : NULL;
    if (!value) {
        error_set(err, FAULT_CONFIG, "config-file", "cannot read the file %s: %s", path,
                  strerror(errno));
        if (in)
            fclose(in);
        return NULL;
    }
    size_t size = fread(value, 1, MAX_VALUE_BYTES + 1, in);
    const char *why = ferror(in)                  ? strerror(errno)
                      : size > MAX_VALUE_BYTES    ? "it is longer than 64 KiB"
                      : memchr(value, '\0', size) ? "it holds a zero byte"
                                                  : NULL;
    fclose(in);
    if (why) {
        error_set(err, FAULT_CONFIG, "config-file", "cannot read the file %s: %s", path, why);
        free(value);
        return NULL;
    }
    while (size && strchr("\r\n", value[size - 1]))
        value[--size] = '\0';
    return value;
}

/* name without _FILE means target: the value is in a file. */
static bool set_from_file(struct config *config, const char *name, const struct target *target,
                          const char *path, const char *source, struct error *err) {
    char plain[sizeof prefix + MAX_KEY_BYTES];
    snprintf(plain, sizeof plain, "%s%s", prefix, name);
    if (getenv(plain))
        return error_set(err, FAULT_CONFIG, "config-syntax",
                         "%s: %s is set as well; set one of them", source, plain);
    char *value = read_value_file(path, err);
    bool ok = value && set_target(config, target, value, source, err);
    free(value);
    return ok ? true : error_prefix(err, "%s", source);
}

static bool ends_in_file(const char *name, char *base, size_t size) {
    size_t length = strlen(name), suffix = sizeof file_suffix - 1;
    if (length <= suffix || length - suffix >= size ||
        strcmp(name + length - suffix, file_suffix) != 0)
        return false;
    memcpy(base, name, length - suffix);
    base[length - suffix] = '\0';
    return true;
}

static bool set_variable(struct config *config, const char *name, const char *value,
                         struct error *err) {
    char source[sizeof prefix + MAX_KEY_BYTES + 16], base[MAX_KEY_BYTES];
    snprintf(source, sizeof source, "environment %s%.*s", prefix, MAX_KEY_BYTES, name);
    struct target target;
    /* The whole name first: secrets.key_file ends in _FILE by itself. */
    if (find_variable(name, &target))
        return set_target(config, &target, value, source, err) || error_prefix(err, "%s", source);
    if (ends_in_file(name, base, sizeof base) && find_variable(base, &target))
        return set_from_file(config, base, &target, value, source, err);
    return unknown_variable(name, err);
}

static bool is_foreign(const char *name) {
    for (size_t i = 0; i < sizeof foreign_prefixes / sizeof foreign_prefixes[0]; i++) {
        if (strncmp(name, foreign_prefixes[i], strlen(foreign_prefixes[i])) == 0)
            return true;
    }
    return false;
}

/* entry: "NAME=value" with our prefix. */
static bool load_variable(struct config *config, const char *entry, struct error *err) {
    const char *name = entry + sizeof prefix - 1, *equals = strchr(name, '=');
    if (!equals || is_foreign(name))
        return true;
    char *copy = strndup(name, (size_t)(equals - name));
    if (!copy)
        return config_out_of_memory(err);
    bool ok = set_variable(config, copy, equals + 1, err);
    free(copy);
    return ok;
}

static bool load_environment(struct config *config, struct error *err) {
    for (char **entry = environ; entry && *entry; entry++) {
        if (strncmp(*entry, prefix, sizeof prefix - 1) == 0 && !load_variable(config, *entry, err))
            return false;
    }
    return true;
}

static bool load_overrides(struct config *config, const char *const *overrides, size_t count,
                           struct error *err) {
    for (size_t i = 0; i < count; i++) {
        char *copy = strdup(overrides[i]);
        if (!copy)
            return config_out_of_memory(err);
        bool ok = set_pair(config, copy, "-X", err);
        free(copy);
        if (!ok)
            return false;
    }
    return true;
}

/* ---- what an empty value stands for ---- */

static bool fill(struct config *config, enum config_key key, const char *text, struct error *err) {
    struct config_value *value = &config->values[key];
    if (value->text[0])
        return true;
    return config_value_set(value, &config_rows[key], text, "default", err) ||
           error_prefix(err, "%s", config_rows[key].name);
}

static bool fill_computed(struct config *config, struct error *err) {
    char host[256] = "localhost", cores[16];
    gethostname(host, sizeof host - 1);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    snprintf(cores, sizeof cores, "%ld", online < 1 ? 1 : online > MAX_CORES ? MAX_CORES : online);
    return fill(config, CONFIG_INSTANCE_ID, host, err) &&
           fill(config, CONFIG_THREADS_INTERACTIVE, cores, err) &&
           fill(config, CONFIG_THREADS_BULK, cores, err) &&
           fill(config, CONFIG_TOPICS_RESULTS_BULK, config_text(config, CONFIG_TOPICS_RESULTS),
                err) &&
           fill(config, CONFIG_LOG_FORMAT, isatty(STDERR_FILENO) ? "text" : "json", err);
}

/* ---- what callers see ---- */

struct config *config_new(void) {
    return calloc(1, sizeof(struct config));
}

void config_free(struct config *config) {
    if (!config)
        return;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        config_value_clear(&config->values[i]);
    for (size_t i = 0; i < config->property_count; i++) {
        free(config->properties[i].name);
        free(config->properties[i].value);
    }
    free(config->properties);
    free(config);
}

bool config_load(struct config *config, const char *file, const char *const *overrides,
                 size_t override_count, struct error *err) {
    return load_defaults(config, err) && (!file || load_file(config, file, err)) &&
           load_environment(config, err) &&
           load_overrides(config, overrides, override_count, err) && fill_computed(config, err) &&
           config_check(config, err);
}

const char *config_text(const struct config *config, enum config_key key) {
    return config->values[key].text;
}

int64_t config_int(const struct config *config, enum config_key key) {
    return config->values[key].number;
}

bool config_bool(const struct config *config, enum config_key key) {
    return config->values[key].number != 0;
}

const char *config_item(const struct config *config, enum config_key key, size_t index) {
    const struct config_value *value = &config->values[key];
    return index < value->item_count ? value->items[index] : NULL;
}

size_t config_item_count(const struct config *config, enum config_key key) {
    return config->values[key].item_count;
}

bool config_kafka_property(const struct config *config, size_t index, const char **ret_name,
                           const char **ret_value) {
    if (index >= config->property_count)
        return false;
    *ret_name = config->properties[index].name;
    *ret_value = config->properties[index].value;
    return true;
}

const char *config_source(const struct config *config, enum config_key key) {
    return config->values[key].source;
}

const char *config_name(enum config_key key) {
    return config_rows[key].name;
}

const char *config_shown(const struct config *config, enum config_key key) {
    const struct config_value *value = &config->values[key];
    return value->shown ? value->shown : value->text;
}
