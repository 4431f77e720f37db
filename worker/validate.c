/* Field rules as a table of functions. Rules that need stored data are in decide and
 * worker/commands. */
#include "worker/validate.h"

#include "common/text.h"
#include "worker/field.h"

bool field_refuse(struct field *field, enum reason reason, struct slice message) {
    return problem_add(&field->command->problems, field->arena, reason, field->pointer, message);
}

bool field_missing(const struct value *value) {
    return value->state == VALUE_ABSENT || value->state == VALUE_NULL;
}

/* What every text field shares: type, size, encoding. *ret_usable says whether its own rule may
 * look at it. */
bool field_text(struct field *field, bool *ret_usable) {
    const struct value *value = field->value;
    *ret_usable = false;
    if (value->state == VALUE_BAD_TYPE)
        return field_refuse(field, REASON_TYPE, SLICE_NONE);
    if (value->state == VALUE_TOO_LONG)
        return field_refuse(field, REASON_TOO_LONG, SLICE_NONE);
    if (!text_is_clean(value->text))
        return field_refuse(field, REASON_ENCODING, SLICE_NONE);
    *ret_usable = true;
    return true;
}

static bool check_command_id(struct field *field) {
    struct command *command = field->command;
    const struct value *value = field->value;
    command->command_id_valid =
        value->state == VALUE_SET && uuid_parse(value->text, &command->command_id);
    return command->command_id_valid || field_refuse(field, REASON_UUID_FORMAT, SLICE_NONE);
}

static bool check_account_id(struct field *field) {
    struct command *command = field->command;
    const struct value *value = field->value;
    command->account_id_valid =
        value->state == VALUE_SET && uuid_parse(value->text, &command->account_id);
    return command->account_id_valid || field_refuse(field, REASON_ACCOUNT_ID, SLICE_NONE);
}

static bool check_optional_text(struct field *field, size_t max_length) {
    bool usable;
    if (field_missing(field->value))
        return true;
    if (!field_text(field, &usable))
        return false;
    if (!usable || text_length(field->value->text) <= max_length)
        return true;
    return field_refuse(
        field, REASON_TOO_LONG,
        arena_printf(field->arena, "The text is longer than %zu characters", max_length));
}

static bool check_text_64(struct field *field) {
    return check_optional_text(field, 64);
}

static bool check_text_128(struct field *field) {
    return check_optional_text(field, 128);
}

static bool check_integer(struct field *field) {
    return field->value->state != VALUE_BAD_TYPE || field_refuse(field, REASON_TYPE, SLICE_NONE);
}

static bool check_boolean(struct field *field) {
    bool bad = field->value->state == VALUE_BAD_TYPE || field->value->state == VALUE_NULL;
    if (bad)
        return field_refuse(field, REASON_TYPE, SLICE_NONE);
    return true;
}

static bool check_channel_name_guard(struct field *field) {
    bool usable;
    if (field_missing(field->value))
        return true;
    if (!field_text(field, &usable))
        return false;
    struct slice name = field->value->text;
    if (!usable)
        return true;
    if (name.size == 0)
        return field_refuse(field, REASON_REQUIRED, SLICE_NONE);
    if (name.data[0] == ' ' || name.data[name.size - 1] == ' ')
        return field_refuse(field, REASON_NAME_FORMAT,
                            SLICE_LITERAL("A channel name does not begin or end with a space"));
    if (text_length(name) > MAX_CHANNEL_NAME)
        return field_refuse(field, REASON_TOO_LONG,
                            SLICE_LITERAL("A channel name has at most 64 characters"));
    return true;
}

static bool check_channel_name(struct field *field) {
    if (field_missing(field->value))
        return field_refuse(field, REASON_REQUIRED, SLICE_NONE);
    return check_channel_name_guard(field);
}

static bool check_number(struct field *field) {
    bool usable;
    if (field_missing(field->value))
        return field_refuse(field, REASON_REQUIRED, SLICE_NONE);
    if (!field_text(field, &usable))
        return false;
    if (!usable)
        return true;
    if (field->value->text.size == 0)
        return field_refuse(field, REASON_REQUIRED, SLICE_NONE);
    const char *why = e164_parse(field->value->text, &field->command->number);
    if (!why)
        return true;
    return field_refuse(field, REASON_NUMBER_FORMAT,
                        arena_printf(field->arena, "Not a number in E.164 format: %s", why));
}

static bool check_number_type(struct field *field) {
    bool usable;
    if (field_missing(field->value))
        return field_refuse(field, REASON_REQUIRED, SLICE_NONE);
    if (!field_text(field, &usable))
        return false;
    struct slice type = field->value->text;
    if (!usable || type.size == 0 || slice_is(type, "User") || slice_is(type, "Resource Account"))
        return true;
    return field_refuse(
        field, REASON_NUMBER_TYPE,
        SLICE_LITERAL("The number type is \"User\", \"Resource Account\" or empty"));
}

/* A whole number from least to most. */
static bool check_paging(struct field *field, int64_t least, int64_t most, const char *message) {
    const struct value *value = field->value;
    bool fits = value->state == VALUE_SET && value->kind == VALUE_KIND_INTEGER &&
                value->integer >= least && value->integer <= most;
    if (field_missing(value) || fits)
        return true;
    return field_refuse(field, REASON_OUT_OF_RANGE, slice_of(message));
}

static bool check_list_offset(struct field *field) {
    return check_paging(field, 0, INT32_MAX, "Expected a whole number, 0 or more");
}

static bool check_list_limit(struct field *field) {
    return check_paging(field, 1, 1000, "Expected a whole number from 1 to 1000");
}

static bool check_nothing(struct field *field) {
    (void)field;
    return true;
}

static bool (*const checks[])(struct field *) = {
    [RULE_NONE] = check_nothing,
    [RULE_COMMAND_ID] = check_command_id,
    [RULE_ACCOUNT_ID] = check_account_id,
    [RULE_TEXT_64] = check_text_64,
    [RULE_TEXT_128] = check_text_128,
    [RULE_INTEGER] = check_integer,
    [RULE_BOOLEAN] = check_boolean,
    [RULE_CHANNEL_NAME] = check_channel_name,
    [RULE_CHANNEL_NAME_GUARD] = check_channel_name_guard,
    [RULE_NUMBER] = check_number,
    [RULE_NUMBER_TYPE] = check_number_type,
    [RULE_LIST_OFFSET] = check_list_offset,
    [RULE_LIST_LIMIT] = check_list_limit,
    [RULE_RECORD] = rule_record,
    [RULE_NEW_NAME] = rule_new_name,
    [RULE_PASSWORD] = rule_password,
    [RULE_CALLER_ID] = rule_caller_id,
    [RULE_AREA_CODE] = rule_area_code,
    [RULE_FLAG] = rule_flag,
    [RULE_FLAG_OR_TEXT] = rule_flag_or_text,
    [RULE_CALL_BARRINGS] = rule_call_barrings,
    [RULE_UUID] = rule_uuid,
    [RULE_OPAQUE] = rule_opaque,
    [RULE_WHITELIST] = rule_whitelist,
    [RULE_PING] = rule_ping,
    [RULE_RINGING_TIMEOUT] = rule_ringing_timeout,
    [RULE_DTMF] = rule_dtmf,
    [RULE_RTP_TIMEOUT] = rule_rtp_timeout,
    [RULE_CLIP_METHOD] = rule_clip_method,
    [RULE_DIAL_STRING] = rule_dial_string,
    [RULE_TENANT_ID] = rule_tenant_id,
};

static bool check_slot(struct command *command, struct arena *arena, size_t slot) {
    const struct field_check *check = &command->type->checks[slot];
    struct field field = {.command = command,
                          .arena = arena,
                          .value = &command->values[slot],
                          .pointer = check->pointer,
                          .canonical = &command->canonical[slot]};
    return checks[check->rule](&field);
}

/* The result shows the canonical number even of a command whose ids end the checks. */
static void read_number(struct command *command) {
    struct slice text = command_text(command, command->type->number_slot);
    if (text.data)
        (void)e164_parse(text, &command->number);
}

bool validate_command(struct command *command, struct arena *arena) {
    size_t slot_count = command->type->record->slot_count;
    command->canonical = arena_array(arena, slot_count, sizeof *command->canonical);
    if (!command->canonical)
        return false;
    if (!check_slot(command, arena, SLOT_COMMAND_ID) ||
        !check_slot(command, arena, SLOT_ACCOUNT_ID))
        return false;
    if (command->problems.count > 0) {
        read_number(command);
        return true;
    }
    for (size_t slot = SLOT_ACCOUNT_ID + 1; slot < slot_count; slot++) {
        if (!check_slot(command, arena, slot))
            return false;
    }
    const struct value *dry_run = command_value(command, SLOT_DRY_RUN);
    command->dry_run = dry_run->state == VALUE_SET && dry_run->boolean;
    return !command->type->check || command->type->check(command, arena);
}
