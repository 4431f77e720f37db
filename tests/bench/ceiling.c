/* The ceiling under which the worker is measured: what load and store ask of the database for a
 * backlog of connects, and nothing else. The arrays of all batches are made before the clock
 * starts, by load_batch and store_batch themselves, whose requests are kept instead of sent; then
 * each thread sends its own over a connection of its own: two round trips for a batch, the second
 * with COMMIT in it. No Kafka, nothing is decoded, decided or encoded, and no answer is looked at
 * but for its success. The database is one of tests/bench/stage.py. Usage: ceiling CONNINFO
 * COMMANDS BATCH THREADS RESULT_BYTES */
#include "common/log.h"
#include "common/sql.h"
#include "common/stop.h"
#include "worker/claim.h"
#include "worker/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { PARTITIONS = 6, MAX_THREADS = PARTITIONS, MAX_STEPS = 24, MAX_STATEMENTS = 64 };

/* ---- requests that are kept ---- */

struct step {
    const struct pg_statement *statement;
    struct pg_param *params;
    size_t count;
};

/* A batch: the requests of load, then those of store. */
struct job {
    struct job *next;
    struct step steps[MAX_STEPS];
    size_t count, load_count;
};

static struct job *keeping; /* NULL: requests are sent */

static void *must(void *memory) {
    if (memory)
        return memory;
    fprintf(stderr, "no memory for the batches\n");
    exit(1);
}

static void keep(const struct pg_statement *statement, const struct pg_param *params,
                 size_t count) {
    if (keeping->count == MAX_STEPS)
        abort();
    struct step *step = &keeping->steps[keeping->count++];
    *step = (struct step){.statement = statement, .count = count};
    step->params = must(calloc(count + 1, sizeof *step->params));
    for (size_t i = 0; i < count; i++) {
        char *data = must(malloc(params[i].size + 1));
        memcpy(data, params[i].data, params[i].size);
        step->params[i] = (struct pg_param){.data = data, .size = params[i].size};
    }
}

/* By the linker's --wrap. */
bool __real_pg_queue(struct pg *pg, const struct pg_statement *statement,
                     const struct pg_param *params, size_t count, struct error *err);
bool __wrap_pg_queue(struct pg *pg, const struct pg_statement *statement,
                     const struct pg_param *params, size_t count, struct error *err);
bool __real_pg_sync(struct pg *pg, struct error *err);
bool __wrap_pg_sync(struct pg *pg, struct error *err);

bool __wrap_pg_queue(struct pg *pg, const struct pg_statement *statement,
                     const struct pg_param *params, size_t count, struct error *err) {
    if (!keeping)
        return __real_pg_queue(pg, statement, params, count, err);
    keep(statement, params, count);
    return true;
}

/* All has been asked: who asks for us ends here, since no answer comes. */
bool __wrap_pg_sync(struct pg *pg, struct error *err) {
    return keeping ? error_set(err, FAULT_STOP, "kept", "kept") : __real_pg_sync(pg, err);
}

/* ---- the inventory ---- */

struct target {
    struct slice number, channel;
    struct uuid account;
    int64_t channel_id;
    size_t account_index;
};

struct inventory {
    PGresult *rows; /* that targets point into */
    struct target *targets;
    size_t count;
    int64_t *sequences; /* by account */
};

static bool read_inventory(PGconn *conn, struct inventory *ret, struct error *err) {
    PGresult *rows = sql_query_binary(
        conn,
        "SELECT n.e164::text, n.account_id, c.channel_id, c.name,"
        " (dense_rank() OVER (ORDER BY n.account_id))::int4 - 1 FROM siptrunk.number n"
        " CROSS JOIN LATERAL (SELECT t.channel_id, t.name FROM siptrunk.channel t"
        " WHERE t.account_id = n.account_id AND t.subscription = 'sip_trunk'"
        " ORDER BY t.name LIMIT 1) c ORDER BY n.e164",
        "reading the inventory", err);
    if (!rows)
        return false;
    *ret = (struct inventory){.rows = rows, .count = (size_t)PQntuples(rows)};
    ret->targets = must(calloc(ret->count + 1, sizeof *ret->targets));
    ret->sequences = must(calloc(ret->count + 1, sizeof *ret->sequences));
    for (int row = 0; row < PQntuples(rows); row++)
        ret->targets[row] = (struct target){.number = pg_text(rows, row, 0),
                                            .account = pg_uuid(rows, row, 1),
                                            .channel_id = pg_int8(rows, row, 2),
                                            .channel = pg_text(rows, row, 3),
                                            .account_index = (size_t)pg_int4(rows, row, 4)};
    return ret->count > 0 || error_set(err, FAULT_STATE, "inventory", "there are no numbers");
}

/* ---- batches ---- */

struct thread {
    pthread_t id;
    struct pg *pg;
    struct job *first, **end;
    bool ok;
    struct error err;
};

struct maker {
    struct inventory inventory;
    struct arena *arena;
    struct slice body; /* of every result */
    size_t batch_size, thread_count, batches;
    struct position positions[PARTITIONS];
    size_t *commands[PARTITIONS], counts[PARTITIONS]; /* of the batch that is being filled */
    struct thread threads[MAX_THREADS];
};

/* What a connect names: see want_command and connect_number_type. */
static bool want(struct working_set *set, const struct target *target, const struct uuid *derived,
                 const struct uuid *id) {
    return working_set_want_ledger(set, &target->account, derived) &&
           working_set_want_account(set, &target->account) &&
           working_set_want_ledger(set, &target->account, id) &&
           working_set_want_channel(set, &target->account, target->channel) &&
           working_set_want_number(set, target->number);
}

/* What deciding would leave behind. A number is connected once; later it is there already. */
static void change(struct maker *maker, struct working_set *set, const struct target *target,
                   const struct uuid *id, const struct source *source, bool first_time) {
    struct account *account = working_set_want_account(set, &target->account);
    struct number *number = working_set_want_number(set, target->number);
    struct ledger_entry *entry = working_set_want_ledger(set, &target->account, id);
    account->changed = true;
    account->last_sequence = ++maker->inventory.sequences[target->account_index];
    account->last_applied_at = source->timestamp_ms * 1000;
    number->changed = first_time;
    number->channel_id = target->channel_id;
    entry->added = true;
    entry->source = *source;
    entry->body = maker->body;
    entry->command_type = SLICE_LITERAL("ConnectNumber");
    entry->outcome = first_time ? OUTCOME_APPLIED : OUTCOME_NO_CHANGE;
    entry->account_sequence = account->last_sequence;
    entry->applied_at = account->last_applied_at;
}

static const struct pg_statement *commit_statement(void) {
    for (size_t i = 0; i < store_statement_count; i++) {
        if (strcmp(store_statements[i].sql, "COMMIT") == 0)
            return &store_statements[i];
    }
    abort();
}

static const struct target *target_of(const struct maker *maker, size_t command) {
    return &maker->inventory.targets[command % maker->inventory.count];
}

/* Two ids a command: the derived one, and its own. */
static void ask_all(struct maker *maker, size_t partition, struct working_set *set,
                    struct uuid *ids) {
    struct error err;
    int64_t now_us;
    bool ok = working_set_init(set, maker->arena, maker->batch_size);
    for (size_t i = 0; ok && i < maker->batch_size; i++)
        ok = uuid_v4(&ids[2 * i]) && uuid_v4(&ids[2 * i + 1]) &&
             want(set, target_of(maker, maker->commands[partition][i]), &ids[2 * i],
                  &ids[2 * i + 1]);
    if (!ok || load_batch(NULL, &maker->positions[partition], 1, set, &now_us, &err))
        abort();
}

static void store_all(struct maker *maker, size_t partition, struct working_set *set,
                      const struct uuid *ids) {
    const struct position *position = &maker->positions[partition];
    struct error err;
    for (size_t i = 0; i < maker->batch_size; i++) {
        const struct source source = {.topic = position->topic,
                                      .partition = position->partition,
                                      .offset = position->next_offset + (int64_t)i,
                                      .timestamp_ms = 1700000000000};
        size_t command = maker->commands[partition][i];
        change(maker, set, target_of(maker, command), &ids[2 * i + 1], &source,
               command < maker->inventory.count);
    }
    if (store_batch(NULL, position, 1, set, SLICE_LITERAL("installation"), NULL, &err))
        abort();
    keep(commit_statement(), NULL, 0);
}

/* The batch of a partition is full: its requests become a job of the partition's thread. */
static void make_job(struct maker *maker, size_t partition) {
    struct position *position = &maker->positions[partition];
    struct thread *thread = &maker->threads[partition % maker->thread_count];
    struct working_set set;
    struct uuid *ids = must(calloc(2 * maker->batch_size, sizeof *ids));
    struct job *job = keeping = must(calloc(1, sizeof *job));
    arena_reset(maker->arena);
    position->batch_end = position->next_offset + (int64_t)maker->batch_size;
    ask_all(maker, partition, &set, ids);
    job->load_count = job->count;
    store_all(maker, partition, &set, ids);
    position->next_offset = position->committed_offset = position->batch_end;
    keeping = NULL;
    free(ids);
    *thread->end = job;
    thread->end = &job->next;
    maker->batches++;
}

/* An account's commands are all in one partition, and a batch is of one partition, as those are
 * that come out of a backlog. */
static void make_jobs(struct maker *maker, size_t commands) {
    for (size_t p = 0; p < PARTITIONS; p++) {
        maker->commands[p] = must(calloc(maker->batch_size, sizeof *maker->commands[p]));
        maker->positions[p] = (struct position){.topic = SLICE_LITERAL("ceiling"),
                                                .partition = (int32_t)p,
                                                .epoch = 1,
                                                .committed_offset = -1};
    }
    for (size_t i = 0; i < commands; i++) {
        size_t partition = target_of(maker, i)->account_index % PARTITIONS;
        maker->commands[partition][maker->counts[partition]++] = i;
        if (maker->counts[partition] == maker->batch_size) {
            make_job(maker, partition);
            maker->counts[partition] = 0;
        }
    }
}

/* ---- running them ---- */

static bool run_segment(struct pg *pg, const struct step *steps, size_t count, struct error *err) {
    for (size_t i = 0; i < count; i++) {
        if (!pg_queue(pg, steps[i].statement, steps[i].params, steps[i].count, err))
            return false;
    }
    if (!pg_sync(pg, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        PGresult *result;
        if (!pg_result(pg, &result, err))
            return false;
        PQclear(result);
    }
    return pg_end(pg, err);
}

static void *run_thread(void *opaque) {
    struct thread *thread = opaque;
    thread->ok = true;
    for (const struct job *job = thread->first; job && thread->ok; job = job->next)
        thread->ok = run_segment(thread->pg, job->steps, job->load_count, &thread->err) &&
                     run_segment(thread->pg, job->steps + job->load_count,
                                 job->count - job->load_count, &thread->err);
    return NULL;
}

static bool connect_threads(struct maker *maker, const char *conninfo, struct error *err) {
    struct pg_statement statements[MAX_STATEMENTS];
    size_t count = 0;
    for (size_t i = 0; i < load_statement_count; i++)
        statements[count++] = load_statements[i];
    for (size_t i = 0; i < store_statement_count; i++)
        statements[count++] = store_statements[i];
    for (size_t i = 0; i < maker->thread_count; i++) {
        maker->threads[i].pg =
            pg_connect(conninfo, "bench-ceiling", claim_session_settings, statements, count, err);
        if (!maker->threads[i].pg)
            return false;
    }
    return true;
}

static bool run_threads(struct maker *maker, struct error *err) {
    bool ok = true;
    for (size_t i = 0; i < maker->thread_count; i++) {
        if (pthread_create(&maker->threads[i].id, NULL, run_thread, &maker->threads[i]))
            abort();
    }
    for (size_t i = 0; i < maker->thread_count; i++) {
        struct thread *thread = &maker->threads[i];
        pthread_join(thread->id, NULL);
        if (ok && !thread->ok)
            *err = thread->err;
        ok = ok && thread->ok;
        pg_close(thread->pg);
    }
    return ok;
}

static double cpu_ms(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

/* What cannot be seen from the answers that nobody looked at. */
static bool check(PGconn *conn, size_t commands, struct error *err) {
    SQL_RESULT rows = sql_query_binary(conn,
                                       "SELECT (SELECT count(*) FROM siptrunk.command_ledger),"
                                       " (SELECT sum(next_offset) FROM"
                                       " siptrunk.partition_position)::int8,"
                                       " (SELECT sum(last_sequence) FROM"
                                       " siptrunk.account_tail)::int8",
                                       "counting what was stored", err);
    if (!rows)
        return false;
    for (int column = 0; column < 3; column++) {
        if (pg_int8(rows, 0, column) != (int64_t)commands)
            return error_set(err, FAULT_BUG, "ceiling", "not everything was stored");
    }
    return true;
}

static bool run(struct maker *maker, const char *conninfo, size_t commands, struct error *err) {
    static const char positions[] =
        "INSERT INTO siptrunk.partition_position (topic, partition, next_offset, epoch)"
        " SELECT 'ceiling', i, 0, 1 FROM generate_series(0, 5) i";
    SQL_CONNECTION conn = sql_connect(conninfo, "bench-ceiling", 5, err);
    if (!conn || !sql_run(conn, positions, "making positions", err) ||
        !read_inventory(conn, &maker->inventory, err))
        return false;
    make_jobs(maker, commands);
    if (!connect_threads(maker, conninfo, err))
        return false;
    const struct job *job = maker->threads[0].first;
    size_t done = maker->batches * maker->batch_size;
    double cpu = cpu_ms();
    int64_t began_us = monotonic_us();
    if (!run_threads(maker, err))
        return false;
    double seconds = (double)(monotonic_us() - began_us) / 1e6;
    printf("%.0f commands/s, own CPU %.2f ms for 1000, %zu batches of %zu in 2 round trips with"
           " %zu and %zu statements\n",
           (double)done / seconds, (cpu_ms() - cpu) * 1000 / (double)done, maker->batches,
           maker->batch_size, job->load_count, job->count - job->load_count);
    return check(conn, done, err);
}

int main(int argc, char **argv) {
    struct error err = {0};
    static struct maker maker; /* what it holds is held to the end */
    maker.arena = arena_new((size_t)64 << 20);
    if (argc != 6) {
        fprintf(stderr, "usage: bench-ceiling CONNINFO COMMANDS BATCH THREADS RESULT_BYTES\n");
        return 2;
    }
    size_t commands = strtoul(argv[2], NULL, 10), body = strtoul(argv[5], NULL, 10);
    maker.batch_size = strtoul(argv[3], NULL, 10);
    maker.thread_count = strtoul(argv[4], NULL, 10);
    if (maker.batch_size == 0 || maker.thread_count == 0 || maker.thread_count > MAX_THREADS ||
        commands < maker.batch_size * PARTITIONS * 2)
        return 2;
    maker.body = (struct slice){.data = must(calloc(1, body + 1)), .size = body};
    for (size_t i = 0; i < MAX_THREADS; i++)
        maker.threads[i].end = &maker.threads[i].first;
    if (run(must(maker.arena) ? &maker : NULL, argv[1], commands, &err))
        return 0;
    log_error(LOG_ERROR, "ceiling", LOG_PLAIN, &err);
    return 1;
}
