/* Rows in arrays, looked up by walking them: a case has a handful. */
#include "tests/support/memory_load.h"

#include "worker/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_ROWS = 1024 };

struct stored_account {
    struct uuid id;
    int64_t last_sequence, last_applied_at;
    uint8_t last_chain[SHA256_SIZE];
};

/* An entry of a catalogue, or with an account the grant of one. Caller ids are grants alone. */
struct stored_reference {
    struct uuid account_id;
    enum reference_kind kind;
    char *key;
    char *name; /* of the catalogue's entries */
};

struct stored_channel {
    struct uuid account_id;
    char *name, *subscription, *password;
    char *settings[SETTING_COUNT];
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
    struct stored_reference catalogue[MAX_ROWS], grants[MAX_ROWS];
    struct stored_channel channels[MAX_ROWS];
    struct stored_number numbers[MAX_ROWS];
    struct stored_result results[MAX_ROWS];
    size_t account_count, catalogue_count, grant_count, channel_count, number_count, result_count;
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

/* The UUIDs of proxies and templates are kept in lower case. */
static char *reference_key(struct memory *memory, enum reference_kind kind, const char *text) {
    struct uuid uuid;
    char lower[UUID_TEXT_SIZE + 1];
    if (kind != REFERENCE_TEMPLATE && kind != REFERENCE_PROXY)
        return keep_text(memory, text);
    if (!uuid_parse(slice_of(text), &uuid))
        fail_msg("not a UUID: %s", text);
    uuid_format(&uuid, lower);
    return keep_text(memory, lower);
}

static void add_to_catalogue(struct memory *memory, enum reference_kind kind, const json_t *line,
                             const char *key) {
    struct stored_reference *entry =
        next_row(memory->catalogue, sizeof *entry, &memory->catalogue_count);
    *entry = (struct stored_reference){.kind = kind,
                                       .key = reference_key(memory, kind, text_of(line, key)),
                                       .name = keep_text(memory, text_of(line, "name"))};
}

static void add_grants(struct memory *memory, const struct uuid *account_id,
                       enum reference_kind kind, const json_t *keys) {
    size_t i;
    json_t *key;
    json_array_foreach(keys, i, key) {
        struct stored_reference *grant =
            next_row(memory->grants, sizeof *grant, &memory->grant_count);
        *grant = (struct stored_reference){
            .account_id = *account_id,
            .kind = kind,
            .key = reference_key(memory, kind, json_string_value(key)),
        };
    }
}

static void add_account(struct memory *memory, const json_t *line) {
    static const char *const lists[] = {
        [REFERENCE_CALLER_ID] = "caller_ids",
        [REFERENCE_CALL_BARRING] = "call_barrings",
        [REFERENCE_TEMPLATE] = "templates",
        [REFERENCE_PROXY] = "proxies",
    };
    struct stored_account *account =
        next_row(memory->accounts, sizeof *account, &memory->account_count);
    account->id = uuid_of(line, "id");
    for (size_t kind = 0; kind < sizeof lists / sizeof lists[0]; kind++)
        add_grants(memory, &account->id, (enum reference_kind)kind,
                   json_object_get(line, lists[kind]));
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
    else if (!strcmp(type, "proxy"))
        add_to_catalogue(memory, REFERENCE_PROXY, line, "id");
    else if (!strcmp(type, "template"))
        add_to_catalogue(memory, REFERENCE_TEMPLATE, line, "id");
    else if (!strcmp(type, "call_barring"))
        add_to_catalogue(memory, REFERENCE_CALL_BARRING, line, "code");
    else
        fail_msg("an inventory line of an unknown type: %s", type);
}

/* ---- settings ---- */

/* The form of a setting in the guide's JSON. */
static const enum reader_kind setting_kinds[SETTING_COUNT] = {
#define SETTING(symbol, name, reader, ...) [SETTING_##symbol] = READER_##reader,
#define SETTINGS_OF_ALL
#include "worker/settings.def"
};

/* What the value is in memory; NULL for null. */
static char *setting_text(struct memory *memory, const json_t *value) {
    char *dump = json_is_string(value) || json_is_null(value)
                     ? NULL
                     : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    char *text = keep_text(memory, dump ? dump : json_string_value(value));
    free(dump);
    return text;
}

static json_t *setting_json(enum setting setting, const char *text) {
    enum reader_kind kind = setting_kinds[setting];
    bool is_text = kind == READER_STRING || kind == READER_NULLABLE_STRING;
    json_t *value = text && !is_text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_string(text);
    return value ? value : json_null();
}

static enum setting setting_at(const char *pointer) {
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (!strcmp(settings[i].pointer, pointer))
            return (enum setting)i;
    }
    fail_msg("no setting has the pointer %s", pointer);
    return SETTING_COUNT;
}

static void set_settings(struct memory *memory, struct stored_channel *channel, const char *pointer,
                         const json_t *members) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)members, name, value) {
        char inner[128];
        snprintf(inner, sizeof inner, "%s/%s", pointer, name);
        if (json_is_object(value))
            set_settings(memory, channel, inner, value);
        else
            channel->settings[setting_at(inner)] = setting_text(memory, value);
    }
}

static struct stored_channel *the_channel(struct memory *memory, const struct uuid *account_id,
                                          const char *name) {
    struct stored_channel *channel = find_channel(memory, account_id, slice_of(name));
    if (!channel)
        fail_msg("there is no channel %s", name);
    return channel;
}

void memory_edit(struct memory *memory, const json_t *edit) {
    struct uuid account_id = uuid_of(edit, "account_id");
    struct stored_channel *channel =
        the_channel(memory, &account_id, text_of(edit, "channel_name"));
    if (json_object_get(edit, "version"))
        channel->version = json_integer_value(json_object_get(edit, "version"));
    set_settings(memory, channel, "", json_object_get(edit, "settings"));
}

static bool same_text(const char *a, const char *b) {
    return a && b ? !strcmp(a, b) : a == b;
}

void memory_change(struct memory *memory, const struct uuid *account_id, const char *name,
                   const json_t *change, const char *password) {
    struct stored_channel *channel = the_channel(memory, account_id, name);
    const char *pointer = text_of(change, "pointer");
    const char *before = json_string_value(json_object_get(change, "before"));
    const char *after = json_string_value(json_object_get(change, "after"));
    if (!strcmp(pointer, "/password")) {
        channel->password = keep_text(memory, password);
        return;
    }
    char **place =
        !strcmp(pointer, "/new_name") ? &channel->name : &channel->settings[setting_at(pointer)];
    if (!same_text(before, *place))
        fail_msg("%s before the change is not %s but %s", pointer, before ? before : "null",
                 *place ? *place : "null");
    *place = keep_text(memory, after);
}

void memory_raise_version(struct memory *memory, const struct uuid *account_id, const char *name) {
    the_channel(memory, account_id, name)->version++;
}

bool memory_same_passwords(const struct memory *a, const struct memory *b) {
    bool same = a->channel_count == b->channel_count;
    for (size_t i = 0; same && i < a->channel_count; i++)
        same = same_text(a->channels[i].password, b->channels[i].password);
    return same;
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

static struct channel *load_channel(struct working_set *set, const struct stored_channel *stored) {
    struct channel *channel =
        working_set_put_channel(set, &stored->account_id, stored->id, slice_of(stored->name));
    assert_non_null(channel);
    channel->version = stored->version;
    channel->operator_connect = !strcmp(stored->subscription, "operator_connect");
    channel->caller_id = copy_to(set, slice_of(stored->settings[SETTING_CALLER_ID]));
    return channel;
}

/* Only where they are asked for, as from the database. */
static void load_settings(struct working_set *set, struct channel *channel,
                          const struct stored_channel *stored) {
    channel->settings = arena_array(set->arena, SETTING_COUNT, sizeof *channel->settings);
    assert_non_null(channel->settings);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        channel->settings[i] = copy_to(set, slice_of(stored->settings[i]));
}

static void load_channels(struct memory *memory, struct working_set *set) {
    for (struct entry *entry = set->channel_names.first; entry; entry = entry->next_in_order) {
        const struct channel_name *name = (const struct channel_name *)entry;
        const struct stored_channel *stored = find_channel(memory, &name->account_id, name->name);
        if (!stored)
            continue;
        struct channel *channel = load_channel(set, stored);
        if (name->needs_settings)
            load_settings(set, channel, stored);
    }
}

static bool is_listed(const struct stored_reference *rows, size_t count,
                      const struct uuid *account_id, const struct reference *reference) {
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind == reference->kind && slice_is(reference->key, rows[i].key) &&
            (!account_id || uuid_equal(&rows[i].account_id, account_id)))
            return true;
    }
    return false;
}

static void load_references(const struct memory *memory, struct working_set *set) {
    for (struct entry *entry = set->references.first; entry; entry = entry->next_in_order) {
        struct reference *reference = (struct reference *)entry;
        reference->exists = reference->kind == REFERENCE_CALLER_ID ||
                            is_listed(memory->catalogue, memory->catalogue_count, NULL, reference);
        reference->granted =
            is_listed(memory->grants, memory->grant_count, &reference->account_id, reference);
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
        row->mac_key_id = stored->row.mac_key_id;
        memcpy(row->mac, stored->row.mac, sizeof row->mac);
    }
}

/* ---- lists ---- */

static const struct stored_reference *catalogue_entry(const struct memory *memory,
                                                      const struct stored_reference *grant) {
    for (size_t i = 0; i < memory->catalogue_count; i++) {
        if (memory->catalogue[i].kind == grant->kind &&
            !strcmp(memory->catalogue[i].key, grant->key))
            return &memory->catalogue[i];
    }
    fail_msg("a grant of what is not in the catalogue: %s", grant->key);
    return NULL;
}

/* By name, then by id, code or number. */
static int compare_items(const void *a, const void *b) {
    const struct list_item *left = a, *right = b;
    int order = slice_compare(left->name, right->name);
    if (order == 0)
        order = slice_compare(left->id, right->id);
    if (order == 0)
        order = slice_compare(left->code, right->code);
    return order ? order : slice_compare(left->caller_id, right->caller_id);
}

static struct list_item item_of(const struct memory *memory, struct working_set *set,
                                const struct stored_reference *grant) {
    struct slice key = copy_to(set, slice_of(grant->key));
    if (grant->kind == REFERENCE_CALLER_ID)
        return (struct list_item){.caller_id = key};
    struct slice name = copy_to(set, slice_of(catalogue_entry(memory, grant)->name));
    return grant->kind == REFERENCE_CALL_BARRING ? (struct list_item){.name = name, .code = key}
                                                 : (struct list_item){.name = name, .id = key};
}

static void load_list(const struct memory *memory, struct working_set *set,
                      struct list_request *list) {
    static const enum reference_kind kinds[LIST_KINDS] = {
        [LIST_CALLER_IDS] = REFERENCE_CALLER_ID,
        [LIST_PROXIES] = REFERENCE_PROXY,
        [LIST_TEMPLATES] = REFERENCE_TEMPLATE,
        [LIST_CALL_BARRINGS] = REFERENCE_CALL_BARRING,
    };
    list->items = arena_array(set->arena, memory->grant_count + 1, sizeof *list->items);
    assert_non_null(list->items);
    for (size_t i = 0; i < memory->grant_count; i++) {
        const struct stored_reference *grant = &memory->grants[i];
        if (grant->kind == kinds[list->kind] && uuid_equal(&grant->account_id, &list->account_id))
            list->items[list->count++] = item_of(memory, set, grant);
    }
    qsort(list->items, list->count, sizeof *list->items, compare_items);
    if (list->kind != LIST_CALLER_IDS)
        return;
    list->total = (int32_t)list->count;
    size_t skip = (size_t)list->offset < list->count ? (size_t)list->offset : list->count;
    list->items += skip;
    list->count -= skip;
    if (list->count > (size_t)list->limit)
        list->count = (size_t)list->limit;
}

static void load_lists(const struct memory *memory, struct working_set *set) {
    for (struct list_request *list = set->lists; list; list = list->next)
        load_list(memory, set, list);
}

void memory_load(struct memory *memory, struct working_set *set) {
    load_accounts(memory, set);
    load_ledger(memory, set);
    load_numbers(memory, set);
    load_channels(memory, set);
    load_references(memory, set);
    load_lists(memory, set);
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

static void store_channel(struct memory *memory, const struct channel *channel) {
    struct stored_channel *stored = find_channel_by_id(memory, channel->id);
    assert_non_null(stored);
    assert_true(uuid_equal(&stored->account_id, &channel->account_id));
    assert_non_null(channel->settings);
    stored->version = channel->version;
    stored->name = (char *)(uintptr_t)keep(memory, channel->name).data;
    if (channel->new_password.data)
        stored->password = (char *)(uintptr_t)keep(memory, channel->new_password).data;
    for (size_t i = 0; i < SETTING_COUNT; i++)
        stored->settings[i] = (char *)(uintptr_t)keep(memory, channel->settings[i]).data;
}

/* What the database's unique key would refuse, once all are stored. */
static void check_channel_names(struct memory *memory) {
    for (size_t i = 0; i < memory->channel_count; i++) {
        const struct stored_channel *channel = &memory->channels[i];
        assert_ptr_equal(find_channel(memory, &channel->account_id, slice_of(channel->name)),
                         channel);
    }
}

static void store_channels(struct memory *memory, const struct working_set *set) {
    for (struct entry *entry = set->channels.first; entry; entry = entry->next_in_order) {
        const struct channel *channel = (const struct channel *)entry;
        if (channel->changed)
            store_channel(memory, channel);
    }
    check_channel_names(memory);
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
        stored->row.mac_key_id = keep(memory, row->mac_key_id);
        stored->row.body = keep(memory, row->body);
        stored->row.command_type = keep(memory, row->command_type);
        stored->row.error_reason = keep(memory, row->error_reason);
        stored->row.batch_id = keep(memory, row->batch_id);
    }
}

void memory_store(struct memory *memory, const struct working_set *set) {
    store_accounts(memory, set);
    store_channels(memory, set);
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

static void show_setting(json_t *view, enum setting setting, const char *text) {
    const char *name = settings[setting].pointer + 1, *slash = strchr(name, '/');
    json_t *group = view;
    if (slash) {
        char group_name[64];
        snprintf(group_name, sizeof group_name, "%.*s", (int)(slash - name), name);
        if (!json_object_get(view, group_name))
            json_object_set_new(view, group_name, json_object());
        group = json_object_get(view, group_name);
        name = slash + 1;
    }
    json_object_set_new(group, name, setting_json(setting, text));
}

static json_t *settings_view(const struct stored_channel *channel) {
    json_t *view = json_pack("{sb}", "password_set", channel->password != NULL);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        show_setting(view, (enum setting)i, channel->settings[i]);
    return view;
}

json_t *memory_channel_view(const struct memory *memory) {
    json_t *view = json_object();
    for (size_t i = 0; i < memory->channel_count; i++) {
        const struct stored_channel *channel = &memory->channels[i];
        char key[UUID_TEXT_SIZE + 2 + 1024];
        uuid_format(&channel->account_id, key);
        snprintf(key + UUID_TEXT_SIZE, sizeof key - UUID_TEXT_SIZE, " %s", channel->name);
        json_object_set_new(
            view, key,
            json_pack("{so sI so}", "subscription", text_json(channel->subscription), "version",
                      (json_int_t)channel->version, "settings", settings_view(channel)));
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
