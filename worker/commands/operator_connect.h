/* What the two commands on the type of an Operator-Connect number share: their first fields, and
 * finding channel and number in the guide's order. */
#ifndef SIPTRUNK_WORKER_COMMANDS_OPERATOR_CONNECT_H
#define SIPTRUNK_WORKER_COMMANDS_OPERATOR_CONNECT_H

#include "worker/decide.h"

enum { OPERATOR_CONNECT_CHANNEL_NAME = SLOT_OWN, OPERATOR_CONNECT_NUMBER, OPERATOR_CONNECT_SLOTS };

/* clang-format off */
#define OPERATOR_CONNECT_READERS                                                                   \
    {.name = "channel_name", .kind = READER_STRING, .slot = OPERATOR_CONNECT_CHANNEL_NAME},        \
    {.name = "number", .kind = READER_STRING, .slot = OPERATOR_CONNECT_NUMBER}

#define OPERATOR_CONNECT_CHECKS                                                                    \
    [OPERATOR_CONNECT_CHANNEL_NAME] = {"/channel_name", RULE_CHANNEL_NAME},                        \
    [OPERATOR_CONNECT_NUMBER] = {"/number", RULE_NUMBER}
/* clang-format on */

bool operator_connect_want(struct working_set *set, struct command *command);

/* The named channel, on an Operator-Connect subscription, and the number on it; rejects otherwise.
 */
bool operator_connect_find(struct decision *decision, struct channel **ret_channel,
                           struct number **ret_number) MUST_CHECK;

/* Gives the number the type (absent: none), unless it has it. */
bool operator_connect_change(struct decision *decision, const struct channel *channel,
                             struct number *number, struct slice type) MUST_CHECK;

#endif
