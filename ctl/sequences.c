/* For each account the runs of numbers without a gap, in order. Nearly always there is one. */
#include "ctl/sequences.h"

#include "ctl/uuid_map.h"

#include <stdlib.h>

struct run {
    int64_t from, to;
    int64_t noticed_ms; /* when the gap before it was */
    bool reported;
};

struct account {
    struct uuid id;
    struct run *runs;
    size_t count, capacity;
};

struct sequences {
    struct uuid_map index; /* account to its place, counted from 1 */
    struct account *accounts;
    size_t count, capacity;
    size_t gaps; /* of all accounts, not reported yet */
};

struct sequences *sequences_new(void) {
    return calloc(1, sizeof(struct sequences));
}

void sequences_free(struct sequences *sequences) {
    if (!sequences)
        return;
    for (size_t i = 0; i < sequences->count; i++)
        free(sequences->accounts[i].runs);
    free(sequences->accounts);
    uuid_map_free(&sequences->index);
    free(sequences);
}

static struct account *add_account(struct sequences *sequences, const struct uuid *id) {
    if (sequences->count == sequences->capacity) {
        size_t capacity = sequences->capacity ? 2 * sequences->capacity : 16;
        struct account *bigger = realloc(sequences->accounts, capacity * sizeof *bigger);
        if (!bigger)
            return NULL;
        sequences->accounts = bigger;
        sequences->capacity = capacity;
    }
    struct account *account = &sequences->accounts[sequences->count++];
    *account = (struct account){.id = *id};
    return account;
}

static struct account *find_account(struct sequences *sequences, const struct uuid *id) {
    uint32_t *place = uuid_map_put(&sequences->index, id, NULL);
    if (!place)
        return NULL;
    if (*place)
        return &sequences->accounts[*place - 1];
    struct account *account = add_account(sequences, id);
    if (account)
        *place = (uint32_t)sequences->count;
    return account;
}

static bool insert_run(struct account *account, size_t at, struct run run) {
    if (account->count == account->capacity) {
        size_t capacity = account->capacity ? 2 * account->capacity : 2;
        struct run *bigger = realloc(account->runs, capacity * sizeof *bigger);
        if (!bigger)
            return false;
        account->runs = bigger;
        account->capacity = capacity;
    }
    struct run *place = &account->runs[at];
    memmove(place + 1, place, (account->count - at) * sizeof *place);
    *place = run;
    account->count++;
    return true;
}

/* The gap between the run and the next one has closed. */
static void join_next(struct sequences *sequences, struct account *account, size_t at) {
    struct run *run = &account->runs[at];
    sequences->gaps -= !run[1].reported;
    run->to = run[1].to;
    account->count--;
    memmove(run + 1, run + 2, (account->count - at - 1) * sizeof *run);
}

/* A run of its own; the gap on either side of it is new, but what was reported stays so. */
static bool add_run(struct sequences *sequences, struct account *account, size_t at, int64_t number,
                    int64_t now_ms) {
    struct run run = {.from = number, .to = number, .noticed_ms = now_ms};
    bool splits = at > 0 && at < account->count;
    if (splits) {
        run.noticed_ms = account->runs[at].noticed_ms;
        run.reported = account->runs[at].reported;
    }
    if (!insert_run(account, at, run))
        return false;
    if (at == 0 && account->count > 1)
        account->runs[1].noticed_ms = now_ms;
    if (account->count > 1)
        sequences->gaps += !run.reported;
    return true;
}

bool sequences_see(struct sequences *sequences, const struct uuid *id, int64_t number,
                   int64_t now_ms) {
    struct account *account = find_account(sequences, id);
    if (!account)
        return false;
    size_t at = account->count; /* the first run that begins behind the number */
    while (at > 0 && account->runs[at - 1].from > number)
        at--;
    struct run *before = at > 0 ? &account->runs[at - 1] : NULL;
    struct run *behind = at < account->count ? &account->runs[at] : NULL;
    if (before && number <= before->to)
        return true;
    if (before && number - 1 == before->to) {
        before->to = number;
        if (behind && behind->from - 1 == number)
            join_next(sequences, account, at - 1);
        return true;
    }
    if (behind && behind->from - 1 == number) {
        behind->from = number;
        return true;
    }
    return add_run(sequences, account, at, number, now_ms);
}

size_t sequences_report(struct sequences *sequences, int64_t noticed_ms, missing_fn *tell,
                        void *context) {
    size_t told = 0;
    for (size_t i = 0; sequences->gaps > 0 && i < sequences->count; i++) {
        const struct account *account = &sequences->accounts[i];
        for (size_t at = 1; at < account->count; at++) {
            struct run *run = &account->runs[at];
            if (run->reported || run->noticed_ms > noticed_ms)
                continue;
            run->reported = true;
            sequences->gaps--;
            told++;
            tell(context, &account->id, run[-1].to + 1, run->from - 1);
        }
    }
    return told;
}
