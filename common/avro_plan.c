/* The machine that runs a plan. The steps are all there is: no schema is looked at while bytes are
 * read. */
#include "common/avro_bytes.h"
#include "common/avro_step.h"

#include <stdlib.h>

void avro_plan_free(struct avro_plan *plan) {
    if (!plan)
        return;
    free(plan->records);
    free(plan->steps);
    free(plan->targets);
    free(plan);
}

struct run {
    const struct avro_plan *plan;
    const struct step *next; /* NULL when done */
    struct avro_bytes bytes;
    struct arena *arena;
    const struct reader_record *record;
    struct value *values;
    size_t list_capacity;                      /* of the list at work; lists do not nest */
    struct avro_blocks blocks[AVRO_MAX_DEPTH]; /* the arrays and maps that are open */
    size_t open;
};

typedef enum avro_fail op_fn(struct run *run, const struct step *step);

static enum avro_fail skip_int(struct run *run, const struct step *step) {
    (void)step;
    int64_t ignored;
    return avro_read_int(&run->bytes, &ignored);
}

static enum avro_fail skip_long(struct run *run, const struct step *step) {
    (void)step;
    int64_t ignored;
    return avro_read_long(&run->bytes, &ignored);
}

static enum avro_fail skip_boolean(struct run *run, const struct step *step) {
    (void)step;
    bool ignored;
    return avro_read_boolean(&run->bytes, &ignored);
}

static enum avro_fail skip_text(struct run *run, const struct step *step) {
    (void)step;
    struct slice ignored;
    return avro_read_text(&run->bytes, &ignored);
}

static enum avro_fail skip_fixed(struct run *run, const struct step *step) {
    struct slice ignored;
    return avro_read_fixed(&run->bytes, step->a, &ignored);
}

static enum avro_fail skip_enum(struct run *run, const struct step *step) {
    uint32_t ignored;
    return avro_read_symbol(&run->bytes, step->a, &ignored);
}

static struct value *start_value(struct run *run, const struct step *step, enum value_kind kind) {
    struct value *value = &run->values[step->slot];
    value->state = VALUE_SET;
    value->kind = (uint8_t)kind;
    return value;
}

static enum avro_fail take_int(struct run *run, const struct step *step) {
    return avro_read_int(&run->bytes, &start_value(run, step, VALUE_KIND_INTEGER)->integer);
}

static enum avro_fail take_long(struct run *run, const struct step *step) {
    return avro_read_long(&run->bytes, &start_value(run, step, VALUE_KIND_INTEGER)->integer);
}

static enum avro_fail take_boolean(struct run *run, const struct step *step) {
    return avro_read_boolean(&run->bytes, &start_value(run, step, VALUE_KIND_BOOL)->boolean);
}

static enum avro_fail take_text(struct run *run, const struct step *step) {
    struct value *value = start_value(run, step, VALUE_KIND_TEXT);
    enum avro_fail fail = avro_read_text(&run->bytes, &value->text);
    if (!fail && value->text.size > AVRO_MAX_TEXT)
        value->state = VALUE_TOO_LONG;
    return fail;
}

static enum avro_fail start_list(struct run *run, const struct step *step) {
    struct value *value = start_value(run, step, VALUE_KIND_LIST);
    value->list.items = NULL;
    value->list.count = 0;
    run->list_capacity = 0;
    return AVRO_OK;
}

/* Doubles, so that many small blocks cost no more than one large one. */
static bool grow_list(struct run *run, struct value *value) {
    size_t capacity = run->list_capacity ? 2 * run->list_capacity : 16;
    struct slice *bigger = arena_array(run->arena, capacity, sizeof *bigger);
    if (!bigger)
        return false;
    if (value->list.count)
        memcpy(bigger, value->list.items, value->list.count * sizeof *bigger);
    value->list.items = bigger;
    run->list_capacity = capacity;
    return true;
}

static enum avro_fail take_item(struct run *run, const struct step *step) {
    struct value *value = &run->values[step->slot];
    struct slice text;
    enum avro_fail fail = avro_read_text(&run->bytes, &text);
    if (fail)
        return fail;
    if (value->list.count == run->list_capacity && !grow_list(run, value))
        return AVRO_FAIL_MEMORY;
    value->list.items[value->list.count++] = text;
    if (text.size > AVRO_MAX_TEXT && value->state == VALUE_SET)
        value->state = VALUE_TOO_LONG;
    return AVRO_OK;
}

static enum avro_fail mark(struct run *run, const struct step *step) {
    run->values[step->slot].state = (uint8_t)step->a;
    return AVRO_OK;
}

static enum avro_fail open_branch(struct run *run, const struct step *step) {
    uint32_t branch;
    enum avro_fail fail = avro_read_branch(&run->bytes, step->b, &branch);
    if (!fail)
        run->next = &run->plan->steps[run->plan->targets[step->a + branch]];
    return fail;
}

static enum avro_fail jump(struct run *run, const struct step *step) {
    run->next = &run->plan->steps[step->a];
    return AVRO_OK;
}

/* Items without bytes are counted against the limit and need not be visited. */
static enum avro_fail open_blocks(struct run *run, const struct step *step) {
    struct avro_blocks *blocks = &run->blocks[run->open];
    *blocks = (struct avro_blocks){0};
    enum avro_fail fail;
    do
        fail = avro_next_block(&run->bytes, blocks);
    while (!fail && blocks->left && step->b);
    if (!fail && blocks->left)
        run->open++;
    else
        run->next = &run->plan->steps[step->a];
    return fail;
}

static enum avro_fail next_item(struct run *run, const struct step *step) {
    struct avro_blocks *blocks = &run->blocks[run->open - 1];
    enum avro_fail fail = AVRO_OK;
    if (--blocks->left == 0)
        fail = avro_next_block(&run->bytes, blocks);
    if (!fail && blocks->left)
        run->next = &run->plan->steps[step->a];
    else
        run->open--;
    return fail;
}

static enum avro_fail start_record(struct run *run, const struct step *step) {
    run->record = run->plan->records[step->a];
    run->values = arena_array(run->arena, run->record->slot_count, sizeof *run->values);
    return run->values ? AVRO_OK : AVRO_FAIL_MEMORY;
}

static enum avro_fail refuse_record(struct run *run, const struct step *step) {
    (void)run;
    (void)step;
    return AVRO_FAIL_RECORD;
}

static enum avro_fail finish(struct run *run, const struct step *step) {
    (void)step;
    run->next = NULL;
    return avro_bytes_left(&run->bytes) ? AVRO_FAIL_REST : AVRO_OK;
}

static op_fn *const ops[OP_COUNT] = {
    [OP_SKIP_INT] = skip_int,
    [OP_SKIP_LONG] = skip_long,
    [OP_SKIP_BOOLEAN] = skip_boolean,
    [OP_SKIP_TEXT] = skip_text,
    [OP_SKIP_FIXED] = skip_fixed,
    [OP_SKIP_ENUM] = skip_enum,
    [OP_TAKE_INT] = take_int,
    [OP_TAKE_LONG] = take_long,
    [OP_TAKE_BOOLEAN] = take_boolean,
    [OP_TAKE_TEXT] = take_text,
    [OP_LIST] = start_list,
    [OP_TAKE_ITEM] = take_item,
    [OP_MARK] = mark,
    [OP_UNION] = open_branch,
    [OP_JUMP] = jump,
    [OP_BLOCKS] = open_blocks,
    [OP_NEXT] = next_item,
    [OP_RECORD] = start_record,
    [OP_REFUSE] = refuse_record,
    [OP_END] = finish,
};

static enum avro_fail run_steps(struct run *run) {
    enum avro_fail fail = AVRO_OK;
    while (run->next && !fail) {
        const struct step *step = run->next++;
        fail = ops[step->op](run, step);
    }
    return fail;
}

bool avro_plan_run(const struct avro_plan *plan, struct slice body, struct arena *arena,
                   struct avro_decoded *ret, struct error *err) {
    struct run run = {
        .plan = plan, .next = plan->steps, .bytes = avro_bytes_of(body), .arena = arena};
    enum avro_fail fail = body.size > AVRO_MAX_MESSAGE ? AVRO_FAIL_MESSAGE : run_steps(&run);
    if (fail)
        return avro_fail_error(fail, &run.bytes, body, err);
    *ret = (struct avro_decoded){.record = run.record, .values = run.values};
    return true;
}
