/* The catalogue of errors against the cases: what the worker can answer is answered in some case,
 * and no case expects what the catalogue does not have. */
#include "tests/acceptance/case_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What no case shows yet, since only the commands named can give it. A row goes away with the first
 * case that has it. */
static const char *const of_other_commands[] = {
    /* EditChannel */
    "proxy-not-granted",
    "template-not-granted",
    "call-barring-not-granted",
    "secrets-not-configured",
    "ip-format",
    "cidr-host-bits",
    "ip-not-allowed",
    "too-many-entries",
    "conflicting-alias",
    "password-policy"};

static const char *const warnings_of_other_commands[] = {"duplicate-collapsed", "failover-loop",
                                                         "whitelist-broad", "whitelist-overlap"};

/* Needs a store that refuses a command: in the tests of faults. */
static const char *const beyond_cases[] = {"bug"};

static struct case_list *list;
static json_t *produced; /* reasons without identifier, and codes of warnings */

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static const char *last_segment(const char *urn) {
    const char *colon = strrchr(urn, ':');
    return colon ? colon + 1 : urn;
}

static void collect_members(const json_t *result, const char *list_name, const char *key) {
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(result, list_name), i, item) {
        json_object_set_new(produced, last_segment(text_of(item, key)), json_true());
    }
}

static void collect(const struct acceptance_case *one) {
    size_t i;
    json_t *step;
    json_array_foreach(one->steps, i, step) {
        const char *dead_letter = text_of(step, "dead_letter");
        if (*dead_letter)
            json_object_set_new(produced, last_segment(dead_letter), json_true());
        collect_members(json_object_get(step, "result"), "errors", "reason");
        collect_members(json_object_get(step, "result"), "warnings", "code");
    }
}

static bool lists(const char *const *names, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(names[i], name))
            return true;
    }
    return false;
}

#define LISTS(names, name) lists((names), sizeof(names) / sizeof(names)[0], (name))

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
        bool excused = LISTS(of_other_commands, reason) || LISTS(beyond_cases, reason);
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
        bool shown = json_object_get(produced, code) != NULL;
        if (shown == LISTS(warnings_of_other_commands, code))
            fail_msg("%s: %s", code, shown ? "no longer excused" : "no case expects it");
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
    for (size_t i = 0; i < sizeof of_other_commands / sizeof of_other_commands[0]; i++) {
        if (!find("errors", "reason", of_other_commands[i]))
            fail_msg("%s is not in the catalogue", of_other_commands[i]);
    }
    for (size_t i = 0; i < sizeof warnings_of_other_commands / sizeof warnings_of_other_commands[0];
         i++) {
        if (!find("warnings", "code", warnings_of_other_commands[i]))
            fail_msg("%s is not in the catalogue", warnings_of_other_commands[i]);
    }
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
        cmocka_unit_test(the_four_pairs_of_the_guide_stand_in_the_catalogue),
        cmocka_unit_test(each_reason_extends_its_identifier_by_one_segment),
    };
    list = case_list_load();
    produced = json_object();
    for (size_t i = 0; i < list->count; i++)
        collect(&list->cases[i]);
    int failed = cmocka_run_group_tests_name("X3", tests, NULL, NULL);
    json_decref(produced);
    case_list_free(list);
    return failed;
}
