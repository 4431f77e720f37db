/* ConnectNumber: puts one fixed number of the account onto one of its channels. Guide: Connect
 * number. */
#include "common/failpoint.h"
#include "worker/decide.h"

enum { SLOT_CHANNEL_NAME = SLOT_OWN, SLOT_NUMBER, SLOT_COUNT };

static const struct reader_field readers[] = {
    ENVELOPE_READERS,
    {.name = "channel_name", .kind = READER_STRING, .slot = SLOT_CHANNEL_NAME},
    {.name = "number", .kind = READER_STRING, .slot = SLOT_NUMBER},
};

static const struct field_check checks[SLOT_COUNT] = {
    ENVELOPE_CHECKS,
    [SLOT_CHANNEL_NAME] = {"/channel_name", RULE_CHANNEL_NAME},
    [SLOT_NUMBER] = {"/number", RULE_NUMBER},
};

static const struct reader_record record = {
    .full_name = "siptrunk.command.v1.ConnectNumber",
    .fields = readers,
    .field_count = sizeof readers / sizeof readers[0],
    .slot_count = SLOT_COUNT,
};

static bool want(struct working_set *set, struct command *command) {
    return working_set_want_channel(set, &command->account_id,
                                    command_text(command, SLOT_CHANNEL_NAME)) &&
           working_set_want_number(set, command_number(command));
}

static bool refuse_state(struct decision *decision, const struct number *number) {
    struct slice message = arena_printf(decision->arena, "Number is not available: its state is %s",
                                        number_state_name(number->state));
    return decision_reject(decision, REASON_NUMBER_NOT_AVAILABLE, "/number", message);
}

static bool connect(struct decision *decision, struct number *number,
                    const struct channel *channel) {
    decision_concerns(decision, channel);
    if (number->channel_id != channel->id &&
        !decision_change(decision, "/channel_name", SLICE_NONE, channel->name))
        return false;
    if (decision_applies(decision)) {
        number->channel_id = channel->id;
        number->changed = true;
    }
    return true;
}

static bool decide(struct decision *decision) {
    struct channel *channel;
    struct number *number;
    struct slice name = command_text(decision->command, SLOT_CHANNEL_NAME);
    if (!decision_find_channel(decision, name, &channel))
        return false;
    if (!channel)
        return true;
    if (!decision_check_version(decision, channel))
        return false;
    if (decision_rejected(decision))
        return true;
    if (!decision_find_number(decision, &number))
        return false;
    if (!number)
        return true;
    if (number->kind != NUMBER_FIXED)
        return decision_reject(decision, REASON_NUMBER_NOT_FIXED, "/number", SLICE_NONE);
    if (number->state != NUMBER_AVAILABLE)
        return refuse_state(decision, number);
    if (number->channel_id != 0 && number->channel_id != channel->id &&
        !(number->changed && planted_bug(BUG_EARLIER_UNSEEN)))
        return decision_reject(
            decision, REASON_NUMBER_NOT_AVAILABLE, "/number",
            SLICE_LITERAL("Number is not available: it is connected to another channel"));
    return connect(decision, number, channel);
}

const struct command_type connect_number_type = {
    .name = "ConnectNumber",
    .record = &record,
    .checks = checks,
    .success_code = 201,
    .channel_name_slot = SLOT_CHANNEL_NAME,
    .number_slot = SLOT_NUMBER,
    .want = want,
    .decide = decide,
};
