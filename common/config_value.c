/* The types of configuration values: what each accepts, what it is read into, what of it may be
 * shown. */
#include "common/config_internal.h"

#include "common/slice.h"
#include "common/text.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_NAME_BYTES = 200, MAX_TOPIC_BYTES = 249, MAX_ITEMS = 64 };

static bool refuse(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

static bool refuse(struct error *err, const char *format, ...) {
    char text[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(err, FAULT_CONFIG, "config-value", "%s", text);
}

static bool accept_text(struct config_value *value, const struct config_row *row,
                        struct error *err) {
    (void)value;
    (void)row;
    (void)err;
    return true;
}

static bool accept_name(struct config_value *value, const struct config_row *row,
                        struct error *err) {
    (void)row;
    struct slice text = slice_of(value->text);
    if (text.size <= MAX_NAME_BYTES && text_is_printable_ascii(text))
        return true;
    return refuse(err, "\"%.64s\" is not a name of at most %d printable characters without spaces",
                  value->text, MAX_NAME_BYTES);
}

static bool check_topic(const char *topic, struct error *err) {
    static const char alphabet[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t size = strlen(topic);
    if (size == 0)
        return refuse(err, "a topic name is empty");
    if (size > MAX_TOPIC_BYTES)
        return refuse(err, "topic name \"%.32s...\" is longer than %d characters", topic,
                      MAX_TOPIC_BYTES);
    if (strspn(topic, alphabet) != size || strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0)
        return refuse(
            err, "\"%s\" is not a topic name: use letters, digits, \".\", \"_\" and \"-\"", topic);
    return true;
}

static bool accept_topic(struct config_value *value, const struct config_row *row,
                         struct error *err) {
    (void)row;
    return check_topic(value->text, err);
}

static char *copy_trimmed(const char *text, size_t size) {
    while (size && strchr(" \t", *text)) {
        text++;
        size--;
    }
    while (size && strchr(" \t", text[size - 1]))
        size--;
    return strndup(text, size);
}

static bool add_topic(struct config_value *value, const char *text, size_t size,
                      struct error *err) {
    if (value->item_count == MAX_ITEMS)
        return refuse(err, "more than %d topics", MAX_ITEMS);
    char *topic = copy_trimmed(text, size);
    if (!topic)
        return config_out_of_memory(err);
    value->items[value->item_count++] = topic;
    return check_topic(topic, err);
}

static bool accept_topics(struct config_value *value, const struct config_row *row,
                          struct error *err) {
    (void)row;
    value->items = calloc(MAX_ITEMS, sizeof *value->items);
    if (!value->items)
        return config_out_of_memory(err);
    const char *text = value->text;
    for (;;) {
        size_t size = strcspn(text, ",");
        if (!add_topic(value, text, size, err))
            return false;
        if (text[size] == '\0')
            return true;
        text += size + 1;
    }
}

static bool check_range(const struct config_value *value, const struct config_row *row,
                        struct error *err) {
    if (value->number >= row->min && value->number <= row->max)
        return true;
    return refuse(err, "%s is out of range %lld to %lld", value->text, (long long)row->min,
                  (long long)row->max);
}

/* Digits, then what is left of the text. */
static bool read_digits(const char *text, int64_t *ret, const char **ret_rest) {
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || errno)
        return false;
    *ret = number;
    *ret_rest = end;
    return true;
}

static bool accept_integer(struct config_value *value, const struct config_row *row,
                           struct error *err) {
    const char *rest;
    if (!read_digits(value->text, &value->number, &rest) || *rest)
        return refuse(err, "\"%.64s\" is not a whole number", value->text);
    return check_range(value, row, err);
}

static bool accept_bytes(struct config_value *value, const struct config_row *row,
                         struct error *err) {
    static const struct {
        const char *name;
        int64_t factor;
    } units[] = {{"", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}};
    const char *rest;
    if (read_digits(value->text, &value->number, &rest)) {
        rest += strspn(rest, " ");
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
            if (strcmp(rest, units[i].name) != 0)
                continue;
            if (value->number > row->max) /* before a factor could overflow */
                return check_range(value, row, err);
            value->number *= units[i].factor;
            return check_range(value, row, err);
        }
    }
    return refuse(err, "\"%.64s\" is not a size such as 2097152, 2048 KiB or 2 MiB", value->text);
}

/* One of names; the number becomes its place. */
static bool accept_choice(struct config_value *value, const char *const *names, struct error *err) {
    char all[128] = "";
    for (int i = 0; names[i]; i++) {
        if (strcmp(value->text, names[i]) == 0) {
            value->number = i;
            return true;
        }
        size_t size = strlen(all);
        snprintf(all + size, sizeof all - size, "%s%s", i ? ", " : "", names[i]);
    }
    return refuse(err, "\"%.64s\" is none of %s", value->text, all);
}

static bool accept_boolean(struct config_value *value, const struct config_row *row,
                           struct error *err) {
    (void)row;
    return accept_choice(value, (const char *const[]){"false", "true", NULL}, err);
}

static bool accept_format(struct config_value *value, const struct config_row *row,
                          struct error *err) {
    (void)row;
    return accept_choice(value, (const char *const[]){"json", "text", NULL}, err);
}

static bool accept_level(struct config_value *value, const struct config_row *row,
                         struct error *err) {
    (void)row;
    return accept_choice(value, (const char *const[]){"debug", "info", "warn", "error", NULL}, err);
}

/* libpq marks the options that hold secrets by a display character of "*". */
static char *show_conninfo(const PQconninfoOption *options) {
    char *shown = NULL;
    size_t size;
    FILE *out = open_memstream(&shown, &size);
    if (!out)
        return NULL;
    const char *separator = "";
    for (; options->keyword; options++) {
        if (!options->val)
            continue;
        bool secret = options->dispchar[0] == '*' || strstr(options->keyword, "password");
        fprintf(out, "%s%s=%s", separator, options->keyword, secret ? "***" : options->val);
        separator = " ";
    }
    fclose(out);
    return shown;
}

/* In a URI a "/" ends the part with user and password. One in a password makes the rest of it a
 * port or a database, which messages show: there is an "@" behind the "/" then. */
static bool has_slash_in_password(const char *text) {
    const char *scheme = strstr(text, "://");
    if (!scheme || strncmp(text, "postgres", 8) != 0)
        return false;
    const char *host = scheme + 3, *slash = strchr(host, '/'), *at = strchr(host, '@');
    return slash && at && slash < at && at < host + strcspn(host, "?");
}

static bool accept_conninfo(struct config_value *value, const struct config_row *row,
                            struct error *err) {
    (void)row;
    if (has_slash_in_password(value->text))
        return refuse(err, "a \"/\" in the password of a connection URI must be written %%2F");
    PQconninfoOption *options = PQconninfoParse(value->text, NULL);
    if (!options) /* libpq's message would quote the text, and with it a password */
        return refuse(err, "this is not a connection string that libpq understands");
    value->shown = show_conninfo(options);
    PQconninfoFree(options);
    return value->shown ? true : config_out_of_memory(err);
}

static bool accept_url(struct config_value *value, const struct config_row *row,
                       struct error *err) {
    (void)row;
    const char *host = strstr(value->text, "://");
    if (!host || (strncmp(value->text, "http:", 5) != 0 && strncmp(value->text, "https:", 6) != 0))
        return refuse(err, "this is not an http:// or https:// address");
    host += 3;
    const char *at = strrchr(host, '@'); /* the last one: a password may hold others */
    if (!at)
        return true;
    if (asprintf(&value->shown, "%.*s***%s", (int)(host - value->text), value->text, at) >= 0)
        return true;
    value->shown = NULL;
    return config_out_of_memory(err);
}

static bool accept_address(struct config_value *value, const struct config_row *row,
                           struct error *err) {
    (void)row;
    const char *colon = strrchr(value->text, ':'), *rest;
    bool bracketed = value->text[0] == '[';
    bool host_is_clear = colon && colon > value->text &&
                         (bracketed ? colon[-1] == ']' : strchr(value->text, ':') == colon);
    if (host_is_clear && read_digits(colon + 1, &value->number, &rest) && *rest == '\0' &&
        value->number <= 65535)
        return true;
    return refuse(err, "\"%.64s\" is not an address such as 127.0.0.1:9464 or [::1]:9464",
                  value->text);
}

static const struct {
    bool (*accept)(struct config_value *value, const struct config_row *row, struct error *err);
    bool may_be_empty; /* also where the default is not */
} types[] = {
    [CONFIG_TYPE_TEXT] = {accept_text, false},
    [CONFIG_TYPE_NAME] = {accept_name, false},
    [CONFIG_TYPE_TOPIC] = {accept_topic, false},
    [CONFIG_TYPE_TOPICS] = {accept_topics, false},
    [CONFIG_TYPE_INTEGER] = {accept_integer, false},
    [CONFIG_TYPE_BYTES] = {accept_bytes, false},
    [CONFIG_TYPE_BOOLEAN] = {accept_boolean, false},
    [CONFIG_TYPE_CONNINFO] = {accept_conninfo, false},
    [CONFIG_TYPE_URL] = {accept_url, false},
    [CONFIG_TYPE_ADDRESS] = {accept_address, true},
    [CONFIG_TYPE_FORMAT] = {accept_format, false},
    [CONFIG_TYPE_LEVEL] = {accept_level, false},
};

static bool accept(struct config_value *value, const struct config_row *row, struct error *err) {
    if (!text_is_clean(slice_of(value->text)))
        return refuse(err, "the value is not UTF-8, or holds control characters");
    if (value->text[0])
        return types[row->type].accept(value, row, err);
    if (row->default_value[0] == '\0' || types[row->type].may_be_empty)
        return true;
    return refuse(err, "the value must not be empty");
}

bool config_value_set(struct config_value *value, const struct config_row *row, const char *text,
                      const char *source, struct error *err) {
    struct config_value fresh = {.text = strdup(text), .source = strdup(source)};
    bool ok = fresh.text && fresh.source ? accept(&fresh, row, err) : config_out_of_memory(err);
    if (!ok) {
        config_value_clear(&fresh);
        return false;
    }
    config_value_clear(value);
    *value = fresh;
    return true;
}

void config_value_clear(struct config_value *value) {
    for (size_t i = 0; i < value->item_count; i++)
        free(value->items[i]);
    free(value->items);
    free(value->text);
    free(value->shown);
    free(value->source);
    *value = (struct config_value){0};
}
