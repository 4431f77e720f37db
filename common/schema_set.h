/* All the schemas that a program knows, by fingerprint: those that travel inside it and those of a
 * directory. Made at the start on one thread (avro-c's error text is one per process); immutable
 * afterwards, so that all threads share it. Knows no registry. */
#ifndef SIPTRUNK_COMMON_SCHEMA_SET_H
#define SIPTRUNK_COMMON_SCHEMA_SET_H

#include "common/avro_plan.h"

struct schema_set;

/* Compiles the embedded schemas, then every *.avsc of schema_dir ("" for none; 1 MiB a file at
 * most), against the readers' records (see avro_plan_compile for their life). A schema that is
 * there already is passed over. NULL with FAULT_CONFIG that names the file. */
struct schema_set *schema_set_new(const struct reader_record *const *records, size_t record_count,
                                  const char *schema_dir, struct error *err);
void schema_set_free(struct schema_set *set); /* accepts NULL */

/* NULL when the fingerprint is unknown. The plan of a schema that is no command refuses every
 * message. */
const struct avro_plan *schema_set_find(const struct schema_set *set, uint64_t fingerprint);

/* The schema's JSON text; SLICE_NONE when the fingerprint is unknown. NUL-terminated. */
struct slice schema_set_text(const struct schema_set *set, uint64_t fingerprint);

#endif
