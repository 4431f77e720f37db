/* Results, as read from topics and as the ledger holds them, and the chain that they form. */
#include "common/kafka.h"
#include "common/text.h"
#include "ctl/verify/record_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SLOT_EVENT_ID,
    SLOT_COMMAND_ID,
    SLOT_ACCOUNT_ID,
    SLOT_TYPE,
    SLOT_BATCH_ID,
    SLOT_OUTCOME,
    SLOT_REASON,
    SLOT_SEQUENCE,
    SLOT_RECEIVED_AT,
    SLOT_APPLIED_AT,
    SLOT_SOURCE_TOPIC,
    SLOT_SOURCE_PARTITION,
    SLOT_SOURCE_OFFSET,
    SLOT_CHAIN,
    RESULT_SLOTS
};

static const struct reader_field result_fields[] = {
    {.name = "event_id", .kind = READER_STRING, .slot = SLOT_EVENT_ID},
    {.name = "command_id", .kind = READER_STRING, .slot = SLOT_COMMAND_ID},
    {.name = "account_id", .kind = READER_STRING, .slot = SLOT_ACCOUNT_ID},
    {.name = "command_type", .kind = READER_STRING, .slot = SLOT_TYPE},
    {.name = "batch_id", .kind = READER_STRING, .slot = SLOT_BATCH_ID},
    {.name = "outcome", .kind = READER_STRING, .slot = SLOT_OUTCOME},
    {.name = "error_reason", .kind = READER_STRING, .slot = SLOT_REASON},
    {.name = "account_sequence", .kind = READER_LONG, .slot = SLOT_SEQUENCE},
    {.name = "received_at", .kind = READER_LONG, .slot = SLOT_RECEIVED_AT},
    {.name = "applied_at", .kind = READER_LONG, .slot = SLOT_APPLIED_AT},
    {.name = "source_topic", .kind = READER_STRING, .slot = SLOT_SOURCE_TOPIC},
    {.name = "source_partition", .kind = READER_LONG, .slot = SLOT_SOURCE_PARTITION},
    {.name = "source_offset", .kind = READER_LONG, .slot = SLOT_SOURCE_OFFSET},
    {.name = "chain", .kind = READER_STRING, .slot = SLOT_CHAIN},
};

const struct reader_record result_reader = {
    .full_name = "siptrunk.result.v1.CommandResult",
    .fields = result_fields,
    .field_count = sizeof result_fields / sizeof result_fields[0],
    .slot_count = RESULT_SLOTS,
};

/* ---- a body ---- */

/* What a body says, whoever keeps it. */
struct answer {
    const struct value *values;
    struct slice body;
    struct uuid event_id, account_id, command_id;
    bool account_known, command_known;
    int64_t sequence;
    struct slice chain; /* of no or of SHA256_SIZE bytes, as the sequence number wants it */
};

static struct slice text_of(const struct answer *answer, int slot) {
    return records_text(&answer->values[slot]);
}

static int64_t integer_of(const struct answer *answer, int slot) {
    const struct value *value = &answer->values[slot];
    return value->state == VALUE_SET ? value->integer : -1;
}

/* False when it is no result that the contract knows. */
static bool take_answer(struct answer *answer, const struct avro_decoded *decoded,
                        struct slice body) {
    if (decoded->record != &result_reader)
        return false;
    *answer = (struct answer){.values = decoded->values, .body = body};
    answer->sequence = integer_of(answer, SLOT_SEQUENCE);
    answer->chain = text_of(answer, SLOT_CHAIN);
    answer->account_known = uuid_parse(text_of(answer, SLOT_ACCOUNT_ID), &answer->account_id);
    answer->command_known = uuid_parse(text_of(answer, SLOT_COMMAND_ID), &answer->command_id);
    bool is_last = answer->chain.data + answer->chain.size == body.data + body.size;
    return is_last && answer->sequence >= 0 &&
           answer->chain.size == (answer->sequence > 0 ? SHA256_SIZE : 0) &&
           (answer->account_known || answer->sequence == 0) &&
           uuid_parse(text_of(answer, SLOT_EVENT_ID), &answer->event_id);
}

/* What the chain value covers: all before the last field, whose length takes a byte. */
static struct slice before_chain(const struct answer *answer) {
    return (struct slice){.data = answer->body.data,
                          .size = answer->body.size - answer->chain.size - 1};
}

static uint32_t stamp_of(const struct answer *answer) {
    return (uint32_t)(integer_of(answer, SLOT_RECEIVED_AT) / 1000);
}

/* ---- results ---- */

static bool key_fits(const struct answer *answer, struct slice key) {
    char text[UUID_TEXT_SIZE + 1];
    if (!answer->account_known)
        return !key.data;
    uuid_format(&answer->account_id, text);
    return slice_is(key, text);
}

static bool headers_fit(const struct answer *answer, const rd_kafka_headers_t *headers) {
    char id[UUID_TEXT_SIZE + 1];
    uuid_format(&answer->event_id, id);
    return slice_is(kafka_header(headers, "ce_id"), id) &&
           slice_equal(kafka_header(headers, "error-id"), text_of(answer, SLOT_REASON));
}

static uint16_t flags_of(const struct answer *answer, const struct record_view *record) {
    static const char internal[] = "urn:error:sip-trunk:internal:";
    struct slice reason = text_of(answer, SLOT_REASON), type = text_of(answer, SLOT_TYPE);
    bool blames_us =
        reason.size >= sizeof internal && !memcmp(reason.data, internal, sizeof internal - 1);
    unsigned flags = 0;
    flags |= slice_is(kafka_header(record->headers, "replayed"), "true") ? RESULT_REPLAYED : 0U;
    flags |= type.size >= 4 && !memcmp(type.data, "List", 4) ? RESULT_LIST : 0U;
    flags |= key_fits(answer, record->key) ? 0U : RESULT_WRONG_KEY;
    flags |= headers_fit(answer, record->headers) ? 0U : RESULT_WRONG_HEADERS;
    flags |= blames_us ? RESULT_INTERNAL : 0U;
    return (uint16_t)flags;
}

static bool fill_result(const struct records *records, struct history *history,
                        struct result_row *row, const struct answer *answer,
                        const struct record_view *record) {
    row->sequence = answer->sequence;
    row->source_offset = integer_of(answer, SLOT_SOURCE_OFFSET);
    row->digest = records_digest(records, answer->body, SLICE_NONE);
    if (answer->chain.size)
        memcpy(row->chain, answer->chain.data, sizeof row->chain);
    row->event = history_event(history, &answer->event_id);
    row->account = answer->account_known ? history_account(history, &answer->account_id) : NO_ROW;
    row->token = records_token(record->headers);
    row->echo = records_echo(&answer->values[SLOT_COMMAND_ID], &answer->values[SLOT_ACCOUNT_ID],
                             text_of(answer, SLOT_TYPE));
    row->stamp = stamp_of(answer);
    row->source_part = history_part(history, text_of(answer, SLOT_SOURCE_TOPIC),
                                    integer_of(answer, SLOT_SOURCE_PARTITION), PART_COMMANDS);
    row->flags = flags_of(answer, record);
    return row->event != NO_ROW && (!answer->account_known || row->account != NO_ROW);
}

/* *ret: the new row; *ret_answer: what it says, unless it is unreadable. */
static bool add_result(struct records *records, struct history *history,
                       const struct record_view *record, struct result_row **ret,
                       struct error *err) {
    struct result_row *row = history_new_result(history);
    struct avro_decoded decoded;
    struct slice body;
    struct answer answer;
    if (!row)
        return records_no_memory(err);
    *row = (struct result_row){.offset = record->offset,
                               .event = NO_ROW,
                               .next = NO_ROW,
                               .account = NO_ROW,
                               .part = record->part,
                               .source_part = NO_PART,
                               .flags = RESULT_UNREADABLE,
                               .digest = records_digest(records, record->value, SLICE_NONE)};
    *ret = row;
    return !records_decode(records, record->value, &decoded, &body) ||
           !take_answer(&answer, &decoded, body) ||
           fill_result(records, history, row, &answer, record) || records_no_memory(err);
}

bool records_result(struct records *records, struct history *history,
                    const struct record_view *record, struct error *err) {
    struct result_row *row;
    if (!add_result(records, history, record, &row, err))
        return false;
    row->flags |= RESULT_COMMITTED;
    history->committed_count = history->result_count;
    return true;
}

/* ---- the ledger ---- */

/* The event of a command whose ids can serve is named after them, any other after its record; the
 * ledger's key is the natural one, or the event's id. */
static bool key_names_event(const struct records *records, const struct answer *answer,
                            const struct ledger_view *view) {
    struct uuid natural = records_event_id(records, &view->account_id, &view->command_id);
    static const struct uuid nil;
    const struct uuid *account = answer->account_known ? &answer->account_id : &nil;
    bool is_natural = answer->command_known && uuid_equal(&answer->event_id, &natural) &&
                      uuid_equal(&answer->command_id, &view->command_id);
    return uuid_equal(account, &view->account_id) &&
           (is_natural || uuid_equal(&answer->event_id, &view->command_id));
}

static bool columns_fit(const struct records *records, const struct answer *answer,
                        const struct ledger_view *view) {
    const struct {
        struct slice column;
        int slot;
    } texts[] = {{view->source_topic, SLOT_SOURCE_TOPIC},
                 {view->command_type, SLOT_TYPE},
                 {view->outcome, SLOT_OUTCOME},
                 {view->error_reason, SLOT_REASON},
                 {view->batch_id, SLOT_BATCH_ID}};
    const struct {
        int64_t column;
        int slot;
    } integers[] = {{view->account_sequence, SLOT_SEQUENCE},
                    {view->applied_at, SLOT_APPLIED_AT},
                    {view->source_partition, SLOT_SOURCE_PARTITION},
                    {view->source_offset, SLOT_SOURCE_OFFSET},
                    {view->source_timestamp * 1000, SLOT_RECEIVED_AT}};
    bool fit = key_names_event(records, answer, view);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        fit &= slice_equal(texts[i].column, text_of(answer, texts[i].slot));
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++)
        fit &= integers[i].column == integer_of(answer, integers[i].slot);
    return fit;
}

bool records_ledger(struct records *records, struct history *history,
                    const struct ledger_view *view, struct error *err) {
    struct ledger_row *row = history_new_ledger(history);
    struct avro_decoded decoded;
    struct answer answer;
    if (!row)
        return records_no_memory(err);
    *row = (struct ledger_row){
        .sequence = view->account_sequence,
        .source_offset = view->source_offset,
        .digest = records_digest(records, view->result, SLICE_NONE),
        .command_id = view->command_id,
        .event = NO_ROW,
        .account = history_account(history, &view->account_id),
        .stamp = (uint32_t)view->source_timestamp,
        .source_part =
            history_part(history, view->source_topic, view->source_partition, PART_COMMANDS),
        .flags = LEDGER_UNREADABLE,
    };
    if (row->account == NO_ROW)
        return records_no_memory(err);
    if (!records_decode_body(records, view->result_schema, view->result, &decoded) ||
        !take_answer(&answer, &decoded, view->result))
        return true;
    row->event = history_event(history, &answer.event_id);
    if (answer.chain.size)
        memcpy(row->chain, answer.chain.data, sizeof row->chain);
    row->flags = columns_fit(records, &answer, view) ? 0 : LEDGER_WRONG_COLUMNS;
    return row->event != NO_ROW || records_no_memory(err);
}

/* ---- the second reading ---- */

static uint32_t part_of_result(const struct history *history, uint32_t row) {
    return history->results[row].part;
}

void records_forget_reading(struct records *records) {
    grouping_free(&records->results_of_part);
    grouping_free(&records->results_of_account);
    grouping_free(&records->ledger_of_account);
    free(records->next_of_part);
    records->next_of_part = NULL;
}

bool records_read_again(struct records *records, struct history *history, struct error *err) {
    records_forget_reading(records);
    records->next_of_part = calloc(history->part_count, sizeof *records->next_of_part);
    if (!records->next_of_part ||
        !grouping_make(&records->results_of_part, history->result_count, history->part_count,
                       part_of_result, history) ||
        !grouping_of_results(&records->results_of_account, history) ||
        !grouping_of_ledger(&records->ledger_of_account, history))
        return records_no_memory(err);
    for (uint32_t part = 0; part < history->part_count; part++)
        records->next_of_part[part] = records->results_of_part.starts[part];
    return true;
}

/* The committed result at the record's place; NULL when there is none. Records of a partition come
 * in order. */
static struct result_row *met_before(struct records *records, struct history *history,
                                     const struct record_view *record) {
    const struct grouping *grouping = &records->results_of_part;
    uint32_t *next = &records->next_of_part[record->part];
    uint32_t end = grouping->starts[record->part + 1];
    while (*next < end && history->results[grouping->rows[*next]].offset < record->offset)
        ++*next;
    if (*next == end || history->results[grouping->rows[*next]].offset != record->offset)
        return NULL;
    return &history->results[grouping->rows[*next]];
}

/* The last place in the account's rows, which are sorted, whose sequence number is that; NO_ROW
 * when there is none. */
static uint32_t find_sequence(const struct grouping *grouping, uint32_t account, int64_t sequence,
                              int64_t (*sequence_of)(const struct history *history, uint32_t row),
                              const struct history *history) {
    uint32_t from = grouping->starts[account], to = grouping->starts[account + 1];
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (sequence_of(history, grouping->rows[middle]) > sequence)
            to = middle;
        else
            from = middle + 1;
    }
    bool found = from > grouping->starts[account] &&
                 sequence_of(history, grouping->rows[from - 1]) == sequence;
    return found ? grouping->rows[from - 1] : NO_ROW;
}

static int64_t sequence_of_result(const struct history *history, uint32_t row) {
    return history->results[row].sequence;
}

static int64_t sequence_of_ledger(const struct history *history, uint32_t row) {
    return history->ledger[row].sequence;
}

/* The chain value of the event before; NULL when neither topic nor ledger has it any more. */
static const uint8_t *chain_before(const struct records *records, const struct history *history,
                                   const struct result_row *row) {
    static const uint8_t none[SHA256_SIZE];
    if (row->sequence == 1)
        return none;
    uint32_t found = find_sequence(&records->results_of_account, row->account, row->sequence - 1,
                                   sequence_of_result, history);
    if (found != NO_ROW)
        return history->results[found].chain;
    found = find_sequence(&records->ledger_of_account, row->account, row->sequence - 1,
                          sequence_of_ledger, history);
    return found != NO_ROW ? history->ledger[found].chain : NULL;
}

static void check_chain(const struct records *records, const struct history *history,
                        struct result_row *row, const struct answer *answer) {
    uint8_t chain[SHA256_SIZE];
    const uint8_t *before = answer->sequence > 0 ? chain_before(records, history, row) : NULL;
    if (!before)
        return;
    digest_sha256(records->digests,
                  (struct slice){.data = (const char *)before, .size = SHA256_SIZE},
                  before_chain(answer), chain);
    bool holds = memcmp(chain, row->chain, sizeof chain) == 0;
    row->flags |= holds ? RESULT_CHAIN_HOLDS : RESULT_CHAIN_BROKEN;
}

bool records_result_again(struct records *records, struct history *history,
                          const struct record_view *record, struct error *err) {
    struct result_row *row = met_before(records, history, record);
    if (!row) {
        bool pending = record->offset >= history->parts[record->part].stable_end;
        if (!add_result(records, history, record, &row, err))
            return false;
        row->flags |= pending ? RESULT_PENDING : 0;
        return true;
    }
    struct avro_decoded decoded;
    struct slice body;
    struct answer answer;
    row->flags |= RESULT_SEEN_AGAIN;
    bool readable = records_decode(records, record->value, &decoded, &body) &&
                    take_answer(&answer, &decoded, body);
    uint64_t digest = records_digest(records, readable ? body : record->value, SLICE_NONE);
    if (digest != row->digest)
        row->flags |= RESULT_CHANGED;
    else if (readable)
        check_chain(records, history, row, &answer);
    return true;
}
