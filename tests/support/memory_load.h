/* An inventory and a ledger in memory, so that the decide stage can be run without a database:
 * takes the lines of an inventory file, fills a working set as worker/load.c does, keeps what
 * worker/store.c would store, and shows the views. A mistake of the caller fails the test. */
#ifndef SIPTRUNK_TESTS_SUPPORT_MEMORY_LOAD_H
#define SIPTRUNK_TESTS_SUPPORT_MEMORY_LOAD_H

#include "worker/working_set.h"

#include <jansson.h>

struct memory;

struct memory *memory_new(void);
void memory_free(struct memory *memory);

/* One line of an inventory. */
void memory_add(struct memory *memory, const json_t *line);

/* What edits would have left on a channel: {"account_id", "channel_name", "version", "settings"},
 * the last two as needed; settings in the guide's JSON form. */
void memory_edit(struct memory *memory, const json_t *edit);

/* One change of an applied edit, as its result shows it: a renaming, the password (which stands in
 * no result), or a setting. What the change says was there before must be there. */
void memory_change(struct memory *memory, const struct uuid *account_id, const char *name,
                   const json_t *change, const char *password);

/* Counts an applied edit. */
void memory_raise_version(struct memory *memory, const struct uuid *account_id, const char *name);

/* Whether both hold the same passwords, channel by channel in the order of the inventory. */
bool memory_same_passwords(const struct memory *a, const struct memory *b);

/* Loads the rows that the set names; stores what deciding has changed in them. */
void memory_load(struct memory *memory, struct working_set *set);
void memory_store(struct memory *memory, const struct working_set *set);

/* The account's first event is 1; 0 for an account that there is not. */
bool memory_knows(const struct memory *memory, const struct uuid *account_id);

/* As the database's views, as objects: the caller's to release. number_view by number, channel_view
 * by account and name, result_view as an array in the order of storing. */
json_t *memory_number_view(const struct memory *memory);
json_t *memory_channel_view(const struct memory *memory);
json_t *memory_result_view(const struct memory *memory);

#endif
