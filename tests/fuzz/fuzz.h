/* What the fuzz targets share. Each is one file, fuzz_NAME.c, whose inputs may be any bytes. */
#ifndef SIPTRUNK_TESTS_FUZZ_FUZZ_H
#define SIPTRUNK_TESTS_FUZZ_FUZZ_H

#include "common/slice.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* libFuzzer's entry points; the first one is optional. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A finding when it does not hold, also where assertions are compiled out. */
#define REQUIRE(condition) ((condition) ? (void)0 : fuzz_found(__FILE__, __LINE__, #condition))

static inline _Noreturn void fuzz_found(const char *file, int line, const char *condition) {
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

/* The input, cut off piece by piece. */
static inline struct slice fuzz_take(struct slice *rest, size_t size) {
    struct slice piece = {.data = rest->data, .size = size < rest->size ? size : rest->size};
    rest->data += piece.size;
    rest->size -= piece.size;
    return piece;
}

/* A byte, 0 at the end. */
static inline unsigned fuzz_byte(struct slice *rest) {
    struct slice byte = fuzz_take(rest, 1);
    return byte.size ? (unsigned char)byte.data[0] : 0;
}

#endif
