/* SetOperatorConnectNumberType: gives a number on an Operator-Connect channel its type, or clears
 * it with the empty text. Guide: Add number-type to an Operator-Connect number. */
#include "worker/commands/operator_connect.h"

enum { SLOT_NUMBER_TYPE = OPERATOR_CONNECT_SLOTS, SLOT_COUNT };

static const struct reader_field readers[] = {
    ENVELOPE_READERS,
    OPERATOR_CONNECT_READERS,
    {.name = "number_type", .kind = READER_STRING, .slot = SLOT_NUMBER_TYPE},
};

static const struct field_check checks[SLOT_COUNT] = {
    ENVELOPE_CHECKS,
    OPERATOR_CONNECT_CHECKS,
    [SLOT_NUMBER_TYPE] = {"/number_type", RULE_NUMBER_TYPE},
};

static const struct reader_record record = {
    .full_name = "siptrunk.command.v1.SetOperatorConnectNumberType",
    .fields = readers,
    .field_count = sizeof readers / sizeof readers[0],
    .slot_count = SLOT_COUNT,
};

static bool decide(struct decision *decision) {
    struct channel *channel;
    struct number *number;
    if (!operator_connect_find(decision, &channel, &number))
        return false;
    if (decision_rejected(decision))
        return true;
    struct slice type = command_text(decision->command, SLOT_NUMBER_TYPE);
    decision->result.number_type = type.size > 0 ? type : SLICE_NONE;
    return operator_connect_change(decision, channel, number, decision->result.number_type);
}

const struct command_type set_operator_connect_number_type = {
    .name = "SetOperatorConnectNumberType",
    .record = &record,
    .checks = checks,
    .success_code = 200,
    .channel_name_slot = OPERATOR_CONNECT_CHANNEL_NAME,
    .number_slot = OPERATOR_CONNECT_NUMBER,
    .want = operator_connect_want,
    .decide = decide,
};
