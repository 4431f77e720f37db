/* X3: the catalogue of errors and the table of settings against the cases: what the worker can
 * answer is answered in some case, each setting is changed by one and refused by another, and no
 * case expects what the catalogue does not have. */
#include "tests/acceptance/case_file.h"
#include "worker/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Needs a store that refuses a command: in the tests of faults. */
static const char beyond_cases[] = "bug";

static struct case_list *list;
static json_t *produced; /* reasons without identifier, and codes of warnings */
static json_t *changed;  /* pointers of changes */
static json_t *refused;  /* pointers of errors of single fields, and of items in them */

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static const char *last_segment(const char *urn) {
    const char *colon = strrchr(urn, ':');
    return colon ? colon + 1 : urn;
}

static void collect_members(const json_t *result, const char *list_name, const char *key,
                            json_t *into) {
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(result, list_name), i, item) {
        json_object_set_new(into, last_segment(text_of(item, key)), json_true());
    }
}

static void collect(const struct acceptance_case *one) {
    size_t i;
    json_t *step;
    json_array_foreach(one->steps, i, step) {
        const char *dead_letter = text_of(step, "dead_letter");
        const json_t *result = json_object_get(step, "result");
        if (*dead_letter)
            json_object_set_new(produced, last_segment(dead_letter), json_true());
        collect_members(result, "errors", "reason", produced);
        collect_members(result, "warnings", "code", produced);
        collect_members(result, "changes", "pointer", changed);
        collect_members(result, "errors", "pointer", refused);
    }
}

static const json_t *find(const char *list_name, const char *key, const char *name) {
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(list->catalogue, list_name), i, entry) {
        if (!strcmp(text_of(entry, key), name))
            return entry;
    }
    return NULL;
}

static void each_reason_of_the_worker_is_produced_by_a_case(void **state) {
    (void)state;
    size_t i, failures = 0;
    json_t *entry;
    json_array_foreach(json_object_get(list->catalogue, "errors"), i, entry) {
        const char *reason = text_of(entry, "reason");
        bool shown = json_object_get(produced, reason) != NULL;
        bool ours = !strcmp(text_of(entry, "produced_by"), "worker");
        bool excused = !strcmp(reason, beyond_cases);
        if (shown == (ours && !excused))
            continue;
        print_error("%s: %s\n", reason,
                    !shown    ? "no case expects it"
                    : excused ? "a case expects it, so it is no longer excused"
                              : "a case expects what the worker does not answer");
        failures++;
    }
    assert_int_equal(failures, 0);
}

static void each_warning_is_produced_by_a_case(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(list->catalogue, "warnings"), i, entry) {
        const char *code = text_of(entry, "code");
        if (!json_object_get(produced, code))
            fail_msg("%s: no case expects it", code);
    }
}

static void what_is_produced_or_excused_is_in_the_catalogue(void **state) {
    (void)state;
    const char *name;
    json_t *value;
    json_object_foreach(produced, name, value) {
        if (!find("errors", "reason", name) && !find("warnings", "code", name))
            fail_msg("%s is not in the catalogue", name);
    }
    assert_non_null(find("errors", "reason", beyond_cases));
}

/* The pointer itself, or that of its first item. */
static bool is_refused(const char *pointer) {
    char item[128];
    snprintf(item, sizeof item, "%s/0", pointer);
    return json_object_get(refused, pointer) || json_object_get(refused, item);
}

static void each_setting_is_changed_by_a_case_and_refused_by_another(void **state) {
    (void)state;
    size_t failures = 0;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        bool changes = json_object_get(changed, settings[i].pointer) != NULL;
        bool refuses = is_refused(settings[i].pointer);
        if (changes && refuses)
            continue;
        print_error("%s: no case %s it\n", settings[i].pointer, changes ? "refuses" : "changes");
        failures++;
    }
    for (size_t i = 0; i < setting_alias_count; i++) {
        if (!is_refused(setting_aliases[i].pointer))
            fail_msg("%s: no case refuses it", setting_aliases[i].pointer);
    }
    assert_int_equal(failures, 0);
}

/* Byte for byte as the API guide has them. */
static void the_four_pairs_of_the_guide_stand_in_the_catalogue(void **state) {
    (void)state;
    static const char *const pairs[][3] = {
        {"proxy-not-found", "urn:error:sip-trunk:operator", "Proxy not found"},
        {"proxy-not-granted", "urn:error:sip-trunk:insufficient-rights", "Proxy not found"},
        {"channel-not-found", "urn:error:sip-trunk:operator", "Channel name does not exist"},
        {"number-type-not-set", "urn:error:sip-trunk:operator",
         "Channel Number selected does not have Number type"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const json_t *entry = find("errors", "reason", pairs[i][0]);
        assert_non_null(entry);
        assert_string_equal(text_of(entry, "identifier"), pairs[i][1]);
        assert_string_equal(text_of(entry, "message"), pairs[i][2]);
    }
}

static void each_reason_extends_its_identifier_by_one_segment(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(list->catalogue, "errors"), i, entry) {
        const char *identifier = text_of(entry, "identifier"), *urn = text_of(entry, "urn");
        size_t size = strlen(identifier);
        assert_int_equal(strncmp(urn, identifier, size), 0);
        assert_int_equal(urn[size], ':');
        assert_string_equal(urn + size + 1, text_of(entry, "reason"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_reason_of_the_worker_is_produced_by_a_case),
        cmocka_unit_test(each_warning_is_produced_by_a_case),
        cmocka_unit_test(what_is_produced_or_excused_is_in_the_catalogue),
        cmocka_unit_test(each_setting_is_changed_by_a_case_and_refused_by_another),
        cmocka_unit_test(the_four_pairs_of_the_guide_stand_in_the_catalogue),
        cmocka_unit_test(each_reason_extends_its_identifier_by_one_segment),
    };
    list = case_list_load();
    produced = json_object();
    changed = json_object();
    refused = json_object();
    for (size_t i = 0; i < list->count; i++)
        collect(&list->cases[i]);
    int failed = cmocka_run_group_tests_name("X3", tests, NULL, NULL);
    json_decref(produced);
    json_decref(changed);
    json_decref(refused);
    case_list_free(list);
    return failed;
}
