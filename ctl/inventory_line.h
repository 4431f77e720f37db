/* One line of an inventory file: JSON in, a row for COPY out. Knows what a line must look like;
 * whether the things that it refers to exist is asked in ctl/inventory_store.c. */
#ifndef SIPTRUNK_CTL_INVENTORY_LINE_H
#define SIPTRUNK_CTL_INVENTORY_LINE_H

#include "common/buffer.h"
#include "common/error.h"
#include "common/slice.h"

enum inventory_type {
    INVENTORY_PROXY,
    INVENTORY_TEMPLATE,
    INVENTORY_CALL_BARRING,
    INVENTORY_ACCOUNT,
    INVENTORY_CHANNEL,
    INVENTORY_NUMBER,
    INVENTORY_TYPE_COUNT
};

/* Lines that are stored together: for each type the rows, in COPY's text format. A row has the
 * line's number, then the fields in the order of the staging table load_TYPE. Starts as {0}. */
struct inventory_block {
    struct buffer rows[INVENTORY_TYPE_COUNT];
    size_t counts[INVENTORY_TYPE_COUNT];
};

void inventory_block_clear(struct inventory_block *block);
void inventory_block_free(struct inventory_block *block);

/* Adds the line. FAULT_INPUT says the JSON Pointer and what is wrong there, not the line's number;
 * the block then may hold half a row and must be cleared. */
bool inventory_line_add(struct inventory_block *block, struct slice text, size_t number,
                        struct error *err) MUST_CHECK;

/* "proxy", ... */
const char *inventory_type_name(enum inventory_type type);

#endif
