/* DisconnectNumber: takes one number off its channel, with its number type. Guide: Disconnect
 * number. */
#include "worker/decide.h"

enum { SLOT_NUMBER = SLOT_OWN, SLOT_CHANNEL_NAME, SLOT_COUNT };

static const struct reader_field readers[] = {
    ENVELOPE_READERS,
    {.name = "number", .kind = READER_STRING, .slot = SLOT_NUMBER},
    {.name = "channel_name", .kind = READER_STRING, .slot = SLOT_CHANNEL_NAME},
};

static const struct field_check checks[SLOT_COUNT] = {
    ENVELOPE_CHECKS,
    [SLOT_NUMBER] = {"/number", RULE_NUMBER},
    [SLOT_CHANNEL_NAME] = {"/channel_name", RULE_CHANNEL_NAME_GUARD},
};

static const struct reader_record record = {
    .full_name = "siptrunk.command.v1.DisconnectNumber",
    .fields = readers,
    .field_count = sizeof readers / sizeof readers[0],
    .slot_count = SLOT_COUNT,
};

static bool want(struct working_set *set, struct command *command) {
    struct number *number = working_set_want_number(set, command_number(command));
    if (number)
        number->needs_channel = true;
    return number != NULL;
}

static bool matches_guard(const struct decision *decision, const struct channel *channel) {
    struct slice guard = command_text(decision->command, SLOT_CHANNEL_NAME);
    return !guard.data || slice_equal(guard, channel->name);
}

static bool disconnect(struct decision *decision, struct number *number,
                       const struct channel *channel) {
    decision_concerns(decision, channel);
    if (!decision_change(decision, "/channel_name", channel->name, SLICE_NONE))
        return false;
    if (number->type.data && !decision_change(decision, "/number_type", number->type, SLICE_NONE))
        return false;
    struct slice e164 = command_number(decision->command);
    if (channel->caller_id.data && slice_equal(channel->caller_id, e164) &&
        !decision_warn(decision, WARNING_CALLER_ID_UNCONNECTED, "/number", SLICE_NONE))
        return false;
    if (decision_applies(decision)) {
        number->channel_id = 0;
        number->type = SLICE_NONE;
        number->changed = true;
    }
    return true;
}

static bool decide(struct decision *decision) {
    struct number *number;
    if (!decision_find_number(decision, &number))
        return false;
    if (!number)
        return true;
    const struct channel *channel =
        number->channel_id == 0
            ? NULL
            : working_set_channel_by_id(decision->set, &number->account_id, number->channel_id);
    if (!channel)
        return decision_reject(decision, REASON_NUMBER_NOT_CONNECTED, "/number", SLICE_NONE);
    if (!matches_guard(decision, channel))
        return decision_reject(decision, REASON_NUMBER_NOT_ON_CHANNEL, "/number", SLICE_NONE);
    if (!decision_check_version(decision, channel))
        return false;
    return decision_rejected(decision) || disconnect(decision, number, channel);
}

const struct command_type disconnect_number_type = {
    .name = "DisconnectNumber",
    .record = &record,
    .checks = checks,
    .success_code = 204,
    .channel_name_slot = SLOT_CHANNEL_NAME,
    .number_slot = SLOT_NUMBER,
    .want = want,
    .decide = decide,
};
