/* The table of command types, and the small helpers on commands. What each type does is in
 * worker/commands. */
#include "worker/command.h"

const struct command_type *const command_types[] = {
    &connect_number_type,
    &disconnect_number_type,
    &set_operator_connect_number_type,
    &remove_operator_connect_number_type,
    &edit_channel_type,
    &list_caller_ids_type,
    &list_proxies_type,
    &list_templates_type,
    &list_call_barrings_type,
};
const size_t command_type_count = sizeof command_types / sizeof command_types[0];

const struct reader_record *const *command_readers(void) {
    static const struct reader_record *readers[sizeof command_types / sizeof command_types[0]];
    for (size_t i = 0; i < command_type_count; i++)
        readers[i] = command_types[i]->record;
    return readers;
}

const struct command_type *command_type_of(const struct reader_record *record) {
    for (size_t i = 0; i < command_type_count; i++) {
        if (command_types[i]->record == record)
            return command_types[i];
    }
    return NULL;
}

const char *outcome_name(enum outcome outcome) {
    static const char *const names[] = {
        [OUTCOME_APPLIED] = "APPLIED",
        [OUTCOME_NO_CHANGE] = "NO_CHANGE",
        [OUTCOME_REJECTED] = "REJECTED",
        [OUTCOME_WOULD_APPLY] = "WOULD_APPLY",
    };
    return names[outcome];
}

const struct value *command_value(const struct command *command, int slot) {
    static const struct value absent = {.state = VALUE_ABSENT};
    return slot < 0 || !command->values ? &absent : &command->values[slot];
}

struct slice command_text(const struct command *command, int slot) {
    const struct value *value = command_value(command, slot);
    return value->state == VALUE_SET && value->kind == VALUE_KIND_TEXT ? value->text : SLICE_NONE;
}

struct slice command_number(const struct command *command) {
    bool known = command->number.size > 0;
    return known ? (struct slice){.data = command->number.text, .size = command->number.size}
                 : SLICE_NONE;
}

bool problem_add(struct problem_list *list, struct arena *arena, enum reason reason,
                 const char *pointer, struct slice message) {
    struct problem *problem = arena_alloc(arena, sizeof *problem);
    if (!problem)
        return false;
    *problem = (struct problem){.reason = reason, .pointer = pointer, .message = message};
    *(list->end ? list->end : &list->first) = problem;
    list->end = &problem->next;
    list->count++;
    return true;
}

bool warning_add(struct warning_list *list, struct arena *arena, enum warning_code code,
                 const char *pointer, struct slice message) {
    struct warning *warning = arena_alloc(arena, sizeof *warning);
    if (!warning)
        return false;
    *warning = (struct warning){.code = code, .pointer = pointer, .message = message};
    *(list->end ? list->end : &list->first) = warning;
    list->end = &warning->next;
    list->count++;
    return true;
}

bool change_add(struct change_list *list, struct arena *arena, const char *pointer,
                struct slice before, struct slice after) {
    struct change *change = arena_alloc(arena, sizeof *change);
    if (!change)
        return false;
    *change = (struct change){.pointer = pointer, .before = before, .after = after};
    *(list->end ? list->end : &list->first) = change;
    list->end = &change->next;
    list->count++;
    return true;
}
