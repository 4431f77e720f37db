/* Arrays that double, and the order of their rows. */
#include "ctl/verify/history.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 256 };

void history_free(struct history *history) {
    for (uint32_t i = 0; i < history->part_count; i++)
        free(history->parts[i].topic);
    free(history->parts);
    free(history->commands);
    free(history->results);
    free(history->ledger);
    free(history->letters);
    free(history->events);
    free(history->accounts);
    uuid_map_free(&history->event_numbers);
    uuid_map_free(&history->account_numbers);
    *history = (struct history){0};
}

/* Room for one more row in *array, or NULL. Memory that no row has touched yet is not resident. */
static void *room(void **array, uint32_t count, uint32_t *capacity, size_t row_size) {
    if (count == *capacity) {
        if (count >= NO_ROW / 2)
            return NULL;
        uint32_t bigger = *capacity ? 2 * *capacity : FIRST_CAPACITY;
        void *moved = realloc(*array, bigger * row_size);
        if (!moved)
            return NULL;
        *array = moved;
        *capacity = bigger;
    }
    char *row = (char *)*array + count * row_size;
    memset(row, 0, row_size);
    return row;
}

#define DEFINE_NEW_ROW(signature, type, array, one)                                                \
    signature(struct history *history) {                                                           \
        void *rows = history->array;                                                               \
        struct type *row =                                                                         \
            room(&rows, history->one##_count, &history->one##_capacity, sizeof(struct type));      \
        history->array = rows;                                                                     \
        history->one##_count += row != NULL;                                                       \
        return row;                                                                                \
    }

DEFINE_NEW_ROW(static struct part *new_part, part, parts, part)
DEFINE_NEW_ROW(static struct event *new_event, event, events, event)
DEFINE_NEW_ROW(static struct account *new_account, account, accounts, account)
DEFINE_NEW_ROW(struct command_row *history_new_command, command_row, commands, command)
DEFINE_NEW_ROW(struct result_row *history_new_result, result_row, results, result)
DEFINE_NEW_ROW(struct ledger_row *history_new_ledger, ledger_row, ledger, ledger)
DEFINE_NEW_ROW(struct letter_row *history_new_letter, letter_row, letters, letter)

struct part *history_new_part(struct history *history, const char *topic, int32_t id,
                              enum part_role role) {
    if (history->part_count >= NO_PART)
        return NULL;
    char *name = strdup(topic);
    struct part *part = name ? new_part(history) : NULL;
    if (!part) {
        free(name);
        return NULL;
    }
    *part = (struct part){.topic = name,
                          .id = id,
                          .role = role,
                          .answered_before = -1,
                          .answered_after = -1,
                          .next_offset = -1,
                          .noted_offset = -1};
    return part;
}

uint16_t history_part(const struct history *history, struct slice topic, int64_t id,
                      enum part_role role) {
    for (uint16_t i = 0; i < history->part_count; i++) {
        const struct part *part = &history->parts[i];
        if (part->id == id && part->role == role && slice_is(topic, part->topic))
            return i;
    }
    return NO_PART;
}

uint32_t history_event(struct history *history, const struct uuid *id) {
    bool is_new;
    uint32_t *number = uuid_map_put(&history->event_numbers, id, &is_new);
    if (number && is_new) {
        *number = history->event_count;
        struct event *event = new_event(history);
        if (!event)
            return NO_ROW;
        *event = (struct event){.id = *id, .commands = NO_ROW, .results = NO_ROW, .ledger = NO_ROW};
    }
    return number ? *number : NO_ROW;
}

uint32_t history_account(struct history *history, const struct uuid *id) {
    bool is_new;
    uint32_t *number = uuid_map_put(&history->account_numbers, id, &is_new);
    if (number && is_new) {
        *number = history->account_count;
        struct account *account = new_account(history);
        if (!account)
            return NO_ROW;
        account->id = *id;
    }
    return number ? *number : NO_ROW;
}

uint32_t history_find_event(const struct history *history, const struct uuid *id) {
    const uint32_t *number = uuid_map_find(&history->event_numbers, id);
    return number ? *number : NO_ROW;
}

/* ---- order ---- */

bool grouping_make(struct grouping *grouping, uint32_t row_count, uint32_t group_count,
                   uint32_t (*group_of)(const struct history *history, uint32_t row),
                   const struct history *history) {
    uint32_t *rows = calloc((size_t)row_count + 1, sizeof *rows);
    uint32_t *starts = calloc((size_t)group_count + 2, sizeof *starts);
    if (!rows || !starts) {
        free(rows);
        free(starts);
        return false;
    }
    for (uint32_t row = 0; row < row_count; row++) {
        uint32_t group = group_of(history, row);
        if (group != NO_ROW)
            starts[group + 2]++;
    }
    for (uint32_t group = 2; group < group_count + 2; group++)
        starts[group] += starts[group - 1];
    for (uint32_t row = 0; row < row_count; row++) {
        uint32_t group = group_of(history, row);
        if (group != NO_ROW)
            rows[starts[group + 1]++] = row;
    }
    *grouping = (struct grouping){.rows = rows, .starts = starts};
    return true;
}

void grouping_free(struct grouping *grouping) {
    free(grouping->rows);
    free(grouping->starts);
    *grouping = (struct grouping){0};
}

static uint32_t account_of_result(const struct history *history, uint32_t row) {
    const struct result_row *result = &history->results[row];
    bool numbered = result->sequence > 0 && (result->flags & RESULT_COMMITTED);
    return numbered ? result->account : NO_ROW;
}

static uint32_t account_of_ledger(const struct history *history, uint32_t row) {
    return history->ledger[row].sequence > 0 ? history->ledger[row].account : NO_ROW;
}

static int by_result_sequence(const void *a, const void *b, void *context) {
    const struct result_row *results = context;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int64_t left = results[i].sequence, right = results[j].sequence;
    return left != right ? (left > right) - (left < right) : (i > j) - (i < j);
}

static int by_ledger_sequence(const void *a, const void *b, void *context) {
    const struct ledger_row *ledger = context;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int64_t left = ledger[i].sequence, right = ledger[j].sequence;
    return left != right ? (left > right) - (left < right) : (i > j) - (i < j);
}

static void sort_groups(struct grouping *grouping, uint32_t group_count,
                        int (*compare)(const void *a, const void *b, void *context),
                        void *context) {
    for (uint32_t group = 0; group < group_count; group++) {
        uint32_t start = grouping->starts[group];
        qsort_r(grouping->rows + start, grouping->starts[group + 1] - start, sizeof *grouping->rows,
                compare, context);
    }
}

bool grouping_of_results(struct grouping *grouping, const struct history *history) {
    if (!grouping_make(grouping, history->result_count, history->account_count, account_of_result,
                       history))
        return false;
    sort_groups(grouping, history->account_count, by_result_sequence, history->results);
    return true;
}

bool grouping_of_ledger(struct grouping *grouping, const struct history *history) {
    if (!grouping_make(grouping, history->ledger_count, history->account_count, account_of_ledger,
                       history))
        return false;
    sort_groups(grouping, history->account_count, by_ledger_sequence, history->ledger);
    return true;
}
