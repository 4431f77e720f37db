/* Findings for people and for programs. One thread. */
#ifndef SIPTRUNK_CTL_VERIFY_REPORT_H
#define SIPTRUNK_CTL_VERIFY_REPORT_H

#include "ctl/verify/judge.h"

struct report;

/* most: how many findings of a name are shown, SIZE_MAX for all; json: each one as a line on
 * standard output as soon as it is known, all of them. NULL when memory is out. */
struct report *report_new(const struct history *history, size_t most, bool json);
void report_free(struct report *report); /* accepts NULL */

/* For judge. */
void report_finding(void *context, const struct finding *finding);

/* The counts, then the findings by name; with json the counts alone, on standard error. FAULT_RETRY
 * when memory was out for a finding. */
bool report_print(const struct report *report, const struct verdict *verdict,
                  struct error *err) MUST_CHECK;

#endif
