/* The acceptance cases of this directory's JSON files, made complete: what a file leaves out
 * because it is the same everywhere is filled in here (README.md beside the files says what). How a
 * case is run is left to its runner. A file that is not as it must be ends the program. */
#ifndef SIPTRUNK_TESTS_ACCEPTANCE_CASE_FILE_H
#define SIPTRUNK_TESTS_ACCEPTANCE_CASE_FILE_H

#include <jansson.h>
#include <stdbool.h>

struct acceptance_case {
    char *name;        /* "C1: a sentence" */
    json_t *inventory; /* lines */
    json_t *edits;     /* what edits left on channels */
    json_t *steps;
    json_t *after;        /* number or channel -> what its view then shows */
    bool without_secrets; /* the worker has no key for passwords */
};

/* A step, complete:
 *   "send"       the command with all its ids, or
 *   "bytes"      a record's value in hexadecimal digits, or null for a tombstone, or
 *   "redeliver"  the index of an earlier step, whose record comes once more
 *   "writer", "cut", "append"   of a "send", as in the file
 *   "result"     every field of the result that does not depend on place and time (what its bytes
 *                have and lack may stand in "expect" as "body_has" and "body_lacks"), or
 *   "same_as"    the index of the step whose result this one answers with, or
 *   "dead_letter", "passed_over" */
struct case_list {
    struct acceptance_case *cases;
    size_t count;
    json_t *catalogue; /* schemas/errors.json */
};

struct case_list *case_list_load(void);
void case_list_free(struct case_list *list);

#endif
