/* The types of lines as tables of fields; one walk checks and writes them all. */
#include "ctl/inventory_line.h"

#include "common/e164.h"
#include "common/nearest.h"
#include "common/text.h"
#include "common/uuid.h"
#include "ctl/lines.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_FIELDS = 8,
    MAX_NAME = 255, /* code points, as the tables' own checks */
    MAX_CODE = 64,
    MAX_CHANNEL_NAME = 64,
    MAX_TEXT_BYTES = 4 * MAX_NAME + 1,
};

/* ---- kinds of values: NULL when text is one (then canonical is set), else why not ---- */

typedef const char *(*check_text)(struct slice text, char canonical[MAX_TEXT_BYTES]);

static const char *check_length(struct slice text, size_t max, char canonical[MAX_TEXT_BYTES]) {
    if (text.size == 0)
        return "must not be empty";
    if (!text_is_clean(text))
        return "holds control characters";
    if (text_length(text) > max)
        return max == MAX_NAME ? "is longer than 255 characters" : "is longer than 64 characters";
    memcpy(canonical, text.data, text.size);
    canonical[text.size] = '\0';
    return NULL;
}

static const char *check_name(struct slice text, char canonical[MAX_TEXT_BYTES]) {
    return check_length(text, MAX_NAME, canonical);
}

static const char *check_code(struct slice text, char canonical[MAX_TEXT_BYTES]) {
    return check_length(text, MAX_CODE, canonical);
}

static const char *check_channel_name(struct slice text, char canonical[MAX_TEXT_BYTES]) {
    if (text.size && (text.data[0] == ' ' || text.data[text.size - 1] == ' '))
        return "must not begin or end with a space";
    return check_length(text, MAX_CHANNEL_NAME, canonical);
}

static const char *check_uuid(struct slice text, char canonical[MAX_TEXT_BYTES]) {
    struct uuid uuid;
    if (!uuid_parse(text, &uuid))
        return "is not a UUID";
    uuid_format(&uuid, canonical);
    return NULL;
}

static const char *check_number(struct slice text, char canonical[MAX_TEXT_BYTES]) {
    struct e164 number;
    const char *why = e164_parse(text, &number);
    if (!why)
        memcpy(canonical, number.text, number.size + 1);
    return why;
}

/* One of names, which end with NULL. */
static const char *check_choice(struct slice text, const char *const *names,
                                char canonical[MAX_TEXT_BYTES]) {
    for (; *names; names++) {
        if (slice_is(text, *names)) {
            memcpy(canonical, *names, strlen(*names) + 1);
            return NULL;
        }
    }
    return "is not one of the values that are possible here";
}

static const char *check_subscription(struct slice text, char canonical[MAX_TEXT_BYTES]) {
    static const char *const names[] = {"sip_trunk", "operator_connect", NULL};
    return check_choice(text, names, canonical) ? "must be sip_trunk or operator_connect" : NULL;
}

static const char *check_kind(struct slice text, char canonical[MAX_TEXT_BYTES]) {
    static const char *const names[] = {"fixed", "mobile", "toll_free", "other", NULL};
    return check_choice(text, names, canonical) ? "must be fixed, mobile, toll_free or other"
                                                : NULL;
}

static const char *check_state(struct slice text, char canonical[MAX_TEXT_BYTES]) {
    static const char *const names[] = {"available",   "reserved",         "porting",
                                        "quarantined", "in_other_service", NULL};
    return check_choice(text, names, canonical)
               ? "must be available, reserved, porting, quarantined or in_other_service"
               : NULL;
}

static const char *check_number_type(struct slice text, char canonical[MAX_TEXT_BYTES]) {
    static const char *const names[] = {"User", "Resource Account", NULL};
    return check_choice(text, names, canonical) ? "must be \"User\" or \"Resource Account\"" : NULL;
}

/* ---- types of lines ---- */

struct field {
    const char *name;
    check_text check;
    bool is_list, optional;
};

/* Rules over several fields. */
typedef const char *(*check_line)(const json_t *line, const char **ret_pointer);

static const char *check_number_line(const json_t *line, const char **ret_pointer) {
    const json_t *channel = json_object_get(line, "channel");
    if (channel && strcmp(json_string_value(json_object_get(line, "state")), "available") != 0) {
        *ret_pointer = "/state";
        return "must be available when there is a channel";
    }
    if (!channel && json_object_get(line, "number_type")) {
        *ret_pointer = "/number_type";
        return "needs a channel";
    }
    return NULL;
}

static const struct line_type {
    const char *name;
    struct field fields[MAX_FIELDS];
    check_line check;
} types[] = {
    [INVENTORY_PROXY] = {.name = "proxy",
                         .fields = {{.name = "id", .check = check_uuid},
                                    {.name = "name", .check = check_name}}},
    [INVENTORY_TEMPLATE] = {.name = "template",
                            .fields = {{.name = "id", .check = check_uuid},
                                       {.name = "name", .check = check_name}}},
    [INVENTORY_CALL_BARRING] = {.name = "call_barring",
                                .fields = {{.name = "code", .check = check_code},
                                           {.name = "name", .check = check_name}}},
    [INVENTORY_ACCOUNT] =
        {.name = "account",
         .fields =
             {{.name = "id", .check = check_uuid},
              {.name = "name", .check = check_name},
              {.name = "proxies", .check = check_uuid, .is_list = true, .optional = true},
              {.name = "templates", .check = check_uuid, .is_list = true, .optional = true},
              {.name = "call_barrings", .check = check_code, .is_list = true, .optional = true},
              {.name = "caller_ids", .check = check_number, .is_list = true, .optional = true}}},
    [INVENTORY_CHANNEL] = {.name = "channel",
                           .fields = {{.name = "account_id", .check = check_uuid},
                                      {.name = "name", .check = check_channel_name},
                                      {.name = "subscription", .check = check_subscription}}},
    [INVENTORY_NUMBER] =
        {.name = "number",
         .fields = {{.name = "number", .check = check_number},
                    {.name = "account_id", .check = check_uuid},
                    {.name = "kind", .check = check_kind},
                    {.name = "state", .check = check_state},
                    {.name = "channel", .check = check_channel_name, .optional = true},
                    {.name = "number_type", .check = check_number_type, .optional = true}},
         .check = check_number_line},
};

const char *inventory_type_name(enum inventory_type type) {
    return types[type].name;
}

/* ---- rows in COPY's text format ---- */

static bool refuse(struct error *err, const char *pointer, const char *why) {
    return error_set(err, FAULT_INPUT, "inventory-line", "%s: %s", pointer, why);
}

/* Texts are free of control characters, so that the backslash alone needs care. */
static void put_text(struct buffer *row, const char *text) {
    for (size_t size; *text; text += size) {
        size = strcspn(text, "\\");
        buffer_add(row, text, size);
        if (text[size] == '\\') {
            buffer_add_text(row, "\\\\");
            size++;
        }
    }
}

/* As an element of an array literal: quoted, and its backslashes doubled once more for COPY. */
static void put_element(struct buffer *row, const char *text) {
    buffer_add_text(row, "\"");
    for (; *text; text++) {
        if (*text == '"')
            buffer_add_text(row, "\\\\\"");
        else if (*text == '\\')
            buffer_add_text(row, "\\\\\\\\");
        else
            buffer_add(row, text, 1);
    }
    buffer_add_text(row, "\"");
}

static struct slice string_of(const json_t *value) {
    return (struct slice){.data = json_string_value(value), .size = json_string_length(value)};
}

/* The value's canonical text; pointer is for err. */
static bool read_string(const json_t *value, check_text check, const char *pointer,
                        char canonical[MAX_TEXT_BYTES], struct error *err) {
    if (!json_is_string(value))
        return refuse(err, pointer, "must be a string");
    const char *why = check(string_of(value), canonical);
    return why ? refuse(err, pointer, why) : true;
}

static bool put_list(struct buffer *row, const struct field *field, const json_t *list,
                     struct error *err) {
    char pointer[64], canonical[MAX_TEXT_BYTES];
    snprintf(pointer, sizeof pointer, "/%s", field->name);
    if (!json_is_array(list))
        return refuse(err, pointer, "must be an array");
    buffer_add_text(row, "{");
    size_t index;
    json_t *item;
    json_array_foreach(list, index, item) {
        snprintf(pointer, sizeof pointer, "/%s/%zu", field->name, index);
        if (!read_string(item, field->check, pointer, canonical, err))
            return false;
        if (index)
            buffer_add_text(row, ",");
        put_element(row, canonical);
    }
    buffer_add_text(row, "}");
    return true;
}

static bool put_field(struct buffer *row, const struct field *field, const json_t *value,
                      struct error *err) {
    char pointer[64], canonical[MAX_TEXT_BYTES];
    snprintf(pointer, sizeof pointer, "/%s", field->name);
    buffer_add_text(row, "\t");
    if (!value && !field->optional)
        return refuse(err, pointer, "is missing");
    if (!value)
        buffer_add_text(row, "\\N");
    else if (field->is_list)
        return put_list(row, field, value, err);
    else if (read_string(value, field->check, pointer, canonical, err))
        put_text(row, canonical);
    else
        return false;
    return true;
}

/* ---- the line ---- */

/* Names of fields are repeated to the user, but not whatever else a stranger may have put there. */
static bool refuse_unknown(const struct line_type *type, const char *key, struct error *err) {
    struct nearest nearest = nearest_to(key);
    for (const struct field *field = type->fields; field->name; field++)
        nearest_offer(&nearest, field->name);
    char hint[2 * NEAREST_MAX_NAME];
    bool plain = strlen(key) < NEAREST_MAX_NAME && text_is_printable_ascii(slice_of(key));
    return error_set(err, FAULT_INPUT, "inventory-line",
                     "/%s: a line of type %s has no such field%s", plain ? key : "?", type->name,
                     nearest_hint(&nearest, hint, sizeof hint));
}

static bool check_keys(const struct line_type *type, json_t *line, struct error *err) {
    const char *key;
    json_t *value;
    json_object_foreach(line, key, value) {
        const struct field *field = type->fields;
        while (field->name && strcmp(field->name, key) != 0)
            field++;
        if (!field->name && strcmp(key, "type") != 0)
            return refuse_unknown(type, key, err);
    }
    return true;
}

static bool find_type(const json_t *line, enum inventory_type *ret, struct error *err) {
    const json_t *name = json_object_get(line, "type");
    for (int i = 0; json_is_string(name) && i < INVENTORY_TYPE_COUNT; i++) {
        if (strcmp(json_string_value(name), types[i].name) == 0) {
            *ret = (enum inventory_type)i;
            return true;
        }
    }
    return refuse(err, "/type",
                  "must be proxy, template, call_barring, account, channel or number");
}

static bool put_line(struct inventory_block *block, json_t *line, size_t number,
                     struct error *err) {
    enum inventory_type which = 0;
    if (!find_type(line, &which, err))
        return false;
    const struct line_type *type = &types[which];
    if (!check_keys(type, line, err))
        return false;
    struct buffer *row = &block->rows[which];
    char digits[24];
    snprintf(digits, sizeof digits, "%zu", number);
    buffer_add_text(row, digits);
    for (const struct field *field = type->fields; field->name; field++) {
        if (!put_field(row, field, json_object_get(line, field->name), err))
            return false;
    }
    buffer_add_text(row, "\n");
    block->counts[which]++;
    const char *pointer = "", *why = type->check ? type->check(line, &pointer) : NULL;
    if (why)
        return refuse(err, pointer, why);
    return row->failed ? error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the line")
                       : true;
}

bool inventory_line_add(struct inventory_block *block, struct slice text, size_t number,
                        struct error *err) {
    json_t *line = line_object(text, err);
    bool ok = line && put_line(block, line, number, err);
    json_decref(line);
    return ok;
}

void inventory_block_clear(struct inventory_block *block) {
    for (size_t i = 0; i < INVENTORY_TYPE_COUNT; i++) {
        buffer_clear(&block->rows[i]);
        block->counts[i] = 0;
    }
}

void inventory_block_free(struct inventory_block *block) {
    for (size_t i = 0; i < INVENTORY_TYPE_COUNT; i++)
        buffer_free(&block->rows[i]);
}
