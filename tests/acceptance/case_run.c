/* Walks over a case's parts. */
#include "tests/acceptance/case_run.h"

struct decide_run *case_run_new(const struct case_list *list) {
    struct decide_run *run = decide_run_new();
    for (size_t i = 0; i < list->count; i++) {
        for (size_t k = 0; k < json_array_size(list->cases[i].steps); k++) {
            const json_t *step = json_array_get(list->cases[i].steps, k);
            if (json_object_get(step, "send"))
                decide_run_add_writer(run, step);
        }
    }
    decide_run_begin(run);
    return run;
}

struct memory *case_run_memory(const struct acceptance_case *one) {
    struct memory *memory = memory_new();
    size_t i;
    json_t *line;
    json_array_foreach(one->inventory, i, line) {
        memory_add(memory, line);
    }
    json_array_foreach(one->edits, i, line) {
        memory_edit(memory, line);
    }
    return memory;
}

void case_run_records(struct decide_run *run, const struct acceptance_case *one,
                      struct sent *sent) {
    size_t i;
    json_t *step;
    json_array_foreach(one->steps, i, step) {
        const json_t *again = json_object_get(step, "redeliver");
        if (again)
            sent[i].record = sent[json_integer_value(again)].record;
        else
            decide_run_make(run, step, (int64_t)i + 100, &sent[i]);
    }
}
