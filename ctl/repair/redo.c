/* Lost commands in groups of one time: results that bear the same one were decided together, and a
 * time is never before the account's last. */
#include "ctl/repair/redo.h"

#include "common/embedded.h"
#include "common/framing.h"
#include "common/stop.h"
#include "ctl/message.h"
#include "worker/intake.h"
#include "worker/result.h"
#include "worker/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { GROUP_MAX = 500, ARENA_BYTES = 256 * 1024 * 1024 };

/* ---- life ---- */

static struct slice result_schema(void) {
    for (const struct embedded_file *file = embedded_schemas; file->name; file++) {
        if (strcmp(file->name, "CommandResult.avsc") == 0)
            return slice_of(file->text);
    }
    return SLICE_NONE;
}

bool redo_init(struct redo *redo, struct pg *pg, const struct config *config,
               const char *cluster_id, const struct installation *installation, struct error *err) {
    *redo = (struct redo){.pg = pg, .config = config, .cluster_id = cluster_id};
    redo->arena = arena_new(ARENA_BYTES);
    if (!redo->arena)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a repair");
    return (redo->digests = digests_new(err)) &&
           (redo->vault = vault_new(config_text(config, CONFIG_SECRETS_KEY_FILE),
                                    config_bool(config, CONFIG_SECRETS_ALLOW_PLAINTEXT), err)) &&
           claim_mac_keys(installation, redo->vault, redo->digests, err) &&
           (redo->commands = schema_set_new(command_readers(), command_type_count,
                                            config_text(config, CONFIG_SCHEMA_DIR), err)) &&
           (redo->encoder = result_encoder_new(result_schema(), redo->digests, err));
}

void redo_release(struct redo *redo) {
    result_encoder_free(redo->encoder);
    schema_set_free(redo->commands);
    vault_free(redo->vault);
    digests_free(redo->digests);
    arena_free(redo->arena);
    *redo = (struct redo){0};
}

/* ---- what does not fit ---- */

static bool mismatch(const struct record *record, struct error *err, const char *format, ...)
    PRINTF_LIKE(3, 4);

static bool mismatch(const struct record *record, struct error *err, const char *format, ...) {
    char text[384];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return error_set(err, FAULT_STATE, "mismatch", SLICE_FMT "/%" PRId32 " offset %" PRId64 ": %s",
                     SLICE_ARG(record->source.topic), record->source.partition,
                     record->source.offset, text);
}

static json_t *as_json(const struct redo *redo, uint64_t schema, struct slice body) {
    struct error ignored;
    json_t *json = NULL;
    const char *type;
    char *message = malloc(FRAMING_SIZE + body.size);
    struct messages *messages =
        messages_new(config_text(redo->config, CONFIG_SCHEMA_DIR), &ignored);
    if (message && messages) {
        framing_write(schema, message);
        memcpy(message + FRAMING_SIZE, body.data, body.size);
        struct slice whole = {.data = message, .size = FRAMING_SIZE + body.size};
        if (!message_decode(messages, whole, &json, &type, &ignored))
            json = NULL;
    }
    messages_free(messages);
    free(message);
    return json;
}

/* The fields that differ, the chain apart, which follows from the others. */
static void describe_difference(json_t *published, json_t *decided, char *text, size_t size) {
    const char *key;
    json_t *value;
    size_t used = 0;
    text[0] = '\0';
    json_object_foreach(published, key, value) {
        json_t *other = json_object_get(decided, key);
        if (strcmp(key, "chain") == 0 || json_equal(value, other) || used >= size)
            continue;
        char *a = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        char *b = other ? json_dumps(other, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        used += (size_t)snprintf(text + used, size - used, "%s%s %s, now %s", used ? "; " : "", key,
                                 a ? a : "?", b ? b : "?");
        free(a);
        free(b);
    }
    if (used == 0)
        snprintf(text, size, "the chain before it is another one");
}

static bool differs(const struct redo *redo, const struct command *command,
                    const struct published *published, struct error *err) {
    struct slice theirs = {.data = published->body, .size = published->size};
    json_t *before = as_json(redo, published->schema, theirs);
    json_t *now = as_json(redo, command->answer->body_schema, command->answer->body);
    char text[300];
    describe_difference(before, now, text, sizeof text);
    json_decref(before);
    json_decref(now);
    return mismatch(&command->record, err, "published: %s", text);
}

/* ---- order ---- */

static int compare_slices(struct slice a, struct slice b) {
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size ? memcmp(a.data, b.data, size) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_numbers(int64_t a, int64_t b) {
    return (a > b) - (a < b);
}

/* Within a time by account and sequence; what has no sequence, as it stands in its partition. */
static int by_time(const void *left, const void *right) {
    const struct lost_record *a = *(struct lost_record *const *)left;
    const struct lost_record *b = *(struct lost_record *const *)right;
    int order = compare_numbers(a->published->applied_at, b->published->applied_at);
    if (!order)
        order = compare_slices(a->published->account_id, b->published->account_id);
    if (!order)
        order = compare_numbers(a->published->account_sequence, b->published->account_sequence);
    if (!order)
        order = strcmp(rd_kafka_topic_name(a->message->rkt), rd_kafka_topic_name(b->message->rkt));
    if (!order)
        order = compare_numbers(a->message->partition, b->message->partition);
    return order ? order : compare_numbers(a->message->offset, b->message->offset);
}

/* ---- a group ---- */

static bool is_answered_otherwise(const struct lost_record *record) {
    return record->dead || (record->published && record->published->is_list);
}

static bool decode_group(struct redo *redo, struct lost_record *const *group, size_t count,
                         struct command *commands, struct error *err) {
    const struct decoder decoder = {.schemas = redo->commands,
                                    .digests = redo->digests,
                                    .cluster_id = slice_of(redo->cluster_id)};
    for (size_t i = 0; i < count; i++) {
        struct record record = intake_record(group[i]->message);
        if (!decode_record(&decoder, &record, redo->arena, &commands[i], err))
            return false;
        commands[i].refused_by_store = group[i]->published && group[i]->published->is_bug;
        if (commands[i].handling == HANDLE_DEAD_LETTER)
            return mismatch(&record, err,
                            "the command cannot be read here (%s), and there is no dead letter of "
                            "it: is schema.dir as it was?",
                            reason_info(commands[i].dead_reason)->urn);
        if (commands[i].handling == HANDLE_TOMBSTONE && group[i]->published)
            return mismatch(&record, err, "a result was published for a record without a value");
    }
    return true;
}

static bool decide_group(struct redo *redo, struct working_set *set, struct command *commands,
                         size_t count, int64_t applied_at, struct error *err) {
    const struct decider decider = {.digests = redo->digests,
                                    .encoder = redo->encoder,
                                    .can_keep_secrets = vault_is_open(redo->vault)};
    int64_t now_us;
    if (!working_set_init(set, redo->arena, count))
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a repair");
    return decide_want(set, commands, count, err) && load_rows(redo->pg, set, &now_us, err) &&
           decide_batch(&decider, set, commands, count, applied_at ? applied_at : now_us, err);
}

static bool check_answer(const struct redo *redo, const struct command *command,
                         const struct published *published, struct error *err) {
    const struct ledger_entry *answer = command->answer;
    if (published->schema != result_encoder_fingerprint(redo->encoder))
        return mismatch(&command->record, err,
                        "its result was published under another schema, by another release: "
                        "repair with that one");
    if (!answer->added)
        return mismatch(&command->record, err,
                        "the ledger has a command of this id already, of another record");
    if (answer->body.size == published->size &&
        memcmp(answer->body.data, published->body, published->size) == 0)
        return true;
    return differs(redo, command, published, err);
}

static void wipe(const struct command *commands, struct lost_record *const *group, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (commands[i].holds_secret)
            explicit_bzero(group[i]->message->payload, group[i]->message->len);
    }
}

/* The commands of one time: stored again when each comes out as it was published. */
static bool redo_group(struct redo *redo, struct lost_record *const *group, size_t count,
                       struct error *err) {
    struct working_set set;
    arena_reset(redo->arena);
    struct command *commands = arena_array(redo->arena, count, sizeof *commands);
    if (!commands)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a repair");
    bool ok = decode_group(redo, group, count, commands, err) &&
              decide_group(redo, &set, commands, count, group[0]->published->applied_at, err);
    for (size_t i = 0; ok && i < count; i++)
        ok = check_answer(redo, &commands[i], group[i]->published, err);
    ok = ok && store_rows(redo->pg, &set, digests_mac_key_id(redo->digests), redo->vault, err);
    wipe(commands, group, count);
    redo->restored += count;
    return ok;
}

/* Records without a result of their own: the ledger must have their answer now. */
static bool check_group(struct redo *redo, struct lost_record *const *group, size_t count,
                        struct error *err) {
    struct working_set set;
    arena_reset(redo->arena);
    struct command *commands = arena_array(redo->arena, count, sizeof *commands);
    if (!commands)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a repair");
    bool ok = decode_group(redo, group, count, commands, err) &&
              decide_group(redo, &set, commands, count, 0, err);
    for (size_t i = 0; ok && i < count; i++) {
        bool is_command = commands[i].handling == HANDLE_COMMAND && !commands[i].type->is_list;
        if (is_command && commands[i].answer->added)
            ok = mismatch(&commands[i].record, err,
                          "no result was published for the command, although its position is");
        redo->resends += is_command;
    }
    wipe(commands, group, count);
    return ok;
}

/* ---- all of them ---- */

/* Those with a result, or those without; the caller frees *ret. */
static bool gather(const struct lost *lost, bool published, struct lost_record ***ret,
                   size_t *ret_count, struct error *err) {
    size_t room = published ? lost->results : lost->records;
    struct lost_record **list = calloc(room ? room : 1, sizeof *list);
    *ret_count = 0;
    if (!list)
        return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a repair");
    for (size_t i = 0; i < lost->part_count; i++) {
        const struct lost_part *part = &lost->parts[i];
        for (int64_t k = 0; k < part->committed - part->next_offset; k++) {
            struct lost_record *record = &part->records[k];
            if (!record->message || (record->published != NULL) != published ||
                is_answered_otherwise(record))
                continue;
            list[(*ret_count)++] = record;
        }
    }
    *ret = list;
    return true;
}

static bool check_places(const struct lost *lost, struct error *err) {
    for (size_t i = 0; i < lost->part_count; i++) {
        const struct lost_part *part = &lost->parts[i];
        for (int64_t k = 0; k < part->committed - part->next_offset; k++) {
            if (part->records[k].published && !part->records[k].message)
                return error_set(err, FAULT_STATE, "mismatch",
                                 "%s/%" PRId32 " offset %" PRId64
                                 ": there is a result and no command",
                                 part->topic, part->partition, part->next_offset + k);
        }
    }
    return true;
}

/* Calls run for each stretch of records that belongs together, at most GROUP_MAX long. */
static bool each_group(struct redo *redo, struct lost_record **list, size_t count,
                       bool (*run)(struct redo *, struct lost_record *const *, size_t,
                                   struct error *),
                       struct progress *progress, struct error *err) {
    for (size_t first = 0, end; first < count; first = end) {
        const struct published *published = list[first]->published;
        for (end = first + 1; end < count && end - first < GROUP_MAX; end++) {
            if (published && list[end]->published->applied_at != published->applied_at)
                break;
        }
        if (stop_requested())
            return error_set(err, FAULT_STOP, "stopped", "interrupted");
        if (!run(redo, &list[first], end - first, err))
            return false;
        progress_step(progress, (int64_t)(end - first));
    }
    return true;
}

static size_t count_accounts(struct lost_record **list, size_t count) {
    size_t accounts = 0;
    for (size_t i = 0; i < count; i++)
        accounts += list[i]->published->account_sequence > 0 &&
                    (i == 0 || compare_slices(list[i]->published->account_id,
                                              list[i - 1]->published->account_id) != 0);
    return accounts;
}

static int by_account(const void *left, const void *right) {
    return compare_slices((*(struct lost_record *const *)left)->published->account_id,
                          (*(struct lost_record *const *)right)->published->account_id);
}

static bool redo_published(struct redo *redo, struct lost *lost, struct progress *progress,
                           struct error *err) {
    struct lost_record **list;
    size_t count;
    if (!gather(lost, true, &list, &count, err))
        return false;
    progress_begin(progress, "commands decided again", (int64_t)count);
    qsort(list, count, sizeof *list, by_time);
    bool ok = each_group(redo, list, count, redo_group, progress, err);
    qsort(list, count, sizeof *list, by_account);
    redo->accounts = count_accounts(list, count);
    free(list);
    return ok;
}

static bool check_others(struct redo *redo, struct lost *lost, struct progress *progress,
                         struct error *err) {
    struct lost_record **list;
    size_t count;
    if (!gather(lost, false, &list, &count, err))
        return false;
    progress_begin(progress, "resends", (int64_t)count);
    bool ok = each_group(redo, list, count, check_group, progress, err);
    free(list);
    return ok;
}

bool redo_run(struct redo *redo, struct lost *lost, struct progress *progress, struct error *err) {
    bool ok = check_places(lost, err) && redo_published(redo, lost, progress, err) &&
              check_others(redo, lost, progress, err);
    progress_end(progress);
    if (!ok)
        pg_rollback(redo->pg);
    return ok;
}
