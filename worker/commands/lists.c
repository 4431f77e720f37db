/* The four lists: reads of what an account may use. Guide: Channel callerId, Channel Proxy,
 * ChannelTemplate, ChannelCallBarring. What they hold is read by load. */
#include "worker/decide.h"

enum { SLOT_OFFSET = SLOT_OWN, SLOT_LIMIT, CALLER_ID_SLOTS, DEFAULT_LIMIT = 100 };

static const struct reader_field caller_id_readers[] = {
    ENVELOPE_READERS,
    {.name = "offset", .kind = READER_INT, .slot = SLOT_OFFSET},
    {.name = "limit", .kind = READER_INT, .slot = SLOT_LIMIT},
};

static const struct reader_field plain_readers[] = {ENVELOPE_READERS};

static const struct field_check checks[CALLER_ID_SLOTS] = {
    ENVELOPE_CHECKS,
    [SLOT_OFFSET] = {"/offset", RULE_LIST_OFFSET},
    [SLOT_LIMIT] = {"/limit", RULE_LIST_LIMIT},
};

static int32_t number_or(const struct command *command, int slot, int32_t otherwise) {
    const struct value *value = command_value(command, slot);
    return value->state == VALUE_SET ? (int32_t)value->integer : otherwise;
}

static bool want_caller_ids(struct working_set *set, struct command *command) {
    command->list = working_set_want_list(set, &command->account_id, LIST_CALLER_IDS,
                                          number_or(command, SLOT_OFFSET, 0),
                                          number_or(command, SLOT_LIMIT, DEFAULT_LIMIT));
    return command->list != NULL;
}

static bool want_all(struct working_set *set, struct command *command, enum list_kind kind) {
    command->list = working_set_want_list(set, &command->account_id, kind, 0, 0);
    return command->list != NULL;
}

static bool want_proxies(struct working_set *set, struct command *command) {
    return want_all(set, command, LIST_PROXIES);
}

static bool want_templates(struct working_set *set, struct command *command) {
    return want_all(set, command, LIST_TEMPLATES);
}

static bool want_call_barrings(struct working_set *set, struct command *command) {
    return want_all(set, command, LIST_CALL_BARRINGS);
}

static bool decide(struct decision *decision) {
    decision->result.list = decision->command->list;
    return true;
}

#define PLAIN_RECORD(name)                                                                         \
    &(const struct reader_record) {                                                                \
        .full_name = "siptrunk.command.v1." name, .fields = plain_readers,                         \
        .field_count = sizeof plain_readers / sizeof plain_readers[0], .slot_count = SLOT_OWN      \
    }

#define LIST_TYPE                                                                                  \
    .checks = checks, .success_code = 200, .channel_name_slot = -1, .number_slot = -1,             \
    .is_list = true, .decide = decide

static const struct reader_record caller_ids_record = {
    .full_name = "siptrunk.command.v1.ListCallerIds",
    .fields = caller_id_readers,
    .field_count = sizeof caller_id_readers / sizeof caller_id_readers[0],
    .slot_count = CALLER_ID_SLOTS,
};

const struct command_type list_caller_ids_type = {
    .name = "ListCallerIds", .record = &caller_ids_record, .want = want_caller_ids, LIST_TYPE};

const struct command_type list_proxies_type = {
    .name = "ListProxies", .record = PLAIN_RECORD("ListProxies"), .want = want_proxies, LIST_TYPE};

const struct command_type list_templates_type = {.name = "ListTemplates",
                                                 .record = PLAIN_RECORD("ListTemplates"),
                                                 .want = want_templates,
                                                 LIST_TYPE};

const struct command_type list_call_barrings_type = {.name = "ListCallBarrings",
                                                     .record = PLAIN_RECORD("ListCallBarrings"),
                                                     .want = want_call_barrings,
                                                     LIST_TYPE};
