/* Accounts: numbers without a gap in topics and ledger, the chain, its end, the order. */
#include "ctl/verify/judge_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* What one account has, by sequence number. */
struct numbered {
    uint32_t account;
    const uint32_t *results, *ledger; /* rows */
    uint32_t result_count, ledger_count;
    int64_t taken_below; /* both places may lack numbers below: gone with topic and purge */
};

static const struct result_row *result_of(const struct judge *judge,
                                          const struct numbered *numbered, uint32_t i) {
    return &judge->history->results[numbered->results[i]];
}

static const struct ledger_row *ledger_of(const struct judge *judge,
                                          const struct numbered *numbered, uint32_t i) {
    return &judge->history->ledger[numbered->ledger[i]];
}

/* ---- what may be gone ---- */

enum { MAX_SEEN = 8 /* partitions that hold results of one account: one, or one of each lane */ };

/* First copies go from the first one on, in each partition; those of lanes that have none left may
 * all be gone. Ledger rows are purged wherever their commands are gone. */
static int64_t find_taken(const struct judge *judge, const struct numbered *numbered) {
    uint16_t seen[MAX_SEEN];
    size_t count = 0, at;
    unsigned lanes = 0;
    int64_t below = 0;
    if (!judge->results_taken || !judge->commands_taken)
        return 0;
    for (uint32_t i = 0; i < numbered->result_count && count < MAX_SEEN; i++) {
        const struct result_row *row = result_of(judge, numbered, i);
        for (at = 0; at < count && seen[at] != row->part;)
            at++;
        if (at < count || row->flags & RESULT_REPLAYED)
            continue;
        seen[count++] = row->part;
        lanes |= judge->history->parts[row->part].lanes;
        below = row->sequence;
    }
    return lanes == (1U | 2U) ? below : INT64_MAX;
}

/* ---- gaps ---- */

static void tell_gap(struct judge *judge, uint32_t account, int64_t from, int64_t to,
                     const char *where) {
    struct finding finding = finding_of_account(FINDING_SEQUENCE_GAP, account);
    if (from == to)
        judge_tell(judge, finding, "number %" PRId64 " %s", from, where);
    else
        judge_tell(judge, finding, "numbers %" PRId64 " to %" PRId64 " %s", from, to, where);
}

/* A number that the ledger has and no committed result. */
static void judge_unpublished(struct judge *judge, const struct ledger_row *row) {
    const struct history *history = judge->history;
    bool ours = row->source_part != NO_PART;
    if (!ours || !judge_passed(judge, row->source_part, row->source_offset))
        return; /* it waits to be published, or is of a topic that we do not read */
    if (row->source_offset < judge->results_from[row->source_part]) {
        judge->verdict.unchecked_numbers++;
        return;
    }
    uint32_t copy = row->event == NO_ROW ? NO_ROW : history->events[row->event].results;
    for (; copy != NO_ROW; copy = history->results[copy].next) {
        if (history->results[copy].flags & RESULT_PENDING)
            return;
    }
    tell_gap(judge, row->account, row->sequence, row->sequence,
             "is in the ledger and in no committed result");
}

/* A number that a result has and the ledger has not. */
static void judge_unstored(struct judge *judge, const struct result_row *row) {
    if (judge_taken(judge, row->source_part, row->source_offset))
        judge->verdict.unchecked_numbers++; /* purged after its command */
    else
        tell_gap(judge, row->account, row->sequence, row->sequence,
                 "is in a committed result and not in the ledger");
}

static void judge_repeats(struct judge *judge, const struct numbered *numbered, int64_t sequence,
                          uint32_t *result, uint32_t *ledger) {
    struct finding finding = finding_of_account(FINDING_SEQUENCE_REPEAT, numbered->account);
    uint32_t first = *result;
    for (; *result < numbered->result_count; ++*result) {
        const struct result_row *row = result_of(judge, numbered, *result);
        if (row->sequence != sequence)
            break;
        if (row->event == result_of(judge, numbered, first)->event)
            continue;
        judge_tell(judge, finding_of_result(judge, FINDING_SEQUENCE_REPEAT, row),
                   "another event has number %" PRId64 " too", sequence);
    }
    first = *ledger;
    while (*ledger < numbered->ledger_count &&
           ledger_of(judge, numbered, *ledger)->sequence == sequence)
        ++*ledger;
    if (*ledger > first + 1)
        judge_tell(judge, finding, "%" PRIu32 " ledger rows have number %" PRId64, *ledger - first,
                   sequence);
}

static void judge_numbers(struct judge *judge, const struct numbered *numbered) {
    uint32_t result = 0, ledger = 0;
    int64_t expected = 1;
    while (result < numbered->result_count || ledger < numbered->ledger_count) {
        int64_t told = result < numbered->result_count
                           ? result_of(judge, numbered, result)->sequence
                           : INT64_MAX;
        int64_t stored = ledger < numbered->ledger_count
                             ? ledger_of(judge, numbered, ledger)->sequence
                             : INT64_MAX;
        int64_t sequence = told < stored ? told : stored;
        bool may_be_taken = sequence <= numbered->taken_below ||
                            (expected == 1 && (judge->results_taken || judge->commands_taken));
        if (sequence > expected && may_be_taken)
            judge->verdict.unchecked_numbers += (size_t)(sequence - expected);
        else if (sequence > expected)
            tell_gap(judge, numbered->account, expected, sequence - 1,
                     "is neither in a committed result nor in the ledger");
        if (told > sequence)
            judge_unpublished(judge, ledger_of(judge, numbered, ledger));
        if (stored > sequence)
            judge_unstored(judge, result_of(judge, numbered, result));
        judge_repeats(judge, numbered, sequence, &result, &ledger);
        expected = sequence + 1;
    }
}

/* ---- chain and tail ---- */

/* The first break says it all. */
static void judge_chain(struct judge *judge, const struct numbered *numbered) {
    bool told = false;
    for (uint32_t i = 0; i < numbered->result_count; i++) {
        const struct result_row *row = result_of(judge, numbered, i);
        bool holds = row->flags & RESULT_CHAIN_HOLDS, broken = row->flags & RESULT_CHAIN_BROKEN;
        judge->verdict.chained += holds;
        judge->verdict.unchecked_chains += !holds && !broken;
        if (broken && !told)
            judge_tell(judge, finding_of_result(judge, FINDING_CHAIN, row), "at number %" PRId64,
                       row->sequence);
        told |= broken;
    }
}

static void judge_tail(struct judge *judge, const struct numbered *numbered) {
    static const uint8_t none[SHA256_SIZE];
    const struct account *account = &judge->history->accounts[numbered->account];
    struct finding finding = finding_of_account(FINDING_TAIL, numbered->account);
    int64_t last = 0;
    const uint8_t *chain = none;
    if (numbered->result_count > 0) {
        const struct result_row *row = result_of(judge, numbered, numbered->result_count - 1);
        last = row->sequence;
        chain = row->chain;
    }
    const struct ledger_row *stored =
        numbered->ledger_count ? ledger_of(judge, numbered, numbered->ledger_count - 1) : NULL;
    if (stored && stored->sequence >= last) {
        last = stored->sequence;
        chain = stored->chain;
    }
    bool all_taken = last == 0 && (judge->commands_taken || judge->results_taken);
    /* The latest rows may be purged while earlier ones, of another partition, are not yet. */
    all_taken |= account->tail_sequence < numbered->taken_below;
    if (!account->has_tail && last > 0)
        judge_tell(judge, finding, "there is none, the last event has number %" PRId64, last);
    else if (account->has_tail && account->tail_sequence != last && !all_taken)
        judge_tell(judge, finding, "it has number %" PRId64 ", the last event %" PRId64,
                   account->tail_sequence, last);
    else if (account->has_tail && !all_taken && memcmp(account->tail_chain, chain, SHA256_SIZE))
        judge_tell(judge, finding, "its chain is not that of event %" PRId64, last);
}

/* ---- order ---- */

/* The last first copy of the account from each partition of commands. */
struct last {
    uint32_t account;
    uint16_t part; /* where it was published */
    int64_t sequence, source_offset;
};

static uint32_t account_of_first_copy(const struct history *history, uint32_t row) {
    const struct result_row *result = &history->results[row];
    bool counts = result->sequence > 0 && result->source_part != NO_PART &&
                  (result->flags & RESULT_COMMITTED) && !(result->flags & RESULT_REPLAYED);
    return counts ? result->account : NO_ROW;
}

/* Rows come as they were read: in the order of their partition. */
static void judge_order_of(struct judge *judge, const struct result_row *row, struct last *last) {
    bool comparable = last->account == row->account && last->part == row->part;
    if (comparable &&
        (row->sequence <= last->sequence || row->source_offset <= last->source_offset))
        judge_tell(judge, finding_of_result(judge, FINDING_ORDER, row),
                   "number %" PRId64 " (of offset %" PRId64 ") comes behind number %" PRId64
                   " (of offset %" PRId64 ")",
                   row->sequence, row->source_offset, last->sequence, last->source_offset);
    *last = (struct last){.account = row->account,
                          .part = row->part,
                          .sequence = row->sequence,
                          .source_offset = row->source_offset};
}

static bool judge_order(struct judge *judge) {
    const struct history *history = judge->history;
    struct grouping copies;
    if (!grouping_make(&copies, history->committed_count, history->account_count,
                       account_of_first_copy, history))
        return false;
    struct last *lasts = calloc(history->part_count, sizeof *lasts);
    for (uint32_t i = 0; lasts && i < history->part_count; i++)
        lasts[i].account = NO_ROW;
    for (uint32_t i = 0; lasts && i < copies.starts[history->account_count]; i++) {
        const struct result_row *row = &history->results[copies.rows[i]];
        judge_order_of(judge, row, &lasts[row->source_part]);
    }
    bool ok = lasts != NULL;
    free(lasts);
    grouping_free(&copies);
    return ok;
}

/* ---- all of it ---- */

static void judge_account(struct judge *judge, const struct numbered *numbered) {
    judge->verdict.numbered_accounts += numbered->result_count > 0 || numbered->ledger_count > 0;
    judge_numbers(judge, numbered);
    judge_chain(judge, numbered);
    judge_tail(judge, numbered);
}

bool judge_accounts(struct judge *judge) {
    struct grouping results = {0}, ledger = {0};
    bool ok = grouping_of_results(&results, judge->history) &&
              grouping_of_ledger(&ledger, judge->history);
    for (uint32_t i = 0; ok && i < judge->history->account_count; i++) {
        struct numbered numbered = {
            .account = i,
            .results = results.rows + results.starts[i],
            .result_count = results.starts[i + 1] - results.starts[i],
            .ledger = ledger.rows + ledger.starts[i],
            .ledger_count = ledger.starts[i + 1] - ledger.starts[i],
        };
        numbered.taken_below = find_taken(judge, &numbered);
        judge_account(judge, &numbered);
    }
    grouping_free(&results);
    grouping_free(&ledger);
    return ok && judge_order(judge);
}
