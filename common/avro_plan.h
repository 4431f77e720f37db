/* The bounded decoder. A writer's schema and the tables of what we read are compiled once into a
 * flat list of steps (take this into that slot, skip that); a record is decoded by running the
 * steps over its bytes. Nothing recurses, nothing is read past the end, and memory and time are
 * bounded whatever the bytes say (limits in common/avro_bytes.h). Does not look at UTF-8, required
 * fields or values: that is the validator's. */
#ifndef SIPTRUNK_COMMON_AVRO_PLAN_H
#define SIPTRUNK_COMMON_AVRO_PLAN_H

#include "common/arena.h"
#include "common/error.h"
#include "common/slice.h"

#include <stdint.h>

/* What we read, and from which of the writer's types (Avro specification, "Schema Resolution").
 * Unions are opened: what counts is the branch in the bytes. */
enum reader_kind {
    READER_BOOL,            /* boolean */
    READER_INT,             /* int */
    READER_LONG,            /* int, long */
    READER_STRING,          /* string, bytes */
    READER_BOOL_OR_STRING,  /* boolean, string, bytes */
    READER_STRING_ARRAY,    /* array of string or bytes */
    READER_NULLABLE_STRING, /* a record with the field value: null, string or bytes */
    READER_RECORD,          /* a record, whatever its name; its fields by name */
};

struct reader_record;

struct reader_field {
    const char *name;
    const char *const
        *aliases; /* other names that writers use, the best first; NULL-terminated, or NULL */
    enum reader_kind kind;
    uint16_t slot; /* of the field's value; each field of the whole tree has its own */
    const struct reader_record *record; /* READER_RECORD only */
};

/* Tables live as long as the plans compiled from them; usually they are static. Records may nest
 * but not contain themselves. */
struct reader_record {
    const char *full_name;      /* namespace and name; looked at in the topmost record only */
    const char *const *aliases; /* full names, NULL-terminated, or NULL; likewise */
    const struct reader_field *fields;
    size_t field_count;
    size_t slot_count; /* of the whole tree; in the topmost record only */
};

/* state       BOOL..STRING_ARRAY              NULLABLE_STRING              RECORD
 * ABSENT      writer's schema lacks it        lacks it, or null: not sent  lacks it
 * NULL        null                            {value: null}                null
 * SET         value                           {value: text}                present; members have
 * own slots BAD_TYPE    the writer's type is none of the kind's; its bytes were skipped TOO_LONG a
 * text over AVRO_MAX_TEXT; it is there all the same, also as an item of a list Members of a record
 * that is not SET are ABSENT. A list with an item of another type is BAD_TYPE. */
enum value_state { VALUE_ABSENT, VALUE_NULL, VALUE_SET, VALUE_BAD_TYPE, VALUE_TOO_LONG };
enum value_kind { VALUE_KIND_BOOL, VALUE_KIND_INTEGER, VALUE_KIND_TEXT, VALUE_KIND_LIST };

/* kind and the union count when SET or TOO_LONG, and not for records. Texts point into the message.
 */
struct value {
    uint8_t state; /* enum value_state */
    uint8_t kind;  /* enum value_kind */
    union {
        bool boolean;
        int64_t integer;
        struct slice text;
        struct {
            struct slice *items; /* in the arena */
            size_t count;
        } list;
    };
};

struct avro_plan; /* immutable: any number of threads may run it */

struct avro_decoded {
    const struct reader_record *record; /* which of the records it was */
    struct value *values;               /* slot_count of it, in the arena */
};

/* Parses the writer's schema with avro-c, whose error text is one per process: compile on one
 * thread only. A schema whose top is none of the records compiles, and its plan refuses every
 * message. NULL with FAULT_CONFIG: "schema" for a text that is no schema, a recursive one, or one
 * of unreasonable size; "too-long" for one nested deeper than AVRO_MAX_DEPTH. */
struct avro_plan *avro_plan_compile(struct slice schema_json,
                                    const struct reader_record *const *records, size_t record_count,
                                    struct error *err);
void avro_plan_free(struct avro_plan *plan); /* accepts NULL */

/* Decodes one body (no framing). FAULT_INPUT with a reason's name as id: "schema" for bytes that do
 * not fit the schema, "too-long" for a limit exceeded, "unknown-command" when the record is none of
 * those compiled for. FAULT_RETRY "out-of-memory" when the arena is full. Uses at most slot_count
 * values and, for each list, three times AVRO_MAX_ITEMS slices of the arena. */
bool avro_plan_run(const struct avro_plan *plan, struct slice body, struct arena *arena,
                   struct avro_decoded *ret, struct error *err) MUST_CHECK;

#endif
