/* getline, with its two ways to end told apart; jansson, without its words. */
#include "ctl/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool cannot_read(const struct lines *lines, struct error *err) {
    return error_set(err, FAULT_INPUT, "file", "cannot read %s: %s",
                     lines->in == stdin ? "standard input" : lines->path, strerror(errno));
}

bool lines_open(struct lines *lines, const char *path, struct error *err) {
    *lines = (struct lines){.path = path};
    lines->in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    return lines->in ? true : cannot_read(lines, err);
}

void lines_close(struct lines *lines) {
    if (lines->in && lines->in != stdin)
        fclose(lines->in);
    free(lines->text);
    *lines = (struct lines){0};
}

bool lines_next(struct lines *lines, struct slice *ret, struct error *err) {
    errno = 0;
    ssize_t size = getline(&lines->text, &lines->capacity, lines->in);
    if (size < 0 && !feof(lines->in))
        return cannot_read(lines, err);
    lines->number += size >= 0;
    *ret = size < 0 ? SLICE_NONE : (struct slice){.data = lines->text, .size = (size_t)size};
    return true;
}

bool line_is_blank(struct slice line) {
    for (size_t i = 0; i < line.size; i++) {
        if (!memchr(" \t\r\n", line.data[i], 4))
            return false;
    }
    return true;
}

/* ---- JSON ---- */

/* Jansson's own texts repeat what stands near. */
static const char *reason_of(const json_error_t *error) {
    static const struct {
        enum json_error_code code;
        const char *reason;
    } reasons[] = {
        {json_error_premature_end_of_input, "it ends too early"},
        {json_error_end_of_input_expected, "something stands behind its end"},
        {json_error_invalid_utf8, "it is not UTF-8"},
        {json_error_duplicate_key, "a key stands there twice"},
        {json_error_numeric_overflow, "a number is too large"},
        {json_error_null_character, "a text holds a zero byte"},
        {json_error_null_byte_in_key, "a key holds a zero byte"},
        {json_error_stack_overflow, "it is nested too deeply"},
        {json_error_out_of_memory, "no memory for it"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].code == json_error_code(error))
            return reasons[i].reason;
    }
    return "the syntax is wrong";
}

json_t *line_object(struct slice line, struct error *err) {
    json_error_t why;
    json_t *json = json_loadb(line.data, line.size, JSON_REJECT_DUPLICATES, &why);
    if (!json) {
        error_set(err, FAULT_INPUT, "schema", "this is not JSON: column %d: %s", why.column,
                  reason_of(&why));
        return NULL;
    }
    if (json_is_object(json))
        return json;
    json_decref(json);
    error_set(err, FAULT_INPUT, "schema", "this is not a JSON object");
    return NULL;
}
