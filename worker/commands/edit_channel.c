/* EditChannel: a patch of a channel's settings, its password and its name. What a setting is stands
 * in worker/settings.def; here is what concerns several of them, and stored data. Guide: Edit
 * Channel. */
#include "worker/decide.h"
#include "worker/settings.h"

/* ---- reading ---- */

/* clang-format off */
#define READER(symbol, text, reader, ...) {.name = text, .kind = READER_##reader, .slot = EDIT_##symbol},

#define DEFINE_RECORD(list, members)                                                               \
    static const struct reader_record list = {.fields = members,                                   \
                                              .field_count = sizeof members / sizeof members[0]}

#define SETTING READER
#define ALIAS READER
#define SETTINGS_OF_TRUNK
static const struct reader_field trunk_fields[] = {
#include "worker/settings.def"
};
#define SETTING READER
#define ALIAS READER
#define SETTINGS_OF_AUDIO
static const struct reader_field audio_fields[] = {
#include "worker/settings.def"
};
#define SETTING READER
#define SETTINGS_OF_CLIP
static const struct reader_field clip_fields[] = {
#include "worker/settings.def"
};
#define SETTING READER
#define SETTINGS_OF_DID
static const struct reader_field did_fields[] = {
#include "worker/settings.def"
};
#define SETTING READER
#define SETTINGS_OF_FAILOVER
static const struct reader_field failover_fields[] = {
#include "worker/settings.def"
};
#define SETTING READER
#define SETTINGS_OF_TEAMS
static const struct reader_field teams_fields[] = {
#include "worker/settings.def"
};
DEFINE_RECORD(record_TRUNK, trunk_fields);
DEFINE_RECORD(record_AUDIO, audio_fields);
DEFINE_RECORD(record_CLIP, clip_fields);
DEFINE_RECORD(record_DID, did_fields);
DEFINE_RECORD(record_FAILOVER, failover_fields);
DEFINE_RECORD(record_TEAMS, teams_fields);

static const struct reader_field readers[] = {
    ENVELOPE_READERS,
#define FIELD READER
#define SETTING READER
#define RECORD(symbol, text, pointer) \
    {.name = text, .kind = READER_RECORD, .slot = EDIT_##symbol, .record = &record_##symbol},
#define SETTINGS_OF_TOP
#include "worker/settings.def"
};

static const struct field_check checks[EDIT_SLOT_COUNT] = {
    ENVELOPE_CHECKS,
#define FIELD(symbol, name, reader, rule, pointer)        [EDIT_##symbol] = {pointer, RULE_##rule},
#define SETTING(symbol, name, reader, rule, pointer, ...) [EDIT_##symbol] = {pointer, RULE_##rule},
#define ALIAS(symbol, name, reader, rule, pointer, of)    [EDIT_##symbol] = {pointer, RULE_##rule},
#define RECORD(symbol, name, pointer)                     [EDIT_##symbol] = {pointer, RULE_RECORD},
#define SETTINGS_OF_ALL
#include "worker/settings.def"
};
/* clang-format on */

static const struct reader_record record = {
    .full_name = "siptrunk.command.v1.EditChannel",
    .fields = readers,
    .field_count = sizeof readers / sizeof readers[0],
    .slot_count = EDIT_SLOT_COUNT,
};

/* ---- fields that concern each other ---- */

static const struct canonical *sent_setting(const struct command *command, enum setting setting) {
    const struct canonical *canonical = &command->canonical[settings[setting].slot];
    return canonical->sent ? canonical : NULL;
}

static bool refuse_spellings(struct command *command, struct arena *arena, const char *canonical,
                             const char *alias) {
    return problem_add(&command->problems, arena, REASON_CONFLICTING_ALIAS, canonical,
                       SLICE_NONE) &&
           problem_add(&command->problems, arena, REASON_CONFLICTING_ALIAS, alias, SLICE_NONE);
}

/* An alias stands in for its setting; both with different values are refused. */
static bool merge_alias(struct command *command, struct arena *arena,
                        const struct setting_alias *alias) {
    const struct canonical *other = &command->canonical[alias->slot];
    struct canonical *own = &command->canonical[settings[alias->setting].slot];
    if (!other->sent)
        return true;
    if (own->sent && !slice_equal(own->text, other->text))
        return refuse_spellings(command, arena, own->pointer, alias->pointer);
    if (!own->sent)
        *own = *other;
    return warning_add(&command->warnings, arena, WARNING_ALIAS_USED, alias->pointer, SLICE_NONE);
}

static bool check(struct command *command, struct arena *arena) {
    for (size_t i = 0; i < setting_alias_count; i++) {
        if (!merge_alias(command, arena, &setting_aliases[i]))
            return false;
    }
    return true;
}

/* ---- what deciding needs ---- */

static bool want_reference(struct working_set *set, const struct command *command,
                           enum reference_kind kind, enum setting setting) {
    const struct canonical *sent = sent_setting(command, setting);
    return !sent || !sent->text.data ||
           working_set_want_reference(set, &command->account_id, kind, sent->text);
}

static const struct value *call_barrings(const struct command *command) {
    return command_value(command, EDIT_CALL_BARRINGS);
}

static bool want_call_barrings(struct working_set *set, const struct command *command) {
    if (!sent_setting(command, SETTING_CALL_BARRINGS))
        return true;
    for (size_t i = 0; i < call_barrings(command)->list.count; i++) {
        if (!working_set_want_reference(set, &command->account_id, REFERENCE_CALL_BARRING,
                                        call_barrings(command)->list.items[i]))
            return false;
    }
    return true;
}

/* The number that calls are forwarded to may be one on this channel. */
static bool want_forward_to(struct working_set *set, const struct command *command) {
    const struct canonical *sent = sent_setting(command, SETTING_FAILOVER_FORWARD_TO);
    struct e164 number;
    if (!sent || !sent->text.data || e164_parse(sent->text, &number))
        return true;
    return working_set_want_number(set, (struct slice){.data = number.text, .size = number.size});
}

static bool want(struct working_set *set, struct command *command) {
    const struct canonical *new_name = &command->canonical[EDIT_NEW_NAME];
    struct channel_name *name = working_set_want_channel(set, &command->account_id,
                                                         command_text(command, EDIT_CHANNEL_NAME));
    if (!name)
        return false;
    name->needs_settings = true;
    if (new_name->sent) {
        /* The new name may stand for a channel that a command of this batch edits later. */
        struct channel_name *taken =
            working_set_want_channel(set, &command->account_id, new_name->text);
        if (!taken)
            return false;
        taken->needs_settings = true;
    }
    return want_reference(set, command, REFERENCE_CALLER_ID, SETTING_CALLER_ID) &&
           want_call_barrings(set, command) &&
           want_reference(set, command, REFERENCE_TEMPLATE, SETTING_TRUNK_TEMPLATE_ID) &&
           want_reference(set, command, REFERENCE_PROXY, SETTING_TRUNK_PROXY_ID) &&
           want_forward_to(set, command);
}

/* ---- deciding ---- */

/* The text that a setting will have. */
static struct slice merged(const struct decision *decision, const struct channel *channel,
                           enum setting setting) {
    const struct canonical *sent = sent_setting(decision->command, setting);
    return sent ? sent->text : channel->settings[setting];
}

static int64_t seconds(struct slice text) {
    int64_t value = 0;
    for (size_t i = 0; i < text.size; i++)
        value = 10 * value + (text.data[i] - '0');
    return value;
}

/* Asterisk's chan_sip wants a hold timeout greater than the timeout; the guide's 1800 and 1900
 * agree. */
static bool check_rtp(struct decision *decision, const struct channel *channel) {
    struct slice timeout = merged(decision, channel, SETTING_AUDIO_RTP_TIMEOUT);
    struct slice hold = merged(decision, channel, SETTING_AUDIO_RTP_HOLD_TIMEOUT);
    if (!timeout.data || !hold.data || seconds(hold) > seconds(timeout))
        return true;
    return decision_reject(decision, REASON_RTP_HOLD_NOT_GREATER, "/audio_stream/rtp_hold_timeout",
                           SLICE_NONE);
}

static bool check_reference(struct decision *decision, enum reference_kind kind, struct slice key,
                            const char *pointer, enum reason not_found, enum reason not_granted) {
    const struct reference *reference =
        working_set_reference(decision->set, &decision->command->account_id, kind, key);
    if (!reference || !reference->exists)
        return decision_reject(decision, not_found, pointer, SLICE_NONE);
    return reference->granted || decision_reject(decision, not_granted, pointer, SLICE_NONE);
}

static bool check_setting_reference(struct decision *decision, enum reference_kind kind,
                                    enum setting setting, enum reason not_found,
                                    enum reason not_granted) {
    const struct canonical *sent = sent_setting(decision->command, setting);
    return !sent || !sent->text.data ||
           check_reference(decision, kind, sent->text, sent->pointer, not_found, not_granted);
}

static bool check_call_barrings(struct decision *decision) {
    if (!sent_setting(decision->command, SETTING_CALL_BARRINGS))
        return true;
    const struct value *codes = call_barrings(decision->command);
    for (size_t i = 0; i < codes->list.count; i++) {
        struct slice pointer =
            arena_printf(decision->arena, "%s/%zu", settings[SETTING_CALL_BARRINGS].pointer, i);
        if (!pointer.data ||
            !check_reference(decision, REFERENCE_CALL_BARRING, codes->list.items[i], pointer.data,
                             REASON_CALL_BARRING_NOT_FOUND, REASON_CALL_BARRING_NOT_GRANTED))
            return false;
    }
    return true;
}

/* All of them, in this order. */
static bool check_references(struct decision *decision) {
    return check_setting_reference(decision, REFERENCE_CALLER_ID, SETTING_CALLER_ID,
                                   REASON_CALLER_ID_NOT_AVAILABLE,
                                   REASON_CALLER_ID_NOT_AVAILABLE) &&
           check_call_barrings(decision) &&
           check_setting_reference(decision, REFERENCE_TEMPLATE, SETTING_TRUNK_TEMPLATE_ID,
                                   REASON_TEMPLATE_NOT_FOUND, REASON_TEMPLATE_NOT_GRANTED) &&
           check_setting_reference(decision, REFERENCE_PROXY, SETTING_TRUNK_PROXY_ID,
                                   REASON_PROXY_NOT_FOUND, REASON_PROXY_NOT_GRANTED);
}

static bool check_new_name(struct decision *decision, const struct channel *channel) {
    const struct canonical *name = &decision->command->canonical[EDIT_NEW_NAME];
    if (!name->sent || slice_equal(name->text, channel->name))
        return true;
    return !working_set_channel(decision->set, &channel->account_id, name->text) ||
           decision_reject(decision, REASON_CHANNEL_NAME_TAKEN, "/new_name", SLICE_NONE);
}

/* Steps that each end the command when they refuse it. */
static bool check_stored(struct decision *decision, const struct channel *channel) {
    if (!decision_check_version(decision, channel))
        return false;
    if (!decision_rejected(decision) && decision->command->canonical[EDIT_PASSWORD].sent &&
        !decision->can_keep_secrets &&
        !decision_reject(decision, REASON_SECRETS_NOT_CONFIGURED, "/password", SLICE_NONE))
        return false;
    if (!decision_rejected(decision) && !check_rtp(decision, channel))
        return false;
    if (!decision_rejected(decision) && !check_references(decision))
        return false;
    return decision_rejected(decision) || check_new_name(decision, channel);
}

/* ---- what changes, in the order of the record ---- */

static bool note_changes(struct decision *decision, const struct channel *channel) {
    const struct command *command = decision->command;
    const struct canonical *name = &command->canonical[EDIT_NEW_NAME];
    if (name->sent && !slice_equal(name->text, channel->name) &&
        !decision_change(decision, "/new_name", channel->name, name->text))
        return false;
    if (command->canonical[EDIT_PASSWORD].sent &&
        !decision_change(decision, "/password", SLICE_NONE, SLICE_NONE))
        return false;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct canonical *sent = sent_setting(command, (enum setting)i);
        struct slice before = channel->settings[i];
        bool same = sent && !before.data == !sent->text.data && slice_equal(before, sent->text);
        if (sent && !same && !decision_change(decision, settings[i].pointer, before, sent->text))
            return false;
    }
    return true;
}

static bool forwards_to_itself(const struct decision *decision, const struct channel *channel) {
    const struct canonical *sent = sent_setting(decision->command, SETTING_FAILOVER_FORWARD_TO);
    struct e164 e164;
    if (!sent || !sent->text.data || e164_parse(sent->text, &e164))
        return false;
    const struct number *number =
        working_set_number(decision->set, (struct slice){.data = e164.text, .size = e164.size});
    return number && number->channel_id == channel->id &&
           uuid_equal(&number->account_id, &channel->account_id);
}

static bool note_warnings(struct decision *decision, const struct channel *channel) {
    const struct canonical *method = sent_setting(decision->command, SETTING_CLIP_METHOD);
    if (method && slice_is(method->text, "0") &&
        !merged(decision, channel, SETTING_CALLER_ID).data &&
        !decision_warn(decision, WARNING_STATIC_CLIP_WITHOUT_CALLER_ID, "/clip/method", SLICE_NONE))
        return false;
    return !forwards_to_itself(decision, channel) ||
           decision_warn(decision, WARNING_FAILOVER_LOOP, "/failover/forward_to", SLICE_NONE);
}

static bool change_channel(struct decision *decision, struct channel *channel) {
    const struct command *command = decision->command;
    const struct canonical *name = &command->canonical[EDIT_NEW_NAME];
    if (name->sent && !slice_equal(name->text, channel->name) &&
        !working_set_rename_channel(decision->set, channel, name->text))
        return false;
    for (size_t i = 0; i < SETTING_COUNT; i++)
        channel->settings[i] = merged(decision, channel, (enum setting)i);
    channel->caller_id = channel->settings[SETTING_CALLER_ID];
    if (command->canonical[EDIT_PASSWORD].sent)
        channel->new_password = command->canonical[EDIT_PASSWORD].text;
    channel->version++;
    channel->changed = true;
    return true;
}

static bool edit(struct decision *decision, struct channel *channel) {
    const struct canonical *name = &decision->command->canonical[EDIT_NEW_NAME];
    struct slice old_name = channel->name;
    if (!note_changes(decision, channel) || !note_warnings(decision, channel))
        return false;
    if (decision_applies(decision) && !change_channel(decision, channel))
        return false;
    decision_concerns(decision, channel);
    if (name->sent && !slice_equal(name->text, old_name)) {
        decision->result.channel_name = name->text;
        decision->result.previous_channel_name = old_name;
    }
    return true;
}

static bool decide(struct decision *decision) {
    struct channel *channel;
    if (!decision_find_channel(decision, command_text(decision->command, EDIT_CHANNEL_NAME),
                               &channel))
        return false;
    if (!channel)
        return true;
    if (!check_stored(decision, channel))
        return false;
    return decision_rejected(decision) || edit(decision, channel);
}

const struct command_type edit_channel_type = {
    .name = "EditChannel",
    .record = &record,
    .checks = checks,
    .success_code = 200,
    .channel_name_slot = EDIT_CHANNEL_NAME,
    .number_slot = -1,
    .new_name_slot = EDIT_NEW_NAME,
    .tenant_record_slot = EDIT_TEAMS,
    .check = check,
    .want = want,
    .decide = decide,
};
