/* The compiler of plans: from avro-c's parsed writer schema and the reader's tables to steps. It
 * walks the writer's fields, since theirs is the order of the bytes, and asks the reader's table
 * what each is good for. */
#include "common/avro_bytes.h"
#include "common/avro_schema.h"
#include "common/avro_step.h"

#include <assert.h>
#include <avro.h>
#include <stdio.h>
#include <stdlib.h>

/* A schema whose plan would be longer, or take more containers to visit, is refused: named types
 * used again and again could grow without end, even those without bytes. */
enum { MAX_STEPS = 64 * 1024, MAX_VISITS = 64 * 1024, NAME_BYTES = 512 };

struct compiler {
    struct avro_plan *plan;
    size_t record_count;
    size_t slot_count; /* of the reader's record at work */
    size_t step_count, step_capacity, target_count;
    avro_schema_t open[AVRO_MAX_DEPTH]; /* the containers around what is being compiled */
    size_t depth;
    size_t visits; /* containers entered so far */
    struct error *err;
};

/* Compiles one value of the writer's type; field says what to take it for, and is NULL where
 * nothing is. */
typedef bool compile_fn(struct compiler *compiler, avro_schema_t type,
                        const struct reader_field *field);

static compile_fn compile_skip, compile_take, compile_item, compile_top;

static bool refuse(struct compiler *compiler, const char *id, const char *what) {
    return error_set(compiler->err, FAULT_CONFIG, id, "the schema %s", what);
}

static bool out_of_memory(struct error *err) {
    return error_set(err, FAULT_RETRY, "out-of-memory", "no memory for a schema's plan");
}

static bool emit(struct compiler *compiler, struct step step) {
    struct avro_plan *plan = compiler->plan;
    if (compiler->step_count == MAX_STEPS)
        return refuse(compiler, "schema", "is too large");
    if (compiler->step_count == compiler->step_capacity) {
        size_t capacity = compiler->step_capacity ? 2 * compiler->step_capacity : 64;
        struct step *bigger = realloc(plan->steps, capacity * sizeof *bigger);
        if (!bigger)
            return out_of_memory(compiler->err);
        plan->steps = bigger;
        compiler->step_capacity = capacity;
    }
    plan->steps[compiler->step_count++] = step;
    return true;
}

static bool emit_for(struct compiler *compiler, enum op op, const struct reader_field *field) {
    assert(field->slot < compiler->slot_count);
    return emit(compiler, (struct step){.op = (uint16_t)op, .slot = field->slot});
}

static bool emit_mark(struct compiler *compiler, const struct reader_field *field,
                      enum value_state state) {
    assert(field->slot < compiler->slot_count);
    return emit(compiler, (struct step){.op = OP_MARK, .slot = field->slot, .a = (uint32_t)state});
}

static uint32_t here(const struct compiler *compiler) {
    return (uint32_t)compiler->step_count;
}

/* A name that stands for a type defined before, as that type. */
static avro_schema_t resolve(avro_schema_t type) {
    while (is_avro_link(type))
        type = avro_schema_link_target(type);
    return type;
}

/* Every container is entered before, and left after, what is inside it. */
static bool enter(struct compiler *compiler, avro_schema_t type) {
    for (size_t i = 0; i < compiler->depth; i++) {
        if (compiler->open[i] == type)
            return refuse(compiler, "schema", "contains itself");
    }
    if (compiler->depth == AVRO_MAX_DEPTH)
        return refuse(compiler, "too-long", "is nested deeper than 16 records, arrays and maps");
    if (++compiler->visits > MAX_VISITS)
        return refuse(compiler, "schema", "is too large");
    compiler->open[compiler->depth++] = type;
    return true;
}

static bool leave(struct compiler *compiler) {
    compiler->depth--;
    return true;
}

/* Branches that emitted nothing go to the end, and so do the jumps behind the others, chained until
 * it is known. */
static void patch_union(struct compiler *compiler, uint32_t first, uint32_t count, uint32_t jump) {
    uint32_t *targets = compiler->plan->targets;
    for (uint32_t i = 0; i < count; i++) {
        if (targets[first + i] == UINT32_MAX)
            targets[first + i] = here(compiler);
    }
    while (jump != UINT32_MAX) {
        struct step *step = &compiler->plan->steps[jump];
        jump = step->a;
        step->a = here(compiler);
    }
}

/* One branch, and the jump behind it; *jump is the newest of the chain. */
static bool compile_branch(struct compiler *compiler, avro_schema_t type, compile_fn *compile,
                           const struct reader_field *field, uint32_t target, uint32_t *jump) {
    type = resolve(type);
    if (is_avro_union(type))
        return refuse(compiler, "schema", "has a union directly inside a union");
    uint32_t start = here(compiler);
    if (!compile(compiler, type, field))
        return false;
    if (start == here(compiler))
        return true;
    compiler->plan->targets[target] = start;
    struct step step = {.op = OP_JUMP, .a = *jump};
    *jump = here(compiler);
    return emit(compiler, step);
}

static bool add_targets(struct compiler *compiler, size_t count) {
    struct avro_plan *plan = compiler->plan;
    size_t total = compiler->target_count + count;
    if (total > MAX_STEPS)
        return refuse(compiler, "schema", "has too many branches");
    uint32_t *bigger = realloc(plan->targets, total * sizeof *bigger);
    if (!bigger)
        return out_of_memory(compiler->err);
    plan->targets = bigger;
    for (size_t i = compiler->target_count; i < total; i++)
        bigger[i] = UINT32_MAX;
    compiler->target_count = total;
    return true;
}

static bool compile_union(struct compiler *compiler, avro_schema_t type, compile_fn *compile,
                          const struct reader_field *field) {
    size_t count = avro_schema_union_size(type);
    uint32_t first = (uint32_t)compiler->target_count;
    if (!add_targets(compiler, count) ||
        !emit(compiler, (struct step){.op = OP_UNION, .a = first, .b = (uint32_t)count}))
        return false;
    uint32_t jump = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        avro_schema_t branch = avro_schema_union_branch(type, (int)i);
        if (!compile_branch(compiler, branch, compile, field, first + (uint32_t)i, &jump))
            return false;
    }
    patch_union(compiler, first, (uint32_t)count, jump);
    return true;
}

/* An array, or a map, whose items have a text as key before them. */
static bool compile_blocks(struct compiler *compiler, avro_schema_t type, compile_fn *compile,
                           const struct reader_field *field) {
    bool map = is_avro_map(type);
    avro_schema_t item = map ? avro_schema_map_values(type) : avro_schema_array_items(type);
    uint32_t head = here(compiler);
    if (!enter(compiler, type) || !emit(compiler, (struct step){.op = OP_BLOCKS}))
        return false;
    uint32_t body = here(compiler);
    if (map && !emit(compiler, (struct step){.op = OP_SKIP_TEXT}))
        return false;
    if (!compile(compiler, resolve(item), field))
        return false;
    bool empty = body == here(compiler);
    if (!empty && !emit(compiler, (struct step){.op = OP_NEXT, .a = body}))
        return false;
    compiler->plan->steps[head].a = here(compiler);
    compiler->plan->steps[head].b = empty;
    return leave(compiler);
}

static bool compile_skip_record(struct compiler *compiler, avro_schema_t type) {
    if (!enter(compiler, type))
        return false;
    size_t count = avro_schema_record_size(type);
    for (size_t i = 0; i < count; i++) {
        avro_schema_t inner = avro_schema_record_field_get_by_index(type, (int)i);
        if (!compile_skip(compiler, resolve(inner), NULL))
            return false;
    }
    return leave(compiler);
}

/* A size beyond the largest message can never be met, whatever it is. */
static bool compile_skip_fixed(struct compiler *compiler, int64_t size) {
    if (size < 0)
        return refuse(compiler, "schema", "has a fixed type of negative size");
    if (size == 0)
        return true;
    uint32_t bytes = size > AVRO_MAX_MESSAGE ? AVRO_MAX_MESSAGE + 1 : (uint32_t)size;
    return emit(compiler, (struct step){.op = OP_SKIP_FIXED, .a = bytes});
}

static bool compile_skip_enum(struct compiler *compiler, avro_schema_t type) {
    int count = avro_schema_enum_number_of_symbols(type);
    return emit(compiler, (struct step){.op = OP_SKIP_ENUM, .a = (uint32_t)count});
}

static bool compile_skip(struct compiler *compiler, avro_schema_t type,
                         const struct reader_field *field) {
    (void)field;
    switch (avro_typeof(type)) {
    case AVRO_NULL:
        return true;
    case AVRO_BOOLEAN:
        return emit(compiler, (struct step){.op = OP_SKIP_BOOLEAN});
    case AVRO_INT32:
        return emit(compiler, (struct step){.op = OP_SKIP_INT});
    case AVRO_INT64:
        return emit(compiler, (struct step){.op = OP_SKIP_LONG});
    case AVRO_STRING:
    case AVRO_BYTES:
        return emit(compiler, (struct step){.op = OP_SKIP_TEXT});
    case AVRO_FLOAT:
        return compile_skip_fixed(compiler, sizeof(float));
    case AVRO_DOUBLE:
        return compile_skip_fixed(compiler, sizeof(double));
    case AVRO_FIXED:
        return compile_skip_fixed(compiler, avro_schema_fixed_size(type));
    case AVRO_ENUM:
        return compile_skip_enum(compiler, type);
    case AVRO_RECORD:
        return compile_skip_record(compiler, type);
    case AVRO_ARRAY:
    case AVRO_MAP:
        return compile_blocks(compiler, type, compile_skip, NULL);
    case AVRO_UNION:
        return compile_union(compiler, type, compile_skip, NULL);
    case AVRO_LINK:
        break;
    }
    return refuse(compiler, "schema", "has a type that Avro does not know");
}

static bool compile_bad(struct compiler *compiler, avro_schema_t type,
                        const struct reader_field *field) {
    return emit_mark(compiler, field, VALUE_BAD_TYPE) && compile_skip(compiler, type, NULL);
}

/* The step that takes a value of the writer's primitive type for the reader's kind; OP_COUNT when
 * none does. */
static enum op take_op(enum reader_kind kind, avro_type_t type) {
    bool text = kind == READER_STRING || kind == READER_BOOL_OR_STRING;
    bool boolean = kind == READER_BOOL || kind == READER_BOOL_OR_STRING;
    if (text && (type == AVRO_STRING || type == AVRO_BYTES))
        return OP_TAKE_TEXT;
    if (boolean && type == AVRO_BOOLEAN)
        return OP_TAKE_BOOLEAN;
    if ((kind == READER_INT || kind == READER_LONG) && type == AVRO_INT32)
        return OP_TAKE_INT;
    if (kind == READER_LONG && type == AVRO_INT64)
        return OP_TAKE_LONG;
    return OP_COUNT;
}

static bool reads_name(const struct reader_record *record, const char *name) {
    for (size_t i = 0; i < record->field_count; i++) {
        if (!strcmp(record->fields[i].name, name))
            return true;
    }
    return false;
}

/* Which of the writer's fields a reader's field takes, -1 for none: the one of its name, else the
 * one of its first alias that the writer has and that is not another reader's field's name. */
static int writer_index(avro_schema_t type, const struct reader_record *record,
                        const struct reader_field *field) {
    int index = avro_schema_record_field_get_index(type, field->name);
    for (const char *const *alias = field->aliases; index < 0 && alias && *alias; alias++) {
        if (!reads_name(record, *alias))
            index = avro_schema_record_field_get_index(type, *alias);
    }
    return index;
}

static const struct reader_field *reader_of(avro_schema_t type, const struct reader_record *record,
                                            int index) {
    for (size_t i = 0; i < record->field_count; i++) {
        if (writer_index(type, record, &record->fields[i]) == index)
            return &record->fields[i];
    }
    return NULL;
}

/* The fields in the writer's order, since that is the order of the bytes. */
static bool compile_fields(struct compiler *compiler, avro_schema_t type,
                           const struct reader_record *record) {
    if (!enter(compiler, type))
        return false;
    int count = (int)avro_schema_record_size(type);
    for (int i = 0; i < count; i++) {
        avro_schema_t inner = resolve(avro_schema_record_field_get_by_index(type, i));
        const struct reader_field *field = reader_of(type, record, i);
        if (!(field ? compile_take : compile_skip)(compiler, inner, field))
            return false;
    }
    return leave(compiler);
}

/* NullableString: its one field, as a text that may be null, into the slot of the field around it.
 */
static bool compile_nullable(struct compiler *compiler, avro_schema_t type,
                             const struct reader_field *field) {
    const struct reader_field value = {.name = "value", .kind = READER_STRING, .slot = field->slot};
    const struct reader_record record = {.fields = &value, .field_count = 1};
    if (avro_schema_record_field_get_index(type, value.name) < 0)
        return compile_bad(compiler, type, field);
    return compile_fields(compiler, type, &record);
}

static bool compile_item(struct compiler *compiler, avro_schema_t type,
                         const struct reader_field *field) {
    if (is_avro_union(type))
        return compile_union(compiler, type, compile_item, field);
    if (is_avro_string(type) || is_avro_bytes(type))
        return emit_for(compiler, OP_TAKE_ITEM, field);
    return compile_bad(compiler, type, field);
}

/* An array whose items may be texts; of a union it is known only when an item is there. */
static bool is_text_array(avro_schema_t type) {
    if (!is_avro_array(type))
        return false;
    avro_schema_t item = resolve(avro_schema_array_items(type));
    return is_avro_union(item) || is_avro_string(item) || is_avro_bytes(item);
}

static bool compile_null(struct compiler *compiler, const struct reader_field *field) {
    if (field->kind == READER_NULLABLE_STRING)
        return true; /* not sent: the slot stays ABSENT */
    return emit_mark(compiler, field, VALUE_NULL);
}

static bool compile_take(struct compiler *compiler, avro_schema_t type,
                         const struct reader_field *field) {
    if (is_avro_union(type))
        return compile_union(compiler, type, compile_take, field);
    if (is_avro_null(type))
        return compile_null(compiler, field);
    if (field->kind == READER_RECORD && is_avro_record(type))
        return emit_mark(compiler, field, VALUE_SET) &&
               compile_fields(compiler, type, field->record);
    if (field->kind == READER_NULLABLE_STRING && is_avro_record(type))
        return compile_nullable(compiler, type, field);
    if (field->kind == READER_STRING_ARRAY && is_text_array(type))
        return emit_for(compiler, OP_LIST, field) &&
               compile_blocks(compiler, type, compile_item, field);
    enum op op = take_op(field->kind, avro_typeof(type));
    return op == OP_COUNT ? compile_bad(compiler, type, field) : emit_for(compiler, op, field);
}

static bool has_full_name(const struct reader_record *record, const char *name) {
    if (!strcmp(record->full_name, name))
        return true;
    for (const char *const *alias = record->aliases; alias && *alias; alias++) {
        if (!strcmp(*alias, name))
            return true;
    }
    return false;
}

/* The reader's record of the writer's full name; the count of records when there is none. */
static size_t find_record(const struct compiler *compiler, avro_schema_t type) {
    char name[NAME_BYTES];
    const char *space = avro_schema_namespace(type);
    int size = snprintf(name, sizeof name, "%s%s%s", space ? space : "", space && *space ? "." : "",
                        avro_schema_name(type));
    size_t i = 0;
    if (size < 0 || (size_t)size >= sizeof name)
        return compiler->record_count;
    while (i < compiler->record_count && !has_full_name(compiler->plan->records[i], name))
        i++;
    return i;
}

static bool compile_top(struct compiler *compiler, avro_schema_t type,
                        const struct reader_field *field) {
    (void)field;
    if (is_avro_union(type))
        return compile_union(compiler, type, compile_top, NULL);
    size_t index = is_avro_record(type) ? find_record(compiler, type) : compiler->record_count;
    if (index == compiler->record_count)
        return emit(compiler, (struct step){.op = OP_REFUSE});
    const struct reader_record *record = compiler->plan->records[index];
    compiler->slot_count = record->slot_count;
    return emit(compiler, (struct step){.op = OP_RECORD, .a = (uint32_t)index}) &&
           compile_fields(compiler, type, record);
}

/* Parses the canonical form, in which a type stands in no needless object, where avro-c 1.11 would
 * not know it. */
static bool parse_schema(struct slice schema_json, avro_schema_t *ret, struct error *err) {
    struct buffer form = {0};
    bool ok = avro_canonical_form(schema_json, &form, err);
    if (ok && avro_schema_from_json_length(form.data, form.size, ret))
        ok = error_set(err, FAULT_CONFIG, "schema", "the schema is invalid: %s", avro_strerror());
    buffer_free(&form);
    return ok;
}

static struct avro_plan *new_plan(const struct reader_record *const *records, size_t count) {
    struct avro_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return NULL;
    plan->records = calloc(count + 1, sizeof *plan->records);
    if (!plan->records) {
        avro_plan_free(plan);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        plan->records[i] = records[i];
    return plan;
}

struct avro_plan *avro_plan_compile(struct slice schema_json,
                                    const struct reader_record *const *records, size_t record_count,
                                    struct error *err) {
    avro_schema_t schema;
    if (!parse_schema(schema_json, &schema, err))
        return NULL;
    struct compiler compiler = {
        .plan = new_plan(records, record_count), .record_count = record_count, .err = err};
    bool ok = compiler.plan ? compile_top(&compiler, resolve(schema), NULL) &&
                                  emit(&compiler, (struct step){.op = OP_END})
                            : out_of_memory(err);
    avro_schema_decref(schema);
    if (!ok) {
        avro_plan_free(compiler.plan);
        return NULL;
    }
    return compiler.plan;
}
