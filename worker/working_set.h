/* The rows that a batch works on: named by the commands, filled by load, changed by decide, written
 * by store. Look-ups by key within one arena; no I/O. A command sees what earlier ones of its batch
 * changed. */
#ifndef SIPTRUNK_WORKER_WORKING_SET_H
#define SIPTRUNK_WORKER_WORKING_SET_H

#include "worker/command.h"

/* Intrusive: first member of everything that is kept in a table. */
struct entry {
    struct entry *next_in_order; /* insertion order */
    struct slice key;
    uint64_t hash;
};

struct table {
    struct entry **slots; /* open addressing; at most half full */
    size_t slot_count;
    struct entry *first, **end;
    size_t count;
};

struct account {
    struct entry entry;
    struct uuid id;
    bool known;
    bool changed;
    int64_t last_sequence;
    int64_t last_applied_at; /* microseconds since the epoch */
    uint8_t last_chain[SHA256_SIZE];
};

struct channel {
    struct entry by_id; /* key: account id, then channel id */
    struct uuid account_id;
    struct slice name;
    int64_t id;
    int64_t version;
    bool operator_connect;
    struct slice caller_id; /* absent: never set */
    struct slice *settings; /* SETTING_COUNT texts; NULL: not loaded, since no command edits it */
    bool changed;
    struct slice new_password; /* as sent, for store to seal; absent: it stays as it is */
};

/* What a name in an account stands for, which a rename changes. */
struct channel_name {
    struct entry entry; /* key: account id, then name */
    struct uuid account_id;
    struct slice name;
    bool needs_settings;     /* a command edits the channel of this name */
    struct channel *channel; /* NULL: there is none */
};

/* An entry of a catalogue that a command names, and what the account may do with it. */
enum reference_kind {
    REFERENCE_CALLER_ID,
    REFERENCE_CALL_BARRING,
    REFERENCE_TEMPLATE,
    REFERENCE_PROXY
};

struct reference {
    struct entry entry; /* key: account id, then kind and key */
    struct uuid account_id;
    enum reference_kind kind;
    struct slice key;
    bool exists, granted;
};

enum number_kind { NUMBER_FIXED, NUMBER_MOBILE, NUMBER_TOLL_FREE, NUMBER_OTHER };
enum number_state {
    NUMBER_AVAILABLE,
    NUMBER_RESERVED,
    NUMBER_PORTING,
    NUMBER_QUARANTINED,
    NUMBER_IN_OTHER_SERVICE
};

struct number {
    struct entry entry; /* key: e164 */
    bool found;
    bool changed;
    bool needs_channel; /* a command needs the row of the channel that it is on */
    struct uuid account_id;
    enum number_kind kind;
    enum number_state state;
    int64_t channel_id; /* 0: not connected */
    struct slice type;  /* absent: none */
};

struct ledger_entry {
    struct entry entry; /* key: account id, then command id */
    struct uuid account_id, command_id;
    bool found; /* stored already, or decided in this batch */
    bool added; /* decided in this batch: to be stored */
    struct slice mac_key_id;
    uint8_t mac[MAC_SIZE];
    struct source source;
    struct slice body; /* the result's Avro body */
    uint64_t body_schema;
    /* of an added one: what the ledger's other columns and the result's headers say */
    struct uuid event_id;
    struct slice command_type;
    enum outcome outcome;
    struct slice error_reason; /* full URN; absent on success */
    struct slice batch_id;
    struct slice subject; /* channel, else number, else absent */
    int64_t account_sequence;
    int64_t applied_at;
};

struct working_set {
    struct arena *arena;
    struct table accounts, channel_names, channels, numbers, references, ledger;
    struct list_request *lists; /* the latest first */
    size_t list_counts[LIST_KINDS];
};

/* expected: an estimate of commands in the batch. False when the arena is exhausted. */
bool working_set_init(struct working_set *set, struct arena *arena, size_t expected) MUST_CHECK;

/* Finds or makes the entry of a key; what is made is not found/known until load says so. NULL when
 * the arena is exhausted. */
struct account *working_set_want_account(struct working_set *set, const struct uuid *id);
struct channel_name *working_set_want_channel(struct working_set *set,
                                              const struct uuid *account_id, struct slice name);
struct number *working_set_want_number(struct working_set *set, struct slice e164);
struct ledger_entry *working_set_want_ledger(struct working_set *set, const struct uuid *account_id,
                                             const struct uuid *command_id);

struct reference *working_set_want_reference(struct working_set *set, const struct uuid *account_id,
                                             enum reference_kind kind, struct slice key);

/* A list to be read. */
struct list_request *working_set_want_list(struct working_set *set, const struct uuid *account_id,
                                           enum list_kind kind, int32_t offset, int32_t limit);

/* Finds or makes the channel of that id, and lets the name stand for it. */
struct channel *working_set_put_channel(struct working_set *set, const struct uuid *account_id,
                                        int64_t id, struct slice name);

/* Lets another name stand for the channel; the old one stands for nothing then. False when the
 * arena is exhausted. */
bool working_set_rename_channel(struct working_set *set, struct channel *channel,
                                struct slice name) MUST_CHECK;

/* Only what is there: NULL for what was not loaded or not found. */
struct account *working_set_account(const struct working_set *set, const struct uuid *id);
struct channel *working_set_channel(const struct working_set *set, const struct uuid *account_id,
                                    struct slice name);
struct channel *working_set_channel_by_id(const struct working_set *set,
                                          const struct uuid *account_id, int64_t id);
struct reference *working_set_reference(const struct working_set *set,
                                        const struct uuid *account_id, enum reference_kind kind,
                                        struct slice key);
struct number *working_set_number(const struct working_set *set, struct slice e164);
struct ledger_entry *working_set_ledger(const struct working_set *set,
                                        const struct uuid *account_id,
                                        const struct uuid *command_id);

/* Texts of the database and of messages. The parsers return false for an unknown text. */
const char *number_state_name(enum number_state state);
bool number_state_parse(struct slice text, enum number_state *ret);
bool number_kind_parse(struct slice text, enum number_kind *ret);

#endif
