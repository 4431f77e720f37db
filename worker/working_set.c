/* Hash tables over an arena, and the rows kept in them. */
#include "worker/working_set.h"

#include <endian.h>

/* ---- a table of entries ---- */

enum { MIN_SLOTS = 64, MAX_KEY = 16 + 1 + 4096 };

static uint64_t hash_of(struct slice key) {
    uint64_t hash = 0x9E3779B97F4A7C15u ^ key.size;
    size_t i = 0;
    for (; i + 8 <= key.size; i += 8) {
        uint64_t word;
        memcpy(&word, key.data + i, sizeof word);
        hash = (hash ^ word) * 0xFF51AFD7ED558CCDu;
        hash ^= hash >> 32;
    }
    for (; i < key.size; i++)
        hash = (hash ^ (unsigned char)key.data[i]) * 0x100000001B3u;
    return hash ^ hash >> 29;
}

static bool table_init(struct table *table, struct arena *arena, size_t expected) {
    size_t slots = MIN_SLOTS;
    while (slots < 2 * expected)
        slots *= 2;
    *table = (struct table){.slots = arena_array(arena, slots, sizeof *table->slots),
                            .slot_count = slots};
    table->end = &table->first;
    return table->slots != NULL;
}

/* The slot that holds the key, or the free one where it belongs. */
static struct entry **table_slot(const struct table *table, struct slice key, uint64_t hash) {
    size_t mask = table->slot_count - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct entry *entry = table->slots[i];
        if (!entry || (entry->hash == hash && slice_equal(entry->key, key)))
            return &table->slots[i];
    }
}

static struct entry *table_get(const struct table *table, struct slice key) {
    return *table_slot(table, key, hash_of(key));
}

static bool table_grow(struct table *table, struct arena *arena) {
    struct table bigger = *table;
    bigger.slot_count *= 2;
    bigger.slots = arena_array(arena, bigger.slot_count, sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (struct entry *entry = table->first; entry; entry = entry->next_in_order)
        *table_slot(&bigger, entry->key, entry->hash) = entry;
    table->slots = bigger.slots;
    table->slot_count = bigger.slot_count;
    return true;
}

/* The key must not be there yet; entry->key is set and lives in the arena. */
static bool table_put(struct table *table, struct arena *arena, struct entry *entry) {
    if (2 * (table->count + 1) > table->slot_count && !table_grow(table, arena))
        return false;
    entry->hash = hash_of(entry->key);
    *table_slot(table, entry->key, entry->hash) = entry;
    *table->end = entry;
    table->end = &entry->next_in_order;
    table->count++;
    return true;
}

/* Finds the key's entry or makes one of size bytes (struct entry first), with a copy of the key. */
static void *table_want(struct table *table, struct arena *arena, struct slice key, size_t size) {
    struct entry *entry = table_get(table, key);
    if (entry)
        return entry;
    entry = arena_alloc(arena, size);
    if (!entry)
        return NULL;
    entry->key = arena_copy(arena, key);
    return entry->key.data && table_put(table, arena, entry) ? entry : NULL;
}

/* ---- composite keys ---- */

struct key {
    char bytes[MAX_KEY];
    size_t size;
};

static struct slice key_of(struct key *key, const struct uuid *account_id, const void *rest,
                           size_t size) {
    memcpy(key->bytes, account_id->bytes, sizeof account_id->bytes);
    memcpy(key->bytes + sizeof account_id->bytes, rest, size);
    key->size = sizeof account_id->bytes + size;
    return (struct slice){.data = key->bytes, .size = key->size};
}

static struct slice uuid_slice(const struct uuid *uuid) {
    return (struct slice){.data = (const char *)uuid->bytes, .size = sizeof uuid->bytes};
}

/* ---- the rows ---- */

bool working_set_init(struct working_set *set, struct arena *arena, size_t expected) {
    *set = (struct working_set){.arena = arena};
    return table_init(&set->accounts, arena, expected) &&
           table_init(&set->channel_names, arena, expected) &&
           table_init(&set->channels, arena, expected) && table_init(&set->references, arena, 0) &&
           table_init(&set->numbers, arena, expected) &&
           table_init(&set->ledger, arena, 2 * expected);
}

struct account *working_set_want_account(struct working_set *set, const struct uuid *id) {
    struct account *account =
        table_want(&set->accounts, set->arena, uuid_slice(id), sizeof *account);
    if (account)
        account->id = *id;
    return account;
}

struct account *working_set_account(const struct working_set *set, const struct uuid *id) {
    return (struct account *)table_get(&set->accounts, uuid_slice(id));
}

struct channel_name *working_set_want_channel(struct working_set *set,
                                              const struct uuid *account_id, struct slice name) {
    struct key key;
    struct slice whole = key_of(&key, account_id, name.data, name.size);
    struct channel_name *entry = table_want(&set->channel_names, set->arena, whole, sizeof *entry);
    if (entry && !entry->name.data) {
        entry->account_id = *account_id;
        entry->name = (struct slice){.data = entry->entry.key.data + sizeof account_id->bytes,
                                     .size = name.size};
    }
    return entry;
}

struct channel *working_set_channel(const struct working_set *set, const struct uuid *account_id,
                                    struct slice name) {
    struct key key;
    struct slice whole = key_of(&key, account_id, name.data, name.size);
    struct channel_name *entry = (struct channel_name *)table_get(&set->channel_names, whole);
    return entry ? entry->channel : NULL;
}

static struct slice channel_id_key(struct key *key, const struct uuid *account_id, int64_t id) {
    uint64_t raw = htobe64((uint64_t)id);
    return key_of(key, account_id, &raw, sizeof raw);
}

struct channel *working_set_put_channel(struct working_set *set, const struct uuid *account_id,
                                        int64_t id, struct slice name) {
    struct key key;
    struct channel_name *entry = working_set_want_channel(set, account_id, name);
    struct channel *channel =
        entry ? table_want(&set->channels, set->arena, channel_id_key(&key, account_id, id),
                           sizeof *channel)
              : NULL;
    if (channel) {
        channel->account_id = *account_id;
        channel->id = id;
        channel->name = entry->name;
        entry->channel = channel;
    }
    return channel;
}

bool working_set_rename_channel(struct working_set *set, struct channel *channel,
                                struct slice name) {
    struct channel_name *old = working_set_want_channel(set, &channel->account_id, channel->name);
    struct channel_name *new = working_set_want_channel(set, &channel->account_id, name);
    if (!old || !new)
        return false;
    old->channel = NULL;
    new->channel = channel;
    channel->name = new->name;
    return true;
}

struct channel *working_set_channel_by_id(const struct working_set *set,
                                          const struct uuid *account_id, int64_t id) {
    struct key key;
    return (struct channel *)table_get(&set->channels, channel_id_key(&key, account_id, id));
}

static struct slice reference_key(struct key *key, const struct uuid *account_id,
                                  enum reference_kind kind, struct slice name) {
    char rest[1 + 4096];
    rest[0] = (char)kind;
    memcpy(rest + 1, name.data, name.size);
    return key_of(key, account_id, rest, 1 + name.size);
}

struct reference *working_set_want_reference(struct working_set *set, const struct uuid *account_id,
                                             enum reference_kind kind, struct slice name) {
    struct key key;
    struct slice whole = reference_key(&key, account_id, kind, name);
    struct reference *reference =
        table_want(&set->references, set->arena, whole, sizeof *reference);
    if (reference) {
        reference->account_id = *account_id;
        reference->kind = kind;
        reference->key = (struct slice){
            .data = reference->entry.key.data + sizeof account_id->bytes + 1, .size = name.size};
    }
    return reference;
}

struct reference *working_set_reference(const struct working_set *set,
                                        const struct uuid *account_id, enum reference_kind kind,
                                        struct slice name) {
    struct key key;
    struct slice whole = reference_key(&key, account_id, kind, name);
    return (struct reference *)table_get(&set->references, whole);
}

struct list_request *working_set_want_list(struct working_set *set, const struct uuid *account_id,
                                           enum list_kind kind, int32_t offset, int32_t limit) {
    struct list_request *list = arena_alloc(set->arena, sizeof *list);
    if (list) {
        *list = (struct list_request){.next = set->lists,
                                      .kind = kind,
                                      .account_id = *account_id,
                                      .offset = offset,
                                      .limit = limit};
        set->lists = list;
        set->list_counts[kind]++;
    }
    return list;
}

struct number *working_set_want_number(struct working_set *set, struct slice e164) {
    return table_want(&set->numbers, set->arena, e164, sizeof(struct number));
}

struct number *working_set_number(const struct working_set *set, struct slice e164) {
    struct number *number = (struct number *)table_get(&set->numbers, e164);
    return number && number->found ? number : NULL;
}

struct ledger_entry *working_set_want_ledger(struct working_set *set, const struct uuid *account_id,
                                             const struct uuid *command_id) {
    struct key key;
    struct slice whole = key_of(&key, account_id, command_id->bytes, sizeof command_id->bytes);
    struct ledger_entry *entry = table_want(&set->ledger, set->arena, whole, sizeof *entry);
    if (entry) {
        entry->account_id = *account_id;
        entry->command_id = *command_id;
    }
    return entry;
}

struct ledger_entry *working_set_ledger(const struct working_set *set,
                                        const struct uuid *account_id,
                                        const struct uuid *command_id) {
    struct key key;
    struct slice whole = key_of(&key, account_id, command_id->bytes, sizeof command_id->bytes);
    struct ledger_entry *entry = (struct ledger_entry *)table_get(&set->ledger, whole);
    return entry && entry->found ? entry : NULL;
}

/* ---- texts ---- */

static const char *const state_names[] = {
    [NUMBER_AVAILABLE] = "available",
    [NUMBER_RESERVED] = "reserved",
    [NUMBER_PORTING] = "porting",
    [NUMBER_QUARANTINED] = "quarantined",
    [NUMBER_IN_OTHER_SERVICE] = "in_other_service",
};

static const char *const kind_names[] = {
    [NUMBER_FIXED] = "fixed",
    [NUMBER_MOBILE] = "mobile",
    [NUMBER_TOLL_FREE] = "toll_free",
    [NUMBER_OTHER] = "other",
};

const char *number_state_name(enum number_state state) {
    return state_names[state];
}

bool number_state_parse(struct slice text, enum number_state *ret) {
    for (size_t i = 0; i < sizeof state_names / sizeof state_names[0]; i++) {
        if (slice_is(text, state_names[i])) {
            *ret = (enum number_state)i;
            return true;
        }
    }
    return false;
}

bool number_kind_parse(struct slice text, enum number_kind *ret) {
    for (size_t i = 0; i < sizeof kind_names / sizeof kind_names[0]; i++) {
        if (slice_is(text, kind_names[i])) {
            *ret = (enum number_kind)i;
            return true;
        }
    }
    return false;
}
