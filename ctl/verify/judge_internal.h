/* What the files of the judge share. */
#ifndef SIPTRUNK_CTL_VERIFY_JUDGE_INTERNAL_H
#define SIPTRUNK_CTL_VERIFY_JUDGE_INTERNAL_H

#include "ctl/verify/judge.h"

struct judge {
    const struct records *records;
    struct history *history;
    bool complete;
    finding_fn *tell;
    void *context;
    struct verdict verdict;
    struct grouping commands_of_part;
    /* By partition of commands: what stands below has its results, or its dead letters, perhaps
     * among the records that retention took. 0 when nothing was taken. */
    int64_t *results_from, *letters_from;
    bool commands_taken, results_taken; /* retention took some */
};

/* The command at that place; NULL when none is there. */
struct command_row *judge_command_at(const struct judge *judge, uint16_t part, int64_t offset);

/* Whether a record at that place was passed for good when the results were read. */
bool judge_passed(const struct judge *judge, uint16_t part, int64_t offset);

/* Whether the record at that place was deleted by retention, or is of a topic that we do not read:
 * its row may have been purged from the ledger. */
bool judge_taken(const struct judge *judge, uint16_t part, int64_t offset);

/* A finding about a row; the text is a format. */
void judge_tell(struct judge *judge, struct finding finding, const char *format, ...)
    PRINTF_LIKE(3, 4);
struct finding finding_of_command(enum finding_name name, const struct command_row *row);
struct finding finding_of_result(const struct judge *judge, enum finding_name name,
                                 const struct result_row *row);
struct finding finding_of_ledger(enum finding_name name, const struct ledger_row *row);
struct finding finding_of_part(enum finding_name name, uint16_t part, int64_t offset);
struct finding finding_of_account(enum finding_name name, uint32_t account);

/* The parts of the job. */
void judge_events(struct judge *judge);
void judge_ledger(struct judge *judge);
void judge_commands(struct judge *judge);
void judge_letters(struct judge *judge);
void judge_parts(struct judge *judge);
bool judge_accounts(struct judge *judge);

#endif
