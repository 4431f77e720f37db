/* What a plan is made of. Private to avro_compile.c, which writes the steps, and avro_plan.c, which
 * runs them. */
#ifndef SIPTRUNK_COMMON_AVRO_STEP_H
#define SIPTRUNK_COMMON_AVRO_STEP_H

#include "common/avro_plan.h"

enum op {
    /* pass over a value */
    OP_SKIP_INT,
    OP_SKIP_LONG,
    OP_SKIP_BOOLEAN,
    OP_SKIP_TEXT,
    OP_SKIP_FIXED, /* a: bytes */
    OP_SKIP_ENUM,  /* a: symbols */
    /* take a value into the slot */
    OP_TAKE_INT,
    OP_TAKE_LONG,
    OP_TAKE_BOOLEAN,
    OP_TAKE_TEXT,
    OP_LIST,      /* an empty list */
    OP_TAKE_ITEM, /* a text to the list */
    OP_MARK,      /* a: the state */
    /* go on elsewhere */
    OP_UNION,  /* a: first of the targets, b: branches */
    OP_JUMP,   /* a: step */
    OP_BLOCKS, /* array or map; a: the step behind it, b: 1 when items have no bytes */
    OP_NEXT,   /* the end of an item; a: the step at which the next one begins */
    OP_RECORD, /* a: which of the reader's records */
    OP_REFUSE, /* a record that is none of the reader's */
    OP_END,
    OP_COUNT
};

struct step {
    uint16_t op;
    uint16_t slot;
    uint32_t a, b;
};

struct avro_plan {
    const struct reader_record **records;
    struct step *steps;
    uint32_t *targets; /* of unions: the steps at which their branches begin */
};

#endif
