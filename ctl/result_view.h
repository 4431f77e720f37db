/* Results as they are shown: decoded, each once, as a table or as JSON lines, and counted; with an
 * eye on the numbers that each account's results bear. Where they come from is left to others. One
 * thread. */
#ifndef SIPTRUNK_CTL_RESULT_VIEW_H
#define SIPTRUNK_CTL_RESULT_VIEW_H

#include "common/uuid.h"
#include "ctl/message.h"

#include <librdkafka/rdkafka.h>
#include <stdint.h>

struct result_view;

enum result_format { RESULT_TABLE, RESULT_JSON };

/* NULL with err set. */
struct result_view *result_view_new(enum result_format format, const char *schema_dir,
                                    struct error *err);
void result_view_free(struct result_view *view); /* accepts NULL */

/* As if there were no results of other accounts. */
void result_view_only(struct result_view *view, const struct uuid *account);

/* Whether to show a result; all are counted in the sequences. */
typedef bool result_filter(void *context, const json_t *result);

/* Decodes the record; shows its result unless it was seen before, or the filter (may be NULL) says
 * no. A record that is no result is told of on standard error and counted. False with FAULT_RETRY
 * when memory is out. */
bool result_view_take(struct result_view *view, const rd_kafka_message_t *record,
                      result_filter *filter, void *context, struct error *err) MUST_CHECK;

/* Prints rows that wait to be aligned: all, or those that have waited for half a second. */
void result_view_flush(struct result_view *view);
void result_view_flush_old(struct result_view *view);

/* Tells on standard error of sequence numbers that are missing since that time, in Kafka's
 * milliseconds, or before, each once. */
void result_view_report_missing(struct result_view *view, int64_t noticed_ms);

/* Then, of those that are missing but may still come. They do not count as missing. */
void result_view_report_late(struct result_view *view);

/* The closing line, on standard error. */
void result_view_summary(const struct result_view *view);

/* Results shown with the outcome REJECTED; numbers missing so far. */
size_t result_view_rejected(const struct result_view *view);
size_t result_view_missing(const struct result_view *view);

#endif
