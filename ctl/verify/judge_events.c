/* Events: the commands that each one answers, its copies, its place in the ledger. */
#include "ctl/verify/judge_internal.h"

#include <inttypes.h>

/* What belongs to one event. */
struct tally {
    uint32_t commands, required, waiting; /* the others may have been answered or not */
    uint32_t committed, plain, pending;   /* results; plain: not marked as replayed */
    uint64_t asked_tokens, given_tokens;  /* sums, of commands and of committed results */
    bool source_left;                     /* the record that a result was made for is among them */
};

static bool is_left(const struct judge *judge, uint16_t part, int64_t offset) {
    return offset >= judge->history->parts[part].low;
}

/* Must be answered by a result that retention has left. */
static bool is_required(const struct judge *judge, const struct command_row *row) {
    return judge_passed(judge, row->part, row->offset) && is_left(judge, row->part, row->offset) &&
           row->offset >= judge->results_from[row->part];
}

static bool is_waiting(const struct judge *judge, const struct command_row *row) {
    return !judge_passed(judge, row->part, row->offset);
}

static struct tally count(const struct judge *judge, const struct event *event) {
    const struct history *history = judge->history;
    struct tally tally = {0};
    for (uint32_t i = event->commands; i != NO_ROW; i = history->commands[i].next) {
        const struct command_row *row = &history->commands[i];
        if (row->letters > 0)
            continue; /* the dead letter is its answer */
        tally.commands++;
        tally.required += is_required(judge, row);
        tally.waiting += is_waiting(judge, row);
        tally.asked_tokens += row->token;
    }
    for (uint32_t i = event->results; i != NO_ROW; i = history->results[i].next) {
        const struct result_row *row = &history->results[i];
        tally.pending += (row->flags & RESULT_PENDING) != 0;
        if (!(row->flags & RESULT_COMMITTED))
            continue;
        tally.committed++;
        tally.plain += !(row->flags & RESULT_REPLAYED);
        tally.given_tokens += row->token;
    }
    return tally;
}

/* ---- too few, too many ---- */

/* The records that lack an answer are not known when there are several; the later ones are more
 * likely to be those, unless the first copy of all is missing. */
static void tell_missing(struct judge *judge, const struct event *event, enum finding_name name,
                         bool (*concerns)(const struct judge *judge, const struct command_row *row),
                         uint32_t total, uint32_t missing, const struct tally *tally) {
    const struct history *history = judge->history;
    uint32_t seen = 0;
    for (uint32_t i = event->commands; i != NO_ROW && missing > 0; i = history->commands[i].next) {
        const struct command_row *row = &history->commands[i];
        if (row->letters > 0 || !concerns(judge, row))
            continue;
        bool first_of_all = seen == 0 && tally->plain == 0;
        if (first_of_all || total - seen <= missing) {
            judge_tell(judge, finding_of_command(name, row),
                       "%" PRIu32 " record%s, %" PRIu32 " committed result%s, %s", tally->commands,
                       tally->commands == 1 ? "" : "s", tally->committed,
                       tally->committed == 1 ? "" : "s",
                       event->ledger == NO_ROW ? "nothing in the ledger" : "applied in the ledger");
            missing--;
        }
        seen++;
    }
}

static void judge_missing(struct judge *judge, const struct event *event,
                          const struct tally *tally) {
    uint32_t answered = tally->committed + tally->pending;
    if (answered >= tally->commands)
        return;
    uint32_t missing = tally->commands - answered;
    uint32_t waiting = missing < tally->waiting ? missing : tally->waiting;
    judge->verdict.waiting += waiting;
    if (judge->complete)
        tell_missing(judge, event, FINDING_WAITING, is_waiting, tally->waiting, waiting, tally);
    uint32_t others = tally->commands - tally->required - tally->waiting;
    missing -= waiting;
    uint32_t unchecked = missing < others ? missing : others;
    judge->verdict.unchecked_answers += unchecked;
    tell_missing(judge, event, FINDING_UNANSWERED, is_required, tally->required,
                 missing - unchecked, tally);
}

static const struct result_row *last_committed(const struct judge *judge,
                                               const struct event *event) {
    const struct result_row *last = NULL;
    for (uint32_t i = event->results; i != NO_ROW; i = judge->history->results[i].next) {
        const struct result_row *row = &judge->history->results[i];
        if (row->flags & RESULT_COMMITTED)
            last = row;
    }
    return last;
}

static void judge_surplus(struct judge *judge, const struct event *event,
                          const struct tally *tally) {
    const struct result_row *last = last_committed(judge, event);
    if (tally->committed > tally->commands) {
        /* A resend may have been taken by retention, its answer not yet. */
        if (judge->commands_taken && tally->plain <= 1)
            judge->verdict.unchecked_results += tally->committed - tally->commands;
        else
            judge_tell(judge, finding_of_result(judge, FINDING_ANSWERED_TWICE, last),
                       "%" PRIu32 " record%s, %" PRIu32 " committed results", tally->commands,
                       tally->commands == 1 ? "" : "s", tally->committed);
    }
    /* Only when it is sure which copies answer which records. */
    if (tally->committed != tally->commands || !tally->source_left ||
        tally->required + tally->waiting != tally->commands)
        return;
    if (tally->plain != 1)
        judge_tell(judge, finding_of_result(judge, FINDING_REPLAY_MARK, last),
                   "%" PRIu32 " of %" PRIu32 " copies are not marked", tally->plain,
                   tally->committed);
    if (tally->asked_tokens != tally->given_tokens)
        judge_tell(judge, finding_of_result(judge, FINDING_CORRELATION, last),
                   "of %" PRIu32 " cop%s", tally->committed, tally->committed == 1 ? "y" : "ies");
}

/* ---- what each copy says ---- */

/* Nothing in the command topics has the event that this result tells of. */
static void judge_stranger(struct judge *judge, const struct result_row *row) {
    const char *what = row->flags & RESULT_COMMITTED ? "result" : "result that was not committed";
    if (row->source_part == NO_PART)
        judge->verdict.foreign++;
    else if (!is_left(judge, row->source_part, row->source_offset))
        judge->verdict.unchecked_results++;
    else
        judge_tell(judge, finding_of_result(judge, FINDING_PHANTOM, row),
                   "a %s for %s-%" PRId32 " offset %" PRId64 ", where no such command stands", what,
                   judge->history->parts[row->source_part].topic,
                   judge->history->parts[row->source_part].id, row->source_offset);
}

/* Whether the result was made for a record of its event, and repeats what that says. */
static void judge_source(struct judge *judge, const struct result_row *row, struct tally *tally) {
    const struct command_row *source =
        judge_command_at(judge, row->source_part, row->source_offset);
    bool is_own = source && source->event == row->event;
    if (is_own) {
        tally->source_left = true;
        bool says_so = source->stamp == row->stamp && source->account == row->account &&
                       (source->echo == 0 || source->echo == row->echo);
        if (!says_so)
            judge_tell(judge, finding_of_result(judge, FINDING_ECHO, row),
                       "it differs from the command at offset %" PRId64, source->offset);
        return;
    }
    bool taken = row->source_part != NO_PART && !source &&
                 !is_left(judge, row->source_part, row->source_offset);
    if (!taken)
        judge_tell(judge, finding_of_result(judge, FINDING_ECHO, row),
                   "it names a record at offset %" PRId64 " that is not its own",
                   row->source_offset);
}

static void judge_bodies(struct judge *judge, const struct event *event) {
    const struct history *history = judge->history;
    const struct ledger_row *ledger =
        event->ledger == NO_ROW ? NULL : &history->ledger[event->ledger];
    const struct result_row *first = &history->results[event->results];
    bool contradicted = false, differs = false;
    for (uint32_t i = event->results; i != NO_ROW; i = history->results[i].next) {
        const struct result_row *row = &history->results[i];
        if (row->flags & RESULT_LIST)
            continue;
        if (row->digest != first->digest && !contradicted) {
            contradicted = true;
            judge_tell(judge, finding_of_result(judge, FINDING_CONTRADICTION, row),
                       "its %s body is not that at %s-%" PRId32 " offset %" PRId64,
                       row->flags & RESULT_COMMITTED ? "committed" : "aborted",
                       history->parts[first->part].topic, history->parts[first->part].id,
                       first->offset);
        }
        if (ledger && row->digest != ledger->digest && (row->flags & RESULT_COMMITTED) &&
            !differs) {
            differs = true;
            judge_tell(judge, finding_of_result(judge, FINDING_LEDGER_DIFFERS, row), "%s",
                       row->flags & RESULT_CHAIN_HOLDS
                           ? "the chain of the published one holds"
                           : "the chain of the published one is broken");
        }
    }
}

static void judge_event(struct judge *judge, const struct event *event) {
    const struct history *history = judge->history;
    struct tally tally = count(judge, event);
    for (uint32_t i = event->results; i != NO_ROW; i = history->results[i].next) {
        if (tally.commands == 0)
            judge_stranger(judge, &history->results[i]);
        else
            judge_source(judge, &history->results[i], &tally);
    }
    if (event->results != NO_ROW)
        judge_bodies(judge, event);
    if (tally.commands > 0) {
        judge_missing(judge, event, &tally);
        judge_surplus(judge, event, &tally);
    }
}

/* ---- each record of the results topics ---- */

static void judge_result(struct judge *judge, const struct result_row *row) {
    bool again = row->flags & RESULT_SEEN_AGAIN || !(row->flags & RESULT_COMMITTED) ||
                 !is_left(judge, row->part, row->offset);
    if (row->flags & RESULT_UNREADABLE)
        judge_tell(judge, finding_of_result(judge, FINDING_UNREADABLE_RESULT, row),
                   "by no schema that is known here");
    if (row->flags & RESULT_CHANGED || !again)
        judge_tell(judge, finding_of_result(judge, FINDING_CHANGED, row), "%s",
                   again ? "the bytes differ" : "the second reading did not show it");
    if (row->flags & (RESULT_WRONG_KEY | RESULT_WRONG_HEADERS))
        judge_tell(judge, finding_of_result(judge, FINDING_KEY, row), "the %s",
                   row->flags & RESULT_WRONG_KEY ? "key is another account's"
                                                 : "headers ce_id or error-id are not the body's");
}

void judge_events(struct judge *judge) {
    const struct history *history = judge->history;
    for (uint32_t i = 0; i < history->result_count; i++)
        judge_result(judge, &history->results[i]);
    for (uint32_t i = 0; i < history->event_count; i++)
        judge_event(judge, &history->events[i]);
}
