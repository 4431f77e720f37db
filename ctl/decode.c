/* siptrunkctl decode: Avro to JSON lines, from a file or from a partition. How Avro becomes JSON is
 * said in common/avro_json.h. */
#include "common/avro_bytes.h"
#include "common/avro_json.h"
#include "common/kafka.h"
#include "common/stop.h"
#include "common/text.h"
#include "ctl/command.h"
#include "ctl/lines.h"
#include "ctl/message.h"
#include "ctl/topic_reader.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

static const char name[] = "decode";

enum { POLL_MS = 200, SILENCE_MS = 10000, MAX_FILE_BYTES = 2 * (AVRO_MAX_MESSAGE + 64) };

/* What stands for a password: it breaks the rules for passwords, so that nobody can set it by
 * accident. */
static const char hidden[] = "(hidden, see --show-passwords)";

struct options {
    const char *schema; /* file; NULL: single-object encoding */
    const char *topic;
    long partition;
    int64_t offset;
    long count;
    bool hex;
    bool show_passwords;
};

struct decode {
    const struct options *options;
    struct messages *messages;
    struct avro_json_decoder *decoder; /* with --schema */
    size_t refused;
};

/* ---- options ---- */

static bool parse_offset(const char *text, int64_t *ret) {
    if (strcmp(text, "beginning") == 0) {
        *ret = RD_KAFKA_OFFSET_BEGINNING;
        return true;
    }
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno || end == text || *end || number < -INT_MAX) {
        command_usage(name, "--offset takes a number, -N for the last N, or beginning");
        return false;
    }
    *ret = number < 0 ? RD_KAFKA_OFFSET_TAIL(-number) : number;
    return true;
}

static bool take_option(int option, struct options *options) {
    switch (option) {
    case 's':
        options->schema = optarg;
        return true;
    case 't':
        options->topic = optarg;
        return true;
    case 'p':
        return option_number(name, "--partition", optarg, 0, INT_MAX, &options->partition);
    case 'o':
        return parse_offset(optarg, &options->offset);
    case 'n':
        return option_number(name, "--count", optarg, 1, LONG_MAX, &options->count);
    case 'x':
        options->hex = true;
        return true;
    case 'w':
        options->show_passwords = true;
        return true;
    default:
        return false;
    }
}

static bool parse_options(int argc, char **argv, struct options *options) {
    static const struct option longs[] = {
        {"schema", required_argument, NULL, 's'},    {"topic", required_argument, NULL, 't'},
        {"partition", required_argument, NULL, 'p'}, {"offset", required_argument, NULL, 'o'},
        {"count", required_argument, NULL, 'n'},     {"hex", no_argument, NULL, 'x'},
        {"show-passwords", no_argument, NULL, 'w'},  {0}};
    for (int option; (option = command_option(name, argc, argv, ":", longs)) != -1;) {
        if (!take_option(option, options))
            return false;
    }
    if (argc - optind > (options->topic ? 0 : 1)) {
        command_usage(name, "%s is one argument too many", argv[argc - 1]);
        return false;
    }
    return true;
}

/* ---- one message ---- */

/* By the field's name alone: a writer's schema of another version may call its record otherwise, or
 * have bytes in place of a text. */
static void hide_password(const struct decode *decode, json_t *json) {
    const json_t *password = json_object_get(json, "password");
    if (password && !json_is_null(password) && !decode->options->show_passwords)
        json_object_set_new(json, "password", json_string(hidden));
}

/* With the record's name under "type" first, as siptrunkctl send takes it; a value that is no
 * record stays as it is. */
static json_t *with_type(json_t *json, const char *type) {
    if (!json_is_object(json) || !*type)
        return json;
    json_t *whole = json_pack("{s:s}", "type", type);
    if (whole)
        json_object_update_missing(whole, json);
    json_decref(json);
    return whole;
}

static bool decode_value(struct decode *decode, struct slice value, json_t **ret,
                         struct error *err) {
    json_t *json;
    const char *type;
    if (!(decode->decoder ? avro_json_decode(decode->decoder, value, &json, &type, err)
                          : message_decode(decode->messages, value, &json, &type, err)))
        return false;
    hide_password(decode, json);
    *ret = with_type(json, type);
    return *ret || error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a record");
}

/* Releases json, which may be NULL. */
static bool print_line(json_t *json, struct error *err) {
    bool ok =
        json && !json_dumpf(json, stdout, JSON_COMPACT | JSON_ENCODE_ANY) && putchar('\n') != EOF;
    json_decref(json);
    return ok || error_set(err, FAULT_STATE, "output", "cannot write to standard output");
}

/* ---- files ---- */

static bool decode_bytes(struct decode *decode, struct slice value, struct error *err) {
    json_t *json;
    return decode_value(decode, value, &json, err) && print_line(json, err);
}

static int hex_digit(char digit) {
    static const char digits[] = "0123456789abcdef";
    const char *found = digit ? strchr(digits, digit | 0x20) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* psql writes bytes behind a backslash and an x; others behind a zero and an x. */
static size_t hex_prefix(const char *text, size_t size) {
    return size >= 2 && strchr("\\0", text[0]) && (text[1] | 0x20) == 'x' ? 2 : 0;
}

/* Into text itself; spaces are passed over. */
static bool from_hex(char *text, size_t size, struct slice *ret, struct error *err) {
    size_t bytes = 0, digits = 0;
    for (size_t i = hex_prefix(text, size); i < size; i++) {
        if (memchr(" \t\r\n", text[i], 4))
            continue;
        int digit = hex_digit(text[i]);
        if (digit < 0)
            return error_set(err, FAULT_INPUT, "hex", "column %zu is no hexadecimal digit", i + 1);
        text[bytes] = (char)(digits % 2 ? text[bytes] << 4 | digit : digit);
        bytes += digits++ % 2;
    }
    *ret = (struct slice){.data = text, .size = bytes};
    return digits % 2 == 0 || error_set(err, FAULT_INPUT, "hex", "there is half a byte at the end");
}

static bool decode_hex_line(struct decode *decode, struct lines *lines, size_t size,
                            struct error *err) {
    struct slice value;
    if (from_hex(lines->text, size, &value, err) && decode_bytes(decode, value, err))
        return true;
    return error_prefix(err, "line %zu", lines->number);
}

static bool decode_hex_lines(struct decode *decode, struct lines *lines, struct error *err) {
    struct slice line;
    bool ok;
    while ((ok = lines_next(lines, &line, err)) && line.data) {
        if (!line_is_blank(line) && !(ok = decode_hex_line(decode, lines, line.size, err)))
            break;
    }
    return ok;
}

static bool decode_whole_file(struct decode *decode, struct lines *file, struct error *err) {
    struct buffer bytes = {0};
    char *room = buffer_reserve(&bytes, MAX_FILE_BYTES);
    if (!room)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the file");
    bytes.size = fread(room, 1, MAX_FILE_BYTES, file->in);
    bool ok = !ferror(file->in) && decode_bytes(decode, buffer_slice(&bytes), err);
    if (ferror(file->in))
        error_set(err, FAULT_INPUT, "file", "cannot read %s: %s", file->path, strerror(errno));
    buffer_free(&bytes);
    return ok;
}

static bool decode_file(struct decode *decode, const char *path, struct error *err) {
    struct lines file;
    if (!lines_open(&file, path, err))
        return false;
    bool ok = decode->options->hex ? decode_hex_lines(decode, &file, err)
                                   : decode_whole_file(decode, &file, err);
    lines_close(&file);
    return ok;
}

/* ---- topics ---- */

/* Text where it is one; a number that a framework wrote as bytes is shown as these. */
static json_t *bytes_json(struct slice bytes) {
    if (!bytes.data)
        return json_null();
    if (text_is_clean(bytes))
        return json_stringn(bytes.data, bytes.size);
    struct buffer hex = {0};
    for (size_t i = 0; i < bytes.size; i++) {
        char pair[3];
        snprintf(pair, sizeof pair, "%02x", (unsigned char)bytes.data[i]);
        buffer_add_text(&hex, pair);
    }
    json_t *json = json_pack("{s:s#}", "hex", hex.data, (int)hex.size);
    buffer_free(&hex);
    return json;
}

/* A list, since a header may stand there twice. */
static json_t *headers_json(const rd_kafka_message_t *record) {
    rd_kafka_headers_t *headers;
    json_t *list = json_array();
    if (rd_kafka_message_headers(record, &headers))
        return list;
    const char *header;
    const void *value;
    size_t size;
    for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &header, &value, &size); i++) {
        struct slice bytes = {.data = value, .size = size};
        json_array_append_new(list,
                              json_pack("{s:s?, s:o}", "name", header, "value", bytes_json(bytes)));
    }
    return list;
}

static json_t *record_json(const rd_kafka_message_t *record) {
    rd_kafka_timestamp_type_t ignored;
    struct slice key = {.data = record->key, .size = record->key_len};
    return json_pack("{s:s, s:i, s:I, s:I, s:o, s:o}", "topic", rd_kafka_topic_name(record->rkt),
                     "partition", (int)record->partition, "offset", (json_int_t)record->offset,
                     "timestamp", (json_int_t)rd_kafka_message_timestamp(record, &ignored), "key",
                     bytes_json(key), "headers", headers_json(record));
}

/* A value that cannot be decoded is shown with the reason, since the place and the headers still
 * tell something. */
static bool print_record(struct decode *decode, const rd_kafka_message_t *record,
                         struct error *err) {
    json_t *whole = record_json(record), *value = json_null();
    struct slice bytes = {.data = record->payload, .size = record->len};
    struct error why;
    if (!whole)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a record");
    if (bytes.data && !decode_value(decode, bytes, &value, &why)) {
        decode->refused++;
        json_object_set_new(whole, "error", json_string(why.message));
        value = json_pack("{s:I}", "bytes", (json_int_t)bytes.size);
    }
    json_object_set_new(whole, "value", value);
    return print_line(whole, err);
}

static bool read_records(struct decode *decode, struct topic_reader *reader, struct error *err) {
    bool ok = true;
    int64_t heard_ms = monotonic_ms();
    long left = decode->options->count;
    bool at_end = topic_reader_at_end(reader);
    while (ok && left > 0 && !at_end) {
        rd_kafka_message_t *record;
        ok = topic_reader_next(reader, POLL_MS, &record, err);
        at_end = topic_reader_at_end(reader);
        if (ok && record) {
            ok = print_record(decode, record, err);
            heard_ms = monotonic_ms();
            left--;
        }
        if (record)
            rd_kafka_message_destroy(record);
        if (ok && monotonic_ms() - heard_ms > SILENCE_MS)
            ok = error_set(err, FAULT_RETRY, "silence", "the broker is silent");
    }
    if (ok && left == decode->options->count)
        fprintf(stderr, "there is no committed record\n");
    return ok;
}

static bool decode_topic(struct decode *decode, const struct config *config, struct error *err) {
    const struct options *options = decode->options;
    struct topic_reader *reader = topic_reader_new(config, err);
    bool ok = reader &&
              topic_reader_add_partition(reader, options->topic, (int32_t)options->partition,
                                         options->offset, err) &&
              topic_reader_start(reader, err) && read_records(decode, reader, err);
    topic_reader_free(reader);
    return ok;
}

/* ---- the command ---- */

static bool read_schema(const char *path, struct avro_json_decoder **ret, struct error *err) {
    json_error_t why;
    json_t *schema = json_load_file(path, JSON_DECODE_ANY, &why);
    if (!schema)
        return error_set(err, FAULT_CONFIG, "schema", "%s: %s", path, why.text);
    char *text = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(schema);
    *ret = text ? avro_json_decoder_new(slice_of(text), err) : NULL;
    free(text);
    return *ret || error_prefix(err, "%s", path);
}

static bool prepare(struct decode *decode, const struct config *config, struct error *err) {
    if (decode->options->schema)
        return read_schema(decode->options->schema, &decode->decoder, err);
    decode->messages = messages_new(config_text(config, CONFIG_SCHEMA_DIR), err);
    return decode->messages != NULL;
}

int command_decode(const struct config *config, int argc, char **argv) {
    struct options options = {.offset = RD_KAFKA_OFFSET_BEGINNING, .count = 1};
    if (!parse_options(argc, argv, &options))
        return EXIT_USAGE;
    const char *path = optind < argc ? argv[optind] : "-";
    struct decode decode = {.options = &options};
    struct error err = {0};
    bool ok = prepare(&decode, config, &err) && (options.topic ? decode_topic(&decode, config, &err)
                                                               : decode_file(&decode, path, &err));
    fflush(stdout);
    avro_json_decoder_free(decode.decoder);
    messages_free(decode.messages);
    if (!ok)
        return command_fail(name, &err);
    return decode.refused ? EXIT_SOME_REFUSED : EXIT_DONE;
}
