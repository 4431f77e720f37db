/* JSON lines, bytes in hexadecimal. */
#include "history_file.h"

#include <stdio.h>
#include <stdlib.h>

static _Noreturn void give_up(const char *what) {
    fprintf(stderr, "history file: %s\n", what);
    exit(2);
}

/* ---- reading ---- */

static struct slice bytes_of(const json_t *text) {
    if (!json_is_string(text))
        return SLICE_NONE;
    const char *hex = json_string_value(text);
    size_t size = strlen(hex) / 2;
    char *bytes = malloc(size + 1);
    if (!bytes)
        give_up("no memory");
    for (size_t i = 0; i < size; i++) {
        unsigned value;
        if (sscanf(hex + 2 * i, "%2x", &value) != 1)
            give_up("no hexadecimal digits");
        bytes[i] = (char)value;
    }
    return (struct slice){.data = bytes, .size = size};
}

static int64_t integer(const json_t *line, const char *key) {
    const json_t *value = json_object_get(line, key);
    if (!json_is_integer(value))
        give_up(key);
    return json_integer_value(value);
}

static struct slice text(const json_t *line, const char *key) {
    return slice_of(json_string_value(json_object_get(line, key)));
}

static struct uuid uuid_of(const json_t *line, const char *key) {
    struct uuid uuid;
    if (!uuid_parse(text(line, key), &uuid))
        give_up(key);
    return uuid;
}

static void take_part(struct world *world, const json_t *line) {
    static const char *const roles[] = {
        [PART_COMMANDS] = "commands", [PART_RESULTS] = "results", [PART_DEAD_LETTERS] = "letters"};
    if (world->part_count == MAX_PARTS)
        give_up("too many partitions");
    struct part *part = &world->parts[world->part_count++];
    *part = (struct part){.id = (int32_t)integer(line, "id"),
                          .lanes = (unsigned)integer(line, "lanes"),
                          .number = (uint16_t)integer(line, "number"),
                          .end = integer(line, "end"),
                          .stable_end = integer(line, "end"),
                          .log_end = integer(line, "end"),
                          .answered_before = integer(line, "k"),
                          .answered_after = integer(line, "k"),
                          .noted_offset = integer(line, "noted"),
                          .next_offset = integer(line, "d")};
    part->topic = strdup(text(line, "topic").data);
    for (size_t role = 0; role < 3; role++) {
        if (slice_is(text(line, "role"), roles[role]))
            part->role = (enum part_role)role;
    }
}

static void take_raw(struct raw_list *list, const json_t *line) {
    if (list->count == MAX_RAW / 2)
        give_up("too many records");
    struct raw *raw = &list->items[list->count++];
    *raw = (struct raw){.part = (uint16_t)integer(line, "part"),
                        .offset = integer(line, "offset"),
                        .timestamp_ms = integer(line, "timestamp"),
                        .key = bytes_of(json_object_get(line, "key")),
                        .value = bytes_of(json_object_get(line, "value")),
                        .committed = json_is_true(json_object_get(line, "committed"))};
    const json_t *headers = json_object_get(line, "headers"), *header;
    size_t i;
    json_array_foreach(headers, i, header) {
        if (raw->header_count == sizeof raw->headers / sizeof raw->headers[0])
            give_up("too many headers");
        raw->headers[raw->header_count++] =
            (struct raw_header){.name = json_string_value(json_array_get(header, 0)),
                                .value = bytes_of(json_array_get(header, 1))};
    }
}

static void take_ledger(struct world *world, const json_t *line) {
    if (world->ledger_count == MAX_RAW / 2)
        give_up("too many ledger rows");
    world->ledger[world->ledger_count++] = (struct ledger_view){
        .account_id = uuid_of(line, "account_id"),
        .command_id = uuid_of(line, "command_id"),
        .account_sequence = integer(line, "account_sequence"),
        .applied_at = integer(line, "applied_at"),
        .source_offset = integer(line, "source_offset"),
        .source_timestamp = integer(line, "source_timestamp"),
        .result_schema = (uint64_t)integer(line, "result_schema"),
        .source_partition = (int32_t)integer(line, "source_partition"),
        .source_topic = text(line, "source_topic"),
        .command_type = text(line, "command_type"),
        .outcome = text(line, "outcome"),
        .error_reason = text(line, "error_reason"),
        .batch_id = text(line, "batch_id"),
        .result = bytes_of(json_object_get(line, "result")),
    };
}

static void take_tail(struct world *world, const json_t *line) {
    struct slice chain = bytes_of(json_object_get(line, "chain"));
    if (world->tail_count == MAX_RAW / 2 || chain.size != SHA256_SIZE)
        give_up("accounts");
    struct raw_tail *tail = &world->tails[world->tail_count++];
    tail->account = uuid_of(line, "account_id");
    tail->sequence = integer(line, "sequence");
    memcpy(tail->chain, chain.data, SHA256_SIZE);
    free((void *)(uintptr_t)chain.data);
}

static void take_line(struct world *world, const json_t *line) {
    struct slice kind = text(line, "kind");
    if (slice_is(kind, "cluster"))
        snprintf(world->cluster, sizeof world->cluster, "%s", text(line, "id").data);
    else if (slice_is(kind, "part"))
        take_part(world, line);
    else if (slice_is(kind, "command"))
        take_raw(&world->commands, line);
    else if (slice_is(kind, "result"))
        take_raw(&world->results, line);
    else if (slice_is(kind, "letter"))
        take_raw(&world->letters, line);
    else if (slice_is(kind, "ledger"))
        take_ledger(world, line);
    else if (slice_is(kind, "tail"))
        take_tail(world, line);
    else
        give_up("an unknown kind of line");
}

void world_load(struct world *world, const char *path) {
    json_error_t why;
    memset(world, 0, sizeof *world);
    world->lines = json_load_file(path, 0, &why);
    if (!json_is_array(world->lines))
        give_up(why.text);
    size_t i;
    json_t *line;
    json_array_foreach(world->lines, i, line) {
        take_line(world, line);
    }
}

static void free_raw(struct raw_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free((void *)(uintptr_t)list->items[i].key.data);
        free((void *)(uintptr_t)list->items[i].value.data);
        for (size_t h = 0; h < list->items[i].header_count; h++)
            free((void *)(uintptr_t)list->items[i].headers[h].value.data);
    }
}

void world_free(struct world *world) {
    free_raw(&world->commands);
    free_raw(&world->results);
    free_raw(&world->letters);
    for (size_t i = 0; i < world->ledger_count; i++)
        free((void *)(uintptr_t)world->ledger[i].result.data);
    for (size_t i = 0; i < world->part_count; i++)
        free(world->parts[i].topic);
    json_decref(world->lines);
}

/* ---- judging, through the code of siptrunkctl ---- */

static struct record_view view_of(const struct raw *raw, rd_kafka_headers_t *headers) {
    for (size_t i = 0; i < raw->header_count; i++)
        rd_kafka_header_add(headers, raw->headers[i].name, -1, raw->headers[i].value.data,
                            (ssize_t)raw->headers[i].value.size);
    return (struct record_view){.part = raw->part,
                                .offset = raw->offset,
                                .timestamp_ms = raw->timestamp_ms,
                                .key = raw->key,
                                .value = raw->value,
                                .headers = raw->header_count ? headers : NULL};
}

typedef bool take_fn(struct records *records, struct history *history,
                     const struct record_view *record, struct error *err);

static void feed(struct records *records, struct history *history, const struct raw *raw,
                 take_fn *take) {
    struct error err;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    struct record_view view = view_of(raw, headers);
    if (!take(records, history, &view, &err))
        give_up(err.message);
    rd_kafka_headers_destroy(headers);
}

static void feed_list(struct records *records, struct history *history, const struct raw_list *list,
                      take_fn *take) {
    for (size_t i = 0; i < list->count; i++)
        feed(records, history, &list->items[i], take);
}

static void feed_stored(struct records *records, struct history *history,
                        const struct world *world) {
    struct error err;
    for (size_t i = 0; i < world->ledger_count; i++) {
        if (!records_ledger(records, history, &world->ledger[i], &err))
            give_up(err.message);
    }
    for (size_t i = 0; i < world->tail_count; i++) {
        const struct raw_tail *tail = &world->tails[i];
        struct account *account = &history->accounts[history_account(history, &tail->account)];
        account->has_tail = true;
        account->tail_sequence = tail->sequence;
        memcpy(account->tail_chain, tail->chain, SHA256_SIZE);
    }
}

void world_build(struct records *records, const struct world *world, struct history *history) {
    struct error err;
    memset(history, 0, sizeof *history);
    snprintf(history->cluster_id, sizeof history->cluster_id, "%s", world->cluster);
    for (size_t i = 0; i < world->part_count; i++) {
        const struct part *given = &world->parts[i];
        struct part *part = history_new_part(history, given->topic, given->id, given->role);
        char *topic = part->topic;
        *part = *given;
        part->topic = topic;
    }
    feed_stored(records, history, world);
    feed_list(records, history, &world->commands, records_command);
    feed_list(records, history, &world->letters, records_letter);
    for (size_t i = 0; i < world->results.count; i++) {
        const struct raw *raw = &world->results.items[i];
        if (raw->committed && !raw->second_only)
            feed(records, history, raw, records_result);
    }
    if (!records_read_again(records, history, &err))
        give_up(err.message);
    for (size_t i = 0; i < world->results.count; i++) {
        if (!world->results.items[i].first_only)
            feed(records, history, &world->results.items[i], records_result_again);
    }
}

static void note(void *context, const struct finding *finding) {
    uint64_t *names = context;
    *names |= UINT64_C(1) << finding->name;
    if (getenv("VERIFY_TELL"))
        fprintf(stderr, "  %s offset %lld: %s\n", finding_infos[finding->name].name,
                (long long)finding->offset, finding->detail);
}

uint64_t world_judge(struct records *records, const struct world *world, bool complete) {
    struct history history;
    struct verdict verdict;
    struct error err;
    uint64_t names = 0;
    world_build(records, world, &history);
    if (!judge(records, &history, complete, note, &names, &verdict, &err))
        give_up(err.message);
    history_free(&history);
    return names;
}
