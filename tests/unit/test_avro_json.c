/* Plain JSON to Avro by our schemas, and back by any. */
#include "common/avro_json.h"

#include "common/avro_bytes.h"
#include "common/embedded.h"
#include "tests/unit/avro_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct error err;
static struct buffer body;

static int tear_down(void **state) {
    (void)state;
    buffer_free(&body);
    return 0;
}

/* With ' for ", as in all the texts here. */
static char *unquoted(const char *text) {
    char *json = strdup(text);
    assert_non_null(json);
    for (char *quote = json; (quote = strchr(quote, '\''));)
        *quote = '"';
    return json;
}

static json_t *parse(const char *text) {
    char *unescaped = unquoted(text);
    json_t *json = json_loads(unescaped, JSON_DECODE_ANY, NULL);
    free(unescaped);
    assert_non_null(json);
    return json;
}

static struct slice schema_of(const char *record) {
    for (const struct embedded_file *file = embedded_schemas; file->name; file++) {
        size_t size = strlen(record);
        if (!strncmp(file->name, record, size) && !strcmp(file->name + size, ".avsc"))
            return slice_of(file->text);
    }
    fail_msg("no schema %s", record);
    return SLICE_NONE;
}

static bool encode(const char *record, const char *text) {
    buffer_clear(&body);
    err = (struct error){0};
    struct avro_json_encoder *encoder = avro_json_encoder_new(schema_of(record), &err);
    assert_non_null(encoder);
    json_t *json = parse(text);
    bool ok = avro_json_encode(encoder, json, &body, &err);
    json_decref(json);
    avro_json_encoder_free(encoder);
    return ok;
}

static void expect_refused(const char *record, const char *text, const char *reason,
                           const char *pointer) {
    assert_false(encode(record, text));
    assert_int_equal(err.fault, FAULT_INPUT);
    assert_string_equal(err.id, reason);
    size_t size = strlen(pointer);
    if (strncmp(err.message, pointer, size) || err.message[size] != ':')
        fail_msg("expected %s, got %s", pointer, err.message);
}

static bool decode(struct slice schema, json_t **ret, const char *name) {
    err = (struct error){0};
    struct avro_json_decoder *decoder = avro_json_decoder_new(schema, &err);
    if (!decoder)
        fail_msg("%s", err.message);
    const char *actual = NULL;
    bool ok = avro_json_decode(decoder, buffer_slice(&body), ret, &actual, &err);
    if (ok && name)
        assert_string_equal(actual, name);
    avro_json_decoder_free(decoder);
    return ok;
}

static void expect_json(json_t *actual, const char *text) {
    json_t *expected = parse(text);
    if (!json_equal(actual, expected)) {
        char *dump = json_dumps(actual, JSON_ENCODE_ANY);
        fail_msg("%s", dump);
    }
    json_decref(expected);
    json_decref(actual);
}

/* Encodes, decodes, compares. */
static void expect_round_trip(const char *record, const char *text, const char *back) {
    if (!encode(record, text))
        fail_msg("%s", err.message);
    json_t *json;
    assert_true(decode(schema_of(record), &json, record));
    expect_json(json, back);
}

#define IDS "'command_id':'c','account_id':'a'"
#define IDS_BACK                                                                                   \
    IDS ",'correlation_id':null,'batch_id':null,'source_system':null,'actor':null,"                \
        "'issued_at':null,'expected_version':null,'dry_run':false"

static void writes_the_bytes_of_a_command(void **state) {
    (void)state;
    assert_true(encode("ConnectNumber", "{" IDS ",'channel_name':'n','number':'+31','actor':'x',"
                                        "'expected_version':3,'dry_run':true}"));
    static const char expected[] = "\2c\2a\0\0\0\2\2x\0\2\6\1\2n\6+31";
    assert_int_equal(body.size, sizeof expected - 1);
    assert_memory_equal(body.data, expected, body.size);
}

static void fills_in_what_is_missing(void **state) {
    (void)state;
    expect_round_trip("ConnectNumber", "{" IDS ",'channel_name':'n','number':'+31'}",
                      "{" IDS_BACK ",'channel_name':'n','number':'+31'}");
    expect_round_trip("ListProxies", "{" IDS ",'batch_id':'b','issued_at':1700000000000000}",
                      "{" IDS ",'correlation_id':null,'batch_id':'b','source_system':null,"
                      "'actor':null,'issued_at':1700000000000000,'expected_version':null,"
                      "'dry_run':false}");
}

static const char edit_nulls[] =
    "'new_name':null,'password':null,'caller_id':null,'area_code':null,'block_caller_id':null,"
    "'call_barrings':null,'full_e164':null,'sip_trunk':null,'clip':null,'did':null,"
    "'failover':null,'microsoft_teams_configuration':null";

static void keeps_the_three_states_of_a_timeout(void **state) {
    (void)state;
    char text[1024], back[2048];
    static const char *const streams[] = {"", "'rtp_timeout':null", "'rtp_timeout':'1800'",
                                          "'rtp_hold_timeout':null,'rtp_timeout':'1800'"};
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        snprintf(text, sizeof text, "{" IDS ",'channel_name':'n','audio_stream':{%s}}", streams[i]);
        snprintf(back, sizeof back,
                 "{" IDS_BACK ",'channel_name':'n',%s,'audio_stream':{'dtmf':null,"
                 "'g729_codec':null,'h263_codec':null,'h264_codec':null,"
                 "'call_forwarding_facilities':null,'allow_external_rtp':null,"
                 "'remote_party_id':null,'progress_inband':null%s%s}}",
                 edit_nulls, *streams[i] ? "," : "", streams[i]);
        expect_round_trip("EditChannel", text, back);
    }
}

static void takes_a_boolean_or_a_text(void **state) {
    (void)state;
    static const char *const values[] = {"true", "false", "'true'", "null"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "{" IDS ",'channel_name':'n','full_e164':%s}", values[i]);
        assert_true(encode("EditChannel", text));
        json_t *json;
        assert_true(decode(schema_of("EditChannel"), &json, "EditChannel"));
        expect_json(json_incref(json_object_get(json, "full_e164")), values[i]);
        json_decref(json);
    }
}

static void takes_the_complete_sample_of_the_guide(void **state) {
    (void)state;
    static const char own[] =
        "'new_name':'channelexample1234','password':'strongpassword','caller_id':'+17864087525',"
        "'block_caller_id':false,'area_code':'036','full_e164':true,"
        "'call_barrings':['INT','MOB','S0909'],"
        "'sip_trunk':{'channel_template_id':'f26e4670-20bf-4cad-9261-489e8ef765de',"
        "'manual_caller_id':false,'forward_clip':false,'t38_codec':false,"
        "'call_forwarding_facilities':false,'destination_filter':'filterValue',"
        "'ip_whitelist':'10.0.0.1;10.0.4.20',"
        "'channel_proxy_id':'c665c4b0-20d1-4c33-aee1-c0f67da78e03','reference':'reference',"
        "'ping':3,'ringing_timeout':180},"
        "'audio_stream':{'dtmf':1,'g729_codec':false,'h263_codec':false,'h264_codec':false,"
        "'allow_external_rtp':false,'rtp_timeout':'1800','rtp_hold_timeout':'1900',"
        "'remote_party_id':false,'progress_inband':false},"
        "'clip':{'ten_digits_length':true,'method':3,'deny':false,'restrict_value':'restrictvalue'}"
        ","
        "'did':{'ten_digits_length':false,'in_display_name':false,'to_header':false,"
        "'uri_header':false,'filter':'filter'},"
        "'failover':{'forward_to':'12345678','external_caller_id':true},"
        "'microsoft_teams_configuration':{'microsoft_tenant_id':"
        "'462e0bdf-408b-4e94-baab-b5a8bf9a9e00'}";
    char text[4096];
    snprintf(text, sizeof text, "{" IDS ",'channel_name':'name',%s}", own);
    assert_true(encode("EditChannel", text));
    json_t *back, *sent = parse(text);
    assert_true(decode(schema_of("EditChannel"), &back, "EditChannel"));
    json_t *merged = json_deep_copy(back);
    assert_int_equal(json_object_update_recursive(merged, sent), 0);
    assert_true(json_equal(merged, back));
    json_decref(sent);
    json_decref(merged);
    json_decref(back);
}

static void names_the_unknown_field(void **state) {
    (void)state;
    expect_refused("ConnectNumber", "{" IDS ",'channel_name':'n','number':'+31','x':1}",
                   "unknown-field", "/x");
    expect_refused("EditChannel", "{" IDS ",'channel_name':'n','sip_trunk':{'pingg':1}}",
                   "unknown-field", "/sip_trunk/pingg");
    expect_refused("EditChannel", "{" IDS ",'channel_name':'n','sip_trunk':{'a/b~c':1}}",
                   "unknown-field", "/sip_trunk/a~1b~0c");
    expect_refused("EditChannel", "{" IDS ",'channel_name':'n','rtp_timeout':null}",
                   "unknown-field", "/rtp_timeout");
}

static void names_the_missing_field(void **state) {
    (void)state;
    expect_refused("ConnectNumber", "{" IDS ",'channel_name':'n'}", "required", "/number");
    expect_refused("ConnectNumber", "{}", "required", "/command_id");
}

static void names_the_field_of_a_wrong_type(void **state) {
    (void)state;
    static const struct {
        const char *own, *pointer;
    } cases[] = {
        {"'channel_name':null", "/channel_name"},
        {"'channel_name':1", "/channel_name"},
        {"'channel_name':['n']", "/channel_name"},
        {"'channel_name':'n','dry_run':'true'", "/dry_run"},
        {"'channel_name':'n','dry_run':null", "/dry_run"},
        {"'channel_name':'n','expected_version':1.0", "/expected_version"},
        {"'channel_name':'n','expected_version':'1'", "/expected_version"},
        {"'channel_name':'n','call_barrings':'INT'", "/call_barrings"},
        {"'channel_name':'n','call_barrings':['INT',null]", "/call_barrings/1"},
        {"'channel_name':'n','full_e164':1", "/full_e164"},
        {"'channel_name':'n','sip_trunk':{'ping':'3'}", "/sip_trunk/ping"},
        {"'channel_name':'n','sip_trunk':'x'", "/sip_trunk"},
        {"'channel_name':'n','clip':{'deny':'false'}", "/clip/deny"},
        {"'channel_name':'n','audio_stream':{'rtp_timeout':1800}", "/audio_stream/rtp_timeout"},
        {"'channel_name':'n','audio_stream':{'rtp_timeout':{'value':null}}",
         "/audio_stream/rtp_timeout"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "{" IDS ",%s}", cases[i].own);
        expect_refused("EditChannel", text, "type", cases[i].pointer);
    }
}

static void refuses_integers_that_do_not_fit(void **state) {
    (void)state;
    expect_refused("EditChannel", "{" IDS ",'channel_name':'n','sip_trunk':{'ping':2147483648}}",
                   "out-of-range", "/sip_trunk/ping");
    assert_true(
        encode("EditChannel", "{" IDS ",'channel_name':'n','sip_trunk':{'ping':-2147483648}}"));
}

static void refuses_a_command_that_is_no_object(void **state) {
    (void)state;
    expect_refused("ConnectNumber", "[1]", "type", "");
}

static void keeps_nothing_of_the_record_before(void **state) {
    (void)state;
    struct avro_json_encoder *encoder = avro_json_encoder_new(schema_of("EditChannel"), &err);
    json_t *full = parse("{" IDS ",'channel_name':'n','call_barrings':['A','B'],"
                         "'clip':{'method':1},'audio_stream':{'rtp_timeout':null}}");
    json_t *bare = parse("{" IDS ",'channel_name':'n'}");
    struct buffer first = {0}, again = {0};
    assert_true(avro_json_encode(encoder, bare, &first, &err));
    assert_true(avro_json_encode(encoder, full, &again, &err));
    buffer_clear(&again);
    assert_true(avro_json_encode(encoder, bare, &again, &err));
    assert_int_equal(first.size, again.size);
    assert_memory_equal(first.data, again.data, first.size);
    buffer_free(&first);
    buffer_free(&again);
    json_decref(full);
    json_decref(bare);
    avro_json_encoder_free(encoder);
}

static void refuses_schemas_that_are_none(void **state) {
    (void)state;
    assert_null(avro_json_encoder_new(SLICE_LITERAL("{"), &err));
    assert_string_equal(err.id, "schema");
    assert_null(avro_json_encoder_new(SLICE_LITERAL("{\"type\":\"nothing\"}"), &err));
    assert_null(avro_json_decoder_new(SLICE_LITERAL("{"), &err));
    assert_string_equal(err.id, "schema");
    assert_null(avro_json_decoder_new(SLICE_LITERAL("{\"type\":\"nothing\"}"), &err));
}

/* ---- decoding by other schemas ---- */

static void expect_decoded(const char *schema, const char *text) {
    char *unescaped = unquoted(schema);
    json_t *json;
    if (!decode(slice_of(unescaped), &json, NULL))
        fail_msg("%s: %s", schema, err.message);
    expect_json(json, text);
    free(unescaped);
}

static void expect_undecoded(const char *schema, const char *reason) {
    char *unescaped = unquoted(schema);
    json_t *json;
    assert_false(decode(slice_of(unescaped), &json, NULL));
    assert_int_equal(err.fault, FAULT_INPUT);
    assert_string_equal(err.id, reason);
    free(unescaped);
}

static void shows_bytes_as_hexadecimal_digits(void **state) {
    (void)state;
    buffer_clear(&body);
    put_number(&body, 3), buffer_add(&body, "\0\xff\x1a", 3);
    expect_decoded("'bytes'", "'00ff1a'");
    buffer_clear(&body);
    buffer_add(&body, "\xc3\x01", 2);
    expect_decoded("{'type':'fixed','name':'F','size':2}", "'c301'");
}

static void shows_floats_and_what_json_lacks_of_them(void **state) {
    (void)state;
    static const struct {
        double number;
        const char *text;
    } cases[] = {{1.5, "1.5"},
                 {-0.25, "-0.25"},
                 {(double)__builtin_nan(""), "'NaN'"},
                 {(double)__builtin_inf(), "'Infinity'"},
                 {-(double)__builtin_inf(), "'-Infinity'"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float small = (float)cases[i].number;
        buffer_clear(&body);
        buffer_add(&body, &cases[i].number, sizeof cases[i].number);
        expect_decoded("'double'", cases[i].text);
        buffer_clear(&body);
        buffer_add(&body, &small, sizeof small);
        expect_decoded("'float'", cases[i].text);
    }
}

static void shows_text_that_is_no_utf8_as_hexadecimal_digits(void **state) {
    (void)state;
    buffer_clear(&body);
    put_string(&body, "\xc3(");
    expect_decoded("'string'", "{'hex':'c328'}");
    buffer_clear(&body);
    put_number(&body, 1), put_string(&body, "\xc3("), put_number(&body, 7), put_number(&body, 0);
    expect_undecoded("{'type':'map','values':'int'}", "schema");
}

static void shows_maps_enums_and_unions_as_plain_values(void **state) {
    (void)state;
    buffer_clear(&body);
    put_number(&body, -2), put_number(&body, 9);
    put_string(&body, "a"), put_number(&body, 1), put_number(&body, 1);
    put_string(&body, "b"), put_number(&body, 0);
    body.data[1] = 14;
    put_number(&body, 0);
    expect_decoded(
        "{'type':'map','values':['null',{'type':'enum','name':'E','symbols':['X','Y']}]}",
        "{'a':'Y','b':null}");
}

static void opens_a_union_at_the_top_and_names_the_record(void **state) {
    (void)state;
    buffer_clear(&body);
    put_number(&body, 1), put_number(&body, 5);
    static const char schema[] = "[\"null\",{\"type\":\"record\",\"name\":\"x.Y\",\"fields\":["
                                 "{\"name\":\"a\",\"type\":\"int\"}]}]";
    json_t *json;
    assert_true(decode(slice_of(schema), &json, "Y"));
    expect_json(json, "{'a':5}");
}

static const char linked[] = "{'type':'record','name':'L','fields':["
                             "{'name':'v','type':'int'},{'name':'next','type':['null','L']}]}";

static void follows_a_recursive_schema_as_deep_as_the_limit(void **state) {
    (void)state;
    buffer_clear(&body);
    for (int i = 0; i < AVRO_MAX_DEPTH; i++)
        put_number(&body, i), put_number(&body, i < AVRO_MAX_DEPTH - 1);
    char *unescaped = unquoted(linked);
    json_t *json;
    assert_true(decode(slice_of(unescaped), &json, "L"));
    json_decref(json);
    free(unescaped);
    buffer_clear(&body);
    for (int i = 0; i < 100000; i++)
        put_number(&body, 1);
    expect_undecoded(linked, "too-long");
    expect_undecoded("{'type':'record','name':'T','fields':[{'name':'n','type':{'type':'record',"
                     "'name':'NullableString','fields':[{'name':'value','type':["
                     "'null','NullableString']}]}}]}",
                     "too-long");
}

static void bounds_items_in_all(void **state) {
    (void)state;
    buffer_clear(&body);
    put_number(&body, 100);
    for (int i = 0; i < 100; i++)
        put_number(&body, 1024), put_number(&body, 0);
    put_number(&body, 0);
    expect_undecoded("{'type':'array','items':{'type':'array','items':'null'}}", "too-long");
}

static void refuses_bytes_that_do_not_fit(void **state) {
    (void)state;
    buffer_clear(&body);
    put_byte(&body, 2);
    expect_undecoded("'boolean'", "schema");
    expect_undecoded("'null'", "schema");
    expect_undecoded("'string'", "schema");
    expect_undecoded("'double'", "schema");
    expect_undecoded("{'type':'fixed','name':'F','size':2}", "schema");
    expect_undecoded("{'type':'enum','name':'E','symbols':['X']}", "schema");
    expect_undecoded("['null']", "schema");
    expect_undecoded("{'type':'array','items':'int'}", "schema");
    buffer_clear(&body);
    put_letters(&body, AVRO_MAX_MESSAGE);
    expect_undecoded("'string'", "too-long");
}

static void survives_every_mutation_of_a_command(void **state) {
    (void)state;
    assert_true(encode("EditChannel", "{" IDS ",'channel_name':'n','call_barrings':['A','B'],"
                                      "'clip':{'method':1},'audio_stream':{'rtp_timeout':null}}"));
    struct avro_json_decoder *decoder = avro_json_decoder_new(schema_of("EditChannel"), &err);
    size_t whole = body.size;
    for (size_t i = 0; i < whole * 256; i++) {
        char *byte = &body.data[i / 256];
        char kept = *byte;
        *byte = (char)(i % 256);
        json_t *json;
        struct slice cut = {.data = body.data, .size = i % 3 ? whole : i / 256};
        if (avro_json_decode(decoder, cut, &json, NULL, &err))
            json_decref(json);
        *byte = kept;
    }
    avro_json_decoder_free(decoder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_bytes_of_a_command),
        cmocka_unit_test(fills_in_what_is_missing),
        cmocka_unit_test(keeps_the_three_states_of_a_timeout),
        cmocka_unit_test(takes_a_boolean_or_a_text),
        cmocka_unit_test(takes_the_complete_sample_of_the_guide),
        cmocka_unit_test(names_the_unknown_field),
        cmocka_unit_test(names_the_missing_field),
        cmocka_unit_test(names_the_field_of_a_wrong_type),
        cmocka_unit_test(refuses_integers_that_do_not_fit),
        cmocka_unit_test(refuses_a_command_that_is_no_object),
        cmocka_unit_test(keeps_nothing_of_the_record_before),
        cmocka_unit_test(refuses_schemas_that_are_none),
        cmocka_unit_test(shows_bytes_as_hexadecimal_digits),
        cmocka_unit_test(shows_floats_and_what_json_lacks_of_them),
        cmocka_unit_test(shows_text_that_is_no_utf8_as_hexadecimal_digits),
        cmocka_unit_test(shows_maps_enums_and_unions_as_plain_values),
        cmocka_unit_test(opens_a_union_at_the_top_and_names_the_record),
        cmocka_unit_test(follows_a_recursive_schema_as_deep_as_the_limit),
        cmocka_unit_test(bounds_items_in_all),
        cmocka_unit_test(refuses_bytes_that_do_not_fit),
        cmocka_unit_test(survives_every_mutation_of_a_command),
    };
    return cmocka_run_group_tests_name("avro_json", tests, NULL, tear_down);
}
