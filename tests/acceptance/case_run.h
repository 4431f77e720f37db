/* What both runners of a case in C do with it: its world, its rows, its records. A mistake of a
 * file fails the test. */
#ifndef SIPTRUNK_TESTS_ACCEPTANCE_CASE_RUN_H
#define SIPTRUNK_TESTS_ACCEPTANCE_CASE_RUN_H

#include "tests/acceptance/case_file.h"
#include "tests/acceptance/decide_run.h"

/* Knows the writers of all cases. */
struct decide_run *case_run_new(const struct case_list *list);

/* The inventory with its edits; the caller's to free. */
struct memory *case_run_memory(const struct acceptance_case *one);

/* Record i of sent is that of step i, at offset 100 + i; the caller frees their values. */
void case_run_records(struct decide_run *run, const struct acceptance_case *one, struct sent *sent);

#endif
