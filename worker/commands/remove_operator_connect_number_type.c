/* RemoveOperatorConnectNumberType: takes a number's type away; unlike setting the empty one, it is
 * an error when there is none. Guide: Remove number-type from an Operator-Connect number. */
#include "worker/commands/operator_connect.h"

static const struct reader_field readers[] = {ENVELOPE_READERS, OPERATOR_CONNECT_READERS};

static const struct field_check checks[OPERATOR_CONNECT_SLOTS] = {
    ENVELOPE_CHECKS,
    OPERATOR_CONNECT_CHECKS,
};

static const struct reader_record record = {
    .full_name = "siptrunk.command.v1.RemoveOperatorConnectNumberType",
    .fields = readers,
    .field_count = sizeof readers / sizeof readers[0],
    .slot_count = OPERATOR_CONNECT_SLOTS,
};

static bool decide(struct decision *decision) {
    struct channel *channel;
    struct number *number;
    if (!operator_connect_find(decision, &channel, &number))
        return false;
    if (decision_rejected(decision))
        return true;
    if (!number->type.data)
        return decision_reject(decision, REASON_NUMBER_TYPE_NOT_SET, "/number", SLICE_NONE);
    return operator_connect_change(decision, channel, number, SLICE_NONE);
}

const struct command_type remove_operator_connect_number_type = {
    .name = "RemoveOperatorConnectNumberType",
    .record = &record,
    .checks = checks,
    .success_code = 204,
    .channel_name_slot = OPERATOR_CONNECT_CHANNEL_NAME,
    .number_slot = OPERATOR_CONNECT_NUMBER,
    .want = operator_connect_want,
    .decide = decide,
};
