/* Schemas and bodies as tables. */
#include "tests/support/hostile_avro.h"

#include <stdlib.h>

/* ---- the reader ---- */

enum { FLAG, COUNT, TOTAL, NAME, MIXED, TAGS, TIMEOUT, SUB, PING, NOTE, SLOTS };

static const char *const name_aliases[] = {"label", NULL};
static const struct reader_field sub_fields[] = {
    {.name = "ping", .kind = READER_INT, .slot = PING},
    {.name = "note", .kind = READER_STRING, .slot = NOTE},
};
static const struct reader_record sub = {.fields = sub_fields, .field_count = 2};
static const struct reader_field fields[] = {
    {.name = "flag", .kind = READER_BOOL, .slot = FLAG},
    {.name = "count", .kind = READER_INT, .slot = COUNT},
    {.name = "total", .kind = READER_LONG, .slot = TOTAL},
    {.name = "name", .aliases = name_aliases, .kind = READER_STRING, .slot = NAME},
    {.name = "mixed", .kind = READER_BOOL_OR_STRING, .slot = MIXED},
    {.name = "tags", .kind = READER_STRING_ARRAY, .slot = TAGS},
    {.name = "timeout", .kind = READER_NULLABLE_STRING, .slot = TIMEOUT},
    {.name = "sub", .kind = READER_RECORD, .slot = SUB, .record = &sub},
};
const struct reader_record hostile_reader = {
    .full_name = "t.A", .fields = fields, .field_count = 8, .slot_count = SLOTS};

/* ---- schemas ---- */

#define FIELD(name, type)   "{\"name\":\"" name "\",\"type\":" type "}"
#define RECORD(name, inner) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[" inner "]}"
#define ARRAY(item)         "{\"type\":\"array\",\"items\":" item "}"
#define MAP(item)           "{\"type\":\"map\",\"values\":" item "}"

enum { EVERYTHING, NULLS, NESTED, DEEP, UNIONS, TEXTS, EMPTY_RECORDS, SYMBOLS, FIXED, MAPS, TOPS };

const char *const hostile_schemas[] =
    {
        /* all that a writer can send, taken and passed over */
        [EVERYTHING] = "[\"null\"," RECORD("t.A",
                                           FIELD("flag", "[\"boolean\",\"int\"]") "," FIELD("count", "[\"null\",\"int\"]") "," FIELD("total",
                                                                                                                                     "\"int\"") "," FIELD("name", "\"bytes\"") "," FIELD("mixed", "[\"boolean\",\"string\"]") "," FIELD("tags", ARRAY("[\"null\",\"string\",\"bytes\"]")) "," FIELD("timeout", "[\"null\"," RECORD("NullableString", FIELD("value", "[\"null\",\"string\"]")) "]") "," FIELD("x", MAP(ARRAY("[\"double\",{\"type\":\"fixed\",\"name\":\"F\",\"size\":3},"
                                                                                                                                                                                                                                                                                                                                                                                                                            "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"P\",\"Q\"]}," MAP(
                                                                                                                                                                                                                                                                                                                                                                                                                                "\"null\"") "]"))) "," FIELD("sub", "[\"null\"," RECORD("S",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                        FIELD("z", ARRAY(
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                       "\"null\"")) "," FIELD("ping", "\"int\"")) "]")) "]",
        /* items without bytes, of a field that is taken and of one that is not */
        [NULLS] =
            RECORD("t.A", FIELD("x", ARRAY("\"null\"")) "," FIELD("tags", ARRAY("[\"null\"]"))),
        /* arrays of arrays of what has no bytes */
        [NESTED] = RECORD("t.A", FIELD("x", ARRAY(ARRAY(ARRAY("\"null\""))))),
        /* as deep as may be */
        [DEEP] = RECORD("t.A",
                        FIELD("x", ARRAY(MAP(ARRAY(MAP(ARRAY(MAP(ARRAY(MAP(ARRAY(MAP(ARRAY(MAP(ARRAY(MAP(ARRAY("\"bo"
                                                                                                               "olea"
                                                                                                               "n"
                                                                                                               "\""))))))))))))))))),
        /* unions with one branch, with null alone, with every primitive; in all that is taken */
        [UNIONS] = "[" RECORD("t.A", FIELD("flag",
                                           "[\"boolean\"]") "," FIELD("count", "[\"null\"]") "," FIELD("total",
                                                                                                       "[\"int\",\"long\"]") "," FIELD("label", "[\"null\",\"boolean\",\"int\",\"long\",\"float\",\"double\",\"bytes\","
                                                                                                                                                "\"string\"]") "," FIELD("mixed", "[\"long\",\"string\",\"bytes\",\"boolean\"]") "," FIELD("tags", "[\"null\",\"string\"," ARRAY("[\"string\",\"int\",\"null\"]") "]") "," FIELD("timeout",
                                                                                                                                                                                                                                                                                                                                 "[" RECORD(
                                                                                                                                                                                                                                                                                                                                     "N", FIELD("more", "\"int\"") "," FIELD("value",
                                                                                                                                                                                                                                                                                                                                                                             "[\"bytes\",\"null\",\"int\"]")) ",\"null\"]") "," FIELD("sub",
                                                                                                                                                                                                                                                                                                                                                                                                                                      "[\"string\"," RECORD(
                                                                                                                                                                                                                                                                                                                                                                                                                                          "S", FIELD(
                                                                                                                                                                                                                                                                                                                                                                                                                                                   "note", "[\"null\",\"bytes\",\"long\"]")) "]")) "]",
        /* lists of long texts, of text and of another type, by two fields of which one is passed
           over */
        [TEXTS] = RECORD("t.A", FIELD("tags", ARRAY("\"string\"")) "," FIELD(
                                    "other", ARRAY("\"bytes\"")) "," FIELD("name", "\"string\"")),
        [EMPTY_RECORDS] = RECORD(
            "t.A",
            FIELD("x", ARRAY(RECORD("Z", FIELD("n", "\"null\"")))) "," FIELD("sub", "\"Z\"")),
        [SYMBOLS] = RECORD(
            "t.A", FIELD("x", "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}") "," FIELD(
                       "name", "\"E\"")),
        /* sizes of nothing, and beyond all messages */
        [FIXED] = RECORD(
            "t.A",
            FIELD("x", "{\"type\":\"fixed\",\"name\":\"F0\",\"size\":0}") "," FIELD(
                "y", ARRAY("\"F0\"")) "," FIELD("z",
                                                "[\"null\",{\"type\":\"fixed\","
                                                "\"name\":\"F9\",\"size\":9223372036854775807}]")),
        [MAPS] = RECORD("t.A", FIELD("x", MAP("\"null\"")) "," FIELD("y", MAP(MAP("\"string\"")))),
        /* a union of records at the top, one of them not ours */
        [TOPS] = "[" RECORD("t.B", FIELD("x", "\"string\"")) ",\"null\"," RECORD(
            "t.A", FIELD("flag", "\"t.B\"")) "]",
        NULL,
};

/* ---- bodies ---- */

#define SHORT_BODY(title, which, bytes, error)                                                     \
    { .name = title, .schema = which, .head = bytes, .id = error }

/* An array of 112 arrays of a null, in 227 bytes. */
#define FOUR(unit)  unit unit unit unit
#define SEVEN(unit) unit unit unit unit unit unit unit
#define FULL_ARRAY  "e001" SEVEN(FOUR(FOUR("0200"))) "00"

const struct hostile_body hostile_bodies[] = {
    SHORT_BODY("fifty million nulls", NULLS,
               "80e1d72f"
               "0000",
               "too-long"),
    SHORT_BODY("as many items as a number can say", NULLS, "feffffffffffffffff01", "too-long"),
    SHORT_BODY("the least of all counts", NULLS,
               "ffffffffffffffffff01"
               "02",
               "too-long"),
    {"1,025 nulls in blocks of one", NULLS, "", "02", 1025, "too-long"},
    {"nulls in blocks without end", NULLS, "", "0100", 128 * 1024, "too-long"},
    {"empty blocks that say their size", NULLS, "", "0100", 512, "schema"},
    {"items of another type in a list", NULLS, "00", "0200", 1024, "schema"},
    SHORT_BODY("a text of 4 GiB", TEXTS,
               "02"
               "8080808020",
               "schema"),
    SHORT_BODY("a text of negative size", TEXTS,
               "02"
               "01",
               "schema"),
    SHORT_BODY("a text of the greatest size", TEXTS,
               "02"
               "feffffffffffffffff01",
               "schema"),
    {"a list of 1,025 empty texts", TEXTS, "8210", "00", 1025, "too-long"},
    {"a list of 1,024 texts in blocks of one", TEXTS, "", "0200", 1024, "schema"},
    {"a list of 1,024 texts in one block, the whole", TEXTS, "8010", "00", 1024 + 3, NULL},
    SHORT_BODY("a block larger than the message", TEXTS,
               "01"
               "8080808010"
               "00",
               "schema"),
    SHORT_BODY("a block smaller than its items", TEXTS,
               "01"
               "00"
               "00"
               "00",
               "schema"),
    {"arrays in arrays, all full", NESTED,
     "8010"
     "8010",
     "801000", 1024, "schema"},
    {"arrays in arrays, a message full of them", NESTED, "8010", FULL_ARRAY, 1024, "schema"},
    {"sixteen levels, opened and never closed", DEEP, "", "020200", 1024, "schema"},
    {"sixteen levels in blocks with sizes", DEEP, "", "01fe7f", 8192, "schema"},
    SHORT_BODY("a branch that the union lacks", UNIONS,
               "00"
               "7e",
               "schema"),
    SHORT_BODY("a negative branch", UNIONS, "01", "schema"),
    SHORT_BODY("a branch of ten bytes", UNIONS, "feffffffffffffffff01", "schema"),
    SHORT_BODY("a number that does not end", UNIONS, "808080808080808080808080", "schema"),
    SHORT_BODY("a symbol past the end", SYMBOLS, "02", "schema"),
    SHORT_BODY("a symbol of ten bytes", SYMBOLS, "feffffffffffffffff01", "schema"),
    {"empty records without end", EMPTY_RECORDS, "", "8010", 1024, "too-long"},
    SHORT_BODY("a fixed type of 8 EiB", FIXED,
               "00"
               "02",
               "schema"),
    SHORT_BODY("a billion of no size", FIXED, "8094ebdc03", "too-long"),
    {"a map of 1,024 empty keys", MAPS, "8010", "00", 1025, "schema"},
    {"maps in maps", MAPS,
     "00"
     "8010",
     "008010", 4096, "schema"},
    SHORT_BODY("a record that nobody reads", TOPS,
               "00"
               "00",
               "unknown-command"),
    SHORT_BODY("no record at all", TOPS, "02", "unknown-command"),
    SHORT_BODY("nothing", EVERYTHING, "", "schema"),
    {"a message of zeros", EVERYTHING, "02", "00", 200 * 1024, "schema"},
    {"a message of continued numbers", EVERYTHING, "02", "80", 200 * 1024, "schema"},
    {"bytes behind the end", NULLS, "0000", "00", 200 * 1024, "schema"},
    {"a message over its limit", NULLS, "", "00", 256 * 1024 + 1, "too-long"},
};
const size_t hostile_body_count = sizeof hostile_bodies / sizeof hostile_bodies[0];

static void write_hex(const char *hex, struct buffer *out) {
    for (; hex && hex[0] && hex[1]; hex += 2) {
        const char pair[3] = {hex[0], hex[1], '\0'};
        char byte = (char)strtoul(pair, NULL, 16);
        buffer_add(out, &byte, 1);
    }
}

void hostile_body_write(const struct hostile_body *body, struct buffer *out) {
    write_hex(body->head, out);
    for (size_t i = 0; i < body->repeat; i++)
        write_hex(body->unit, out);
}
