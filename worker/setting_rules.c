/* The rules of EditChannel's fields, one by one: each refuses, or leaves the canonical form. What
 * concerns several fields, or stored data, is in worker/commands/edit_channel.c. */
#include "common/text.h"
#include "worker/field.h"
#include "worker/whitelist.h"

#include <stdlib.h>

/* The setting is to have this text; absent: to be cleared. False when the text is absent for want
 * of memory. */
static bool take(struct field *field, struct slice text) {
    *field->canonical = (struct canonical){.sent = true, .text = text, .pointer = field->pointer};
    return true;
}

static bool take_copy(struct field *field, struct slice text) {
    return text.data && take(field, text);
}

/* Runs the rule of a text that was sent and may be looked at; for others there is nothing to do, or
 * a problem. */
static bool with_text(struct field *field, bool (*rule)(struct field *, struct slice)) {
    bool usable;
    if (field_missing(field->value))
        return true;
    if (!field_text(field, &usable))
        return false;
    return !usable || rule(field, field->value->text);
}

static bool is_name_character(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool is_new_name(struct slice name) {
    if (name.size < 1 || name.size > MAX_CHANNEL_NAME || strchr("._-", name.data[0]))
        return false;
    for (size_t i = 0; i < name.size; i++) {
        if (!is_name_character(name.data[i]))
            return false;
    }
    return true;
}

static bool take_new_name(struct field *field, struct slice name) {
    if (is_new_name(name))
        return take(field, name);
    return field_refuse(
        field, REASON_NAME_FORMAT,
        SLICE_LITERAL(
            "A new name has 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit"));
}

bool rule_new_name(struct field *field) {
    return with_text(field, take_new_name);
}

enum { MIN_PASSWORD = 8, MAX_PASSWORD = 128 };

static bool occurs_in(struct slice part, struct slice whole) {
    return part.size > 0 && memmem(whole.data, whole.size, part.data, part.size);
}

/* The message never shows the password, nor what of it is wrong beyond the rule. */
static bool take_password(struct field *field, struct slice password) {
    struct command *command = field->command;
    bool fits = password.size >= MIN_PASSWORD && password.size <= MAX_PASSWORD &&
                text_is_printable_ascii(password);
    bool tells = occurs_in(command_text(command, command->type->channel_name_slot), password) ||
                 occurs_in(command_text(command, command->type->new_name_slot), password);
    if (fits && !tells)
        return take(field, password);
    return field_refuse(
        field, REASON_PASSWORD_POLICY,
        fits ? SLICE_LITERAL("The password must not contain the channel's name")
             : SLICE_LITERAL("A password has 8 to 128 printable ASCII characters without spaces"));
}

bool rule_password(struct field *field) {
    field->command->holds_secret = !field_missing(field->value);
    return with_text(field, take_password);
}

static bool take_caller_id(struct field *field, struct slice text) {
    struct e164 number;
    const char *why = e164_parse(text, &number);
    if (why)
        return field_refuse(field, REASON_NUMBER_FORMAT,
                            arena_printf(field->arena, "Not a number in E.164 format: %s", why));
    if (number.converted_from_00 &&
        !warning_add(&field->command->warnings, field->arena, WARNING_NUMBER_CONVERTED_FROM_00,
                     field->pointer, SLICE_NONE))
        return false;
    return take_copy(
        field, arena_copy(field->arena, (struct slice){.data = number.text, .size = number.size}));
}

bool rule_caller_id(struct field *field) {
    return with_text(field, take_caller_id);
}

/* Between min and max characters, all of them among those allowed. */
static bool is_made_of(struct slice text, size_t min, size_t max, const char *allowed) {
    if (text.size < min || text.size > max)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (!strchr(allowed, text.data[i]))
            return false;
    }
    return true;
}

static bool take_area_code(struct field *field, struct slice text) {
    if (is_made_of(text, 1, 8, "0123456789"))
        return take(field, text);
    return field_refuse(field, REASON_OUT_OF_RANGE,
                        SLICE_LITERAL("An area code has 1 to 8 digits"));
}

bool rule_area_code(struct field *field) {
    return with_text(field, take_area_code);
}

bool rule_flag(struct field *field) {
    const struct value *value = field->value;
    if (field_missing(value))
        return true;
    if (value->state != VALUE_SET || value->kind != VALUE_KIND_BOOL)
        return field_refuse(field, REASON_TYPE, SLICE_NONE);
    return take(field, value->boolean ? SLICE_LITERAL("true") : SLICE_LITERAL("false"));
}

bool rule_flag_or_text(struct field *field) {
    const struct value *value = field->value;
    bool has_value = value->state == VALUE_SET || value->state == VALUE_TOO_LONG;
    bool usable;
    if (!has_value || value->kind != VALUE_KIND_TEXT)
        return rule_flag(field);
    if (!field_text(field, &usable))
        return false;
    if (!usable)
        return true;
    if (slice_is(value->text, "true") || slice_is(value->text, "false"))
        return take(field, value->text);
    return field_refuse(field, REASON_TYPE, SLICE_LITERAL("Expected true or false"));
}

static bool take_uuid(struct field *field, struct slice text) {
    struct uuid uuid;
    char canonical[UUID_TEXT_SIZE + 1];
    if (!uuid_parse(text, &uuid))
        return field_refuse(field, REASON_UUID_FORMAT, SLICE_NONE);
    uuid_format(&uuid, canonical);
    return take_copy(field, arena_copy(field->arena, slice_of(canonical)));
}

bool rule_uuid(struct field *field) {
    return with_text(field, take_uuid);
}

enum { MAX_OPAQUE = 255 };

static bool take_opaque(struct field *field, struct slice text) {
    if (text_length(text) > MAX_OPAQUE)
        return field_refuse(field, REASON_TOO_LONG,
                            SLICE_LITERAL("The text is longer than 255 characters"));
    return take(field, text.size > 0 ? text : SLICE_NONE);
}

bool rule_opaque(struct field *field) {
    return with_text(field, take_opaque);
}

static bool take_dial_string(struct field *field, struct slice text) {
    if (text.size == 0)
        return take(field, SLICE_NONE);
    struct slice digits = text;
    if (digits.data[0] == '+')
        digits = (struct slice){.data = text.data + 1, .size = text.size - 1};
    if (is_made_of(digits, 1, 32, "0123456789*#"))
        return take(field, text);
    return field_refuse(
        field, REASON_DIAL_STRING,
        SLICE_LITERAL("A dial string has 1 to 32 of 0-9 * #, with + before them or not"));
}

bool rule_dial_string(struct field *field) {
    return with_text(field, take_dial_string);
}

/* ---- whole numbers ---- */

static const struct range {
    int64_t least, most;
    const char *message;
} ranges[] = {
    [RULE_PING] = {1, 3, "Expected 1, 2 or 3"},
    [RULE_RINGING_TIMEOUT] = {1, 600, "Expected 1 to 600 seconds"},
    [RULE_DTMF] = {0, 255, "Expected 0 to 255"},
    [RULE_CLIP_METHOD] = {0, 5, "Expected 0, 1, 2, 3 or 5"},
};

static bool check_range(struct field *field, enum rule rule) {
    const struct value *value = field->value;
    if (field_missing(value))
        return true;
    if (value->state != VALUE_SET || value->kind != VALUE_KIND_INTEGER)
        return field_refuse(field, REASON_TYPE, SLICE_NONE);
    bool inside = value->integer >= ranges[rule].least && value->integer <= ranges[rule].most;
    bool hole = rule == RULE_CLIP_METHOD && value->integer == 4;
    if (!inside || hole)
        return field_refuse(field, REASON_OUT_OF_RANGE, slice_of(ranges[rule].message));
    return take_copy(field, arena_printf(field->arena, "%d", (int)value->integer));
}

bool rule_ping(struct field *field) {
    return check_range(field, RULE_PING);
}

bool rule_ringing_timeout(struct field *field) {
    return check_range(field, RULE_RINGING_TIMEOUT);
}

bool rule_dtmf(struct field *field) {
    return check_range(field, RULE_DTMF);
}

bool rule_clip_method(struct field *field) {
    return check_range(field, RULE_CLIP_METHOD);
}

static bool take_rtp_timeout(struct field *field, struct slice text) {
    if (is_made_of(text, 1, 5, "0123456789") && text.data[0] != '0')
        return take(field, text);
    return field_refuse(field, REASON_OUT_OF_RANGE,
                        SLICE_LITERAL("Expected 1 to 99999 seconds, as a text, or null"));
}

/* Not sent, null, or a text of seconds. */
bool rule_rtp_timeout(struct field *field) {
    return field->value->state == VALUE_NULL ? take(field, SLICE_NONE)
                                             : with_text(field, take_rtp_timeout);
}

bool rule_tenant_id(struct field *field) {
    const struct command *command = field->command;
    const struct value *record = command_value(command, command->type->tenant_record_slot);
    if (record->state == VALUE_SET && field_missing(field->value))
        return field_refuse(field, REASON_REQUIRED, SLICE_NONE);
    return rule_uuid(field);
}

bool rule_record(struct field *field) {
    return field->value->state != VALUE_BAD_TYPE || field_refuse(field, REASON_TYPE, SLICE_NONE);
}

/* ---- lists ---- */

static bool warn(struct field *field, enum warning_code code) {
    return warning_add(&field->command->warnings, field->arena, code, field->pointer, SLICE_NONE);
}

static int compare_codes(const void *a, const void *b) {
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* A compact JSON array, as PostgreSQL's to_json writes it. Codes are clean texts. */
static struct slice codes_json(const struct slice *codes, size_t count, struct arena *arena) {
    size_t room = 2;
    for (size_t i = 0; i < count; i++)
        room += 2 * codes[i].size + 3;
    char *json = arena_alloc(arena, room);
    if (!json)
        return SLICE_NONE;
    char *to = json;
    *to++ = '[';
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            *to++ = ',';
        *to++ = '"';
        for (size_t k = 0; k < codes[i].size; k++) {
            if (codes[i].data[k] == '"' || codes[i].data[k] == '\\')
                *to++ = '\\';
            *to++ = codes[i].data[k];
        }
        *to++ = '"';
    }
    *to++ = ']';
    return (struct slice){.data = json, .size = (size_t)(to - json)};
}

/* Item problems have pointers of their own. */
static bool check_codes(struct field *field, bool *ret_clean) {
    const struct value *value = field->value;
    *ret_clean = true;
    for (size_t i = 0; i < value->list.count; i++) {
        struct slice code = value->list.items[i];
        enum reason reason = code.size > 4096       ? REASON_TOO_LONG
                             : !text_is_clean(code) ? REASON_ENCODING
                                                    : REASON_NONE;
        if (reason == REASON_NONE)
            continue;
        *ret_clean = false;
        struct slice pointer = arena_printf(field->arena, "%s/%zu", field->pointer, i);
        if (!pointer.data ||
            !problem_add(&field->command->problems, field->arena, reason, pointer.data, SLICE_NONE))
            return false;
    }
    return true;
}

bool rule_call_barrings(struct field *field) {
    const struct value *value = field->value;
    bool clean;
    if (field_missing(value))
        return true;
    if (value->state == VALUE_BAD_TYPE)
        return field_refuse(field, REASON_TYPE, SLICE_NONE);
    if (!check_codes(field, &clean))
        return false;
    if (!clean)
        return true;
    if (value->list.count == 0)
        return take(field, SLICE_NONE);
    struct slice *codes = arena_array(field->arena, value->list.count, sizeof *codes);
    if (!codes)
        return false;
    memcpy(codes, value->list.items, value->list.count * sizeof *codes);
    qsort(codes, value->list.count, sizeof *codes, compare_codes);
    size_t count = 1;
    for (size_t i = 1; i < value->list.count; i++) {
        if (!slice_equal(codes[i], codes[count - 1]))
            codes[count++] = codes[i];
    }
    if (count < value->list.count && !warn(field, WARNING_DUPLICATE_COLLAPSED))
        return false;
    return take_copy(field, codes_json(codes, count, field->arena));
}

static bool refuse_entries(struct field *field, const struct whitelist *list) {
    for (size_t i = 0; i < list->problem_count; i++) {
        const struct whitelist_problem *problem = &list->problems[i];
        struct slice pointer = arena_printf(field->arena, "%s/%zu", field->pointer, problem->index);
        if (!pointer.data || !problem_add(&field->command->problems, field->arena, problem->reason,
                                          pointer.data, problem->message))
            return false;
    }
    return true;
}

static bool take_whitelist(struct field *field, struct slice text) {
    struct whitelist list;
    if (!whitelist_parse(text, field->arena, &list))
        return false;
    if (list.too_many)
        return field_refuse(field, REASON_TOO_MANY_ENTRIES, SLICE_LITERAL("At most 64 entries"));
    if (list.problem_count > 0)
        return refuse_entries(field, &list);
    return (!list.duplicates || warn(field, WARNING_DUPLICATE_COLLAPSED)) &&
           (!list.broad || warn(field, WARNING_WHITELIST_BROAD)) &&
           (!list.overlap || warn(field, WARNING_WHITELIST_OVERLAP)) && take(field, list.canonical);
}

bool rule_whitelist(struct field *field) {
    return with_text(field, take_whitelist);
}
