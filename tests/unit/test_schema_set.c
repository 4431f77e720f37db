/* The table of schemas: what travels inside, and what a directory adds. */
#include "common/schema_set.h"

#include "common/avro_schema.h"
#include "common/embedded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const struct reader_field fields[] = {
    {.name = "number", .kind = READER_STRING, .slot = 0},
};
static const struct reader_record connect = {.full_name = "siptrunk.command.v1.ConnectNumber",
                                             .fields = fields,
                                             .field_count = 1,
                                             .slot_count = 1};
static const struct reader_record *const records[] = {&connect};

static char directory[64];
static struct error err;

static int make_directory(void **state) {
    (void)state;
    snprintf(directory, sizeof directory, "schema-set-XXXXXX");
    err = (struct error){0};
    return mkdtemp(directory) ? 0 : -1;
}

static const char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const char *text) {
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int remove_directory(void **state) {
    (void)state;
    static const char *const names[] = {"a.avsc", "b.avsc", "c.avsc", "notes.txt", ".avsc"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(path_of(names[i]));
    return rmdir(directory);
}

static struct schema_set *load(void) {
    struct schema_set *set = schema_set_new(records, 1, directory, &err);
    if (!set)
        fail_msg("%s", err.message);
    return set;
}

static uint64_t fingerprint_of(const char *schema) {
    uint64_t fingerprint;
    assert_true(avro_fingerprint(slice_of(schema), &fingerprint, NULL));
    return fingerprint;
}

static void knows_every_embedded_schema_and_its_text(void **state) {
    (void)state;
    struct schema_set *set = schema_set_new(records, 1, "", &err);
    assert_non_null(set);
    assert_int_equal(embedded_schemas_count, 10);
    for (const struct embedded_file *file = embedded_schemas; file->name; file++) {
        uint64_t fingerprint = fingerprint_of(file->text);
        assert_non_null(schema_set_find(set, fingerprint));
        assert_true(slice_is(schema_set_text(set, fingerprint), file->text));
    }
    schema_set_free(set);
}

static void knows_no_other_fingerprint(void **state) {
    (void)state;
    struct schema_set *set = schema_set_new(records, 1, "", &err);
    assert_null(schema_set_find(set, 0));
    assert_null(schema_set_find(set, UINT64_MAX));
    assert_null(schema_set_text(set, 1).data);
    schema_set_free(set);
}

static const char older[] = "{\"type\":\"record\",\"name\":\"siptrunk.command.v1.ConnectNumber\","
                            "\"fields\":[{\"name\":\"number\",\"type\":\"string\"}]}";

static void adds_the_schemas_of_a_directory(void **state) {
    (void)state;
    write_file("a.avsc", older);
    write_file("notes.txt", "not a schema");
    struct schema_set *set = load();
    const struct avro_plan *plan = schema_set_find(set, fingerprint_of(older));
    assert_non_null(plan);
    struct arena *arena = arena_new(1 << 20);
    struct avro_decoded decoded;
    assert_true(avro_plan_run(plan, SLICE_LITERAL("\4+1"), arena, &decoded, &err));
    assert_ptr_equal(decoded.record, &connect);
    assert_true(slice_is(decoded.values[0].text, "+1"));
    arena_free(arena);
    schema_set_free(set);
}

static void passes_over_a_schema_that_is_there_already(void **state) {
    (void)state;
    write_file("a.avsc", embedded_schemas[0].text);
    write_file("b.avsc", older);
    write_file("c.avsc", older);
    struct schema_set *set = load();
    assert_non_null(schema_set_find(set, fingerprint_of(older)));
    schema_set_free(set);
}

static void names_the_bad_file(void **state) {
    (void)state;
    static const char recursive[] =
        "{\"type\":\"record\",\"name\":\"siptrunk.command.v1.ConnectNumber\",\"fields\":["
        "{\"name\":\"a\",\"type\":[\"null\",\"siptrunk.command.v1.ConnectNumber\"]}]}";
    static const char dangling[] =
        "{\"type\":\"record\",\"name\":\"A\",\"fields\":[{\"name\":\"a\",\"type\":\"Nowhere\"}]}";
    static const char *const texts[] = {"", "{", "{\"type\":\"record\"}", recursive, dangling};
    write_file("a.avsc", older);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_file("b.avsc", texts[i]);
        assert_null(schema_set_new(records, 1, directory, &err));
        assert_int_equal(err.fault, FAULT_CONFIG);
        assert_non_null(strstr(err.message, path_of("b.avsc")));
    }
}

static void refuses_a_file_over_1_mib(void **state) {
    (void)state;
    FILE *file = fopen(path_of("a.avsc"), "w");
    for (int i = 0; i <= 1024 * 1024; i++)
        fputc(' ', file);
    fclose(file);
    assert_null(schema_set_new(records, 1, directory, &err));
    assert_int_equal(err.fault, FAULT_CONFIG);
    assert_non_null(strstr(err.message, "1 MiB"));
}

static void names_a_directory_that_is_not_there(void **state) {
    (void)state;
    assert_null(schema_set_new(records, 1, "no-such-directory", &err));
    assert_int_equal(err.fault, FAULT_CONFIG);
    assert_non_null(strstr(err.message, "no-such-directory"));
}

#define WITH_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_every_embedded_schema_and_its_text),
        cmocka_unit_test(knows_no_other_fingerprint),
        WITH_DIRECTORY(adds_the_schemas_of_a_directory),
        WITH_DIRECTORY(passes_over_a_schema_that_is_there_already),
        WITH_DIRECTORY(names_the_bad_file),
        WITH_DIRECTORY(refuses_a_file_over_1_mib),
        cmocka_unit_test(names_a_directory_that_is_not_there),
    };
    return cmocka_run_group_tests_name("schema_set", tests, NULL, NULL);
}
