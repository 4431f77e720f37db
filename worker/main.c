/* siptrunk-worker: reads the configuration, looks at broker and database once, runs the threads of
 * both lanes, and leaves within five seconds of a signal. */
#include "common/avro_schema.h"
#include "common/embedded.h"
#include "common/kafka.h"
#include "common/log.h"
#include "common/migrate.h"
#include "common/postgres.h"
#include "common/sql.h"
#include "common/stop.h"
#include "worker/claim.h"
#include "worker/command.h"
#include "worker/consumer.h"
#include "worker/http.h"
#include "worker/producer.h"
#include "worker/reply.h"
#include "worker/watchdog.h"
#include "worker/worker.h"

#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_OVERRIDES = 64,
    MAX_THREADS = 128,
    LOOK_TIMEOUT_MS = 5000,
    LOOK_SLICE_MS = 250, /* how late a signal is noticed meanwhile */
    RETRY_MS = 1000,
    EXIT_USAGE = 2,
};

struct arguments {
    const char *file;
    const char *overrides[MAX_OVERRIDES];
    size_t override_count;
    bool check;
};

static const char usage[] =
    "siptrunk-worker: applies provisioning commands from Kafka to PostgreSQL, exactly once.\n"
    "\n"
    "Usage: siptrunk-worker [-c FILE] [-X key=value]... [--check]\n"
    "\n"
    "  -c, --config FILE    read lines of key=value from FILE\n"
    "  -X key=value         set one key; wins over environment and file\n"
    "      --check          look at configuration, broker, topics and database, say what is found, "
    "and leave\n"
    "      --version        print the version and leave\n"
    "      --help           print this and leave\n"
    "\n"
    "Any key may come from the environment as SIPTRUNK_ and the key in upper case, . as _.\n"
    "SIGTERM and SIGINT finish or roll back the batch at hand and leave within 5 seconds.\n"
    "\n"
    "Exit codes: 0 done, 2 usage, 3 configuration invalid, 4 credentials refused, 5 not reachable "
    "(--check\n"
    "only: the worker waits instead), 7 something is not as it must be, 70 internal error.\n"
    "\n"
    "Keys and their defaults:\n";

/* ---- arguments ---- */

static void print_help(void) {
    fputs(usage, stdout);
    fputs(config_help(), stdout);
}

/* Returns -1 to go on, else the exit code. */
static int parse_arguments(int argc, char **argv, struct arguments *ret) {
    enum { OPT_CHECK = 256, OPT_VERSION, OPT_HELP };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, OPT_CHECK},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "c:X:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            ret->file = optarg;
            break;
        case 'X':
            if (ret->override_count == MAX_OVERRIDES)
                return EXIT_USAGE;
            ret->overrides[ret->override_count++] = optarg;
            break;
        case OPT_CHECK:
            ret->check = true;
            break;
        case OPT_VERSION:
            printf("siptrunk-worker %s (librdkafka %s)\n", SIPTRUNK_VERSION,
                   rd_kafka_version_str());
            return 0;
        case 'h':
        case OPT_HELP:
            print_help();
            return 0;
        default:
            fputs("siptrunk-worker: see siptrunk-worker --help\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "siptrunk-worker: what is '%s'? See siptrunk-worker --help\n",
                argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}

static void on_signal(int number) {
    (void)number;
    stop_request();
}

static void catch_signals(void) {
    struct sigaction stop = {.sa_handler = on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

/* ---- looking at the surroundings ---- */

static bool topic_exists(rd_kafka_t *handle, const char *topic, struct error *err) {
    int partitions = 0;
    if (!kafka_partition_count(handle, topic, LOOK_TIMEOUT_MS, &partitions, err))
        return false;
    return partitions > 0 ||
           error_set(err, FAULT_STATE, "missing-topic",
                     "topic %s does not exist: run siptrunkctl topics apply", topic);
}

static bool lane_topics_exist(rd_kafka_t *handle, const struct config *config, enum config_key key,
                              struct error *err) {
    const char *suffix = config_text(config, CONFIG_TOPICS_DEAD_LETTER_SUFFIX);
    for (size_t i = 0; i < config_item_count(config, key); i++) {
        char dead_letters[300];
        snprintf(dead_letters, sizeof dead_letters, "%s%s", config_item(config, key, i), suffix);
        if (!topic_exists(handle, config_item(config, key, i), err) ||
            !topic_exists(handle, dead_letters, err))
            return false;
    }
    return true;
}

static bool look_at_topics(rd_kafka_t *handle, const struct config *config, struct error *err) {
    const char *bulk_results = config_text(config, CONFIG_TOPICS_RESULTS_BULK);
    return (config_int(config, CONFIG_THREADS_INTERACTIVE) == 0 ||
            lane_topics_exist(handle, config, CONFIG_TOPICS_COMMANDS, err)) &&
           (config_int(config, CONFIG_THREADS_BULK) == 0 ||
            lane_topics_exist(handle, config, CONFIG_TOPICS_BULK, err)) &&
           topic_exists(handle, config_text(config, CONFIG_TOPICS_RESULTS), err) &&
           (!bulk_results[0] || topic_exists(handle, bulk_results, err));
}

static char *ask_cluster_id(rd_kafka_t *handle) {
    char *cluster_id = NULL;
    for (int waited = 0; !cluster_id && waited < LOOK_TIMEOUT_MS && !stop_requested();
         waited += LOOK_SLICE_MS)
        cluster_id = rd_kafka_clusterid(handle, LOOK_SLICE_MS);
    return cluster_id;
}

static bool look_at_kafka(const struct config *config, char **ret_cluster_id, struct error *err) {
    rd_kafka_conf_t *conf = kafka_conf(config, NULL, NULL, err);
    rd_kafka_t *handle = conf ? kafka_new(RD_KAFKA_PRODUCER, conf, err) : NULL;
    if (!handle)
        return false;
    char *cluster_id = ask_cluster_id(handle);
    bool ok = cluster_id
                  ? look_at_topics(handle, config, err)
                  : error_set(err, FAULT_RETRY, "kafka-unreachable", "no broker answers at %s",
                              config_text(config, CONFIG_KAFKA_BOOTSTRAP_SERVERS));
    if (ok)
        *ret_cluster_id = strdup(cluster_id);
    if (cluster_id)
        rd_kafka_mem_free(handle, cluster_id);
    rd_kafka_destroy(handle);
    return ok && (*ret_cluster_id || error_set(err, FAULT_RETRY, "out-of-memory", "no memory"));
}

/* A diverged installation is no reason to leave: the workers hold it, and wait until it is
 * repaired. */
static bool look_at_installation(const struct config *config, const char *cluster_id, bool wait,
                                 struct error *err) {
    struct installation installation;
    struct pg *pg =
        pg_connect(config_text(config, CONFIG_POSTGRES_CONNINFO), "siptrunk-worker",
                   claim_session_settings, claim_statements, claim_statement_count, err);
    bool ok = pg && claim_check_durability(pg, err) &&
              (claim_installation(pg, cluster_id, &installation, err) ||
               (wait && strcmp(err->id, "diverged") == 0));
    pg_close(pg);
    return ok;
}

static bool look_at_database(const struct config *config, const char *cluster_id, bool wait,
                             struct error *err) {
    SQL_CONNECTION conn =
        sql_connect(config_text(config, CONFIG_POSTGRES_CONNINFO), "siptrunk-worker", 0, err);
    return conn && migrate_check(conn, err) && look_at_installation(config, cluster_id, wait, err);
}

/* Only what may pass by itself is waited for; a diverged installation is waited for by the workers.
 */
static bool may_pass(const struct error *err) {
    return err->fault == FAULT_RETRY || err->fault == FAULT_REBUILD;
}

/* metrics: told what is waited for. */
static bool look_around(const struct config *config, bool wait, struct metrics_registry *metrics,
                        char **ret_cluster_id, struct error *err) {
    for (;;) {
        bool ok = (*ret_cluster_id || look_at_kafka(config, ret_cluster_id, err)) &&
                  look_at_database(config, *ret_cluster_id, wait, err);
        if (ok || !wait || !may_pass(err) || stop_requested())
            return ok || (wait && stop_requested());
        metrics_waiting(metrics, err);
        log_error(LOG_WARN, "waiting", LOG_PLAIN, err);
        struct timespec pause = {.tv_sec = RETRY_MS / 1000};
        nanosleep(&pause, NULL);
    }
}

/* ---- threads ---- */

static int fail(const char *event, const struct error *err) {
    log_error(LOG_ERROR, event, LOG_PLAIN, err);
    return fault_exit_code(err->fault);
}

struct thread {
    pthread_t id;
    struct worker *worker;
    bool failed;
    struct error err;
};

static void *thread_main(void *argument) {
    struct thread *thread = argument;
    thread->failed = !worker_run(thread->worker, &thread->err);
    if (thread->failed) {
        log_error(LOG_ERROR, "worker-failed", LOG_PLAIN, &thread->err);
        stop_failed(fault_exit_code(thread->err.fault));
    }
    worker_free(thread->worker);
    return NULL;
}

static bool start_lane(const struct shared *shared, enum lane lane, int64_t count,
                       struct thread *threads, size_t *thread_count, struct error *err) {
    for (int slot = 0; slot < count && *thread_count < MAX_THREADS; slot++) {
        struct thread *thread = &threads[*thread_count];
        thread->worker = worker_new(shared, lane, slot, err);
        if (!thread->worker)
            return false;
        if (pthread_create(&thread->id, NULL, thread_main, thread))
            return error_set(err, FAULT_RETRY, "thread", "cannot start a thread");
        ++*thread_count;
    }
    return true;
}

static int run_workers(const struct shared *shared, struct error *err) {
    static struct thread threads[MAX_THREADS];
    size_t count = 0;
    const struct config *config = shared->config;
    bool ok = start_lane(shared, LANE_INTERACTIVE, config_int(config, CONFIG_THREADS_INTERACTIVE),
                         threads, &count, err) &&
              start_lane(shared, LANE_BULK, config_int(config, CONFIG_THREADS_BULK), threads,
                         &count, err);
    if (!ok) {
        fail("worker-failed", err);
        stop_request();
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i].id, NULL);
        if (ok && threads[i].failed) {
            *err = threads[i].err;
            ok = false;
        }
    }
    return ok ? 0 : fault_exit_code(err->fault);
}

/* ---- the whole ---- */

static struct slice embedded_schema(const char *name) {
    for (const struct embedded_file *file = embedded_schemas; file->name; file++) {
        if (strcmp(file->name, name) == 0)
            return slice_of(file->text);
    }
    return SLICE_NONE;
}

/* Enough to tell two processes of one instance id apart. */
static const char *draw_process(char room[17]) {
    uint64_t drawn = 0;
    if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn)
        drawn = (uint64_t)monotonic_ms() << 16 ^ (uint64_t)getpid();
    snprintf(room, 17, "%016" PRIx64, drawn);
    return room;
}

static int serve(const struct config *config, const char *cluster_id,
                 struct metrics_registry *metrics) {
    char process[17];
    static const struct reader_record *const result_readers[] = {&reply_result_reader};
    struct error err = {0};
    struct slice result_schema = embedded_schema("CommandResult.avsc");
    struct schema_set *schemas = schema_set_new(command_readers(), command_type_count,
                                                config_text(config, CONFIG_SCHEMA_DIR), &err);
    struct avro_plan *result_plan =
        schemas ? avro_plan_compile(result_schema, result_readers, 1, &err) : NULL;
    int code;
    if (result_plan) {
        const struct shared shared = {.config = config,
                                      .schemas = schemas,
                                      .cluster_id = cluster_id,
                                      .instance_id = config_text(config, CONFIG_INSTANCE_ID),
                                      .process = draw_process(process),
                                      .result_schema_json = result_schema,
                                      .result_plan = result_plan,
                                      .metrics = metrics};
        log_write(LOG_INFO, "started",
                  LOG_WITH(LOG_TEXT("version", SIPTRUNK_VERSION),
                           LOG_TEXT("librdkafka", rd_kafka_version_str()),
                           LOG_TEXT("instance", shared.instance_id)),
                  "serving %d interactive and %d bulk threads",
                  (int)config_int(config, CONFIG_THREADS_INTERACTIVE),
                  (int)config_int(config, CONFIG_THREADS_BULK));
        code = run_workers(&shared, &err);
    } else {
        code = fail("schemas", &err);
    }
    avro_plan_free(result_plan);
    schema_set_free(schemas);
    log_write(LOG_INFO, "stopped", LOG_WITH(LOG_INT("exit_code", code)), "left");
    return code;
}

/* From the first look at the surroundings to the last thread's end. */
static int check_or_serve(const struct arguments *arguments, const struct config *config,
                          struct metrics_registry *metrics) {
    struct error err = {0};
    char *cluster_id = NULL;
    int code = 0;
    if (!producer_check(config, &err) || !consumer_check(config, &err))
        code = fail("configuration", &err);
    else if (!look_around(config, !arguments->check, metrics, &cluster_id, &err))
        code = fail("not-ready", &err);
    else if (arguments->check)
        log_write(LOG_INFO, "check", LOG_WITH(LOG_TEXT("cluster", cluster_id)),
                  "configuration, broker, topics and database are as they must be");
    else if (!stop_requested())
        code = serve(config, cluster_id, metrics);
    free(cluster_id);
    return code;
}

static int run(const struct arguments *arguments, struct config *config) {
    struct error err = {0};
    struct http *http = NULL;
    if (!config_load(config, arguments->file, arguments->overrides, arguments->override_count,
                     &err))
        return fail("configuration", &err);
    log_setup((enum log_level)config_int(config, CONFIG_LOG_LEVEL),
              (enum log_format)config_int(config, CONFIG_LOG_FORMAT));
    struct metrics_registry *metrics = metrics_registry_new(MAX_THREADS, &err);
    /* Watched from here on, because servers that do not answer are waited for before any thread
     * runs. */
    struct watchdog *watchdog = metrics ? watchdog_start(metrics, &err) : NULL;
    int code = watchdog && (arguments->check || http_start(config, metrics, &http, &err))
                   ? check_or_serve(arguments, config, metrics)
                   : fail("not-ready", &err);
    http_stop(http);
    watchdog_stop(watchdog);
    metrics_registry_free(metrics);
    return code;
}

/* Else each of librdkafka's threads gets an arena of its own, up to eight for a core, and keeps
 * what it has once used. */
enum { MALLOC_ARENAS = 4 };

int main(int argc, char **argv) {
    struct arguments arguments = {0};
    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    int code = parse_arguments(argc, argv, &arguments);
    if (code >= 0)
        return code;
    catch_signals();
    struct config *config = config_new();
    if (!config) {
        fputs("siptrunk-worker: there is no memory for the configuration\n", stderr);
        return fault_exit_code(FAULT_RETRY);
    }
    code = run(&arguments, config);
    config_free(config);
    return code;
}
