/* Judges a history: knows the contract, and neither Kafka, PostgreSQL nor the worker. What it finds
 * it tells at once; printing is left to report.c. */
#ifndef SIPTRUNK_CTL_VERIFY_JUDGE_H
#define SIPTRUNK_CTL_VERIFY_JUDGE_H

#include "ctl/verify/history.h"
#include "ctl/verify/record.h"

enum finding_name {
#define FINDING_ROW(symbol, name, meaning, action) FINDING_##symbol,
#include "ctl/verify/findings.def"
#undef FINDING_ROW
    FINDING_COUNT
};

struct finding_info {
    const char *name, *meaning, *action;
};

extern const struct finding_info finding_infos[FINDING_COUNT];

/* Where and what. What does not apply is NO_PART, NO_ROW, false or empty. */
struct finding {
    enum finding_name name;
    uint16_t part;
    int64_t offset;
    uint32_t account;
    bool has_command_id, has_event_id;
    struct uuid command_id, event_id;
    char detail[200];
};

/* How much was looked at, and how much could not be. */
struct verdict {
    size_t commands, lists, unreadable, tombstones;
    size_t waiting;
    size_t results, aborted, pending, internal;
    size_t letters, ledger_rows, numbered_accounts, chained;
    /* because retention has taken what they would have been compared with */
    size_t unchecked_answers; /* commands without a result that may be gone */
    size_t unchecked_results; /* results and ledger rows whose command is gone */
    size_t unchecked_numbers; /* sequence numbers before what is left */
    size_t unchecked_chains;  /* first events that are left */
    size_t unchecked_letters; /* dead letters whose record is gone, and the other way round */
    size_t foreign;           /* rows of topics that are not configured */
    size_t findings;
};

typedef void finding_fn(void *context, const struct finding *finding);

/* complete: a command that waits is a finding. Settles events in the history, so it judges a
 * history once. False when memory is out. */
bool judge(const struct records *records, struct history *history, bool complete, finding_fn *tell,
           void *context, struct verdict *ret, struct error *err) MUST_CHECK;

#endif
