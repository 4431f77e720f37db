/* How commands are cut into batches changes nothing: random sequences that meet on a few channels
 * and numbers, decided one by one and in larger batches, have the same results and leave the same
 * rows. SIPTRUNK_TEST_SEED repeats a run. */
#include "tests/acceptance/decide_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { ROUNDS = 120, MAX_COMMANDS = 100 };

static const char account_a[] = "013dc5c1-ff09-4ece-ad3a-7f8f60949407";
static const char account_b[] = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

static const char inventory[] =
    "[{'type':'proxy','id':'00000000-0000-4000-8000-0000000000a1','name':'1'},"
    " {'type':'proxy','id':'00000000-0000-4000-8000-0000000000a2','name':'2'},"
    " {'type':'template','id':'00000000-0000-4000-8000-0000000000a1','name':'1'},"
    " {'type':'call_barring','code':'INT','name':''},{'type':'call_barring','code':'MOB','name':''}"
    ","
    " {'type':'account','id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407',"
    "  'proxies':['00000000-0000-4000-8000-0000000000a1'],"
    "  'templates':['00000000-0000-4000-8000-0000000000a1'],'call_barrings':['INT','MOB'],"
    "  'caller_ids':['+31500000000','+31500000001']},"
    " {'type':'account','id':'7c9e6679-7425-40de-944b-e07fc1f90ae7','call_barrings':['MOB'],"
    "  'proxies':['00000000-0000-4000-8000-0000000000a2'],'caller_ids':['+33140000000']},"
    " {'type':'channel','account_id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407','name':'alpha',"
    "  'subscription':'sip_trunk'},"
    " {'type':'channel','account_id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407','name':'beta',"
    "  'subscription':'operator_connect'},"
    " {'type':'channel','account_id':'7c9e6679-7425-40de-944b-e07fc1f90ae7','name':'alpha',"
    "  'subscription':'operator_connect'},"
    " {'type':'channel','account_id':'7c9e6679-7425-40de-944b-e07fc1f90ae7','name':'gamma',"
    "  'subscription':'sip_trunk'},"
    " {'type':'number','number':'+31500000000','account_id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407',"
    "  'kind':'fixed','state':'available'},"
    " {'type':'number','number':'+31500000001','account_id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407',"
    "  'kind':'fixed','state':'available','channel':'beta','number_type':'User'},"
    " {'type':'number','number':'+31500000002','account_id':'013dc5c1-ff09-4ece-ad3a-7f8f60949407',"
    "  'kind':'mobile','state':'available'},"
    " {'type':'number','number':'+33140000000','account_id':'7c9e6679-7425-40de-944b-e07fc1f90ae7',"
    "  'kind':'fixed','state':'available','channel':'alpha'},"
    " {'type':'number','number':'+33140000001','account_id':'7c9e6679-7425-40de-944b-e07fc1f90ae7',"
    "  'kind':'fixed','state':'quarantined'}]";

static struct decide_run *world;
static json_t *lines; /* of the inventory */
static json_t *shown; /* what came of all commands: "type outcome" -> true, and others */
static unsigned seed;
static uint64_t state_of_choice;

/* ---- choice ---- */

static unsigned below(unsigned limit) {
    state_of_choice = state_of_choice * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state_of_choice >> 33) % limit;
}

static bool one_in(unsigned count) {
    return below(count) == 0;
}

static const char *one_of(const char *const *texts) {
    unsigned count = 0;
    while (texts[count])
        count++;
    return texts[below(count)];
}

#define ONE_OF(...) one_of((const char *const[]){__VA_ARGS__, NULL})

static void set(json_t *object, const char *key, json_t *value) {
    assert_int_equal(json_object_set_new(object, key, value), 0);
}

static void set_text(json_t *object, const char *key, const char *text) {
    set(object, key, json_string(text));
}

/* ---- commands ---- */

static const char *some_name(void) {
    return one_in(20) ? ONE_OF("", " x", "Alpha", "nowhere")
                      : ONE_OF("alpha", "beta", "gamma", "delta");
}

static const char *some_number(void) {
    return one_in(12) ? ONE_OF("0031500000000", "+31599999999", "31500000000", "", "+31500000002")
                      : ONE_OF("+31500000000", "+31500000001", "+33140000000", "+33140000001");
}

static json_t *some_codes(void) {
    json_t *codes = json_array();
    for (unsigned i = below(4); i > 0; i--)
        json_array_append_new(codes, json_string(one_in(8) ? "NONE" : ONE_OF("INT", "MOB")));
    return codes;
}

static json_t *some_seconds(void) {
    return one_in(3) ? json_null() : json_string(ONE_OF("10", "20", "20", "30", "x"));
}

static json_t *some_trunk(void) {
    json_t *trunk = json_object();
    if (one_in(3))
        set(trunk, "ping", json_integer(one_in(8) ? 9 : 1 + below(3)));
    if (one_in(4))
        set_text(trunk, ONE_OF("proxy_id", "channel_proxy_id"),
                 ONE_OF("00000000-0000-4000-8000-0000000000a1",
                        "00000000-0000-4000-8000-0000000000A1",
                        "00000000-0000-4000-8000-0000000000a2"));
    if (one_in(6))
        set_text(trunk, "template_id", "00000000-0000-4000-8000-0000000000a1");
    if (one_in(4))
        set_text(trunk, "ip_whitelist",
                 ONE_OF("", "10.0.0.1", "10.0.0.1;10.0.0.0/24", "10.0.0.1/24", "2001:DB8::1"));
    if (one_in(6))
        set_text(trunk, "reference", ONE_OF("", "a", "b"));
    if (one_in(6))
        set(trunk, "call_forwarding_facilities", json_boolean(below(2)));
    return trunk;
}

static json_t *some_audio(void) {
    json_t *audio = json_object();
    if (one_in(2))
        set(audio, "rtp_timeout", some_seconds());
    if (one_in(2))
        set(audio, "rtp_hold_timeout", some_seconds());
    if (one_in(6))
        set(audio, "call_forwarding_facilities", json_boolean(below(2)));
    return audio;
}

static void add_settings(json_t *send) {
    if (one_in(2))
        set_text(send, "new_name", some_name());
    if (one_in(5))
        set_text(send, "password", ONE_OF("Tr0ub4dor&3-a", "Tr0ub4dor&3-b", "short", "xxalphaxx"));
    if (one_in(4))
        set_text(send, "caller_id", some_number());
    if (one_in(3))
        set_text(send, "area_code", ONE_OF("1", "2", "3", "x"));
    if (one_in(4))
        set(send, "call_barrings", some_codes());
    if (one_in(3))
        set(send, "sip_trunk", some_trunk());
    if (one_in(3))
        set(send, "audio_stream", some_audio());
    if (one_in(5))
        set(send, "clip", json_pack("{si}", "method", (int)below(4)));
    if (one_in(5))
        set(send, "failover", json_pack("{ss}", "forward_to", some_number()));
}

static void add_own_fields(json_t *send, const char *type) {
    bool disconnects = !strcmp(type, "DisconnectNumber"), edits = !strcmp(type, "EditChannel");
    if (!disconnects || one_in(4))
        set_text(send, "channel_name", some_name());
    if (!edits)
        set_text(send, "number", some_number());
    if (!strcmp(type, "SetOperatorConnectNumberType"))
        set_text(send, "number_type", ONE_OF("User", "User", "Resource Account", "", "user"));
    if (edits)
        add_settings(send);
}

static json_t *some_command(void) {
    const char *type = ONE_OF("ConnectNumber", "DisconnectNumber", "EditChannel", "EditChannel",
                              "SetOperatorConnectNumberType", "RemoveOperatorConnectNumberType");
    json_t *send = json_pack("{ss}", "type", type);
    set_text(send, "account_id",
             one_in(30)  ? ONE_OF("nobody", "99999999-9999-4999-8999-999999999999")
             : one_in(3) ? account_b
                         : account_a);
    add_own_fields(send, type);
    if (one_in(8))
        set(send, "expected_version", json_integer(1 + below(5)));
    if (one_in(8))
        set(send, "dry_run", json_true());
    return send;
}

static json_t *new_id(size_t index) {
    char id[64];
    if (one_in(40))
        return json_string("no id");
    snprintf(id, sizeof id, "00000000-0000-4000-8000-%012zu", index);
    return json_string(id);
}

/* A new command, one sent before (with another correlation id), another command under an id used
 * before, or no command at all. */
static json_t *some_step(const json_t *steps) {
    size_t count = json_array_size(steps);
    const json_t *earlier = count ? json_array_get(steps, below((unsigned)count)) : NULL;
    const json_t *send = json_object_get(earlier, "send");
    if (one_in(40))
        return json_pack("{so}", "bytes", one_in(3) ? json_null() : json_string("c301ff"));
    if (send && one_in(8)) {
        json_t *again = json_deep_copy(send);
        set_text(again, "correlation_id", "again");
        return json_pack("{so}", "send", again);
    }
    json_t *command = some_command();
    if (send && one_in(12))
        set(command, "command_id", json_copy(json_object_get(send, "command_id")));
    else
        set(command, "command_id", new_id(count));
    return json_pack("{so}", "send", command);
}

/* ---- what is compared ---- */

static struct memory *new_memory(void) {
    struct memory *memory = memory_new();
    size_t i;
    json_t *line;
    json_array_foreach(lines, i, line) {
        memory_add(memory, line);
    }
    return memory;
}

static void note(const struct answer *answer) {
    char text[256];
    if (answer->handling != HANDLE_COMMAND)
        return;
    json_t *result = decide_run_result(world, answer);
    const char *reason = json_string_value(json_object_get(result, "error_reason"));
    snprintf(text, sizeof text, "%s %s", json_string_value(json_object_get(result, "command_type")),
             json_string_value(json_object_get(result, "outcome")));
    set(shown, text, json_true());
    if (reason)
        set(shown, reason, json_true());
    if (answer->replayed)
        set(shown, "replayed", json_true());
    json_decref(result);
}

static _Noreturn void fail_in(size_t round, size_t batch_size, const json_t *steps, size_t index,
                              const struct answer *expected, const struct answer *actual) {
    print_error("seed %u, round %zu, batches of %zu\n", seed, round, batch_size);
    for (size_t i = 0; i <= index && i < json_array_size(steps); i++) {
        char *text = json_dumps(json_array_get(steps, i), JSON_COMPACT);
        print_error("%zu %s\n", i, text);
        free(text);
    }
    const struct answer *both[] = {expected, actual};
    for (size_t i = 0; expected && i < 2; i++) {
        json_t *result = both[i]->body.size ? decide_run_result(world, both[i]) : json_null();
        char *text = json_dumps(result, JSON_ENCODE_ANY | JSON_INDENT(1));
        print_error("%s: %s\n", i ? "in batches" : "one by one", text);
        free(text);
        json_decref(result);
    }
    fail();
    abort();
}

static bool same_views(const struct memory *a, const struct memory *b) {
    json_t *(*const views[])(const struct memory *) = {memory_number_view, memory_channel_view,
                                                       memory_result_view};
    bool same = memory_same_passwords(a, b);
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        json_t *first = views[i](a), *second = views[i](b);
        same = same && json_equal(first, second);
        json_decref(first);
        json_decref(second);
    }
    return same;
}

/* ---- rounds ---- */

static size_t make_round(json_t *steps, struct sent *sent) {
    size_t count = 2 + below(MAX_COMMANDS - 2);
    for (size_t i = 0; i < count; i++) {
        json_t *step = some_step(steps);
        json_array_append_new(steps, step);
        decide_run_make(world, step, (int64_t)i, &sent[i]);
    }
    /* Some records come once more, as after a crash. */
    for (size_t i = 1; i < count; i++) {
        if (one_in(25))
            sent[i].record = sent[below((unsigned)i)].record;
    }
    return count;
}

static void run_round(size_t round) {
    static const size_t sizes[] = {2, 7, 1000};
    struct sent sent[MAX_COMMANDS] = {0};
    json_t *steps = json_array();
    size_t count = make_round(steps, sent);
    struct memory *memory = new_memory();
    struct answer *one_by_one = decide_run_all(world, memory, sent, count, 1, 0);
    for (size_t i = 0; i < count; i++)
        note(&one_by_one[i]);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct memory *other = new_memory();
        struct answer *answers = decide_run_all(world, other, sent, count, sizes[s], 0);
        for (size_t i = 0; i < count; i++) {
            if (!answers_equal(&one_by_one[i], &answers[i]))
                fail_in(round, sizes[s], steps, i, &one_by_one[i], &answers[i]);
        }
        if (!same_views(memory, other))
            fail_in(round, sizes[s], steps, count, NULL, NULL);
        answers_free(answers, count);
        memory_free(other);
    }
    answers_free(one_by_one, count);
    memory_free(memory);
    for (size_t i = 0; i < count; i++)
        buffer_free(&sent[i].value);
    json_decref(steps);
}

static void batches_of_any_size_have_the_same_results_and_leave_the_same_rows(void **state) {
    (void)state;
    for (size_t round = 0; round < ROUNDS; round++)
        run_round(round);
}

/* Else the rounds above would show less than they seem to. */
static void every_type_was_applied_refused_and_without_effect(void **state) {
    (void)state;
    static const char *const wanted[] = {
        "ConnectNumber APPLIED",
        "ConnectNumber NO_CHANGE",
        "ConnectNumber REJECTED",
        "DisconnectNumber APPLIED",
        "DisconnectNumber REJECTED",
        "EditChannel APPLIED",
        "EditChannel NO_CHANGE",
        "EditChannel REJECTED",
        "EditChannel WOULD_APPLY",
        "SetOperatorConnectNumberType APPLIED",
        "SetOperatorConnectNumberType REJECTED",
        "RemoveOperatorConnectNumberType APPLIED",
        "RemoveOperatorConnectNumberType REJECTED",
        "replayed",
        "urn:error:sip-trunk:validation:command-id-reused",
        "urn:error:sip-trunk:operator:version-conflict",
        "urn:error:sip-trunk:operator:channel-name-taken",
        "urn:error:sip-trunk:operator:number-not-available",
        "urn:error:sip-trunk:insufficient-rights:number-not-owned",
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (!json_object_get(shown, wanted[i]))
            fail_msg("seed %u: never seen: %s", seed, wanted[i]);
    }
}

static void add_writers(void) {
    for (size_t i = 0; i < command_type_count; i++) {
        json_t *step = json_pack("{s{ss}}", "send", "type", command_types[i]->name);
        decide_run_add_writer(world, step);
        json_decref(step);
    }
}

static json_t *parse_inventory(void) {
    char text[sizeof inventory];
    for (size_t i = 0; i < sizeof inventory; i++)
        text[i] = (char)(inventory[i] == '\'' ? '"' : inventory[i]);
    return json_loads(text, 0, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_of_any_size_have_the_same_results_and_leave_the_same_rows),
        cmocka_unit_test(every_type_was_applied_refused_and_without_effect),
    };
    const char *given = getenv("SIPTRUNK_TEST_SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    state_of_choice = seed;
    printf("SIPTRUNK_TEST_SEED=%u\n", seed);
    lines = parse_inventory();
    shown = json_object();
    world = decide_run_new();
    add_writers();
    decide_run_begin(world);
    int failed = cmocka_run_group_tests_name("batches", tests, NULL, NULL);
    decide_run_free(world);
    json_decref(shown);
    json_decref(lines);
    return failed;
}
