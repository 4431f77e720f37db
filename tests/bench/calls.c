/* To be preloaded into the worker: counts what it asks of its libraries, in a file that the
 * benchmark has mapped too ($CALLS_FILE). No test. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

/* As tests/bench/cost.py unpacks it. */
struct calls {
    _Atomic uint64_t statements, round_trips, messages, transactions;
};

static struct calls unread;
static struct calls *calls = &unread;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CALLS_FILE");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        calls = mapped;
}

/* The function of that name behind this library. */
static void *next(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

int PQsendQueryPrepared(PGconn *conn, const char *name, int count, const char *const *values,
                        const int *sizes, const int *formats, int result_format) {
    int (*real)(PGconn *, const char *, int, const char *const *, const int *, const int *, int) =
        next("PQsendQueryPrepared");
    atomic_fetch_add(&calls->statements, 1);
    return real(conn, name, count, values, sizes, formats, result_format);
}

int PQpipelineSync(PGconn *conn) {
    int (*real)(PGconn *) = next("PQpipelineSync");
    atomic_fetch_add(&calls->round_trips, 1);
    return real(conn);
}

rd_kafka_error_t *rd_kafka_produceva(rd_kafka_t *handle, const rd_kafka_vu_t *values,
                                     size_t count) {
    rd_kafka_error_t *(*real)(rd_kafka_t *, const rd_kafka_vu_t *, size_t) =
        next("rd_kafka_produceva");
    atomic_fetch_add(&calls->messages, 1);
    return real(handle, values, count);
}

rd_kafka_error_t *rd_kafka_begin_transaction(rd_kafka_t *handle) {
    rd_kafka_error_t *(*real)(rd_kafka_t *) = next("rd_kafka_begin_transaction");
    atomic_fetch_add(&calls->transactions, 1);
    return real(handle);
}
