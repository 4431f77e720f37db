/* Avro as an enemy would send it: writers' schemas of every shape the decoder knows, a reader that
 * takes every kind of value from them, and bodies that claim more than they hold. For the fuzz
 * targets, the test of what such bodies cost, and the measurement of how long they take. */
#ifndef SIPTRUNK_TESTS_SUPPORT_HOSTILE_AVRO_H
#define SIPTRUNK_TESTS_SUPPORT_HOSTILE_AVRO_H

#include "common/avro_plan.h"
#include "common/buffer.h"

/* The reader of the schemas below; its slots are not named, since nobody asks what they hold. */
extern const struct reader_record hostile_reader;

/* JSON texts; the last one is NULL. */
extern const char *const hostile_schemas[];

/* A body: the bytes of head, then unit repeated. Both are hexadecimal digits. */
struct hostile_body {
    const char *name;
    size_t schema; /* of hostile_schemas */
    const char *head, *unit;
    size_t repeat;
    const char *id; /* of the error; NULL for a body that is as it should be, only large */
};

extern const struct hostile_body hostile_bodies[];
extern const size_t hostile_body_count;

/* Appends the bytes. */
void hostile_body_write(const struct hostile_body *body, struct buffer *out);

#endif
