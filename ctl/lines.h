/* The lines of a file, or of standard input, which a person or a script wrote. What a line means is
 * left to others. One thread. */
#ifndef SIPTRUNK_CTL_LINES_H
#define SIPTRUNK_CTL_LINES_H

#include "common/error.h"
#include "common/slice.h"

#include <jansson.h>
#include <stdio.h>

struct lines {
    FILE *in;
    const char *path; /* borrowed; "-" is standard input */
    char *text;
    size_t capacity;
    size_t number; /* of the line that was given last; counts from 1 */
};

/* Opens path. FAULT_INPUT when that cannot be done. */
bool lines_open(struct lines *lines, const char *path, struct error *err) MUST_CHECK;
void lines_close(struct lines *lines);

/* The next line, with its end if it has one; valid until the next call. *ret is SLICE_NONE behind
 * the last one. FAULT_INPUT when the file cannot be read. */
bool lines_next(struct lines *lines, struct slice *ret, struct error *err) MUST_CHECK;

/* Nothing but spaces, tabs and ends of lines. */
bool line_is_blank(struct slice line);

/* The line as a JSON object, the caller's to release. NULL with FAULT_INPUT "schema" when it is
 * none: the message quotes nothing of the line, which may hold a password. */
json_t *line_object(struct slice line, struct error *err);

#endif
