/* A command on its way through the stages: what was received, what was decoded, what was decided.
 * Plain data, owned by the batch's arena and its Kafka messages. One row per command type says how
 * its record is read, checked, loaded for and decided. */
#ifndef SIPTRUNK_WORKER_COMMAND_H
#define SIPTRUNK_WORKER_COMMAND_H

#include "common/arena.h"
#include "common/avro_plan.h"
#include "common/digest.h"
#include "common/e164.h"
#include "common/reasons.h"
#include "common/uuid.h"

struct command;
struct decision;
struct working_set;
struct rd_kafka_headers_s;

/* ---- as received ---- */

struct source {
    struct slice topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* Kafka's, -1 when the broker has none */
};

struct record {
    struct source source;
    struct slice key;                         /* absent when null */
    struct slice value;                       /* absent when null: a tombstone */
    const struct rd_kafka_headers_s *headers; /* NULL when there are none */
};

/* ---- how a field is checked; the rules are the rows of worker/validate.c ---- */

enum rule {
    RULE_NONE,
    RULE_COMMAND_ID,
    RULE_ACCOUNT_ID,
    RULE_TEXT_64,  /* optional printable text, at most 64 code points */
    RULE_TEXT_128, /* the same, 128 */
    RULE_INTEGER,
    RULE_BOOLEAN,
    RULE_CHANNEL_NAME,       /* required */
    RULE_CHANNEL_NAME_GUARD, /* optional */
    RULE_NUMBER,             /* required, E.164 */
    RULE_NUMBER_TYPE,        /* required: User, Resource Account or empty */
    RULE_LIST_OFFSET,
    RULE_LIST_LIMIT,
    /* of settings; all optional */
    RULE_RECORD, /* whether a record of settings is there */
    RULE_NEW_NAME,
    RULE_PASSWORD,
    RULE_CALLER_ID,
    RULE_AREA_CODE,
    RULE_FLAG,
    RULE_FLAG_OR_TEXT, /* true, false, or the texts of these */
    RULE_CALL_BARRINGS,
    RULE_UUID,
    RULE_OPAQUE, /* any text, at most 255 code points; empty clears */
    RULE_WHITELIST,
    RULE_PING,
    RULE_RINGING_TIMEOUT,
    RULE_DTMF,
    RULE_RTP_TIMEOUT, /* seconds as a text, or null */
    RULE_CLIP_METHOD,
    RULE_DIAL_STRING,
    RULE_TENANT_ID, /* required where its record is there */
};

/* By slot, beside the reader's field of that slot. */
struct field_check {
    const char *pointer; /* JSON Pointer into the guide's JSON form */
    enum rule rule;
};

/* ---- slots of every command's envelope; a command's own fields follow ---- */

enum {
    SLOT_COMMAND_ID,
    SLOT_ACCOUNT_ID,
    SLOT_CORRELATION_ID,
    SLOT_BATCH_ID,
    SLOT_SOURCE_SYSTEM,
    SLOT_ACTOR,
    SLOT_ISSUED_AT,
    SLOT_EXPECTED_VERSION,
    SLOT_DRY_RUN,
    SLOT_OWN
};

#define ENVELOPE_READERS                                                                           \
    {.name = "command_id", .kind = READER_STRING, .slot = SLOT_COMMAND_ID},                        \
        {.name = "account_id", .kind = READER_STRING, .slot = SLOT_ACCOUNT_ID},                    \
        {.name = "correlation_id", .kind = READER_STRING, .slot = SLOT_CORRELATION_ID},            \
        {.name = "batch_id", .kind = READER_STRING, .slot = SLOT_BATCH_ID},                        \
        {.name = "source_system", .kind = READER_STRING, .slot = SLOT_SOURCE_SYSTEM},              \
        {.name = "actor", .kind = READER_STRING, .slot = SLOT_ACTOR},                              \
        {.name = "issued_at", .kind = READER_LONG, .slot = SLOT_ISSUED_AT},                        \
        {.name = "expected_version", .kind = READER_LONG, .slot = SLOT_EXPECTED_VERSION}, {        \
        .name = "dry_run", .kind = READER_BOOL, .slot = SLOT_DRY_RUN                               \
    }

#define ENVELOPE_CHECKS                                                                            \
    [SLOT_COMMAND_ID] = {"/command_id", RULE_COMMAND_ID},                                          \
    [SLOT_ACCOUNT_ID] = {"/account_id", RULE_ACCOUNT_ID},                                          \
    [SLOT_CORRELATION_ID] = {"/correlation_id", RULE_TEXT_128},                                    \
    [SLOT_BATCH_ID] = {"/batch_id", RULE_TEXT_64},                                                 \
    [SLOT_SOURCE_SYSTEM] = {"/source_system", RULE_TEXT_128},                                      \
    [SLOT_ACTOR] = {"/actor", RULE_TEXT_128}, [SLOT_ISSUED_AT] = {"/issued_at", RULE_INTEGER},     \
    [SLOT_EXPECTED_VERSION] = {"/expected_version", RULE_INTEGER},                                 \
    [SLOT_DRY_RUN] = {"/dry_run", RULE_BOOLEAN}

/* ---- what is answered ---- */

enum outcome { OUTCOME_APPLIED, OUTCOME_NO_CHANGE, OUTCOME_REJECTED, OUTCOME_WOULD_APPLY };

const char *outcome_name(enum outcome outcome);

struct problem {
    struct problem *next;
    enum reason reason;
    const char *pointer;  /* "" when it is about no field */
    struct slice message; /* what varies; absent: the catalogue's text */
};

struct warning {
    struct warning *next;
    enum warning_code code;
    const char *pointer;
    struct slice message;
};

struct change {
    struct change *next;
    const char *pointer;
    struct slice before, after; /* absent: null */
};

/* Lists keep the order in which things were added. */
struct problem_list {
    struct problem *first, **end;
    size_t count;
};

struct warning_list {
    struct warning *first, **end;
    size_t count;
};

struct change_list {
    struct change *first, **end;
    size_t count;
};

/* ---- the answer of a list ---- */

enum list_kind { LIST_CALLER_IDS, LIST_PROXIES, LIST_TEMPLATES, LIST_CALL_BARRINGS, LIST_KINDS };

struct list_item {
    struct slice caller_id, id, name, code; /* absent: null */
};

struct list_request {
    struct list_request *next;
    enum list_kind kind;
    struct uuid account_id;
    int32_t offset, limit, total; /* LIST_CALLER_IDS only */
    struct list_item *items;
    size_t count, capacity;
};

/* ---- the command ---- */

/* A setting as a command sends it, in the form that is stored and compared. */
struct canonical {
    bool sent;
    struct slice text;   /* absent: it is to be cleared */
    const char *pointer; /* in the spelling that was sent */
};

struct command_type {
    const char *name;
    const struct reader_record *record;
    const struct field_check *checks; /* record->slot_count rows */
    int success_code;                 /* the guide's HTTP status */
    int channel_name_slot;            /* -1 when the command has none */
    int number_slot;
    int new_name_slot, tenant_record_slot; /* of the command that has settings */
    bool is_list;                          /* a read: no ledger, no sequence number */
    /* Checks what concerns several fields; NULL for none. Runs after all single fields were
     * checked. */
    bool (*check)(struct command *command, struct arena *arena);
    /* Names to the working set what deciding will need. */
    bool (*want)(struct working_set *set, struct command *command);
    /* Decides over what was loaded; NULL for a type that this program does not serve yet. */
    bool (*decide)(struct decision *decision);
};

/* Why a result does not go to the reply topic that was asked for. */
enum reply_problem {
    REPLY_SENT, /* none: it does, or nobody asked */
    REPLY_NOT_ALLOWED,
    REPLY_TOPIC_UNUSABLE,
    REPLY_NO_PARTITION,
    REPLY_TOO_LARGE,
    REPLY_PROBLEM_COUNT
};

enum handling { HANDLE_COMMAND, HANDLE_DEAD_LETTER, HANDLE_TOMBSTONE };

struct command {
    struct record record;
    enum handling handling;

    /* a dead letter */
    enum reason dead_reason;
    const char *dead_stage; /* "decode" */
    struct slice dead_message;

    /* decoded */
    const struct command_type *type;
    const struct value *values; /* type->record->slot_count */
    struct uuid command_id, account_id;
    bool command_id_valid, account_id_valid;
    struct uuid derived_id; /* from the record's coordinates */
    bool dry_run;
    struct e164 number;           /* size 0: no canonical form */
    struct problem_list problems; /* of validation */
    struct warning_list warnings; /* of validation; for success only */
    struct canonical *canonical;  /* by slot, as many as values */
    struct list_request *list;    /* what a list asks for */
    bool holds_secret;            /* the record holds a password: to be wiped */
    bool refused_by_store;        /* with nothing else beside it: to be answered as our mistake */
    uint8_t mac[MAC_SIZE];

    /* decided */
    struct ledger_entry *answer; /* what to send; of a list in no ledger */
    bool replayed;               /* the answer is a copy for a resend */

    /* replied */
    enum reply_problem reply_problem;
};

/* The value of a slot, or absent. Texts only when SET. */
const struct value *command_value(const struct command *command, int slot);
struct slice command_text(const struct command *command, int slot);

/* The canonical number; absent when there is none. */
struct slice command_number(const struct command *command);

/* Appends; false when the arena is exhausted. The message may be absent. */
bool problem_add(struct problem_list *list, struct arena *arena, enum reason reason,
                 const char *pointer, struct slice message) MUST_CHECK;
bool warning_add(struct warning_list *list, struct arena *arena, enum warning_code code,
                 const char *pointer, struct slice message) MUST_CHECK;
bool change_add(struct change_list *list, struct arena *arena, const char *pointer,
                struct slice before, struct slice after) MUST_CHECK;

/* ---- the table ---- */

extern const struct command_type *const command_types[];
extern const size_t command_type_count;

/* Their reader records, in the same order, for schema_set_new. */
const struct reader_record *const *command_readers(void);

/* By reader record; NULL for none of ours. */
const struct command_type *command_type_of(const struct reader_record *record);

extern const struct command_type connect_number_type;
extern const struct command_type disconnect_number_type;
extern const struct command_type set_operator_connect_number_type;
extern const struct command_type remove_operator_connect_number_type;
extern const struct command_type edit_channel_type;
extern const struct command_type list_caller_ids_type;
extern const struct command_type list_proxies_type;
extern const struct command_type list_templates_type;
extern const struct command_type list_call_barrings_type;

#endif
