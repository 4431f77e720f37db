/* Rows in arrays, looked up by walking them: a case has a handful. */
#include "tests/support/memory_load.h"

#include "worker/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_ROWS = 512 };

struct stored_account {
    struct uuid id;
    int64_t last_sequence, last_applied_at;
    uint8_t last_chain[SHA256_SIZE];
};

struct stored_channel {
    struct uuid account_id;
    char *name, *subscription, *caller_id;
    int64_t id, version;
};

struct stored_number {
    char *e164;
    struct uuid account_id;
    char *kind, *state, *type;
    int64_t channel_id; /* 0: not connected */
};

struct stored_result {
    struct ledger_entry row; /* texts and body in memory->arena */
};

struct memory {
    struct arena *arena;
    struct stored_account accounts[MAX_ROWS];
    struct stored_channel channels[MAX_ROWS];
    struct stored_number numbers[MAX_ROWS];
    struct stored_result results[MAX_ROWS];
    size_t account_count, channel_count, number_count, result_count;
};

struct memory *memory_new(void) {
    struct memory *memory = calloc(1, sizeof *memory);
    assert_non_null(memory);
    memory->arena = arena_new((size_t)64 << 20);
    assert_non_null(memory->arena);
    return memory;
}

void memory_free(struct memory *memory) {
    if (!memory)
        return;
    arena_free(memory->arena);
    free(memory);
}

/* ---- small tools ---- */

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    if (!text)
        fail_msg("an inventory line lacks %s", key);
    return text;
}

static struct uuid uuid_of(const json_t *object, const char *key) {
    struct uuid uuid;
    if (!uuid_parse(slice_of(text_of(object, key)), &uuid))
        fail_msg("%s is no UUID: %s", key, text_of(object, key));
    return uuid;
}

static struct slice keep(struct memory *memory, struct slice text) {
    if (!text.data)
        return SLICE_NONE;
    struct slice copy = arena_copy(memory->arena, text);
    assert_non_null(copy.data);
    return copy;
}

static char *keep_text(struct memory *memory, const char *text) {
    return text ? (char *)(uintptr_t)keep(memory, slice_of(text)).data : NULL;
}

static void *next_row(void *rows, size_t size, size_t *count) {
    assert_true(*count < MAX_ROWS);
    return (char *)rows + size * (*count)++;
}

static struct stored_channel *find_channel(struct memory *memory, const struct uuid *account_id,
                                           struct slice name) {
    for (size_t i = 0; i < memory->channel_count; i++) {
        struct stored_channel *channel = &memory->channels[i];
        if (uuid_equal(&channel->account_id, account_id) && slice_is(name, channel->name))
            return channel;
    }
    return NULL;
}

static struct stored_channel *find_channel_by_id(struct memory *memory, int64_t id) {
    for (size_t i = 0; i < memory->channel_count; i++) {
        if (memory->channels[i].id == id)
            return &memory->channels[i];
    }
    return NULL;
}

static struct stored_number *find_number(struct memory *memory, struct slice e164) {
    for (size_t i = 0; i < memory->number_count; i++) {
        if (slice_is(e164, memory->numbers[i].e164))
            return &memory->numbers[i];
    }
    return NULL;
}

static struct stored_account *find_account(const struct memory *memory, const struct uuid *id) {
    for (size_t i = 0; i < memory->account_count; i++) {
        if (uuid_equal(&memory->accounts[i].id, id))
            return (struct stored_account *)(uintptr_t)&memory->accounts[i];
    }
    return NULL;
}

static struct stored_result *find_result(struct memory *memory, const struct uuid *account_id,
                                         const struct uuid *command_id) {
    for (size_t i = 0; i < memory->result_count; i++) {
        const struct ledger_entry *row = &memory->results[i].row;
        if (uuid_equal(&row->account_id, account_id) && uuid_equal(&row->command_id, command_id))
            return &memory->results[i];
    }
    return NULL;
}

/* ---- inventory ---- */

static void add_account(struct memory *memory, const json_t *line) {
    struct stored_account *account =
        next_row(memory->accounts, sizeof *account, &memory->account_count);
    account->id = uuid_of(line, "id");
}

static void add_channel(struct memory *memory, const json_t *line) {
    struct stored_channel *channel =
        next_row(memory->channels, sizeof *channel, &memory->channel_count);
    channel->account_id = uuid_of(line, "account_id");
    channel->name = keep_text(memory, text_of(line, "name"));
    channel->subscription = keep_text(memory, text_of(line, "subscription"));
    channel->id = (int64_t)memory->channel_count;
    channel->version = 1;
}

static void add_number(struct memory *memory, const json_t *line) {
    struct stored_number *number = next_row(memory->numbers, sizeof *number, &memory->number_count);
    const char *channel_name = json_string_value(json_object_get(line, "channel"));
    number->e164 = keep_text(memory, text_of(line, "number"));
    number->account_id = uuid_of(line, "account_id");
    number->kind = keep_text(memory, text_of(line, "kind"));
    number->state = keep_text(memory, text_of(line, "state"));
    number->type = keep_text(memory, json_string_value(json_object_get(line, "number_type")));
    if (!channel_name)
        return;
    struct stored_channel *channel =
        find_channel(memory, &number->account_id, slice_of(channel_name));
    if (!channel)
        fail_msg("the channel of a number is not in the inventory: %s", channel_name);
    number->channel_id = channel->id;
}

void memory_add(struct memory *memory, const json_t *line) {
    const char *type = text_of(line, "type");
    if (!strcmp(type, "account"))
        add_account(memory, line);
    else if (!strcmp(type, "channel"))
        add_channel(memory, line);
    else if (!strcmp(type, "number"))
        add_number(memory, line);
}

void memory_edit(struct memory *memory, const json_t *edit) {
    struct uuid account_id = uuid_of(edit, "account_id");
    struct stored_channel *channel =
        find_channel(memory, &account_id, slice_of(text_of(edit, "channel_name")));
    assert_non_null(channel);
    if (json_object_get(edit, "version"))
        channel->version = json_integer_value(json_object_get(edit, "version"));
    channel->caller_id = keep_text(memory, json_string_value(json_object_get(edit, "caller_id")));
}

bool memory_knows(const struct memory *memory, const struct uuid *account_id) {
    return find_account(memory, account_id) != NULL;
}

/* ---- load ---- */

static struct slice copy_to(struct working_set *set, struct slice text) {
    struct slice copy = text.data ? arena_copy(set->arena, text) : SLICE_NONE;
    assert_true(copy.data || !text.data);
    return copy;
}

static void load_accounts(struct memory *memory, struct working_set *set) {
    for (struct entry *entry = set->accounts.first; entry; entry = entry->next_in_order) {
        struct account *account = (struct account *)entry;
        const struct stored_account *stored = find_account(memory, &account->id);
        if (!stored)
            continue;
        account->known = true;
        account->last_sequence = stored->last_sequence;
        account->last_applied_at = stored->last_applied_at;
        memcpy(account->last_chain, stored->last_chain, sizeof account->last_chain);
    }
}

static void load_channel(struct working_set *set, const struct stored_channel *stored) {
    struct channel *channel =
        working_set_put_channel(set, &stored->account_id, stored->id, slice_of(stored->name));
    assert_non_null(channel);
    channel->version = stored->version;
    channel->operator_connect = !strcmp(stored->subscription, "operator_connect");
    channel->caller_id = copy_to(set, slice_of(stored->caller_id));
    channel->settings = arena_array(set->arena, SETTING_COUNT, sizeof *channel->settings);
    assert_non_null(channel->settings);
    channel->settings[SETTING_CALLER_ID] = channel->caller_id;
}

static void load_channels(struct memory *memory, struct working_set *set) {
    for (struct entry *entry = set->channel_names.first; entry; entry = entry->next_in_order) {
        const struct channel_name *name = (const struct channel_name *)entry;
        const struct stored_channel *stored = find_channel(memory, &name->account_id, name->name);
        if (stored)
            load_channel(set, stored);
    }
}

static void load_numbers(struct memory *memory, struct working_set *set) {
    for (struct entry *entry = set->numbers.first; entry; entry = entry->next_in_order) {
        struct number *number = (struct number *)entry;
        const struct stored_number *stored = find_number(memory, entry->key);
        if (!stored)
            continue;
        number->found = true;
        number->account_id = stored->account_id;
        number->channel_id = stored->channel_id;
        number->type = copy_to(set, slice_of(stored->type));
        assert_true(number_kind_parse(slice_of(stored->kind), &number->kind));
        assert_true(number_state_parse(slice_of(stored->state), &number->state));
        if (number->needs_channel && stored->channel_id)
            load_channel(set, find_channel_by_id(memory, stored->channel_id));
    }
}

static void load_ledger(struct memory *memory, struct working_set *set) {
    for (struct entry *entry = set->ledger.first; entry; entry = entry->next_in_order) {
        struct ledger_entry *row = (struct ledger_entry *)entry;
        const struct stored_result *stored =
            find_result(memory, &row->account_id, &row->command_id);
        if (!stored)
            continue;
        row->found = true;
        row->source = stored->row.source;
        row->body = stored->row.body;
        row->body_schema = stored->row.body_schema;
        memcpy(row->mac, stored->row.mac, sizeof row->mac);
    }
}

void memory_load(struct memory *memory, struct working_set *set) {
    load_accounts(memory, set);
    load_ledger(memory, set);
    load_numbers(memory, set);
    load_channels(memory, set);
}

/* ---- store ---- */

static void store_accounts(struct memory *memory, const struct working_set *set) {
    for (struct entry *entry = set->accounts.first; entry; entry = entry->next_in_order) {
        const struct account *account = (const struct account *)entry;
        struct stored_account *stored = find_account(memory, &account->id);
        if (!account->changed)
            continue;
        assert_non_null(stored);
        stored->last_sequence = account->last_sequence;
        stored->last_applied_at = account->last_applied_at;
        memcpy(stored->last_chain, account->last_chain, sizeof stored->last_chain);
    }
}

static void store_numbers(struct memory *memory, const struct working_set *set) {
    for (struct entry *entry = set->numbers.first; entry; entry = entry->next_in_order) {
        const struct number *number = (const struct number *)entry;
        struct stored_number *stored = find_number(memory, entry->key);
        if (!number->changed)
            continue;
        assert_non_null(stored);
        stored->channel_id = number->channel_id;
        stored->type = (char *)(uintptr_t)keep(memory, number->type).data;
    }
}

static void store_ledger(struct memory *memory, const struct working_set *set) {
    for (struct entry *entry = set->ledger.first; entry; entry = entry->next_in_order) {
        const struct ledger_entry *row = (const struct ledger_entry *)entry;
        if (!row->added)
            continue;
        /* What the database's primary key would refuse. */
        assert_null(find_result(memory, &row->account_id, &row->command_id));
        struct stored_result *stored =
            next_row(memory->results, sizeof *stored, &memory->result_count);
        stored->row = *row;
        stored->row.source.topic = keep(memory, row->source.topic);
        stored->row.body = keep(memory, row->body);
        stored->row.command_type = keep(memory, row->command_type);
        stored->row.error_reason = keep(memory, row->error_reason);
        stored->row.batch_id = keep(memory, row->batch_id);
    }
}

void memory_store(struct memory *memory, const struct working_set *set) {
    store_accounts(memory, set);
    store_numbers(memory, set);
    store_ledger(memory, set);
}

/* ---- views ---- */

static json_t *uuid_json(const struct uuid *uuid) {
    char text[UUID_TEXT_SIZE + 1];
    uuid_format(uuid, text);
    return json_string(text);
}

static json_t *text_json(const char *text) {
    return text ? json_string(text) : json_null();
}

static json_t *slice_json(struct slice text) {
    return text.data ? json_stringn(text.data, text.size) : json_null();
}

json_t *memory_number_view(const struct memory *memory) {
    json_t *view = json_object();
    for (size_t i = 0; i < memory->number_count; i++) {
        const struct stored_number *number = &memory->numbers[i];
        const struct stored_channel *channel =
            number->channel_id
                ? find_channel_by_id((struct memory *)(uintptr_t)memory, number->channel_id)
                : NULL;
        json_object_set_new(view, number->e164,
                            json_pack("{so so so so so}", "account_id",
                                      uuid_json(&number->account_id), "kind",
                                      text_json(number->kind), "state",
                                      text_json(channel ? "connected" : number->state),
                                      "channel_name", text_json(channel ? channel->name : NULL),
                                      "number_type", text_json(number->type)));
    }
    return view;
}

json_t *memory_channel_view(const struct memory *memory) {
    json_t *view = json_object();
    for (size_t i = 0; i < memory->channel_count; i++) {
        const struct stored_channel *channel = &memory->channels[i];
        char key[UUID_TEXT_SIZE + 2 + 1024];
        uuid_format(&channel->account_id, key);
        snprintf(key + UUID_TEXT_SIZE, sizeof key - UUID_TEXT_SIZE, " %s", channel->name);
        json_object_set_new(view, key,
                            json_pack("{so sI}", "subscription", text_json(channel->subscription),
                                      "version", (json_int_t)channel->version));
    }
    return view;
}

json_t *memory_result_view(const struct memory *memory) {
    json_t *view = json_array();
    for (size_t i = 0; i < memory->result_count; i++) {
        const struct ledger_entry *row = &memory->results[i].row;
        json_array_append_new(
            view,
            json_pack("{so sI so so so so so sI}", "account_id", uuid_json(&row->account_id),
                      "account_sequence", (json_int_t)row->account_sequence, "command_id",
                      uuid_json(&row->command_id), "command_type", slice_json(row->command_type),
                      "outcome", text_json(outcome_name(row->outcome)), "error_reason",
                      slice_json(row->error_reason), "batch_id", slice_json(row->batch_id),
                      "applied_at", (json_int_t)row->applied_at));
    }
    return view;
}
