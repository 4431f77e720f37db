/* A sorted table, filled from two places. */
#include "common/schema_set.h"

#include "common/avro_schema.h"
#include "common/embedded.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_FILE_BYTES = 1024 * 1024, PATH_BYTES = 4096 };

struct schema {
    uint64_t fingerprint;
    char *text;
    size_t size;
    struct avro_plan *plan;
};

struct schema_set {
    const struct reader_record *const *records;
    size_t record_count;
    struct schema *schemas; /* sorted by fingerprint once complete */
    size_t count, capacity;
};

static bool out_of_memory(struct error *err) {
    return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for the schemas");
}

static struct schema *new_schema(struct schema_set *set) {
    if (set->count == set->capacity) {
        size_t capacity = set->capacity ? 2 * set->capacity : 16;
        struct schema *bigger = realloc(set->schemas, capacity * sizeof *bigger);
        if (!bigger)
            return NULL;
        set->schemas = bigger;
        set->capacity = capacity;
    }
    struct schema *schema = &set->schemas[set->count++];
    *schema = (struct schema){0};
    return schema;
}

static bool knows(const struct schema_set *set, uint64_t fingerprint) {
    for (size_t i = 0; i < set->count; i++) {
        if (set->schemas[i].fingerprint == fingerprint)
            return true;
    }
    return false;
}

static bool add_text(struct schema_set *set, struct slice text, struct error *err) {
    uint64_t fingerprint;
    if (!avro_fingerprint(text, &fingerprint, err))
        return false;
    if (knows(set, fingerprint))
        return true;
    struct schema *schema = new_schema(set);
    if (!schema)
        return out_of_memory(err);
    schema->fingerprint = fingerprint;
    schema->text = malloc(text.size + 1);
    if (!schema->text)
        return out_of_memory(err);
    memcpy(schema->text, text.data, text.size);
    schema->text[text.size] = '\0';
    schema->size = text.size;
    schema->plan = avro_plan_compile(text, set->records, set->record_count, err);
    return schema->plan != NULL;
}

static bool add_embedded(struct schema_set *set, struct error *err) {
    for (const struct embedded_file *file = embedded_schemas; file->name; file++) {
        if (!add_text(set, slice_of(file->text), err))
            return error_prefix(err, "embedded schema %s", file->name);
    }
    return true;
}

static bool read_file(FILE *file, struct buffer *text, struct error *err) {
    char *room = buffer_reserve(text, MAX_FILE_BYTES + 1);
    if (!room)
        return out_of_memory(err);
    text->size = fread(room, 1, MAX_FILE_BYTES + 1, file);
    if (ferror(file))
        return error_set(err, FAULT_CONFIG, "schema-file", "%s", strerror(errno));
    if (text->size > MAX_FILE_BYTES)
        return error_set(err, FAULT_CONFIG, "schema-file", "the file is larger than 1 MiB");
    return true;
}

static bool add_file(struct schema_set *set, const char *path, struct error *err) {
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(err, FAULT_CONFIG, "schema-file", "%s", strerror(errno));
    struct buffer text = {0};
    bool ok = read_file(file, &text, err) && add_text(set, buffer_slice(&text), err);
    fclose(file);
    buffer_free(&text);
    return ok;
}

static int is_schema_file(const struct dirent *entry) {
    size_t size = strlen(entry->d_name);
    return size > 5 && !strcmp(entry->d_name + size - 5, ".avsc");
}

static bool add_files(struct schema_set *set, const char *directory, struct dirent **entries,
                      int count, struct error *err) {
    for (int i = 0; i < count; i++) {
        char path[PATH_BYTES];
        int size = snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
        if (size < 0 || (size_t)size >= sizeof path)
            return error_set(err, FAULT_CONFIG, "schema-file",
                             "schema file %s: its path is too long", entries[i]->d_name);
        if (!add_file(set, path, err))
            return error_prefix(err, "schema file %s", path);
    }
    return true;
}

/* In the order of names, so that the first complaint is always the same. */
static bool add_directory(struct schema_set *set, const char *directory, struct error *err) {
    struct dirent **entries;
    int count = scandir(directory, &entries, is_schema_file, alphasort);
    if (count < 0)
        return error_set(err, FAULT_CONFIG, "schema-dir", "schema.dir %s: %s", directory,
                         strerror(errno));
    bool ok = add_files(set, directory, entries, count, err);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return ok;
}

static int compare_schemas(const void *a, const void *b) {
    uint64_t left = ((const struct schema *)a)->fingerprint;
    uint64_t right = ((const struct schema *)b)->fingerprint;
    return (left > right) - (left < right);
}

struct schema_set *schema_set_new(const struct reader_record *const *records, size_t record_count,
                                  const char *schema_dir, struct error *err) {
    struct schema_set *set = calloc(1, sizeof *set);
    if (!set) {
        out_of_memory(err);
        return NULL;
    }
    set->records = records;
    set->record_count = record_count;
    if (!add_embedded(set, err) || (*schema_dir && !add_directory(set, schema_dir, err))) {
        schema_set_free(set);
        return NULL;
    }
    qsort(set->schemas, set->count, sizeof *set->schemas, compare_schemas);
    return set;
}

void schema_set_free(struct schema_set *set) {
    if (!set)
        return;
    for (size_t i = 0; i < set->count; i++) {
        free(set->schemas[i].text);
        avro_plan_free(set->schemas[i].plan);
    }
    free(set->schemas);
    free(set);
}

static const struct schema *find(const struct schema_set *set, uint64_t fingerprint) {
    const struct schema key = {.fingerprint = fingerprint};
    return bsearch(&key, set->schemas, set->count, sizeof *set->schemas, compare_schemas);
}

const struct avro_plan *schema_set_find(const struct schema_set *set, uint64_t fingerprint) {
    const struct schema *schema = find(set, fingerprint);
    return schema ? schema->plan : NULL;
}

struct slice schema_set_text(const struct schema_set *set, uint64_t fingerprint) {
    const struct schema *schema = find(set, fingerprint);
    return schema ? (struct slice){.data = schema->text, .size = schema->size} : SLICE_NONE;
}
