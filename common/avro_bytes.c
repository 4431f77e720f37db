/* What a failure to read is called. */
#include "common/avro_bytes.h"

static const struct {
    enum fault fault;
    const char *id;
    const char *text;
} fails[AVRO_FAIL_COUNT] = {
    [AVRO_OK] = {FAULT_BUG, "bug", "nothing is wrong"},
    [AVRO_FAIL_SHORT] = {FAULT_INPUT, "schema", "the bytes end inside a value"},
    [AVRO_FAIL_VARINT] = {FAULT_INPUT, "schema", "a number does not fit its type"},
    [AVRO_FAIL_BOOLEAN] = {FAULT_INPUT, "schema", "a boolean is neither 0 nor 1"},
    [AVRO_FAIL_LENGTH] = {FAULT_INPUT, "schema", "a length is negative or more than what is left"},
    [AVRO_FAIL_SYMBOL] = {FAULT_INPUT, "schema", "an index of a union or an enum is out of range"},
    [AVRO_FAIL_BLOCK] = {FAULT_INPUT, "schema", "a block has another size than it says"},
    [AVRO_FAIL_REST] = {FAULT_INPUT, "schema", "bytes are left over behind the record"},
    [AVRO_FAIL_KEY] = {FAULT_INPUT, "schema", "the key of a map is not UTF-8"},
    [AVRO_FAIL_ITEMS] = {FAULT_INPUT, "too-long", "an array or map has more than 1024 items"},
    [AVRO_FAIL_DEPTH] = {FAULT_INPUT, "too-long", "it is nested deeper than 16 levels"},
    [AVRO_FAIL_MESSAGE] = {FAULT_INPUT, "too-long", "the message has more than 256 KiB"},
    [AVRO_FAIL_RECORD] = {FAULT_INPUT, "unknown-command", "the record is not a known command"},
    [AVRO_FAIL_MEMORY] = {FAULT_RETRY, "out-of-memory", "the batch's memory is exhausted"},
};

bool avro_fail_error(enum avro_fail fail, const struct avro_bytes *bytes, struct slice body,
                     struct error *err) {
    return error_set(err, fails[fail].fault, fails[fail].id, "at byte %zu of %zu: %s",
                     body.size - avro_bytes_left(bytes), body.size, fails[fail].text);
}
