/* The statements of store beside the code that fills their arrays. */
#include "worker/store.h"

#include "common/failpoint.h"
#include "worker/settings.h"

#include <stdlib.h>

enum statement { CHANNELS, NUMBERS, LEDGER, TAILS, POSITIONS, COMMIT, COUNT };

/* Rows are found by the place that a look-up of their key gives, never by a join whose order is
 * left to the planner: plans are generic and may be made while a table is still empty. load has
 * locked the numbers, and the accounts of the channels: they stay where they are, and one that does
 * not shows in the row counts. */
const struct pg_statement store_statements[COUNT] = {
    [CHANNELS] =
        {"store_channels",
         "UPDATE siptrunk.channel n SET version = u.version, name = u.name,"
         " password_key_id = coalesce(u.password_key_id, n.password_key_id),"
         " password_nonce = coalesce(u.password_nonce, n.password_nonce),"
         " password_ciphertext = coalesce(u.password_ciphertext, n.password_ciphertext)"
#define SETTING(symbol, name, reader, rule, pointer, column, read, write) ", " column " = " write
#define SETTINGS_OF_ALL
#include "worker/settings.def"
         " FROM (SELECT k.version, k.name, k.password_key_id, k.password_nonce,"
         " k.password_ciphertext, s.*, (SELECT t.ctid FROM siptrunk.channel t"
         " WHERE t.account_id = k.account_id AND t.channel_id = k.channel_id) AS place"
         " FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::text[], $5::text[],"
         " $6::bytea[], $7::bytea[], $8::text[]) AS k(account_id, channel_id, version, name,"
         " password_key_id, password_nonce, password_ciphertext, settings)"
         " CROSS JOIN LATERAL json_to_record(k.settings::json) AS s(nothing text"
#define SETTING(symbol, name, reader, rule, pointer, column, read, write) ", " column " text"
#define SETTINGS_OF_ALL
#include "worker/settings.def"
         ") OFFSET 0) u WHERE n.ctid = u.place"},
    [NUMBERS] =
        {"store_numbers",
         "UPDATE siptrunk.number n SET channel_id = u.channel_id,"
         " number_type = u.number_type FROM (SELECT k.channel_id, k.number_type,"
         " (SELECT t.ctid FROM siptrunk.number t WHERE t.e164 = k.e164 COLLATE \"C\") AS place"
         " FROM unnest($1::text[], $2::int8[], $3::text[])"
         " AS k(e164, channel_id, number_type) OFFSET 0) u WHERE n.ctid = u.place"},
    [LEDGER] = {"store_ledger",
                "INSERT INTO siptrunk.command_ledger (account_id, command_id, account_sequence,"
                " applied_at, source_offset, source_timestamp, result_schema, source_partition,"
                " source_topic, command_type, outcome, error_reason, batch_id, mac_key_id, mac,"
                " result) SELECT u.account_id, u.command_id, u.account_sequence, u.applied_at,"
                " u.source_offset, u.source_timestamp, u.result_schema, u.source_partition,"
                " u.source_topic, u.command_type, u.outcome, u.error_reason, u.batch_id, $14::text,"
                " u.mac, u.result FROM unnest($1::uuid[], $2::uuid[], $3::int8[], $4::int8[],"
                " $5::int8[], $6::int8[], $7::int8[], $8::int4[], $9::text[], $10::text[],"
                " $11::text[], $12::text[], $13::text[], $15::bytea[], $16::bytea[])"
                " AS u(account_id, command_id, account_sequence, applied_at, source_offset,"
                " source_timestamp, result_schema, source_partition, source_topic, command_type,"
                " outcome, error_reason, batch_id, mac, result)"},
    [TAILS] = {"store_tails",
               "UPDATE siptrunk.account_tail a SET last_sequence = u.last_sequence,"
               " last_applied_at = u.last_applied_at, last_chain = u.last_chain"
               " FROM (SELECT k.last_sequence, k.last_applied_at, k.last_chain,"
               " (SELECT t.ctid FROM siptrunk.account_tail t WHERE t.account_id = k.account_id)"
               " AS place FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::bytea[])"
               " AS k(account_id, last_sequence, last_applied_at, last_chain) OFFSET 0) u"
               " WHERE a.ctid = u.place"},
    [POSITIONS] = {"store_positions",
                   "UPDATE siptrunk.partition_position p SET"
                   " next_offset = greatest(p.next_offset, u.next_offset),"
                   " committed_offset = coalesce(u.committed_offset, p.committed_offset),"
                   " claims_without_progress = CASE WHEN u.next_offset > p.next_offset"
                   " OR u.committed_offset > coalesce(p.committed_offset, -1) THEN 0"
                   " ELSE p.claims_without_progress END,"
                   " updated_at = clock_timestamp()"
                   " FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int8[])"
                   " AS u(topic, partition, next_offset, committed_offset)"
                   " WHERE p.topic = u.topic COLLATE \"C\" AND p.partition = u.partition"},
    [COMMIT] = {"store_commit", "COMMIT"},
};
const size_t store_statement_count = COUNT;

/* Rows that each statement must touch. */
struct expected {
    int rows[COUNT];
};

static bool send(struct pg *pg, enum statement statement, struct pg_array *arrays, size_t count,
                 struct error *err) {
    struct pg_param params[16];
    for (size_t i = 0; i < count; i++) {
        if (!pg_array_param(&arrays[i], &params[i]))
            return arena_exhausted(err);
    }
    return pg_queue(pg, &store_statements[statement], params, count, err);
}

/* ---- channels ---- */

/* A JSON text in the arena; the texts are clean, so that only two characters need an escape. */
static char *put_json_text(char *to, struct slice text) {
    *to++ = '"';
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\')
            *to++ = '\\';
        *to++ = text.data[i];
    }
    *to++ = '"';
    return to;
}

/* {"column": "text", ...} of the settings that have a value. */
static struct slice settings_json(const struct channel *channel, struct arena *arena) {
    size_t room = 2;
    for (size_t i = 0; i < SETTING_COUNT; i++)
        room += strlen(settings[i].column) + 2 * channel->settings[i].size + 6;
    char *json = arena_alloc(arena, room);
    if (!json)
        return SLICE_NONE;
    char *to = json;
    *to++ = '{';
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (!channel->settings[i].data)
            continue;
        if (to != json + 1)
            *to++ = ',';
        to = put_json_text(to, slice_of(settings[i].column));
        *to++ = ':';
        to = put_json_text(to, channel->settings[i]);
    }
    *to++ = '}';
    return (struct slice){.data = json, .size = (size_t)(to - json)};
}

enum channel_array {
    C_ACCOUNT,
    C_CHANNEL,
    C_VERSION,
    C_NAME,
    C_KEY_ID,
    C_NONCE,
    C_CIPHERTEXT,
    C_SETTINGS,
    C_COUNT
};

/* Bound to the place where it is stored: account and channel id. */
static bool seal_password(const struct channel *channel, struct vault *vault, struct arena *arena,
                          struct sealed *ret, struct error *err) {
    char place[VAULT_PLACE_SIZE];
    char *room = arena_alloc(arena, vault_sealed_size(channel->new_password.size));
    if (!room)
        return arena_exhausted(err);
    return vault_seal(vault, vault_channel(&channel->account_id, channel->id, place),
                      channel->new_password, room, ret, err);
}

static bool add_channel(struct pg_array arrays[C_COUNT], const struct channel *channel,
                        struct vault *vault, struct arena *arena, struct error *err) {
    struct sealed sealed = {0};
    struct slice settings_text = settings_json(channel, arena);
    if (!settings_text.data)
        return arena_exhausted(err);
    if (channel->new_password.data && !seal_password(channel, vault, arena, &sealed, err))
        return false;
    pg_array_add_uuid(&arrays[C_ACCOUNT], &channel->account_id);
    pg_array_add_int8(&arrays[C_CHANNEL], channel->id);
    pg_array_add_int8(&arrays[C_VERSION], channel->version);
    pg_array_add_text(&arrays[C_NAME], channel->name);
    pg_array_add_text(&arrays[C_KEY_ID], sealed.key_id);
    pg_array_add_text(&arrays[C_NONCE], sealed.nonce);
    pg_array_add_text(&arrays[C_CIPHERTEXT], sealed.ciphertext);
    pg_array_add_text(&arrays[C_SETTINGS], settings_text);
    return true;
}

static bool send_channels(struct pg *pg, const struct working_set *set, struct vault *vault,
                          struct expected *expected, struct error *err) {
    static const struct {
        Oid element;
        size_t bytes;
    } columns[C_COUNT] = {
        [C_ACCOUNT] = {PG_OID_UUID, 16},     [C_CHANNEL] = {PG_OID_INT8, 8},
        [C_VERSION] = {PG_OID_INT8, 8},      [C_NAME] = {PG_OID_TEXT, 32},
        [C_KEY_ID] = {PG_OID_TEXT, 8},       [C_NONCE] = {PG_OID_BYTEA, 12},
        [C_CIPHERTEXT] = {PG_OID_BYTEA, 32}, [C_SETTINGS] = {PG_OID_TEXT, 512},
    };
    struct pg_array arrays[C_COUNT];
    size_t count = 0;
    for (struct entry *entry = set->channels.first; entry; entry = entry->next_in_order)
        count += ((const struct channel *)entry)->changed;
    for (size_t i = 0; i < C_COUNT; i++)
        arrays[i] = pg_array_new(set->arena, columns[i].element, count, columns[i].bytes);
    for (struct entry *entry = set->channels.first; entry; entry = entry->next_in_order) {
        const struct channel *channel = (const struct channel *)entry;
        if (channel->changed && !add_channel(arrays, channel, vault, set->arena, err))
            return false;
    }
    expected->rows[CHANNELS] = (int)count;
    return send(pg, CHANNELS, arrays, C_COUNT, err);
}

/* ---- numbers ---- */

static bool send_numbers(struct pg *pg, const struct working_set *set, struct expected *expected,
                         struct error *err) {
    size_t count = set->numbers.count;
    struct pg_array arrays[] = {pg_array_new(set->arena, PG_OID_TEXT, count, 16),
                                pg_array_new(set->arena, PG_OID_INT8, count, 8),
                                pg_array_new(set->arena, PG_OID_TEXT, count, 16)};
    for (struct entry *entry = set->numbers.first; entry; entry = entry->next_in_order) {
        const struct number *number = (const struct number *)entry;
        if (!number->changed)
            continue;
        pg_array_add_text(&arrays[0], entry->key);
        if (number->channel_id)
            pg_array_add_int8(&arrays[1], number->channel_id);
        else
            pg_array_add_null(&arrays[1]);
        pg_array_add_text(&arrays[2], number->type);
        expected->rows[NUMBERS]++;
    }
    return send(pg, NUMBERS, arrays, 3, err);
}

/* The ledger's arrays, in the order of the parameters; $14 is the scalar key id. */
enum ledger_array {
    L_ACCOUNT,
    L_COMMAND,
    L_SEQUENCE,
    L_APPLIED_AT,
    L_OFFSET,
    L_TIMESTAMP,
    L_SCHEMA,
    L_PARTITION,
    L_TOPIC,
    L_TYPE,
    L_OUTCOME,
    L_REASON,
    L_BATCH,
    L_MAC,
    L_RESULT,
    L_COUNT
};

static void ledger_arrays(struct arena *arena, size_t count, struct pg_array arrays[L_COUNT]) {
    static const struct {
        Oid element;
        size_t bytes;
    } columns[L_COUNT] = {
        [L_ACCOUNT] = {PG_OID_UUID, 16},  [L_COMMAND] = {PG_OID_UUID, 16},
        [L_SEQUENCE] = {PG_OID_INT8, 8},  [L_APPLIED_AT] = {PG_OID_INT8, 8},
        [L_OFFSET] = {PG_OID_INT8, 8},    [L_TIMESTAMP] = {PG_OID_INT8, 8},
        [L_SCHEMA] = {PG_OID_INT8, 8},    [L_PARTITION] = {PG_OID_INT4, 4},
        [L_TOPIC] = {PG_OID_TEXT, 32},    [L_TYPE] = {PG_OID_TEXT, 16},
        [L_OUTCOME] = {PG_OID_TEXT, 10},  [L_REASON] = {PG_OID_TEXT, 16},
        [L_BATCH] = {PG_OID_TEXT, 16},    [L_MAC] = {PG_OID_BYTEA, MAC_SIZE},
        [L_RESULT] = {PG_OID_BYTEA, 600},
    };
    for (size_t i = 0; i < L_COUNT; i++)
        arrays[i] = pg_array_new(arena, columns[i].element, count, columns[i].bytes);
}

static void add_ledger_row(struct pg_array arrays[L_COUNT], const struct ledger_entry *entry) {
    pg_array_add_uuid(&arrays[L_ACCOUNT], &entry->account_id);
    pg_array_add_uuid(&arrays[L_COMMAND], &entry->command_id);
    pg_array_add_int8(&arrays[L_SEQUENCE], entry->account_sequence);
    pg_array_add_int8(&arrays[L_APPLIED_AT], entry->applied_at);
    pg_array_add_int8(&arrays[L_OFFSET], entry->source.offset);
    pg_array_add_int8(&arrays[L_TIMESTAMP], entry->source.timestamp_ms);
    pg_array_add_int8(&arrays[L_SCHEMA], (int64_t)entry->body_schema);
    pg_array_add_int4(&arrays[L_PARTITION], entry->source.partition);
    pg_array_add_text(&arrays[L_TOPIC], entry->source.topic);
    pg_array_add_text(&arrays[L_TYPE], entry->command_type);
    pg_array_add_text(&arrays[L_OUTCOME], slice_of(outcome_name(entry->outcome)));
    pg_array_add_text(&arrays[L_REASON], entry->error_reason);
    pg_array_add_text(&arrays[L_BATCH], entry->batch_id);
    pg_array_add(&arrays[L_MAC], entry->mac, sizeof entry->mac);
    pg_array_add_text(&arrays[L_RESULT], entry->body);
}

static bool send_ledger(struct pg *pg, const struct working_set *set, struct slice mac_key_id,
                        struct expected *expected, struct error *err) {
    struct pg_array arrays[L_COUNT];
    ledger_arrays(set->arena, set->ledger.count, arrays);
    for (struct entry *entry = set->ledger.first; entry; entry = entry->next_in_order) {
        if (!((const struct ledger_entry *)entry)->added || planted_bug(BUG_NO_LEDGER))
            continue;
        add_ledger_row(arrays, (const struct ledger_entry *)entry);
        expected->rows[LEDGER]++;
    }
    struct pg_param params[L_COUNT + 1];
    for (size_t i = 0; i < L_COUNT; i++) {
        if (!pg_array_param(&arrays[i], &params[i < L_MAC ? i : i + 1]))
            return arena_exhausted(err);
    }
    params[L_MAC] = pg_param_text(mac_key_id);
    return pg_queue(pg, &store_statements[LEDGER], params, L_COUNT + 1, err);
}

static bool send_tails(struct pg *pg, const struct working_set *set, struct expected *expected,
                       struct error *err) {
    size_t count = set->accounts.count;
    struct pg_array arrays[] = {pg_array_new(set->arena, PG_OID_UUID, count, 16),
                                pg_array_new(set->arena, PG_OID_INT8, count, 8),
                                pg_array_new(set->arena, PG_OID_INT8, count, 8),
                                pg_array_new(set->arena, PG_OID_BYTEA, count, SHA256_SIZE)};
    for (struct entry *entry = set->accounts.first; entry; entry = entry->next_in_order) {
        const struct account *account = (const struct account *)entry;
        if (!account->changed)
            continue;
        pg_array_add_uuid(&arrays[0], &account->id);
        pg_array_add_int8(&arrays[1], account->last_sequence);
        pg_array_add_int8(&arrays[2], account->last_applied_at);
        pg_array_add(&arrays[3], account->last_chain, sizeof account->last_chain);
        expected->rows[TAILS]++;
    }
    return send(pg, TAILS, arrays, 4, err);
}

static bool send_positions(struct pg *pg, struct arena *arena, const struct position *positions,
                           size_t count, struct expected *expected, struct error *err) {
    struct pg_array arrays[] = {
        pg_array_new(arena, PG_OID_TEXT, count, 64), pg_array_new(arena, PG_OID_INT4, count, 4),
        pg_array_new(arena, PG_OID_INT8, count, 8), pg_array_new(arena, PG_OID_INT8, count, 8)};
    for (size_t i = 0; i < count; i++) {
        if (positions[i].batch_end < 0)
            continue;
        pg_array_add_text(&arrays[0], positions[i].topic);
        pg_array_add_int4(&arrays[1], positions[i].partition);
        pg_array_add_int8(&arrays[2], positions[i].batch_end);
        if (positions[i].committed_offset < 0)
            pg_array_add_null(&arrays[3]);
        else
            pg_array_add_int8(&arrays[3], positions[i].committed_offset);
        expected->rows[POSITIONS]++;
    }
    return send(pg, POSITIONS, arrays, 4, err);
}

static bool check_result(struct pg *pg, enum statement statement, const struct expected *expected,
                         struct error *err) {
    PGresult *result;
    if (!pg_result(pg, &result, err))
        return false;
    int rows = (int)strtol(PQcmdTuples(result), NULL, 10);
    PQclear(result);
    FAILPOINT(store_statements[statement].name);
    if (rows == expected->rows[statement])
        return true;
    return error_set(err, FAULT_RETRY, "store-row-count", "%s touched %d rows instead of %d",
                     store_statements[statement].name, rows, expected->rows[statement]);
}

static bool receive(struct pg *pg, enum statement end, const struct expected *expected,
                    struct error *err) {
    for (size_t i = 0; i < end; i++) {
        if (!check_result(pg, (enum statement)i, expected, err))
            return false;
    }
    return pg_end(pg, err);
}

static bool commit(struct pg *pg, struct error *err) {
    if (!pg_queue(pg, &store_statements[COMMIT], NULL, 0, err) || !pg_sync(pg, err))
        return false;
    FAILPOINT("store-commit-sent");
    return (pg_result_commit(pg, err) && pg_end(pg, err)) || planted_bug(BUG_COMMIT_ASSUMED);
}

static bool send_rows(struct pg *pg, const struct working_set *set, struct slice mac_key_id,
                      struct vault *vault, struct expected *expected, struct error *err) {
    return send_channels(pg, set, vault, expected, err) && send_numbers(pg, set, expected, err) &&
           send_ledger(pg, set, mac_key_id, expected, err) && send_tails(pg, set, expected, err);
}

bool store_batch(struct pg *pg, const struct position *positions, size_t position_count,
                 const struct working_set *set, struct slice mac_key_id, struct vault *vault,
                 struct error *err) {
    struct expected expected = {{0}};
    if (send_rows(pg, set, mac_key_id, vault, &expected, err) &&
        send_positions(pg, set->arena, positions, position_count, &expected, err) &&
        pg_sync(pg, err) && receive(pg, COMMIT, &expected, err) && commit(pg, err))
        return true;
    pg_rollback(pg);
    return false;
}

bool store_rows(struct pg *pg, const struct working_set *set, struct slice mac_key_id,
                struct vault *vault, struct error *err) {
    struct expected expected = {{0}};
    if (send_rows(pg, set, mac_key_id, vault, &expected, err) && pg_sync(pg, err) &&
        receive(pg, POSITIONS, &expected, err))
        return true;
    pg_rollback(pg);
    return false;
}
