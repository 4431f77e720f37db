/* Rules over several keys: each topic has one role, and this process serves at least one lane. */
#include "common/config_internal.h"

#include <stdio.h>
#include <string.h>

enum { MAX_TOPIC_BYTES = 249, MAX_ROLES = 5 * 64 + 2 };

/* A topic and what it is for. */
struct role {
    const char *topic, *suffix;
    enum config_key key;
};

struct roles {
    struct role all[MAX_ROLES];
    size_t count;
};

static void add_role(struct roles *roles, const char *topic, const char *suffix,
                     enum config_key key) {
    if (roles->count < MAX_ROLES) /* lists are bounded by 64 */
        roles->all[roles->count++] = (struct role){.topic = topic, .suffix = suffix, .key = key};
}

static void add_list(struct roles *roles, const struct config *config, enum config_key key,
                     const char *suffix) {
    for (size_t i = 0; i < config_item_count(config, key); i++)
        add_role(roles, config_item(config, key, i), suffix, key);
}

static bool same_topic(const struct role *a, const struct role *b) {
    char names[2][2 * MAX_TOPIC_BYTES + 1];
    snprintf(names[0], sizeof names[0], "%s%s", a->topic, a->suffix);
    snprintf(names[1], sizeof names[1], "%s%s", b->topic, b->suffix);
    return strcmp(names[0], names[1]) == 0;
}

/* The lanes may share their results topic. */
static bool may_share(const struct role *a, const struct role *b) {
    return a->key == CONFIG_TOPICS_RESULTS && b->key == CONFIG_TOPICS_RESULTS_BULK;
}

static bool is_lane(const struct role *role) {
    return (role->key == CONFIG_TOPICS_COMMANDS || role->key == CONFIG_TOPICS_BULK) &&
           role->suffix[0] == '\0';
}

static bool refuse_pair(const struct role *a, const struct role *b, struct error *err) {
    static const char *const dead_letters[] = {"", "the dead letters of "};
    const char *why = is_lane(a) && is_lane(b)
                          ? "it can belong to one lane only"
                          : "what is written for one would be read as the other";
    if (a->key == b->key && is_lane(a) == is_lane(b))
        return error_set(err, FAULT_CONFIG, "config-topics", "topic \"%s%s\" stands twice in %s",
                         a->topic, a->suffix, config_name(a->key));
    return error_set(err, FAULT_CONFIG, "config-topics",
                     "topic \"%s%s\" is in both %s%s and %s%s: %s", a->topic, a->suffix,
                     dead_letters[a->suffix[0] != '\0'], config_name(a->key),
                     dead_letters[b->suffix[0] != '\0'], config_name(b->key), why);
}

static bool check_length(const struct role *role, struct error *err) {
    if (strlen(role->topic) + strlen(role->suffix) <= MAX_TOPIC_BYTES)
        return true;
    return error_set(err, FAULT_CONFIG, "config-topics",
                     "topic name \"%s%s\" is longer than %d characters", role->topic, role->suffix,
                     MAX_TOPIC_BYTES);
}

static bool check_topics(const struct config *config, struct error *err) {
    const char *suffix = config_text(config, CONFIG_TOPICS_DEAD_LETTER_SUFFIX);
    struct roles roles = {.count = 0};
    add_list(&roles, config, CONFIG_TOPICS_COMMANDS, "");
    add_list(&roles, config, CONFIG_TOPICS_BULK, "");
    add_role(&roles, config_text(config, CONFIG_TOPICS_RESULTS), "", CONFIG_TOPICS_RESULTS);
    add_role(&roles, config_text(config, CONFIG_TOPICS_RESULTS_BULK), "",
             CONFIG_TOPICS_RESULTS_BULK);
    add_list(&roles, config, CONFIG_TOPICS_COMMANDS, suffix);
    add_list(&roles, config, CONFIG_TOPICS_BULK, suffix);
    add_list(&roles, config, CONFIG_REPLIES_ALLOWED_TOPICS, "");
    for (size_t i = 0; i < roles.count; i++) {
        if (!check_length(&roles.all[i], err))
            return false;
        for (size_t k = i + 1; k < roles.count; k++) {
            const struct role *a = &roles.all[i], *b = &roles.all[k];
            if (same_topic(a, b) && !may_share(a, b))
                return refuse_pair(a, b, err);
        }
    }
    return true;
}

static bool check_lanes(const struct config *config, struct error *err) {
    if (config_int(config, CONFIG_THREADS_INTERACTIVE) + config_int(config, CONFIG_THREADS_BULK) >
        0)
        return true;
    return error_set(err, FAULT_CONFIG, "config-threads",
                     "threads.interactive and threads.bulk are both 0: no lane would be served");
}

bool config_check(const struct config *config, struct error *err) {
    return check_topics(config, err) && check_lanes(config, err);
}
