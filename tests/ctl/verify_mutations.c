/* siptrunkctl verify's judge over a history that a worker has made, and over that history with each
 * single mutation of one record: the first one is faultless, every other one is reported under the
 * right name, and nothing else is. What retention may take, and what a transaction that is still
 * open holds back, is no fault.
 *
 *   verify_mutations HISTORY   (tests/support/history_dump.py); VERIFY_TELL=1 in the environment
 * shows the findings
 */
#include "history_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BIT NAME_BIT

enum { FLIPS_EACH = 16, WHOLE_EVERY = 37, RANDOM_CUTS = 300, MAX_TOLD = 20 };

static struct world original, world; /* world: the one that is mutated */
static struct history base;          /* the original, judged */
static struct records *records;
static const struct result_row *row_of[MAX_RAW]; /* of each result of the original */
static size_t tried, failed, passed_over;
static char scratch[512 * 1024];

/* ---- trying ---- */

static void print_names(const char *what, uint64_t names) {
    fprintf(stderr, "  %s:", what);
    for (size_t i = 0; i < FINDING_COUNT; i++) {
        if (names >> i & 1)
            fprintf(stderr, " %s", finding_infos[i].name);
    }
    fprintf(stderr, "\n");
}

static void complain(const char *mutation, size_t i, uint64_t found, uint64_t wanted) {
    if (++failed > MAX_TOLD)
        return;
    fprintf(stderr, "%s of number %zu:\n", mutation, i);
    print_names("found", found);
    print_names("wanted", wanted);
}

/* must: all of these; may: perhaps these as well; nothing else. */
static void expect_in(bool complete, const char *mutation, size_t i, uint64_t must, uint64_t may) {
    uint64_t found = world_judge(records, &world, complete);
    tried++;
    if ((found & must) != must || (found & ~(must | may)) != 0)
        complain(mutation, i, found, must);
}

static void expect(const char *mutation, size_t i, uint64_t must, uint64_t may) {
    expect_in(false, mutation, i, must, may);
}

/* At least one of these. */
static void expect_any(const char *mutation, size_t i, uint64_t names) {
    uint64_t found = world_judge(records, &world, false);
    tried++;
    if (!(found & names))
        complain(mutation, i, found, names);
}

static void restore(void) {
    world = original;
}

/* ---- mutations of lists ---- */

static void drop(struct raw_list *list, size_t i) {
    list->count--;
    memmove(&list->items[i], &list->items[i + 1], (list->count - i) * sizeof list->items[0]);
}

/* Behind the last record of its partition. */
static struct raw *append_copy(struct raw_list *list, size_t i) {
    struct raw *copy = &list->items[list->count++];
    *copy = list->items[i];
    struct part *part = &world.parts[copy->part];
    copy->offset = part->end++;
    part->stable_end = part->end;
    part->log_end = part->end;
    return copy;
}

/* Bytes that a mutation may change, in place of those of the original. */
static char *own_bytes(struct slice *slice) {
    memcpy(scratch, slice->data, slice->size);
    slice->data = scratch;
    return scratch;
}

static struct raw_header *find_header(struct raw *raw, const char *name) {
    for (size_t i = 0; i < raw->header_count; i++) {
        if (strcmp(raw->headers[i].name, name) == 0)
            return &raw->headers[i];
    }
    return NULL;
}

static void set_header(struct raw *raw, const char *name, const char *value) {
    struct raw_header *header = find_header(raw, name);
    if (!header)
        header = &raw->headers[raw->header_count++];
    *header = (struct raw_header){.name = name, .value = slice_of(value)};
}

static void remove_header(struct raw *raw, const char *name) {
    struct raw_header *header = find_header(raw, name);
    if (header)
        *header = raw->headers[--raw->header_count];
}

/* ---- what is known of the original ---- */

static const struct command_row *command(size_t i) {
    return &base.commands[i];
}

/* The record that the ledger, or a list's only result, was made for. */
static bool is_source(size_t i) {
    const struct command_row *row = command(i);
    const struct event *event = &base.events[row->event];
    if (row->kind == COMMAND_LIST)
        return true;
    const struct ledger_row *ledger = &base.ledger[event->ledger];
    return ledger->source_part == row->part && ledger->source_offset == row->offset;
}

static size_t records_of(uint32_t event) {
    size_t count = 0;
    for (uint32_t i = base.events[event].commands; i != NO_ROW; i = base.commands[i].next)
        count++;
    return count;
}

/* The event has the id of the record, not of the command. */
static bool is_derived(size_t i) {
    return uuid_equal(&base.events[command(i)->event].id, &command(i)->derived_id);
}

/* ---- commands ---- */

/* The record is no command any more. */
static uint64_t without_command(size_t i) {
    switch ((enum command_kind)command(i)->kind) {
    case COMMAND_TOMBSTONE:
        return 0;
    case COMMAND_UNREADABLE:
        return BIT(DEAD_LETTER_PHANTOM);
    case COMMAND_LIST:
        return BIT(PHANTOM);
    case COMMAND_OTHER:
        break;
    }
    if (!is_source(i))
        return BIT(ANSWERED_TWICE);
    return records_of(command(i)->event) > 1
               ? BIT(LEDGER_WITHOUT_COMMAND) | BIT(ANSWERED_TWICE) | BIT(ECHO)
               : BIT(LEDGER_WITHOUT_COMMAND) | BIT(PHANTOM);
}

static void drop_commands(void) {
    for (size_t i = 0; i < original.commands.count; i++) {
        restore();
        drop(&world.commands, i);
        expect("dropping a command", i, without_command(i), 0);
    }
}

static void empty_commands(void) {
    for (size_t i = 0; i < original.commands.count; i++) {
        restore();
        world.commands.items[i].value = SLICE_NONE;
        expect("taking a command's value away", i, without_command(i), 0);
    }
}

/* A record that was passed over, and one that nobody has come to yet. */
static void copy_commands(void) {
    for (size_t i = 0; i < original.commands.count; i++) {
        uint8_t kind = command(i)->kind;
        bool asks = kind == COMMAND_OTHER || kind == COMMAND_LIST;
        uint64_t natural = kind == COMMAND_OTHER && !command(i)->natural;
        uint64_t passed = asks                         ? BIT(UNANSWERED)
                          : kind == COMMAND_UNREADABLE ? BIT(DEAD_LETTER_MISSING)
                                                       : 0;
        passed |= natural ? BIT(LEDGER_MISSING) : 0;
        restore();
        struct raw *copy = append_copy(&world.commands, i);
        expect("a command that nobody has come to", i, 0, 0);
        expect_in(true, "a command that nobody has come to, and all should be done", i,
                  kind == COMMAND_TOMBSTONE ? 0 : BIT(WAITING), 0);
        struct part *part = &world.parts[copy->part];
        part->answered_before = part->answered_after = part->next_offset = part->end;
        expect("a command that was passed over", i, passed, BIT(IDENTITY));
    }
}

static void cut_commands(void) {
    for (size_t i = 0; i < original.commands.count; i++) {
        if (command(i)->kind != COMMAND_OTHER && command(i)->kind != COMMAND_LIST)
            continue;
        restore();
        world.commands.items[i].value.size--;
        expect("making a command unreadable", i, without_command(i) | BIT(DEAD_LETTER_MISSING), 0);
    }
}

/* Another id of a command, in the same length. */
static void rename_commands(void) {
    for (size_t i = 0; i < original.commands.count; i++) {
        if (!command(i)->natural || command(i)->kind == COMMAND_UNREADABLE)
            continue;
        char text[UUID_TEXT_SIZE + 1];
        uuid_format(&command(i)->command_id, text);
        restore();
        struct slice *value = &world.commands.items[i].value;
        char *place = memmem(own_bytes(value), value->size, text, UUID_TEXT_SIZE);
        if (!place)
            continue; /* sent in upper case */
        *place = *place == 'a' ? 'b' : 'a';
        bool list = command(i)->kind == COMMAND_LIST;
        uint64_t must = list            ? BIT(ECHO)
                        : is_derived(i) ? BIT(ECHO)
                        : is_source(i)  ? without_command(i) | BIT(UNANSWERED) | BIT(LEDGER_MISSING)
                                        : BIT(ANSWERED_TWICE) | BIT(UNANSWERED);
        expect("another command id", i, must, BIT(LEDGER_MISSING));
    }
}

static void redate_commands(void) {
    for (size_t i = 0; i < original.commands.count; i++) {
        uint8_t kind = command(i)->kind;
        restore();
        world.commands.items[i].timestamp_ms++;
        uint64_t must = kind == COMMAND_LIST ? BIT(UNANSWERED) | BIT(PHANTOM)
                        : kind != COMMAND_OTHER || (!is_derived(i) && !is_source(i)) ? 0
                        : is_derived(i)
                            ? BIT(UNANSWERED) | BIT(PHANTOM) | BIT(LEDGER_WITHOUT_COMMAND)
                            : BIT(ECHO) | BIT(LEDGER_COLUMNS);
        expect("another timestamp", i, must, BIT(IDENTITY) | BIT(LEDGER_MISSING));
    }
}

static void rewire_commands(void) {
    for (size_t i = 0; i < original.commands.count; i++) {
        uint8_t kind = command(i)->kind;
        bool asks = kind == COMMAND_OTHER || kind == COMMAND_LIST;
        restore();
        set_header(&world.commands.items[i], "kafka_correlationId", "another");
        expect("another correlation header of a command", i, asks ? BIT(CORRELATION) : 0, 0);
        restore();
        world.commands.items[i].key = SLICE_LITERAL("another key");
        expect("another key of a command", i,
               kind == COMMAND_UNREADABLE ? BIT(DEAD_LETTER_DIFFERS) : 0, BIT(IDENTITY));
    }
}

/* Where an unmarked resend stands among records without value tells nobody anything. */
static bool is_nowhere(size_t i, size_t j) {
    const struct command_row *row = command(i);
    return command(j)->kind == COMMAND_TOMBSTONE && row->kind == COMMAND_OTHER && row->token == 0 &&
           !is_source(i);
}

static void swap_commands(void) {
    for (size_t i = 0; i < original.commands.count; i++) {
        for (size_t j = i + 1; j < original.commands.count; j++) {
            restore();
            struct raw *a = &world.commands.items[i], *b = &world.commands.items[j];
            struct slice value = a->value;
            a->value = b->value;
            b->value = value;
            bool same = slice_equal(a->value, b->value) && !a->value.data == !b->value.data;
            if (same || is_nowhere(i, j) || is_nowhere(j, i))
                passed_over++;
            else
                expect_any("swapping the values of two commands", i * 10000 + j, ~UINT64_C(0));
        }
    }
}

/* ---- results ---- */

static bool is_numbered(const struct result_row *row) {
    return row->sequence > 0;
}

static size_t committed_copies(uint32_t event) {
    size_t count = 0;
    for (uint32_t i = base.events[event].results; i != NO_ROW; i = base.results[i].next)
        count += (base.results[i].flags & RESULT_COMMITTED) != 0;
    return count;
}

static void drop_results(void) {
    for (size_t i = 0; i < original.results.count; i++) {
        const struct result_row *row = row_of[i];
        bool committed = original.results.items[i].committed;
        bool only = committed_copies(row->event) == 1;
        uint64_t must = !committed                 ? 0
                        : is_numbered(row) && only ? BIT(UNANSWERED) | BIT(SEQUENCE_GAP)
                                                   : BIT(UNANSWERED);
        restore();
        drop(&world.results, i);
        expect("dropping a result", i, must, 0);
        restore();
        world.results.items[i].committed = false;
        expect("aborting a result", i, must, 0);
        restore();
        world.results.items[i].first_only = committed;
        expect("dropping a result between two readings", i, committed ? BIT(CHANGED) : 0, 0);
    }
}

static void copy_results(void) {
    for (size_t i = 0; i < original.results.count; i++) {
        bool committed = original.results.items[i].committed;
        restore();
        append_copy(&world.results, i);
        expect("copying a result", i, committed ? BIT(ANSWERED_TWICE) : 0, BIT(ORDER));
        if (committed)
            continue;
        restore();
        world.results.items[i].committed = true;
        expect("committing an aborted result", i, BIT(ANSWERED_TWICE), BIT(ORDER));
    }
}

static bool is_ordered(const struct result_row *row) {
    return row->sequence > 0 && (row->flags & RESULT_COMMITTED) && !(row->flags & RESULT_REPLAYED);
}

static void swap_results(void) {
    for (size_t i = 0; i < original.results.count; i++) {
        for (size_t j = i + 1; j < original.results.count; j++) {
            const struct result_row *a = row_of[i], *b = row_of[j];
            if (a->part != b->part)
                continue;
            restore();
            world.results.items[i] = original.results.items[j];
            world.results.items[j] = original.results.items[i];
            world.results.items[i].offset = original.results.items[i].offset;
            world.results.items[j].offset = original.results.items[j].offset;
            bool one_lane = is_ordered(a) && is_ordered(b) && a->account == b->account &&
                            a->source_part == b->source_part;
            expect("swapping two results", i * 10000 + j, one_lane ? BIT(ORDER) : 0,
                   j > i + 1 ? BIT(ORDER) : 0);
        }
    }
}

/* Bit 0 of the byte at place. */
static void flip_result(size_t i, size_t place) {
    const struct result_row *row = row_of[i];
    const uint64_t names = BIT(LEDGER_DIFFERS) | BIT(UNREADABLE_RESULT) | BIT(PHANTOM);
    const uint64_t aborted = names | BIT(CONTRADICTION);
    struct slice *value = &world.results.items[i].value;
    restore();
    own_bytes(value)[place] ^= 1;
    if (row->flags & RESULT_LIST)
        passed_over++; /* what a list says is kept nowhere else */
    else if (!original.results.items[i].committed)
        expect_any("changing a byte of an aborted result", i * 10000 + place, aborted);
    else
        expect_any("changing a byte of a result", i * 10000 + place, names);
    if (!original.results.items[i].committed)
        return;
    world.results.items[i].second_only = true;
    world.results.items[world.results.count] = original.results.items[i];
    world.results.items[world.results.count++].first_only = true;
    expect_any("changing a byte between two readings", i * 10000 + place, BIT(CHANGED));
}

static void flip_results(void) {
    for (size_t i = 0; i < original.results.count; i++) {
        size_t size = original.results.items[i].value.size;
        size_t step = i % WHOLE_EVERY == 0 ? 1 : size / FLIPS_EACH + 1;
        for (size_t place = i % step; place < size; place += step)
            flip_result(i, place);
    }
}

/* A list's own fields stand beside those of its command, and are held against them. */
static void edit_lists(void) {
    for (size_t i = 0; i < original.results.count; i++) {
        struct slice *value = &world.results.items[i].value;
        if (!(row_of[i]->flags & RESULT_LIST) || !original.results.items[i].committed)
            continue;
        restore();
        enum { EVENT_AT = 11, COMMAND_AT = EVENT_AT + 37, ACCOUNT_AT = COMMAND_AT + 37 };
        own_bytes(value)[COMMAND_AT] ^= 1;
        expect("another command id in a list", i, BIT(ECHO), 0);
        restore();
        own_bytes(value)[ACCOUNT_AT] ^= 1;
        expect_any("another account in a list", i, BIT(ECHO) | BIT(KEY));
    }
}

static void edit_headers(void) {
    for (size_t i = 0; i < original.results.count; i++) {
        bool committed = original.results.items[i].committed;
        struct raw *raw = &world.results.items[i];
        restore();
        if (row_of[i]->flags & RESULT_REPLAYED)
            remove_header(raw, "replayed");
        else
            set_header(raw, "replayed", "true");
        expect("marking a result otherwise", i, committed ? BIT(REPLAY_MARK) : 0, BIT(ORDER));
        restore();
        set_header(raw, "kafka_correlationId", "another");
        expect("another correlation header", i, committed ? BIT(CORRELATION) : 0, 0);
        restore();
        raw->key = SLICE_LITERAL("another key");
        expect("another key of a result", i, BIT(KEY), 0);
        restore();
        set_header(raw, "ce_id", "another");
        expect("another ce_id", i, BIT(KEY), 0);
        restore();
        set_header(raw, "error-id", "another");
        expect("another error-id", i, BIT(KEY), 0);
    }
}

/* ---- ledger ---- */

static void drop_ledger(void) {
    for (size_t i = 0; i < original.ledger_count; i++) {
        restore();
        world.ledger_count--;
        memmove(&world.ledger[i], &world.ledger[i + 1],
                (world.ledger_count - i) * sizeof world.ledger[0]);
        bool numbered = original.ledger[i].account_sequence > 0;
        expect("dropping a ledger row", i, BIT(LEDGER_MISSING) | (numbered ? BIT(SEQUENCE_GAP) : 0),
               0);
    }
}

static void copy_ledger(void) {
    for (size_t i = 0; i < original.ledger_count; i++) {
        restore();
        world.ledger[world.ledger_count] = world.ledger[i];
        world.ledger[world.ledger_count++].command_id.bytes[0] ^= 1;
        bool numbered = original.ledger[i].account_sequence > 0;
        expect("copying a ledger row", i,
               BIT(LEDGER_TWICE) | BIT(LEDGER_COLUMNS) | (numbered ? BIT(SEQUENCE_REPEAT) : 0), 0);
    }
}

static void swap_ledger(void) {
    for (size_t i = 0; i < original.ledger_count; i++) {
        for (size_t j = i + 1; j < original.ledger_count; j++) {
            restore();
            world.ledger[i].result = original.ledger[j].result;
            world.ledger[j].result = original.ledger[i].result;
            expect_any("swapping the bodies of two ledger rows", i * 10000 + j,
                       BIT(LEDGER_COLUMNS));
        }
    }
}

static void edit_ledger_row(size_t i, size_t column) {
    struct ledger_view *row = &world.ledger[i];
    restore();
    switch (column) {
    case 0:
        row->account_id.bytes[3] ^= 1;
        break;
    case 1:
        row->command_id.bytes[3] ^= 1;
        break;
    case 2:
        row->account_sequence++;
        break;
    case 3:
        row->applied_at++;
        break;
    case 4:
        row->source_offset++;
        break;
    case 5:
        row->source_timestamp++;
        break;
    case 6:
        row->result_schema++;
        break;
    case 7:
        row->source_partition++;
        break;
    case 8:
        row->source_topic = SLICE_LITERAL("another");
        break;
    case 9:
        row->command_type = SLICE_LITERAL("another");
        break;
    case 10:
        row->outcome = SLICE_LITERAL("another");
        break;
    case 11:
        row->error_reason = SLICE_LITERAL("another");
        break;
    case 12:
        row->batch_id = SLICE_LITERAL("another");
        break;
    }
    expect_any("changing a column of a ledger row", i * 100 + column, BIT(LEDGER_COLUMNS));
}

static void edit_ledger(void) {
    for (size_t i = 0; i < original.ledger_count; i++) {
        for (size_t column = 0; column <= 12; column++)
            edit_ledger_row(i, column);
        size_t size = original.ledger[i].result.size, step = size / FLIPS_EACH + 1;
        for (size_t place = i % step; place < size; place += step) {
            restore();
            own_bytes(&world.ledger[i].result)[place] ^= 1;
            expect_any("changing a byte of a ledger row's body", i * 10000 + place,
                       BIT(LEDGER_COLUMNS) | BIT(LEDGER_DIFFERS));
        }
    }
}

static void edit_tails(void) {
    for (size_t i = 0; i < original.tail_count; i++) {
        restore();
        world.tails[i].sequence++;
        expect("another end of the sequence", i, BIT(TAIL), 0);
        restore();
        world.tails[i].chain[i % SHA256_SIZE] ^= 1;
        expect("another end of the chain", i, BIT(TAIL), 0);
        restore();
        world.tails[i] = world.tails[--world.tail_count];
        expect("no end of the chain", i, original.tails[i].sequence > 0 ? BIT(TAIL) : 0, 0);
        for (size_t j = i + 1; j < original.tail_count; j++) {
            restore();
            struct raw_tail *a = &world.tails[i], *b = &world.tails[j];
            bool same = a->sequence == b->sequence && !memcmp(a->chain, b->chain, SHA256_SIZE);
            struct uuid account = a->account;
            a->account = b->account;
            b->account = account;
            expect("swapping the ends of two accounts", i * 10000 + j, same ? 0 : BIT(TAIL), 0);
        }
    }
}

/* ---- dead letters ---- */

static void mutate_letters(void) {
    for (size_t i = 0; i < original.letters.count; i++) {
        struct raw *raw = &world.letters.items[i];
        restore();
        drop(&world.letters, i);
        expect("dropping a dead letter", i, BIT(DEAD_LETTER_MISSING), 0);
        restore();
        append_copy(&world.letters, i);
        expect("copying a dead letter", i, BIT(DEAD_LETTER_TWICE), 0);
        restore();
        raw->value = SLICE_LITERAL("another");
        expect("another value of a dead letter", i, BIT(DEAD_LETTER_DIFFERS), 0);
        restore();
        raw->value = SLICE_NONE;
        expect("no value of a dead letter", i,
               original.letters.items[i].value.size ? BIT(DEAD_LETTER_DIFFERS) : 0, 0);
        restore();
        set_header(raw, "kafka_dlt-original-topic", "another");
        expect("another topic in a dead letter", i,
               BIT(DEAD_LETTER_PHANTOM) | BIT(DEAD_LETTER_MISSING), 0);
    }
}

/* As if each command that can be read had been buried in the place of an unreadable record. */
static void bury_commands(void) {
    for (size_t i = 0; original.letters.count > 0 && i < original.commands.count; i++) {
        if (command(i)->kind != COMMAND_OTHER && command(i)->kind != COMMAND_LIST)
            continue;
        restore();
        const struct raw *buried = &original.commands.items[i];
        size_t first = 0;
        while (first < original.letters.count &&
               base.parts[original.letters.items[first].part].number !=
                   base.parts[buried->part].number)
            first++;
        if (first == original.letters.count)
            continue;
        struct raw *letter = append_copy(&world.letters, first);
        letter->key = buried->key;
        letter->value = buried->value;
        static char partition[4], offset[8];
        for (int b = 0; b < 4; b++)
            partition[b] = (char)(base.parts[buried->part].id >> (24 - 8 * b));
        for (int b = 0; b < 8; b++)
            offset[b] = (char)(buried->offset >> (56 - 8 * b));
        find_header(letter, "kafka_dlt-original-partition")->value =
            (struct slice){.data = partition, .size = 4};
        find_header(letter, "kafka_dlt-original-offset")->value =
            (struct slice){.data = offset, .size = 8};
        expect("burying a readable command", i, BIT(DEAD_LETTER_READABLE),
               BIT(ANSWERED_TWICE) | BIT(PHANTOM));
    }
}

/* ---- positions ---- */

static void mutate_positions(void) {
    for (size_t i = 0; i < original.part_count; i++) {
        struct part *part = &world.parts[i];
        if (part->role != PART_COMMANDS || original.parts[i].end == 0)
            continue;
        restore();
        part->answered_after++;
        expect("K beyond D and the end", i, BIT(POSITION), 0);
        restore();
        part->next_offset++;
        expect("D beyond the end", i, BIT(POSITION), 0);
        restore();
        part->next_offset--;
        expect("D behind K", i, BIT(POSITION), BIT(LEDGER_MISSING));
        restore();
        part->answered_after++;
        part->log_end++;
        expect("K that went on behind the snapshot (no fault)", i, 0, 0);
        restore();
        part->next_offset = -1;
        expect("no D", i, BIT(POSITION), 0);
        restore();
        part->noted_offset = part->answered_after;
        part->answered_after--;
        expect("K that went back", i, BIT(POSITION), 0);
        restore();
        part->answered_after = 0;
        part->noted_offset = -1;
        part->answered_before = 0;
        expect("answers beyond K", i, 0, BIT(POSITION));
        restore();
        part->low = part->log_end = part->end += 2;
        expect("records deleted before they were answered", i, BIT(EXPIRED), 0);
    }
}

/* ---- no faults ---- */

/* Retention takes what stands below an offset. */
static void take_below(struct raw_list *list, size_t part, int64_t offset) {
    for (size_t i = list->count; i-- > 0;) {
        if (list->items[i].part == part && list->items[i].offset < offset)
            drop(list, i);
    }
}

static void cut_part(size_t part, int64_t offset) {
    world.parts[part].low = offset;
    take_below(&world.commands, part, offset);
    take_below(&world.results, part, offset);
    take_below(&world.letters, part, offset);
}

static void retain(void) {
    for (size_t part = 0; part < original.part_count; part++) {
        for (int64_t offset = 0; offset <= original.parts[part].end; offset++) {
            restore();
            cut_part(part, offset);
            expect("retention", part * 10000 + (size_t)offset, 0, 0);
        }
    }
    srandom(1);
    for (size_t i = 0; i < RANDOM_CUTS; i++) {
        restore();
        for (size_t part = 0; part < original.part_count; part++)
            cut_part(part, random() % 3 ? 0 : random() % (original.parts[part].end + 1));
        expect("retention in several partitions", i, 0, 0);
    }
}

/* Records of a transaction that is still open: told, and nothing else is missed. */
static void hold_back(void) {
    for (size_t number = 0; number < original.part_count; number++) {
        if (original.parts[number].role != PART_RESULTS)
            continue;
        for (int64_t from = 0; from < original.parts[number].end; from++) {
            restore();
            world.parts[number].stable_end = from;
            for (size_t i = 0; i < world.results.count; i++) {
                struct raw *raw = &world.results.items[i];
                raw->committed &= raw->part != number || raw->offset < from;
            }
            expect("an open transaction", number * 10000 + (size_t)from, BIT(OPEN_TRANSACTION), 0);
        }
    }
}

/* ---- all of it ---- */

static void note(void *context, const struct finding *finding) {
    (void)finding;
    ++*(size_t *)context;
}

static void judge_original(void) {
    struct verdict verdict;
    struct error err;
    size_t findings = 0;
    restore();
    expect_in(true, "the history as it is", 0, 0, 0);
    world_build(records, &original, &base);
    if (!judge(records, &base, true, note, &findings, &verdict, &err))
        exit(2);
    for (size_t i = 0; i < original.results.count; i++) {
        const struct raw *raw = &original.results.items[i];
        for (uint32_t row = 0; row < base.result_count; row++) {
            if (base.results[row].part == raw->part && base.results[row].offset == raw->offset)
                row_of[i] = &base.results[row];
        }
    }
}

static void run(const char *what, void (*mutate)(void)) {
    size_t before = tried, bad = failed;
    mutate();
    printf("%6zu mutations, %zu not found as they should be: %s\n", tried - before, failed - bad,
           what);
}

int main(int argc, char **argv) {
    static const struct {
        const char *what;
        void (*mutate)(void);
    } all[] = {
        {"commands dropped", drop_commands},
        {"commands without value", empty_commands},
        {"commands copied", copy_commands},
        {"commands cut short", cut_commands},
        {"commands under another id", rename_commands},
        {"commands of another time", redate_commands},
        {"commands with another header or key", rewire_commands},
        {"commands swapped", swap_commands},
        {"results dropped or aborted", drop_results},
        {"results copied", copy_results},
        {"results swapped", swap_results},
        {"results with another byte", flip_results},
        {"lists with other ids", edit_lists},
        {"results with another header or key", edit_headers},
        {"ledger rows dropped", drop_ledger},
        {"ledger rows copied", copy_ledger},
        {"ledger rows swapped", swap_ledger},
        {"ledger rows edited", edit_ledger},
        {"ends of chains edited", edit_tails},
        {"dead letters mutated", mutate_letters},
        {"commands buried", bury_commands},
        {"positions moved", mutate_positions},
        {"retention (no fault)", retain},
        {"open transactions", hold_back},
    };
    struct error err;
    if (argc < 2 || !(records = records_new("", &err)))
        return 2;
    world_load(&original, argv[1]);
    judge_original();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        run(all[i].what, all[i].mutate);
    printf("%6zu mutations in all, %zu passed over since they change nothing that is kept twice\n",
           tried, passed_over);
    history_free(&base);
    world_free(&original);
    records_free(records);
    return failed ? 1 : 0;
}
