/* Puts rows in order, settles which event answers which command, finds out what retention has
 * taken, and calls the parts of the judge. */
#include "ctl/verify/judge_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const struct finding_info finding_infos[FINDING_COUNT] = {
#define FINDING_ROW(symbol, name, meaning, action) {name, meaning, action},
#include "ctl/verify/findings.def"
#undef FINDING_ROW
};

/* ---- telling ---- */

void judge_tell(struct judge *judge, struct finding finding, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(finding.detail, sizeof finding.detail, format, args);
    va_end(args);
    judge->verdict.findings++;
    judge->tell(judge->context, &finding);
}

struct finding finding_of_command(enum finding_name name, const struct command_row *row) {
    return (struct finding){.name = name,
                            .part = row->part,
                            .offset = row->offset,
                            .account = row->account,
                            .has_command_id = row->natural,
                            .command_id = row->command_id};
}

struct finding finding_of_result(const struct judge *judge, enum finding_name name,
                                 const struct result_row *row) {
    const struct history *history = judge->history;
    struct finding finding = {
        .name = name, .part = row->part, .offset = row->offset, .account = row->account};
    if (row->event == NO_ROW)
        return finding;
    const struct event *event = &history->events[row->event];
    finding.has_event_id = true;
    finding.event_id = event->id;
    if (event->commands != NO_ROW) {
        const struct command_row *command = &history->commands[event->commands];
        finding.has_command_id = command->natural;
        finding.command_id = command->command_id;
    }
    return finding;
}

struct finding finding_of_ledger(enum finding_name name, const struct ledger_row *row) {
    return (struct finding){.name = name,
                            .part = row->source_part,
                            .offset = row->source_offset,
                            .account = row->account,
                            .has_command_id = true,
                            .command_id = row->command_id};
}

struct finding finding_of_part(enum finding_name name, uint16_t part, int64_t offset) {
    return (struct finding){.name = name, .part = part, .offset = offset, .account = NO_ROW};
}

struct finding finding_of_account(enum finding_name name, uint32_t account) {
    return (struct finding){.name = name, .part = NO_PART, .offset = -1, .account = account};
}

/* ---- places ---- */

static uint32_t part_of_command(const struct history *history, uint32_t row) {
    return history->commands[row].part;
}

struct command_row *judge_command_at(const struct judge *judge, uint16_t part, int64_t offset) {
    if (part == NO_PART)
        return NULL;
    const struct grouping *grouping = &judge->commands_of_part;
    uint32_t from = grouping->starts[part], to = grouping->starts[part + 1];
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        struct command_row *row = &judge->history->commands[grouping->rows[middle]];
        if (row->offset == offset)
            return row;
        if (row->offset > offset)
            to = middle;
        else
            from = middle + 1;
    }
    return NULL;
}

bool judge_passed(const struct judge *judge, uint16_t part, int64_t offset) {
    return offset < judge->history->parts[part].answered_before;
}

/* ---- what retention has taken ---- */

bool judge_taken(const struct judge *judge, uint16_t part, int64_t offset) {
    return part == NO_PART || offset < judge->history->parts[part].low;
}

static bool writes_to(const struct part *commands, const struct part *output) {
    if (commands->role != PART_COMMANDS)
        return false;
    return output->role == PART_RESULTS ? (commands->lanes & output->lanes) != 0
                                        : commands->number == output->number;
}

/* The records of one partition are answered in their order in each partition of results: what is
 * left of these answers goes on without a gap from the first one that is left. least: by partition
 * of commands, the first offset that is seen to be answered in this output, INT64_MAX for none. */
static void note_taken(const struct history *history, const struct part *output,
                       const int64_t *least, int64_t *from) {
    for (uint32_t part = 0; part < history->part_count; part++) {
        if (writes_to(&history->parts[part], output) && least[part] > from[part])
            from[part] = least[part];
    }
}

static void note_least(int64_t *least, uint16_t part, int64_t offset) {
    if (part != NO_PART && offset < least[part])
        least[part] = offset;
}

static void find_least(const struct history *history, uint16_t output, int64_t *least) {
    for (uint32_t i = 0; i < history->part_count; i++)
        least[i] = INT64_MAX;
    for (uint32_t i = 0; i < history->committed_count; i++) {
        const struct result_row *row = &history->results[i];
        if (row->part == output && !(row->flags & RESULT_REPLAYED))
            note_least(least, row->source_part, row->source_offset);
    }
    for (uint32_t i = 0; i < history->letter_count; i++) {
        const struct letter_row *row = &history->letters[i];
        if (row->part == output)
            note_least(least, row->source_part, row->source_offset);
    }
}

static bool find_taken(struct judge *judge, struct error *err) {
    struct history *history = judge->history;
    judge->results_from = calloc(history->part_count, sizeof *judge->results_from);
    judge->letters_from = calloc(history->part_count, sizeof *judge->letters_from);
    int64_t *least = calloc(history->part_count, sizeof *least);
    bool ok = judge->results_from && judge->letters_from && least;
    for (uint16_t i = 0; ok && i < history->part_count; i++) {
        const struct part *part = &history->parts[i];
        if (part->low == 0)
            continue;
        judge->commands_taken |= part->role == PART_COMMANDS;
        judge->results_taken |= part->role == PART_RESULTS;
        if (part->role == PART_COMMANDS)
            continue;
        find_least(history, i, least);
        note_taken(history, part, least,
                   part->role == PART_RESULTS ? judge->results_from : judge->letters_from);
    }
    free(least);
    return ok || error_set(err, FAULT_RETRY, "out-of-memory", "no memory to judge the history");
}

/* ---- which event answers which command ---- */

/* From behind, so that the first row comes first. */
static void link_answers(struct judge *judge) {
    struct history *history = judge->history;
    for (uint32_t i = history->result_count; i-- > 0;) {
        struct result_row *row = &history->results[i];
        if (row->event == NO_ROW)
            continue;
        struct event *event = &history->events[row->event];
        row->next = event->results;
        event->results = i;
    }
    for (uint32_t i = history->ledger_count; i-- > 0;) {
        struct ledger_row *row = &history->ledger[i];
        if (row->event == NO_ROW)
            continue;
        struct event *event = &history->events[row->event];
        if (event->ledger != NO_ROW)
            judge_tell(judge, finding_of_ledger(FINDING_LEDGER_TWICE, row),
                       "another row has the same event id");
        event->ledger = i;
    }
}

/* A command whose ids can serve is answered by the event that is named after them, unless its
 * record has an event of its own: then its id had been used for another command. */
static uint32_t event_of(const struct judge *judge, const struct command_row *row) {
    struct history *history = judge->history;
    uint32_t own = history_find_event(history, &row->derived_id);
    bool answered_alone = own != NO_ROW && (history->events[own].ledger != NO_ROW ||
                                            history->events[own].results != NO_ROW);
    if (row->kind == COMMAND_LIST || !row->natural || answered_alone)
        return history_event(history, &row->derived_id);
    struct uuid natural =
        records_event_id(judge->records, &history->accounts[row->account].id, &row->command_id);
    return history_event(history, &natural);
}

static bool link_commands(struct judge *judge, struct error *err) {
    struct history *history = judge->history;
    const struct grouping *grouping = &judge->commands_of_part;
    for (uint32_t i = grouping->starts[history->part_count]; i-- > 0;) {
        struct command_row *row = &history->commands[grouping->rows[i]];
        if (row->kind != COMMAND_LIST && row->kind != COMMAND_OTHER)
            continue;
        row->event = event_of(judge, row);
        if (row->event == NO_ROW)
            return error_set(err, FAULT_RETRY, "out-of-memory", "no memory to judge the history");
        struct event *event = &history->events[row->event];
        row->next = event->commands;
        event->commands = grouping->rows[i];
    }
    return true;
}

static bool settle(struct judge *judge, struct error *err) {
    struct history *history = judge->history;
    if (!grouping_make(&judge->commands_of_part, history->command_count, history->part_count,
                       part_of_command, history))
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory to judge the history");
    link_answers(judge);
    return link_commands(judge, err) && find_taken(judge, err);
}

/* ---- all of it ---- */

static void count_rows(struct judge *judge) {
    static const size_t kinds[] = {
        [COMMAND_TOMBSTONE] = offsetof(struct verdict, tombstones),
        [COMMAND_UNREADABLE] = offsetof(struct verdict, unreadable),
        [COMMAND_LIST] = offsetof(struct verdict, lists),
        [COMMAND_OTHER] = offsetof(struct verdict, commands),
    };
    const struct history *history = judge->history;
    struct verdict *verdict = &judge->verdict;
    for (uint32_t i = 0; i < history->command_count; i++)
        ++*(size_t *)((char *)verdict + kinds[history->commands[i].kind]);
    for (uint32_t i = history->committed_count; i < history->result_count; i++)
        verdict->pending += (history->results[i].flags & RESULT_PENDING) != 0;
    for (uint32_t i = 0; i < history->committed_count; i++)
        verdict->internal += (history->results[i].flags & RESULT_INTERNAL) != 0;
    verdict->results = history->committed_count;
    verdict->aborted = history->result_count - history->committed_count - verdict->pending;
    verdict->letters = history->letter_count;
    verdict->ledger_rows = history->ledger_count;
}

bool judge(const struct records *records, struct history *history, bool complete, finding_fn *tell,
           void *context, struct verdict *ret, struct error *err) {
    struct judge judge = {.records = records,
                          .history = history,
                          .complete = complete,
                          .tell = tell,
                          .context = context};
    bool ok = settle(&judge, err);
    if (ok) {
        count_rows(&judge);
        judge_letters(&judge);
        judge_events(&judge);
        judge_commands(&judge);
        judge_ledger(&judge);
        judge_parts(&judge);
        ok = judge_accounts(&judge) ||
             error_set(err, FAULT_RETRY, "out-of-memory", "no memory to judge the history");
        *ret = judge.verdict;
    }
    grouping_free(&judge.commands_of_part);
    free(judge.results_from);
    free(judge.letters_from);
    return ok;
}
