/* The statements of load beside the code that reads their rows. */
#include "worker/load.h"

#include "worker/settings.h"

#include "common/failpoint.h"

#include <inttypes.h>

enum statement {
    BEGIN,
    FENCE,
    TAILS,
    LEDGER,
    NUMBERS,
    CHANNELS,
    NUMBER_CHANNELS,
    SETTINGS,
    REFERENCES,
    LIST_OF_CALLER_IDS,
    LIST_OF_PROXIES,
    LIST_OF_TEMPLATES,
    LIST_OF_CALL_BARRINGS,
    CLOCK,
    COUNT
};

/* Plans are generic and may be made while a table is still empty, so no statement leaves the order
 * of a join to the planner: a LATERAL subquery with LIMIT 1 can only be run key by key, over the
 * key's index. */
const struct pg_statement load_statements[COUNT] = {
    [BEGIN] = {"load_begin", "BEGIN ISOLATION LEVEL READ COMMITTED"},
    [FENCE] = {"load_fence", "SELECT p.topic, p.partition, p.epoch, p.next_offset,"
                             " (SELECT i.state = 'normal' FROM siptrunk.installation i),"
                             " p.held_since IS NOT NULL"
                             " FROM unnest($1::text[], $2::int4[]) AS k(topic, partition)"
                             " JOIN siptrunk.partition_position p"
                             " ON p.topic = k.topic COLLATE \"C\" AND p.partition = k.partition"
                             " ORDER BY p.topic, p.partition FOR NO KEY UPDATE OF p"},
    [TAILS] = {"load_tails", "SELECT account_id, last_sequence, last_applied_at, last_chain"
                             " FROM siptrunk.account_tail WHERE account_id = ANY ($1::uuid[])"
                             " ORDER BY account_id FOR NO KEY UPDATE"},
    [LEDGER] =
        {"load_ledger",
         "SELECT l.* FROM unnest($1::uuid[], $2::uuid[]) AS k(account_id, command_id)"
         " CROSS JOIN LATERAL (SELECT t.account_id, t.command_id, t.mac, t.source_topic,"
         " t.source_partition, t.source_offset, t.source_timestamp, t.result_schema,"
         " t.result, t.mac_key_id FROM siptrunk.command_ledger t WHERE t.account_id = k.account_id"
         " AND t.command_id = k.command_id LIMIT 1) l"},
    [NUMBERS] = {"load_numbers",
                 "SELECT e164::text, account_id, kind, state, channel_id, number_type"
                 " FROM siptrunk.number WHERE e164 = ANY ($1::text[])"
                 " ORDER BY e164 FOR NO KEY UPDATE"},
    [CHANNELS] =
        {"load_channels",
         "SELECT c.* FROM unnest($1::uuid[], $2::text[]) AS k(account_id, name)"
         " CROSS JOIN LATERAL (SELECT t.account_id, t.name, t.channel_id, t.version,"
         " t.subscription = 'operator_connect', t.caller_id::text FROM siptrunk.channel t"
         " WHERE t.account_id = k.account_id AND t.name = k.name COLLATE \"C\" LIMIT 1) c"},
    [NUMBER_CHANNELS] =
        {"load_number_channels",
         "SELECT c.* FROM unnest($1::text[]) AS k(e164)"
         " CROSS JOIN LATERAL (SELECT t.account_id, t.channel_id FROM siptrunk.number t"
         " WHERE t.e164 = k.e164 COLLATE \"C\" LIMIT 1) n"
         " CROSS JOIN LATERAL (SELECT t.account_id, t.name, t.channel_id, t.version,"
         " t.subscription = 'operator_connect', t.caller_id::text FROM siptrunk.channel t"
         " WHERE t.account_id = n.account_id AND t.channel_id = n.channel_id LIMIT 1) c"},
    /* The element in front keeps the list's commas simple. */
    [SETTINGS] =
        {"load_settings",
         "SELECT c.account_id, c.channel_id, ARRAY[NULL::text"
#define SETTING(symbol, name, reader, rule, pointer, column, read, write) ", " read
#define SETTINGS_OF_ALL
#include "worker/settings.def"
         "] FROM unnest($1::uuid[], $2::text[]) AS k(account_id, name)"
         " CROSS JOIN LATERAL (SELECT * FROM siptrunk.channel t"
         " WHERE t.account_id = k.account_id AND t.name = k.name COLLATE \"C\" LIMIT 1) c"},
    /* OFFSET 0, since the planner may otherwise read the whole of a table to look into it once. */
    [REFERENCES] =
        {"load_references",
         "SELECT k.account_id, k.kind, k.key, CASE k.kind WHEN 0 THEN true"
         " WHEN 1 THEN EXISTS (SELECT FROM siptrunk.call_barring t"
         " WHERE t.code = k.key COLLATE \"C\" OFFSET 0)"
         " WHEN 2 THEN EXISTS (SELECT FROM siptrunk.template t"
         " WHERE t.template_id = k.key::uuid OFFSET 0)"
         " ELSE EXISTS (SELECT FROM siptrunk.proxy t WHERE t.proxy_id = k.key::uuid OFFSET 0) END,"
         " CASE k.kind WHEN 0 THEN EXISTS (SELECT FROM siptrunk.account_caller_id t"
         " WHERE t.account_id = k.account_id AND t.caller_id = k.key COLLATE \"C\" OFFSET 0)"
         " WHEN 1 THEN EXISTS (SELECT FROM siptrunk.account_call_barring t"
         " WHERE t.account_id = k.account_id AND t.code = k.key COLLATE \"C\" OFFSET 0)"
         " WHEN 2 THEN EXISTS (SELECT FROM siptrunk.account_template t"
         " WHERE t.account_id = k.account_id AND t.template_id = k.key::uuid OFFSET 0)"
         " ELSE EXISTS (SELECT FROM siptrunk.account_proxy t"
         " WHERE t.account_id = k.account_id AND t.proxy_id = k.key::uuid OFFSET 0) END"
         " FROM unnest($1::uuid[], $2::int4[], $3::text[]) AS k(account_id, kind, key)"},
    /* A row for each caller id, and one without any where there is none, for the total, which is
     * counted before them: not once for each. */
    [LIST_OF_CALLER_IDS] = {"load_caller_ids",
                            "SELECT k.n, k.total, l.caller_id FROM (SELECT r.*,"
                            " (SELECT count(*)::int4 FROM siptrunk.account_caller_id t"
                            " WHERE t.account_id = r.account_id) AS total"
                            " FROM unnest($1::int4[], $2::uuid[], $3::int4[], $4::int4[])"
                            " AS r(n, account_id, skip, most) OFFSET 0) k"
                            " LEFT JOIN LATERAL (SELECT t.caller_id::text AS caller_id"
                            " FROM siptrunk.account_caller_id t WHERE t.account_id = k.account_id"
                            " ORDER BY t.caller_id OFFSET k.skip LIMIT k.most) l ON true"
                            " ORDER BY k.n, l.caller_id COLLATE \"C\""},
    [LIST_OF_PROXIES] =
        {"load_proxies",
         "SELECT k.n, l.id, l.name FROM unnest($1::int4[], $2::uuid[]) AS k(n, account_id)"
         " CROSS JOIN LATERAL (SELECT t.proxy_id::text AS id, (SELECT c.name FROM siptrunk.proxy c"
         " WHERE c.proxy_id = t.proxy_id) AS name FROM siptrunk.account_proxy t"
         " WHERE t.account_id = k.account_id OFFSET 0) l"
         " ORDER BY k.n, l.name COLLATE \"C\", l.id COLLATE \"C\""},
    [LIST_OF_TEMPLATES] =
        {"load_templates",
         "SELECT k.n, l.id, l.name FROM unnest($1::int4[], $2::uuid[]) AS k(n, account_id)"
         " CROSS JOIN LATERAL (SELECT t.template_id::text AS id, (SELECT c.name FROM "
         "siptrunk.template c"
         " WHERE c.template_id = t.template_id) AS name FROM siptrunk.account_template t"
         " WHERE t.account_id = k.account_id OFFSET 0) l"
         " ORDER BY k.n, l.name COLLATE \"C\", l.id COLLATE \"C\""},
    [LIST_OF_CALL_BARRINGS] =
        {"load_call_barrings",
         "SELECT k.n, l.id, l.name FROM unnest($1::int4[], $2::uuid[]) AS k(n, account_id)"
         " CROSS JOIN LATERAL (SELECT t.code::text AS id, (SELECT c.name FROM "
         "siptrunk.call_barring c"
         " WHERE c.code = t.code) AS name FROM siptrunk.account_call_barring t"
         " WHERE t.account_id = k.account_id OFFSET 0) l"
         " ORDER BY k.n, l.name COLLATE \"C\", l.id COLLATE \"C\""},
    [CLOCK] = {"load_clock", "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8"},
};
const size_t load_statement_count = COUNT;

/* ---- asking ---- */

/* Queues a statement over one or two arrays. */
static bool ask(struct pg *pg, enum statement statement, struct pg_array *first,
                struct pg_array *second, struct error *err) {
    struct pg_param params[2] = {{0}};
    size_t count = (first != NULL) + (size_t)(second != NULL);
    if ((first && !pg_array_param(first, &params[0])) ||
        (second && !pg_array_param(second, &params[1])))
        return arena_exhausted(err);
    return pg_queue(pg, &load_statements[statement], params, count, err);
}

static bool ask_fence(struct pg *pg, struct arena *arena, const struct position *positions,
                      size_t count, struct error *err) {
    struct pg_array topics = pg_array_new(arena, PG_OID_TEXT, count, 64);
    struct pg_array partitions = pg_array_new(arena, PG_OID_INT4, count, 4);
    for (size_t i = 0; i < count; i++) {
        if (positions[i].batch_end < 0)
            continue;
        pg_array_add_text(&topics, positions[i].topic);
        pg_array_add_int4(&partitions, positions[i].partition);
    }
    return ask(pg, FENCE, &topics, &partitions, err);
}

static bool ask_tails(struct pg *pg, struct working_set *set, struct error *err) {
    struct pg_array ids = pg_array_new(set->arena, PG_OID_UUID, set->accounts.count, 16);
    for (struct entry *entry = set->accounts.first; entry; entry = entry->next_in_order)
        pg_array_add_uuid(&ids, &((struct account *)entry)->id);
    return ask(pg, TAILS, &ids, NULL, err);
}

static bool ask_ledger(struct pg *pg, struct working_set *set, struct error *err) {
    struct pg_array accounts = pg_array_new(set->arena, PG_OID_UUID, set->ledger.count, 16);
    struct pg_array commands = pg_array_new(set->arena, PG_OID_UUID, set->ledger.count, 16);
    for (struct entry *entry = set->ledger.first; entry; entry = entry->next_in_order) {
        pg_array_add_uuid(&accounts, &((struct ledger_entry *)entry)->account_id);
        pg_array_add_uuid(&commands, &((struct ledger_entry *)entry)->command_id);
    }
    return ask(pg, LEDGER, &accounts, &commands, err);
}

static bool ask_numbers(struct pg *pg, struct working_set *set, enum statement statement,
                        bool only_needing_channel, struct error *err) {
    struct pg_array numbers = pg_array_new(set->arena, PG_OID_TEXT, set->numbers.count, 16);
    for (struct entry *entry = set->numbers.first; entry; entry = entry->next_in_order) {
        if (!only_needing_channel || ((struct number *)entry)->needs_channel)
            pg_array_add_text(&numbers, entry->key);
    }
    return ask(pg, statement, &numbers, NULL, err);
}

static bool ask_channels(struct pg *pg, struct working_set *set, enum statement statement,
                         bool only_edited, struct error *err) {
    size_t count = set->channel_names.count;
    struct pg_array accounts = pg_array_new(set->arena, PG_OID_UUID, count, 16);
    struct pg_array names = pg_array_new(set->arena, PG_OID_TEXT, count, 32);
    for (struct entry *entry = set->channel_names.first; entry; entry = entry->next_in_order) {
        const struct channel_name *name = (const struct channel_name *)entry;
        if (only_edited && !name->needs_settings)
            continue;
        pg_array_add_uuid(&accounts, &name->account_id);
        pg_array_add_text(&names, name->name);
    }
    return ask(pg, statement, &accounts, &names, err);
}

static bool ask_references(struct pg *pg, struct working_set *set, struct error *err) {
    size_t count = set->references.count;
    struct pg_array arrays[] = {pg_array_new(set->arena, PG_OID_UUID, count, 16),
                                pg_array_new(set->arena, PG_OID_INT4, count, 4),
                                pg_array_new(set->arena, PG_OID_TEXT, count, 36)};
    struct pg_param params[3];
    for (struct entry *entry = set->references.first; entry; entry = entry->next_in_order) {
        const struct reference *reference = (const struct reference *)entry;
        pg_array_add_uuid(&arrays[0], &reference->account_id);
        pg_array_add_int4(&arrays[1], (int32_t)reference->kind);
        pg_array_add_text(&arrays[2], reference->key);
    }
    for (size_t i = 0; i < 3; i++) {
        if (!pg_array_param(&arrays[i], &params[i]))
            return arena_exhausted(err);
    }
    return pg_queue(pg, &load_statements[REFERENCES], params, 3, err);
}

static enum statement list_statement(enum list_kind kind) {
    static const enum statement statements[LIST_KINDS] = {
        [LIST_CALLER_IDS] = LIST_OF_CALLER_IDS,
        [LIST_PROXIES] = LIST_OF_PROXIES,
        [LIST_TEMPLATES] = LIST_OF_TEMPLATES,
        [LIST_CALL_BARRINGS] = LIST_OF_CALL_BARRINGS,
    };
    return statements[kind];
}

/* The n-th request is the n-th of its kind in set->lists. */
static bool ask_list(struct pg *pg, const struct working_set *set, enum list_kind kind,
                     struct error *err) {
    size_t count = set->list_counts[kind], param_count = kind == LIST_CALLER_IDS ? 4 : 2;
    struct pg_array arrays[] = {pg_array_new(set->arena, PG_OID_INT4, count, 4),
                                pg_array_new(set->arena, PG_OID_UUID, count, 16),
                                pg_array_new(set->arena, PG_OID_INT4, count, 4),
                                pg_array_new(set->arena, PG_OID_INT4, count, 4)};
    struct pg_param params[4] = {{0}};
    int32_t n = 0;
    for (const struct list_request *list = set->lists; list; list = list->next) {
        if (list->kind != kind)
            continue;
        pg_array_add_int4(&arrays[0], n++);
        pg_array_add_uuid(&arrays[1], &list->account_id);
        pg_array_add_int4(&arrays[2], list->offset);
        pg_array_add_int4(&arrays[3], list->limit);
    }
    for (size_t i = 0; i < param_count; i++) {
        if (!pg_array_param(&arrays[i], &params[i]))
            return arena_exhausted(err);
    }
    return pg_queue(pg, &load_statements[list_statement(kind)], params, param_count, err);
}

static bool ask_lists(struct pg *pg, const struct working_set *set, struct error *err) {
    for (size_t kind = 0; kind < LIST_KINDS; kind++) {
        if (set->list_counts[kind] > 0 && !ask_list(pg, set, (enum list_kind)kind, err))
            return false;
    }
    return true;
}

static bool ask_rows(struct pg *pg, struct working_set *set, struct error *err) {
    return ask_tails(pg, set, err) && ask_ledger(pg, set, err) &&
           ask_numbers(pg, set, NUMBERS, false, err) &&
           ask_channels(pg, set, CHANNELS, false, err) &&
           ask_numbers(pg, set, NUMBER_CHANNELS, true, err) &&
           ask_channels(pg, set, SETTINGS, true, err) && ask_references(pg, set, err) &&
           ask_lists(pg, set, err) && ask(pg, CLOCK, NULL, NULL, err) && pg_sync(pg, err);
}

/* ---- reading ---- */

struct reading {
    const struct position *positions;
    size_t position_count;
    struct working_set *set;
    int64_t *ret_now_us;
};

static bool read_nothing(struct reading *reading, const PGresult *rows, struct error *err) {
    (void)reading, (void)rows, (void)err;
    return true;
}

static const struct position *find_position(const struct reading *reading, struct slice topic,
                                            int32_t partition) {
    for (size_t i = 0; i < reading->position_count; i++) {
        const struct position *position = &reading->positions[i];
        if (position->partition == partition && slice_equal(position->topic, topic))
            return position;
    }
    return NULL;
}

static bool read_fence(struct reading *reading, const PGresult *rows, struct error *err) {
    int expected = 0;
    for (size_t i = 0; i < reading->position_count; i++)
        expected += reading->positions[i].batch_end >= 0;
    for (int row = 0; row < PQntuples(rows); row++) {
        if (PQgetisnull(rows, row, 4) || !pg_bool(rows, row, 4))
            return error_set(err, FAULT_STATE, "installation-diverged",
                             "the installation is marked as diverged: nothing is stored");
        const struct position *position =
            find_position(reading, pg_text(rows, row, 0), pg_int4(rows, row, 1));
        if (!position ||
            (position->epoch != pg_int8(rows, row, 2) && !planted_bug(BUG_EPOCH_UNSEEN)) ||
            (position->next_offset != pg_int8(rows, row, 3) &&
             !planted_bug(BUG_NEXT_OFFSET_UNSEEN)))
            return error_set(err, FAULT_FENCED, "fenced",
                             "partition " SLICE_FMT "/%" PRId32 " belongs to another worker now",
                             SLICE_ARG(pg_text(rows, row, 0)), pg_int4(rows, row, 1));
        if (pg_bool(rows, row, 5))
            return error_set(err, FAULT_RETRY, "held",
                             "an operator holds partition " SLICE_FMT "/%" PRId32,
                             SLICE_ARG(pg_text(rows, row, 0)), pg_int4(rows, row, 1));
        expected--;
    }
    if (expected != 0)
        return error_set(err, FAULT_FENCED, "fenced", "a position of this worker is gone");
    return true;
}

static bool read_tails(struct reading *reading, const PGresult *rows, struct error *err) {
    (void)err;
    for (int row = 0; row < PQntuples(rows); row++) {
        struct uuid id = pg_uuid(rows, row, 0);
        struct account *account = working_set_account(reading->set, &id);
        account->known = true;
        account->last_sequence = pg_int8(rows, row, 1);
        account->last_applied_at = pg_int8(rows, row, 2);
        memcpy(account->last_chain, pg_text(rows, row, 3).data, sizeof account->last_chain);
    }
    return true;
}

static bool read_ledger(struct reading *reading, const PGresult *rows, struct error *err) {
    for (int row = 0; row < PQntuples(rows) && !planted_bug(BUG_NO_LEDGER); row++) {
        struct uuid account_id = pg_uuid(rows, row, 0), command_id = pg_uuid(rows, row, 1);
        struct ledger_entry *entry =
            working_set_want_ledger(reading->set, &account_id, &command_id);
        struct slice mac = pg_text(rows, row, 2);
        entry->found = true;
        if (mac.size == sizeof entry->mac)
            memcpy(entry->mac, mac.data, sizeof entry->mac);
        entry->source = (struct source){
            .topic = arena_copy(reading->set->arena, pg_text(rows, row, 3)),
            .partition = pg_int4(rows, row, 4),
            .offset = pg_int8(rows, row, 5),
            .timestamp_ms = pg_int8(rows, row, 6),
        };
        entry->body_schema = (uint64_t)pg_int8(rows, row, 7);
        entry->body = arena_copy(reading->set->arena, pg_text(rows, row, 8));
        entry->mac_key_id = arena_copy(reading->set->arena, pg_text(rows, row, 9));
        if (!entry->source.topic.data || !entry->body.data || !entry->mac_key_id.data)
            return arena_exhausted(err);
    }
    return true;
}

static bool read_numbers(struct reading *reading, const PGresult *rows, struct error *err) {
    for (int row = 0; row < PQntuples(rows); row++) {
        struct number *number = working_set_want_number(reading->set, pg_text(rows, row, 0));
        number->found = true;
        number->account_id = pg_uuid(rows, row, 1);
        if (!number_kind_parse(pg_text(rows, row, 2), &number->kind) ||
            !number_state_parse(pg_text(rows, row, 3), &number->state))
            return error_set(err, FAULT_STATE, "inventory-value",
                             "a number has a kind or state that this program does not know");
        number->channel_id = PQgetisnull(rows, row, 4) ? 0 : pg_int8(rows, row, 4);
        if (!PQgetisnull(rows, row, 5)) {
            number->type = arena_copy(reading->set->arena, pg_text(rows, row, 5));
            if (!number->type.data)
                return arena_exhausted(err);
        }
    }
    return true;
}

static bool read_channels(struct reading *reading, const PGresult *rows, struct error *err) {
    struct working_set *set = reading->set;
    for (int row = 0; row < PQntuples(rows); row++) {
        struct uuid account_id = pg_uuid(rows, row, 0);
        struct channel *channel =
            working_set_put_channel(set, &account_id, pg_int8(rows, row, 2), pg_text(rows, row, 1));
        if (!channel)
            return arena_exhausted(err);
        channel->version = pg_int8(rows, row, 3);
        channel->operator_connect = pg_bool(rows, row, 4);
        if (!PQgetisnull(rows, row, 5))
            channel->caller_id = arena_copy(set->arena, pg_text(rows, row, 5));
    }
    return true;
}

static bool read_settings(struct reading *reading, const PGresult *rows, struct error *err) {
    struct working_set *set = reading->set;
    for (int row = 0; row < PQntuples(rows); row++) {
        struct uuid account_id = pg_uuid(rows, row, 0);
        struct channel *channel =
            working_set_channel_by_id(set, &account_id, pg_int8(rows, row, 1));
        struct slice texts[1 + SETTING_COUNT];
        if (!channel || !pg_text_array(rows, row, 2, texts, 1 + SETTING_COUNT))
            return error_set(err, FAULT_RETRY, "load-settings",
                             "a channel came or went while its settings were read");
        channel->settings = arena_array(set->arena, SETTING_COUNT, sizeof *channel->settings);
        for (size_t i = 0; channel->settings && i < SETTING_COUNT; i++) {
            if (!texts[1 + i].data)
                continue;
            channel->settings[i] = arena_copy(set->arena, texts[1 + i]);
            if (!channel->settings[i].data)
                return arena_exhausted(err);
        }
        if (!channel->settings)
            return arena_exhausted(err);
    }
    return true;
}

static bool read_references(struct reading *reading, const PGresult *rows, struct error *err) {
    for (int row = 0; row < PQntuples(rows); row++) {
        struct uuid account_id = pg_uuid(rows, row, 0);
        struct reference *reference = working_set_want_reference(
            reading->set, &account_id, (enum reference_kind)pg_int4(rows, row, 1),
            pg_text(rows, row, 2));
        if (!reference)
            return arena_exhausted(err);
        reference->exists = pg_bool(rows, row, 3);
        reference->granted = pg_bool(rows, row, 4);
    }
    return true;
}

static struct list_request *find_list(const struct working_set *set, enum list_kind kind,
                                      int32_t n) {
    struct list_request *list = set->lists;
    for (; list; list = list->next) {
        if (list->kind == kind && n-- == 0)
            break;
    }
    return list;
}

/* The next item of a list, which grows in the arena. */
static struct list_item *add_item(struct list_request *list, struct arena *arena) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        struct list_item *bigger = arena_array(arena, capacity, sizeof *bigger);
        if (!bigger)
            return NULL;
        if (list->count)
            memcpy(bigger, list->items, list->count * sizeof *bigger);
        list->items = bigger;
        list->capacity = capacity;
    }
    return &list->items[list->count++];
}

static bool read_list(struct reading *reading, const PGresult *rows, enum list_kind kind,
                      struct error *err) {
    struct arena *arena = reading->set->arena;
    struct list_request *list = NULL;
    int32_t current = -1;
    for (int row = 0; row < PQntuples(rows); row++) {
        if (pg_int4(rows, row, 0) != current) {
            current = pg_int4(rows, row, 0);
            list = find_list(reading->set, kind, current);
        }
        if (kind == LIST_CALLER_IDS && list)
            list->total = pg_int4(rows, row, 1);
        if (kind == LIST_CALLER_IDS && PQgetisnull(rows, row, 2))
            continue;
        struct list_item *item = list ? add_item(list, arena) : NULL;
        struct slice first = arena_copy(arena, pg_text(rows, row, kind == LIST_CALLER_IDS ? 2 : 1));
        struct slice name =
            kind == LIST_CALLER_IDS ? SLICE_NONE : arena_copy(arena, pg_text(rows, row, 2));
        if (!item || !first.data || (kind != LIST_CALLER_IDS && !name.data))
            return arena_exhausted(err);
        *(kind == LIST_CALLER_IDS      ? &item->caller_id
          : kind == LIST_CALL_BARRINGS ? &item->code
                                       : &item->id) = first;
        item->name = name;
    }
    return true;
}

static bool read_caller_ids(struct reading *reading, const PGresult *rows, struct error *err) {
    return read_list(reading, rows, LIST_CALLER_IDS, err);
}

static bool read_proxies(struct reading *reading, const PGresult *rows, struct error *err) {
    return read_list(reading, rows, LIST_PROXIES, err);
}

static bool read_templates(struct reading *reading, const PGresult *rows, struct error *err) {
    return read_list(reading, rows, LIST_TEMPLATES, err);
}

static bool read_call_barrings(struct reading *reading, const PGresult *rows, struct error *err) {
    return read_list(reading, rows, LIST_CALL_BARRINGS, err);
}

static bool read_clock(struct reading *reading, const PGresult *rows, struct error *err) {
    (void)err;
    *reading->ret_now_us = pg_int8(rows, 0, 0);
    return true;
}

static bool (*const readers[COUNT])(struct reading *, const PGresult *, struct error *) = {
    [BEGIN] = read_nothing,
    [FENCE] = read_fence,
    [TAILS] = read_tails,
    [LEDGER] = read_ledger,
    [NUMBERS] = read_numbers,
    [CHANNELS] = read_channels,
    [NUMBER_CHANNELS] = read_channels,
    [SETTINGS] = read_settings,
    [REFERENCES] = read_references,
    [LIST_OF_CALLER_IDS] = read_caller_ids,
    [LIST_OF_PROXIES] = read_proxies,
    [LIST_OF_TEMPLATES] = read_templates,
    [LIST_OF_CALL_BARRINGS] = read_call_barrings,
    [CLOCK] = read_clock,
};

/* Lists are asked for only where there are some. */
static bool was_asked(const struct working_set *set, enum statement statement) {
    for (size_t kind = 0; kind < LIST_KINDS; kind++) {
        if (statement == list_statement((enum list_kind)kind))
            return set->list_counts[kind] > 0;
    }
    return true;
}

static bool read_from(struct pg *pg, enum statement first, struct reading *reading,
                      struct error *err) {
    for (size_t i = first; i < COUNT; i++) {
        PGresult *rows;
        if (!was_asked(reading->set, (enum statement)i))
            continue;
        if (!pg_result(pg, &rows, err))
            return false;
        bool ok = readers[i](reading, rows, err);
        PQclear(rows);
        if (!ok)
            return false;
    }
    return pg_end(pg, err);
}

/* For the planted bug that loses the locks. */
static bool begin_anew(struct pg *pg, struct error *err) {
    PGresult *rows;
    if (!pg_rollback(pg) || !pg_query(pg, &load_statements[BEGIN], NULL, 0, &rows, err))
        return false;
    PQclear(rows);
    return true;
}

bool load_batch(struct pg *pg, const struct position *positions, size_t position_count,
                struct working_set *set, int64_t *ret_now_us, struct error *err) {
    struct reading reading = {.positions = positions,
                              .position_count = position_count,
                              .set = set,
                              .ret_now_us = ret_now_us};
    if (ask(pg, BEGIN, NULL, NULL, err) &&
        ask_fence(pg, set->arena, positions, position_count, err) && ask_rows(pg, set, err) &&
        read_from(pg, BEGIN, &reading, err) &&
        (!planted_bug(BUG_LOCKS_DROPPED) || begin_anew(pg, err)))
        return true;
    pg_rollback(pg);
    return false;
}

bool load_rows(struct pg *pg, struct working_set *set, int64_t *ret_now_us, struct error *err) {
    struct reading reading = {.set = set, .ret_now_us = ret_now_us};
    if (ask_rows(pg, set, err) && read_from(pg, TAILS, &reading, err))
        return true;
    pg_rollback(pg);
    return false;
}
