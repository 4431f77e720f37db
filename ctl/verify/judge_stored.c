/* Records and what became of them: dead letters, ledger rows, positions. */
#include "ctl/verify/judge_internal.h"

#include <inttypes.h>

static bool is_command(const struct command_row *row) {
    return row->kind == COMMAND_OTHER || row->kind == COMMAND_LIST;
}

/* ---- dead letters ---- */

static void judge_letter(struct judge *judge, const struct letter_row *row) {
    struct finding finding = finding_of_part(FINDING_DEAD_LETTER_PHANTOM, row->part, row->offset);
    const struct part *source =
        row->source_part == NO_PART ? NULL : &judge->history->parts[row->source_part];
    if (!source || source->number != judge->history->parts[row->part].number) {
        judge_tell(judge, finding, "its headers name no record of this topic's commands");
        return;
    }
    if (row->source_offset < source->low && row->source_offset >= 0) {
        judge->verdict.unchecked_letters++;
        return;
    }
    struct command_row *record = judge_command_at(judge, row->source_part, row->source_offset);
    if (!record || record->kind == COMMAND_TOMBSTONE) {
        judge_tell(judge, finding, "no record stands at %s-%" PRId32 " offset %" PRId64,
                   source->topic, source->id, row->source_offset);
        return;
    }
    if (record->letters < UINT8_MAX)
        record->letters++;
    finding.account = record->account;
    finding.has_command_id = record->natural;
    finding.command_id = record->command_id;
    finding.name = FINDING_DEAD_LETTER_READABLE;
    if (is_command(record) && !row->internal)
        judge_tell(judge, finding, "the command at %s-%" PRId32 " offset %" PRId64, source->topic,
                   source->id, row->source_offset);
    finding.name = FINDING_DEAD_LETTER_TWICE;
    if (record->letters == 2)
        judge_tell(judge, finding, "of %s-%" PRId32 " offset %" PRId64, source->topic, source->id,
                   row->source_offset);
    finding.name = FINDING_DEAD_LETTER_DIFFERS;
    if (row->digest != record->digest && !(row->without_value && record->large))
        judge_tell(judge, finding, "from %s-%" PRId32 " offset %" PRId64, source->topic, source->id,
                   row->source_offset);
}

void judge_letters(struct judge *judge) {
    for (uint32_t i = 0; i < judge->history->letter_count; i++)
        judge_letter(judge, &judge->history->letters[i]);
}

/* ---- commands ---- */

static void judge_unreadable(struct judge *judge, const struct command_row *row) {
    if (row->letters > 0)
        return;
    if (!judge_passed(judge, row->part, row->offset)) {
        judge->verdict.waiting++;
        if (judge->complete)
            judge_tell(judge, finding_of_command(FINDING_WAITING, row), "it cannot be read");
    } else if (row->offset < judge->letters_from[row->part] ||
               row->offset < judge->history->parts[row->part].low) {
        judge->verdict.unchecked_letters++;
    } else {
        judge_tell(judge, finding_of_command(FINDING_DEAD_LETTER_MISSING, row),
                   "no schema that is known here reads it");
    }
}

/* A command for which a result was made, though it is not the first under its id. */
static const struct command_row *first_under_id(const struct judge *judge,
                                                const struct command_row *row) {
    const struct history *history = judge->history;
    struct uuid id =
        records_event_id(judge->records, &history->accounts[row->account].id, &row->command_id);
    uint32_t event = history_find_event(history, &id);
    if (event == NO_ROW || history->events[event].ledger == NO_ROW)
        return NULL;
    const struct ledger_row *ledger = &history->ledger[history->events[event].ledger];
    const struct command_row *first =
        judge_command_at(judge, ledger->source_part, ledger->source_offset);
    return first && first->event == event && first != row ? first : NULL;
}

/* Equal bytes are the same command, other types are another one; between these only the worker can
 * tell. */
static void judge_identity(struct judge *judge, const struct command_row *row) {
    const struct command_row *first = row->natural ? first_under_id(judge, row) : NULL;
    if (!first)
        return;
    bool as_resend = first->event == row->event;
    bool is_decided = row->offset < judge->history->parts[row->part].next_offset;
    if (as_resend && is_decided && first->type != row->type)
        judge_tell(judge, finding_of_command(FINDING_IDENTITY, row),
                   "this %s was answered as a resend of a %s",
                   records_type_name(judge->records, row->type),
                   records_type_name(judge->records, first->type));
    if (!as_resend && first->digest == row->digest)
        judge_tell(judge, finding_of_command(FINDING_IDENTITY, row),
                   "it has the bytes of the record at offset %" PRId64
                   ", and was refused as another command",
                   first->offset);
}

/* The command came before, under the same id, and its row went after it. Where the answer is gone
 * too, that may be so. */
static bool is_resend_of_purged(const struct judge *judge, const struct command_row *command,
                                const struct event *event) {
    const struct history *history = judge->history;
    if (event->results == NO_ROW)
        return judge->commands_taken && command->offset < judge->results_from[command->part];
    for (uint32_t i = event->results; i != NO_ROW; i = history->results[i].next) {
        const struct result_row *row = &history->results[i];
        if (judge_taken(judge, row->source_part, row->source_offset))
            return true;
    }
    return false;
}

static void judge_command(struct judge *judge, const struct command_row *row) {
    const struct history *history = judge->history;
    const struct part *part = &history->parts[row->part];
    const struct event *event = &history->events[row->event];
    bool is_stored = row->offset < part->next_offset;
    if (event->ledger == NO_ROW && row->letters == 0 && row->offset >= part->low &&
        (is_stored || event->results != NO_ROW) && !is_resend_of_purged(judge, row, event))
        judge_tell(judge, finding_of_command(FINDING_LEDGER_MISSING, row), "%s%s",
                   event->results == NO_ROW ? "there is no result either" : "there is a result",
                   is_stored ? ", and it is below D" : "");
    judge_identity(judge, row);
}

void judge_commands(struct judge *judge) {
    for (uint32_t i = 0; i < judge->history->command_count; i++) {
        const struct command_row *row = &judge->history->commands[i];
        if (row->kind == COMMAND_UNREADABLE)
            judge_unreadable(judge, row);
        if (row->kind == COMMAND_OTHER)
            judge_command(judge, row);
    }
}

/* ---- the ledger ---- */

static const char *misfit(const struct command_row *command, const struct ledger_row *row) {
    if (!command)
        return "no record stands there";
    if (command->kind == COMMAND_TOMBSTONE)
        return "the record there has no value";
    if (command->kind == COMMAND_UNREADABLE)
        return "the record there cannot be read (has a file been taken out of schema.dir?)";
    if (command->kind == COMMAND_LIST)
        return "the record there is a list";
    return command->event != row->event ? "the record there is another command" : NULL;
}

static void judge_ledger_row(struct judge *judge, const struct ledger_row *row) {
    if (row->flags & (LEDGER_UNREADABLE | LEDGER_WRONG_COLUMNS))
        judge_tell(judge, finding_of_ledger(FINDING_LEDGER_COLUMNS, row), "%s",
                   row->flags & LEDGER_UNREADABLE ? "the body cannot be read"
                                                  : "columns and body differ");
    if (row->source_part == NO_PART) {
        judge->verdict.foreign++;
        return;
    }
    const struct part *part = &judge->history->parts[row->source_part];
    if (row->source_offset >= part->next_offset)
        judge_tell(judge, finding_of_ledger(FINDING_POSITION, row),
                   "a ledger row at or beyond D = %" PRId64, part->next_offset);
    if (row->source_offset >= part->end)
        return; /* it came while we were reading */
    if (row->source_offset < part->low) {
        judge->verdict.unchecked_results++;
        return;
    }
    const struct command_row *command =
        judge_command_at(judge, row->source_part, row->source_offset);
    const char *why = misfit(command, row);
    if (why)
        judge_tell(judge, finding_of_ledger(FINDING_LEDGER_WITHOUT_COMMAND, row), "%s", why);
    else if (command->stamp != row->stamp)
        judge_tell(judge, finding_of_ledger(FINDING_LEDGER_COLUMNS, row),
                   "the command has another timestamp");
}

void judge_ledger(struct judge *judge) {
    for (uint32_t i = 0; i < judge->history->ledger_count; i++)
        judge_ledger_row(judge, &judge->history->ledger[i]);
}

/* ---- positions ---- */

static void judge_positions(struct judge *judge, uint16_t number) {
    const struct part *part = &judge->history->parts[number];
    int64_t k = part->answered_after, d = part->next_offset;
    struct finding finding = finding_of_part(FINDING_POSITION, number, part->answered_before);
    /* A worker at work may raise both between the snapshot, which D is of, and the later K. */
    if (part->answered_before > (d < 0 ? 0 : d))
        judge_tell(judge, finding, "K = %" PRId64 " > D = %" PRId64 ": the database lost work",
                   part->answered_before, d);
    finding.offset = k;
    if (k > part->log_end)
        judge_tell(judge, finding, "K = %" PRId64 " is beyond the end of the log, %" PRId64, k,
                   part->log_end);
    if (k >= 0 && k < part->noted_offset)
        judge_tell(judge, finding, "K = %" PRId64 " went back: the database has seen %" PRId64, k,
                   part->noted_offset);
    finding.offset = d;
    if (d > part->log_end)
        judge_tell(judge, finding, "D = %" PRId64 " is beyond the end of the log, %" PRId64, d,
                   part->log_end);
    finding.offset = part->answered_before;
    finding.name = FINDING_EXPIRED;
    if (part->answered_before >= 0 && part->low > part->answered_before)
        judge_tell(judge, finding, "offsets %" PRId64 " to %" PRId64, part->answered_before,
                   part->low - 1);
}

static void judge_stability(struct judge *judge, uint16_t number) {
    const struct part *part = &judge->history->parts[number];
    if (part->stable_end < part->end)
        judge_tell(judge, finding_of_part(FINDING_OPEN_TRANSACTION, number, part->stable_end),
                   "offsets %" PRId64 " to %" PRId64, part->stable_end, part->end - 1);
}

/* Results and offsets of a transaction are committed together, so that no answer can be beyond K.
 */
static void judge_answer_beyond(struct judge *judge, const struct result_row *row) {
    bool knows_record = row->source_part != NO_PART && !(row->flags & RESULT_REPLAYED);
    int64_t k = knows_record ? judge->history->parts[row->source_part].answered_after : -1;
    if (k >= 0 && row->source_offset >= k)
        judge_tell(judge, finding_of_result(judge, FINDING_POSITION, row),
                   "it answers offset %" PRId64 ", which is not below K = %" PRId64,
                   row->source_offset, k);
}

void judge_parts(struct judge *judge) {
    const struct history *history = judge->history;
    if (*history->diverged)
        judge_tell(judge, finding_of_part(FINDING_DIVERGED, NO_PART, -1), "%.180s",
                   history->diverged);
    for (uint16_t i = 0; i < history->part_count; i++) {
        if (history->parts[i].role == PART_COMMANDS)
            judge_positions(judge, i);
        else
            judge_stability(judge, i);
    }
    for (uint32_t i = 0; i < history->committed_count; i++)
        judge_answer_beyond(judge, &history->results[i]);
}
