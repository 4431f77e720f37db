/* The migrations and schemas that travel inside the programs.
 * Generated at build time by common/embed.cmake; what they mean is left to avro_registry and
 * migrate. */
#ifndef SIPTRUNK_COMMON_EMBEDDED_H
#define SIPTRUNK_COMMON_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
    const char *name; /* base name, such as 20260101000000_name.sql; NULL ends the table */
    const char *text; /* NUL-terminated */
};

extern const struct embedded_file embedded_migrations[]; /* sorted by name */
extern const size_t embedded_migrations_count;
extern const struct embedded_file embedded_schemas[]; /* sorted by name */
extern const size_t embedded_schemas_count;

#endif
