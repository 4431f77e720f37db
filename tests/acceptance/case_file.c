/* Reads the files with jansson and fills in what they leave out. */
#include "tests/acceptance/case_file.h"

#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY SOURCE_DIR "/tests/acceptance/"

static _Noreturn void give_up(const char *file, const char *text) {
    fprintf(stderr, "%s: %s\n", file, text);
    exit(1);
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static json_t *read_json(const char *path) {
    json_error_t error;
    json_t *json = json_load_file(path, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!json) {
        fprintf(stderr, "%s:%d: %s\n", path, error.line, error.text);
        exit(1);
    }
    return json;
}

/* ---- {"repeat": "x", "times": 5} and {"list": "x", "times": 5} ---- */

static json_t *repeated(const json_t *object) {
    const char *piece = text_of(object, "repeat");
    size_t times = (size_t)json_integer_value(json_object_get(object, "times"));
    size_t size = strlen(piece);
    char *text = malloc(times * size + 1);
    for (size_t i = 0; i < times; i++)
        memcpy(text + i * size, piece, size);
    json_t *json = json_stringn(text, times * size);
    free(text);
    return json;
}

static json_t *listed(const json_t *object) {
    json_t *list = json_array();
    for (json_int_t i = json_integer_value(json_object_get(object, "times")); i > 0; i--)
        json_array_append(list, json_object_get(object, "list"));
    return list;
}

static void expand(json_t *json);

/* What stands for the member, or the member itself. */
static json_t *expanded(json_t *member) {
    if (json_object_get(member, "repeat"))
        return repeated(member);
    if (json_object_get(member, "list"))
        return listed(member);
    expand(member);
    return json_incref(member);
}

static void expand(json_t *json) {
    const char *key;
    json_t *member;
    void *next;
    size_t i;
    json_object_foreach_safe(json, next, key, member) {
        json_object_set_new(json, key, expanded(member));
    }
    json_array_foreach(json, i, member) {
        json_array_set_new(json, i, expanded(member));
    }
}

/* ---- the expected result ---- */

static const json_t *catalogue_entry(const json_t *catalogue, const char *reason) {
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(catalogue, "errors"), i, entry) {
        const char *urn = text_of(entry, "urn");
        size_t tail = strlen(reason);
        if (strlen(urn) > tail && urn[strlen(urn) - tail - 1] == ':' &&
            !strcmp(urn + strlen(urn) - tail, reason) && strchr(reason, ':'))
            return entry;
    }
    return NULL;
}

static int success_code(const char *type) {
    if (!strcmp(type, "ConnectNumber"))
        return 201;
    if (!strcmp(type, "DisconnectNumber") || !strcmp(type, "RemoveOperatorConnectNumberType"))
        return 204;
    return 200;
}

static void set_text(json_t *result, const char *key, const json_t *value, const char *otherwise) {
    json_t *text = json_is_string(value)
                       ? json_stringn(json_string_value(value), json_string_length(value))
                   : otherwise ? json_string(otherwise)
                               : json_null();
    json_object_set_new(result, key, text);
}

static json_t *expected_errors(const char *file, const json_t *catalogue, const json_t *refused) {
    size_t i;
    json_t *row, *errors = json_array();
    json_array_foreach(refused, i, row) {
        const char *reason = json_string_value(json_array_get(row, 0));
        const json_t *entry = reason ? catalogue_entry(catalogue, reason) : NULL;
        if (!entry)
            give_up(file, reason ? reason : "an error without a reason");
        json_t *error = json_object();
        json_object_set(error, "reason", json_object_get(entry, "urn"));
        json_object_set(error, "pointer", json_array_get(row, 1));
        if (json_array_size(row) == 3)
            json_object_set(error, "message_contains", json_array_get(row, 2));
        json_array_append_new(errors, error);
    }
    return errors;
}

static json_t *expected_rows(const json_t *rows, const char *const keys[3]) {
    size_t i;
    json_t *row, *objects = json_array();
    json_array_foreach(rows, i, row) {
        json_t *object = json_object();
        for (size_t k = 0; k < json_array_size(row) && k < 3; k++)
            json_object_set(object, keys[k], json_array_get(row, k));
        json_array_append_new(objects, object);
    }
    return objects;
}

static void expect_refusal(const char *file, const json_t *catalogue, json_t *result,
                           const json_t *refused) {
    const char *first = json_string_value(json_array_get(json_array_get(refused, 0), 0));
    const json_t *entry = first ? catalogue_entry(catalogue, first) : NULL;
    static const char *const keys[] = {"identifier", "message", "urn", "status_code"};
    static const char *const fields[] = {"error_identifier", "error_message", "error_reason",
                                         "status_code"};
    json_object_set_new(result, "errors", expected_errors(file, catalogue, refused));
    for (size_t i = 0; i < 4; i++) {
        json_t *value = entry ? json_object_get(entry, keys[i]) : NULL;
        json_object_set(result, fields[i], value ? value : json_null());
    }
}

/* ---- lists ---- */

static bool is_list(const char *type) {
    return !strncmp(type, "List", 4);
}

/* An item says only what it has. */
static void complete_items(json_t *items) {
    static const char *const keys[] = {"caller_id", "id", "name", "code"};
    size_t i;
    json_t *item;
    json_array_foreach(items, i, item) {
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
            if (!json_object_get(item, keys[k]))
                json_object_set_new(item, keys[k], json_null());
        }
    }
}

static void default_member(json_t *result, const json_t *send, const char *key, int otherwise) {
    json_t *sent = json_object_get(send, key);
    json_object_set_new(result, key, sent ? json_incref(sent) : json_integer(otherwise));
}

/* What an answered list has beside its items. */
static void expect_list(json_t *result, const json_t *send) {
    json_object_set_new(result, "channel_version", json_null());
    if (!strcmp(text_of(result, "outcome"), "REJECTED"))
        return;
    json_object_set_new(result, "outcome", json_string("NO_CHANGE"));
    if (strcmp(text_of(send, "type"), "ListCallerIds") != 0)
        return;
    default_member(result, send, "offset", 0);
    default_member(result, send, "limit", 100);
}

/* Everything as sent, nothing else; the file says what is otherwise. */
static json_t *expected_result(const char *file, const json_t *catalogue, const json_t *send,
                               const json_t *expect) {
    static const char *const echoes[] = {"correlation_id", "batch_id",     "source_system",
                                         "actor",          "channel_name", "number"};
    static const char *const nulls[] = {
        "previous_channel_name", "number_type", "items", "offset", "limit", "total"};
    static const char *const change[] = {"pointer", "before", "after"};
    static const char *const warning[] = {"code", "pointer", "message"};
    const json_t *refused = json_object_get(expect, "refused");
    refused = json_is_array(refused) ? refused : NULL;
    json_t *result = json_object();
    set_text(result, "command_id", json_object_get(send, "command_id"), "");
    set_text(result, "account_id", json_object_get(send, "account_id"), "");
    json_object_set_new(result, "command_type", json_string(text_of(send, "type")));
    for (size_t i = 0; i < sizeof echoes / sizeof echoes[0]; i++)
        set_text(result, echoes[i], json_object_get(send, echoes[i]), NULL);
    set_text(result, "number_as_received", json_object_get(send, "number"), NULL);
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++)
        json_object_set_new(result, nulls[i], json_null());
    expect_refusal(file, catalogue, result, refused);
    if (!refused)
        json_object_set_new(result, "status_code",
                            json_integer(success_code(text_of(send, "type"))));
    json_object_update(result, (json_t *)(size_t)expect);
    json_object_set_new(result, "warnings",
                        expected_rows(json_object_get(expect, "warnings"), warning));
    json_object_set_new(result, "changes",
                        expected_rows(json_object_get(expect, "changes"), change));
    json_object_del(result, "refused");
    json_object_del(result, "body_has");
    json_object_del(result, "body_lacks");
    if (refused)
        json_object_set_new(result, "outcome", json_string("REJECTED"));
    complete_items(json_object_get(result, "items"));
    if (is_list(text_of(send, "type")))
        expect_list(result, send);
    if (!json_object_get(result, "outcome"))
        give_up(file, "a result without an outcome");
    return result;
}

/* ---- versions of channels ---- */

static char *channel_key(const json_t *account_id, const json_t *name) {
    const char *id = json_string_value(account_id), *text = json_string_value(name);
    char *key = NULL;
    if (asprintf(&key, "%s %s", id ? id : "", text ? text : "") < 0)
        abort();
    for (char *c = key; *c && *c != ' '; c++)
        *c = (char)tolower((unsigned char)*c);
    return key;
}

static bool is_text(const json_t *result, const char *key, const char *text) {
    return !strcmp(text_of(result, key), text);
}

static const json_t *new_name(const json_t *result) {
    size_t i;
    json_t *change;
    json_array_foreach(json_object_get(result, "changes"), i, change) {
        if (is_text(change, "pointer", "/new_name"))
            return json_object_get(change, "after");
    }
    return NULL;
}

/* Versions start at 1, or where "edits" left them, and each applied edit counts. What a result of
 * success does not state is what has come of it. */
static void count_versions(json_t *versions, const json_t *send, json_t *result) {
    bool edits = is_text(result, "command_type", "EditChannel");
    const json_t *name = json_object_get(edits ? send : result, "channel_name");
    json_t *account_id = json_object_get(send, "account_id");
    char *key = channel_key(account_id, name);
    json_int_t version = json_integer_value(json_object_get(versions, key));
    version = version ? version : 1;
    if (edits && is_text(result, "outcome", "APPLIED")) {
        const json_t *renamed = new_name(result);
        char *new_key = channel_key(account_id, renamed ? renamed : name);
        json_object_del(versions, key);
        json_object_set_new(versions, new_key, json_integer(++version));
        free(new_key);
    }
    free(key);
    if (!json_object_get(result, "channel_version"))
        json_object_set_new(result, "channel_version",
                            is_text(result, "outcome", "REJECTED") ? json_null()
                                                                   : json_integer(version));
}

static json_t *versions_at_first(const json_t *edits) {
    size_t i;
    json_t *edit, *versions = json_object();
    json_array_foreach(edits, i, edit) {
        char *key =
            channel_key(json_object_get(edit, "account_id"), json_object_get(edit, "channel_name"));
        if (json_object_get(edit, "version"))
            json_object_set(versions, key, json_object_get(edit, "version"));
        free(key);
    }
    return versions;
}

/* ---- a case ---- */

static void default_ids(json_t *send, const char *account_id, size_t index) {
    char command_id[64];
    snprintf(command_id, sizeof command_id, "00000000-0000-4000-8000-%012zu", index + 1);
    if (!json_object_get(send, "command_id"))
        json_object_set_new(send, "command_id", json_string(command_id));
    if (!json_object_get(send, "account_id"))
        json_object_set_new(send, "account_id", json_string(account_id));
}

/* A resend is the earlier command once more, perhaps with another envelope. */
static void complete_resend(json_t *steps, json_t *step) {
    json_t *index = json_object_get(step, "resend");
    const json_t *earlier = json_array_get(steps, (size_t)json_integer_value(index));
    json_t *send = json_deep_copy(json_object_get(earlier, "send"));
    json_object_update(send, json_object_get(step, "with"));
    json_object_set_new(step, "send", send);
    if (!json_object_get(step, "writer") && json_object_get(earlier, "writer"))
        json_object_set(step, "writer", json_object_get(earlier, "writer"));
    if (!json_object_get(step, "expect"))
        json_object_set_new(step, "expect", json_pack("{sO}", "same_as", index));
}

static void complete_step(const char *file, const json_t *catalogue, json_t *steps, size_t index,
                          json_t *all, const char *account_id, json_t *versions) {
    json_t *step = json_array_get(steps, index);
    if (json_object_get(step, "redeliver"))
        return;
    if (json_object_get(step, "resend")) {
        complete_resend(steps, step);
    } else if (json_object_get(step, "send")) {
        json_object_update_missing(json_object_get(step, "send"), json_object_get(all, "send"));
        default_ids(json_object_get(step, "send"), account_id, index);
        if (!json_object_get(step, "expect"))
            json_object_set_new(step, "expect", json_object());
    }
    json_t *expect = json_object_get(step, "expect");
    static const char *const others[] = {"same_as", "dead_letter", "passed_over"};
    for (size_t i = 0; i < 3; i++) {
        json_t *other = json_object_get(expect, others[i]);
        if (!other)
            continue;
        json_object_set(step, others[i], other);
        return;
    }
    json_object_update_missing(expect, json_object_get(all, "expect"));
    json_t *send = json_object_get(step, "send");
    json_object_set_new(step, "result", expected_result(file, catalogue, send, expect));
    count_versions(versions, send, json_object_get(step, "result"));
}

static const char *first_account(const json_t *inventory) {
    size_t i;
    json_t *line;
    json_array_foreach(inventory, i, line) {
        if (!strcmp(text_of(line, "type"), "account"))
            return text_of(line, "id");
    }
    return "";
}

static void add_case(struct case_list *list, const char *file, const json_t *shared, json_t *json) {
    list->cases = realloc(list->cases, (list->count + 1) * sizeof *list->cases);
    struct acceptance_case *added = &list->cases[list->count++];
    *added = (struct acceptance_case){
        .inventory = shared ? json_deep_copy(shared) : json_array(),
        .edits = json_incref(json_object_get(json, "edits")),
        .steps = json_incref(json_object_get(json, "steps")),
        .after = json_incref(json_object_get(json, "after")),
        .without_secrets = json_is_false(json_object_get(json, "secrets")),
    };
    if (asprintf(&added->name, "%s: %s", text_of(json, "id"), text_of(json, "title")) < 0 ||
        !added->steps)
        give_up(file, "a case without steps");
    json_array_extend(added->inventory, json_object_get(json, "inventory"));
    json_t *versions = versions_at_first(added->edits);
    for (size_t i = 0; i < json_array_size(added->steps); i++)
        complete_step(file, list->catalogue, added->steps, i, json_object_get(json, "all"),
                      first_account(added->inventory), versions);
    json_decref(versions);
}

static void add_file(struct case_list *list, const char *path) {
    json_t *file = read_json(path);
    size_t i;
    json_t *json;
    expand(file);
    json_array_foreach(json_object_get(file, "cases"), i, json) {
        add_case(list, path, json_object_get(file, "inventory"), json);
    }
    json_decref(file);
}

static void check_names(const struct case_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!strcmp(list->cases[i].name, list->cases[j].name))
                give_up("two cases have one name", list->cases[i].name);
        }
    }
}

struct case_list *case_list_load(void) {
    struct case_list *list = calloc(1, sizeof *list);
    glob_t files;
    list->catalogue = read_json(SOURCE_DIR "/schemas/errors.json");
    if (glob(DIRECTORY "*.json", 0, NULL, &files) != 0)
        give_up(DIRECTORY, "there are no cases");
    for (size_t i = 0; i < files.gl_pathc; i++)
        add_file(list, files.gl_pathv[i]);
    globfree(&files);
    check_names(list);
    return list;
}

void case_list_free(struct case_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        struct acceptance_case *one = &list->cases[i];
        free(one->name);
        json_decref(one->inventory);
        json_decref(one->edits);
        json_decref(one->steps);
        json_decref(one->after);
    }
    free(list->cases);
    json_decref(list->catalogue);
    free(list);
}
