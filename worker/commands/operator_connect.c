/* Finding and changing the number of an Operator-Connect command. */
#include "worker/commands/operator_connect.h"

bool operator_connect_want(struct working_set *set, struct command *command) {
    return working_set_want_channel(set, &command->account_id,
                                    command_text(command, OPERATOR_CONNECT_CHANNEL_NAME)) &&
           working_set_want_number(set, command_number(command));
}

static bool find_number_on(struct decision *decision, const struct channel *channel,
                           struct number **ret) {
    if (!decision_find_number(decision, ret))
        return false;
    if (!*ret || (*ret)->channel_id == channel->id)
        return true;
    return decision_reject(decision, REASON_NUMBER_NOT_ON_CHANNEL, "/number", SLICE_NONE);
}

bool operator_connect_find(struct decision *decision, struct channel **ret_channel,
                           struct number **ret_number) {
    struct slice name = command_text(decision->command, OPERATOR_CONNECT_CHANNEL_NAME);
    if (!decision_find_channel(decision, name, ret_channel))
        return false;
    if (!*ret_channel)
        return true;
    if (!decision_check_version(decision, *ret_channel))
        return false;
    if (decision_rejected(decision))
        return true;
    if (!(*ret_channel)->operator_connect)
        return decision_reject(decision, REASON_NOT_OPERATOR_CONNECT, "/channel_name", SLICE_NONE);
    return find_number_on(decision, *ret_channel, ret_number);
}

bool operator_connect_change(struct decision *decision, const struct channel *channel,
                             struct number *number, struct slice type) {
    decision_concerns(decision, channel);
    bool same = !number->type.data == !type.data && slice_equal(number->type, type);
    if (!same && !decision_change(decision, "/number_type", number->type, type))
        return false;
    if (decision_applies(decision)) {
        number->type = type;
        number->changed = true;
    }
    return true;
}
