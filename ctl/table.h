/* A table for people: columns as wide as what stands in them, found from the rows that were waiting
 * when it was last flushed. One thread. */
#ifndef SIPTRUNK_CTL_TABLE_H
#define SIPTRUNK_CTL_TABLE_H

#include "common/error.h"

#include <stddef.h>
#include <stdio.h>

struct table;

/* heads: static texts. One that begins with ">" stands, like its cells, on the right. NULL when
 * memory is out. */
struct table *table_new(FILE *out, const char *const *heads, size_t columns);
void table_free(struct table *table); /* accepts NULL; does not flush */

/* Copies the cells; NULL is an empty one. Control characters become "?". False when memory is out.
 */
bool table_row(struct table *table, const char *const *cells) MUST_CHECK;

/* Prints what is waiting, the heads before the first row. Widths never shrink. */
void table_flush(struct table *table);

#endif
