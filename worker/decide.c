/* Replay, envelope, fields, account, then the command's own rules; number, chain, encode. */
#include "worker/decide.h"

#include "common/failpoint.h"
#include "worker/command_mac.h"

#include <inttypes.h>

/* ---- what the batch needs ---- */

static const struct uuid nil_uuid;

/* Under which account the ledger keeps the command: the nil UUID when its account id is malformed.
 */
static const struct uuid *ledger_account(const struct command *command) {
    bool known = command->account_id_valid && !planted_bug(BUG_LEDGER_SHARED);
    return known ? &command->account_id : &nil_uuid;
}

static bool has_natural_key(const struct command *command) {
    return command->account_id_valid && command->command_id_valid;
}

static bool want_command(struct working_set *set, struct command *command) {
    if (command->handling != HANDLE_COMMAND)
        return true;
    bool list = command->type->is_list;
    if (!list && !working_set_want_ledger(set, ledger_account(command), &command->derived_id))
        return false;
    if (command->account_id_valid && !working_set_want_account(set, &command->account_id))
        return false;
    if (!has_natural_key(command))
        return true;
    if (!list && !working_set_want_ledger(set, ledger_account(command), &command->command_id))
        return false;
    return command->problems.count > 0 || command->refused_by_store ||
           command->type->want(set, command);
}

bool decide_want(struct working_set *set, struct command *commands, size_t count,
                 struct error *err) {
    for (size_t i = 0; i < count; i++) {
        if (!want_command(set, &commands[i]))
            return arena_exhausted(err);
    }
    return true;
}

/* ---- for worker/commands ---- */

bool decision_reject(struct decision *decision, enum reason reason, const char *pointer,
                     struct slice message) {
    decision->result.outcome = OUTCOME_REJECTED;
    return problem_add(&decision->result.problems, decision->arena, reason, pointer, message);
}

bool decision_rejected(const struct decision *decision) {
    return decision->result.outcome == OUTCOME_REJECTED;
}

bool decision_find_channel(struct decision *decision, struct slice name, struct channel **ret) {
    *ret = working_set_channel(decision->set, &decision->command->account_id, name);
    return *ret || decision_reject(decision, REASON_CHANNEL_NOT_FOUND, "/channel_name", SLICE_NONE);
}

bool decision_check_version(struct decision *decision, const struct channel *channel) {
    const struct value *expected = command_value(decision->command, SLOT_EXPECTED_VERSION);
    if (expected->state != VALUE_SET || expected->integer == channel->version)
        return true;
    decision->result.channel_version = channel->version;
    struct slice message =
        arena_printf(decision->arena, "The channel has version %" PRId64 ", not %" PRId64,
                     channel->version, expected->integer);
    return decision_reject(decision, REASON_VERSION_CONFLICT, "/expected_version", message);
}

bool decision_find_number(struct decision *decision, struct number **ret) {
    const struct command *command = decision->command;
    struct number *number = working_set_number(decision->set, command_number(command));
    *ret = NULL;
    if (!number)
        return decision_reject(decision, REASON_NUMBER_NOT_FOUND, "/number", SLICE_NONE);
    if (!uuid_equal(&number->account_id, &command->account_id) && !planted_bug(BUG_OWNER_UNSEEN))
        return decision_reject(decision, REASON_NUMBER_NOT_OWNED, "/number", SLICE_NONE);
    *ret = number;
    return true;
}

bool decision_warn(struct decision *decision, enum warning_code code, const char *pointer,
                   struct slice message) {
    return warning_add(&decision->result.warnings, decision->arena, code, pointer, message);
}

bool decision_change(struct decision *decision, const char *pointer, struct slice before,
                     struct slice after) {
    return change_add(&decision->result.changes, decision->arena, pointer, before, after);
}

bool decision_applies(struct decision *decision) {
    bool changes = decision->result.changes.count > 0;
    bool dry = decision->command->dry_run;
    decision->result.outcome = !changes ? OUTCOME_NO_CHANGE
                               : dry    ? OUTCOME_WOULD_APPLY
                                        : OUTCOME_APPLIED;
    return changes && (!dry || planted_bug(BUG_DRY_RUN_APPLIES));
}

void decision_concerns(struct decision *decision, const struct channel *channel) {
    decision->result.channel_name = channel->name;
    decision->result.channel_version = channel->version;
}

/* ---- one command ---- */

/* Texts of the command as the result shows them before anything is decided, and after a rejection.
 */
static void echo_own_fields(struct decision *decision) {
    const struct command *command = decision->command;
    struct result *result = &decision->result;
    result->channel_name =
        echo_characters(command_value(command, command->type->channel_name_slot), 128);
    result->number_as_received =
        echo_characters(command_value(command, command->type->number_slot), 128);
    result->number = command_number(command);
}

/* Warnings of validation stand before those of deciding, and only on success. */
static bool add_warnings(struct decision *decision) {
    const struct command *command = decision->command;
    struct warning_list decided = decision->result.warnings;
    decision->result.warnings = (struct warning_list){0};
    if (decision_rejected(decision))
        return true;
    if (command->number.converted_from_00 &&
        !decision_warn(decision, WARNING_NUMBER_CONVERTED_FROM_00, "/number", SLICE_NONE))
        return false;
    const struct warning *lists[] = {command->warnings.first, decided.first};
    for (size_t i = 0; i < 2; i++) {
        for (const struct warning *warning = lists[i]; warning; warning = warning->next) {
            if (!decision_warn(decision, warning->code, warning->pointer, warning->message))
                return false;
        }
    }
    return true;
}

/* Our log has the same trace. */
static bool reject_as_bug(struct decision *decision) {
    char trace[UUID_TEXT_SIZE + 1];
    uuid_format(&decision->command->derived_id, trace);
    struct slice message = arena_printf(decision->arena, "Internal error, trace %s", trace);
    return message.data && decision_reject(decision, REASON_BUG, "", message);
}

static bool run_rules(struct decision *decision) {
    struct command *command = decision->command;
    if (command->refused_by_store)
        return reject_as_bug(decision);
    if (command->problems.count > 0) {
        decision->result.outcome = OUTCOME_REJECTED;
        decision->result.problems = command->problems;
        return true;
    }
    if (!decision->account)
        return decision_reject(decision, REASON_ACCOUNT_NOT_FOUND, "/account_id", SLICE_NONE);
    return command->type->decide(decision) && add_warnings(decision);
}

static int status_code(const struct decision *decision) {
    return decision_rejected(decision)
               ? reason_info(decision->result.problems.first->reason)->status_code
               : decision->command->type->success_code;
}

/* What the event is about: the channel, else the number; a text that is empty says nothing. */
static struct slice subject_of(const struct result *result) {
    if (result->channel_name.size > 0)
        return result->channel_name;
    return result->number.size > 0 ? result->number : SLICE_NONE;
}

static void remember(struct decision *decision, const struct decider *decider,
                     struct ledger_entry *entry, struct slice body) {
    struct command *command = decision->command;
    const struct result *result = &decision->result;
    entry->added = !command->type->is_list && !entry->found &&
                   !(result->outcome == OUTCOME_REJECTED && planted_bug(BUG_REJECTION_UNRECORDED));
    entry->found = true;
    entry->mac_key_id = digests_mac_key_id(decider->digests);
    memcpy(entry->mac, command->mac, sizeof entry->mac);
    entry->source = command->record.source;
    entry->body = body;
    entry->body_schema = result_encoder_fingerprint(decider->encoder);
    entry->event_id = result->event_id;
    entry->command_type = slice_of(command->type->name);
    entry->outcome = result->outcome;
    entry->error_reason = result->problems.first
                              ? slice_of(reason_info(result->problems.first->reason)->urn)
                              : SLICE_NONE;
    entry->batch_id = echo_characters(command_value(command, SLOT_BATCH_ID), 64);
    entry->subject = subject_of(result);
    entry->account_sequence = result->account_sequence;
    entry->applied_at = result->applied_at;
    command->answer = entry;
}

/* Gives the result its number, time and place in the chain, and encodes it. */
static bool conclude(struct decision *decision, const struct decider *decider,
                     struct ledger_entry *entry, int64_t now_us, struct error *err) {
    struct result *result = &decision->result;
    struct account *account = decision->command->type->is_list ? NULL : decision->account;
    result->status_code = status_code(decision);
    result->applied_at = now_us;
    if (account) {
        result->applied_at = now_us > account->last_applied_at ? now_us : account->last_applied_at;
        result->account_sequence = account->last_sequence + 1;
    }
    struct slice body;
    uint8_t chain[SHA256_SIZE];
    static const uint8_t no_chain[SHA256_SIZE];
    if (!result_encode(decider->encoder, decision->command, result,
                       account ? account->last_chain : no_chain, decision->arena, &body, chain,
                       err))
        return false;
    if (account) {
        account->last_sequence = result->account_sequence;
        if (decision_rejected(decision) && planted_bug(BUG_SEQUENCE_STANDS))
            account->last_sequence--;
        account->last_applied_at = result->applied_at;
        if (!planted_bug(BUG_CHAIN_STANDS))
            memcpy(account->last_chain, chain, sizeof chain);
        account->changed = true;
    }
    remember(decision, decider, entry, body);
    return true;
}

static bool same_source(const struct source *a, const struct source *b) {
    return a->partition == b->partition && a->offset == b->offset &&
           a->timestamp_ms == b->timestamp_ms && slice_equal(a->topic, b->topic);
}

static void answer_from_ledger(struct command *command, struct ledger_entry *entry) {
    command->answer = entry;
    command->replayed =
        !same_source(&entry->source, &command->record.source) && !planted_bug(BUG_REPLAY_UNMARKED);
}

/* Whether the id stands for another command already. A record delivered again needs no comparison;
 * what was kept under another key is compared under that one. */
static bool is_id_reused(const struct decider *decider, struct arena *arena,
                         const struct command *command, const struct ledger_entry *entry, bool *ret,
                         struct error *err) {
    *ret = false;
    if (!entry->found || same_source(&entry->source, &command->record.source))
        return true;
    uint8_t mac[MAC_SIZE];
    memcpy(mac, command->mac, sizeof mac);
    if (!slice_equal(entry->mac_key_id, digests_mac_key_id(decider->digests)) &&
        !command_mac(command, decider->digests, entry->mac_key_id, arena, mac, err))
        return false;
    *ret = (memcmp(entry->mac, mac, sizeof mac) != 0 && !planted_bug(BUG_REUSE_UNSEEN)) ||
           planted_bug(BUG_RESEND_REFUSED);
    return true;
}

/* Decides a command that the ledger does not hold under the key of entry. */
static bool decide_new(const struct decider *decider, struct working_set *set,
                       struct command *command, struct ledger_entry *entry, bool id_reused,
                       int64_t now_us, struct error *err) {
    struct decision decision = {.arena = set->arena,
                                .set = set,
                                .command = command,
                                .can_keep_secrets = decider->can_keep_secrets};
    struct account *account =
        command->account_id_valid ? working_set_account(set, &command->account_id) : NULL;
    decision.account = account && account->known ? account : NULL;
    decision.result.outcome = OUTCOME_NO_CHANGE;
    decision.result.event_id = entry->command_id;
    if (has_natural_key(command) && !id_reused && !command->type->is_list) {
        char name[UUID_TEXT_SIZE + 1];
        uuid_format(&command->command_id, name);
        decision.result.event_id = uuid_v5(decider->digests, &command->account_id, slice_of(name));
    }
    echo_own_fields(&decision);
    bool ok = id_reused
                  ? decision_reject(&decision, REASON_COMMAND_ID_REUSED, "/command_id", SLICE_NONE)
                  : run_rules(&decision);
    if (!ok)
        return arena_exhausted(err);
    return conclude(&decision, decider, entry, now_us, err);
}

/* A list is answered afresh each time, under an id of its record's own; its answer stands in no
 * ledger. */
static bool decide_list(const struct decider *decider, struct working_set *set,
                        struct command *command, int64_t now_us, struct error *err) {
    struct ledger_entry *entry = arena_alloc(set->arena, sizeof *entry);
    if (!entry)
        return arena_exhausted(err);
    entry->command_id = command->derived_id;
    return decide_new(decider, set, command, entry, false, now_us, err);
}

static bool decide_command(const struct decider *decider, struct working_set *set,
                           struct command *command, int64_t now_us, struct error *err) {
    const struct uuid *account_id = ledger_account(command);
    bool natural = has_natural_key(command);
    if (command->type->is_list)
        return decide_list(decider, set, command, now_us, err);
    struct ledger_entry *entry =
        natural ? working_set_want_ledger(set, account_id, &command->command_id) : NULL;
    bool id_reused = false;
    if (entry && !is_id_reused(decider, set->arena, command, entry, &id_reused, err))
        return false;
    if (!natural || id_reused)
        entry = working_set_want_ledger(set, account_id, &command->derived_id);
    if (!entry)
        return arena_exhausted(err);
    if (entry->found && !planted_bug(BUG_REPLAY_DECIDED)) {
        answer_from_ledger(command, entry);
        return true;
    }
    return decide_new(decider, set, command, entry, id_reused, now_us, err);
}

bool decide_batch(const struct decider *decider, struct working_set *set, struct command *commands,
                  size_t count, int64_t now_us, struct error *err) {
    for (size_t i = 0; i < count; i++) {
        struct command *command = &commands[planted_bug(BUG_ORDER_REVERSED) ? count - 1 - i : i];
        if (command->handling == HANDLE_COMMAND &&
            !decide_command(decider, set, command, now_us, err))
            return false;
        if (arena_failed(set->arena)) /* a message is missing */
            return arena_exhausted(err);
    }
    return true;
}
