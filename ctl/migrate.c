/* siptrunkctl migrate: the schema's migrations for people and scripts. How they run is in
 * common/migrate.c. */
#include "common/migrate.h"

#include "common/sql.h"
#include "ctl/command.h"

#include <stdio.h>
#include <string.h>

static const char name[] = "migrate";

enum { MAX_WAIT_SECONDS = 3600 };

/* How many migrations were seen in each state. */
struct tally {
    size_t count[MIGRATION_NEWER + 1];
};

static void count_state(const struct migration *migration, struct tally *tally) {
    tally->count[migration->state]++;
}

static void print_state(const struct migration *migration, void *context) {
    static const char *const states[] = {
        [MIGRATION_APPLIED] = "applied",
        [MIGRATION_PENDING] = "pending",
        [MIGRATION_NEWER] = "newer than this release",
    };
    printf("%-40s %s\n", migration->name, states[migration->state]);
    count_state(migration, context);
}

static void print_done(const struct migration *migration, void *context) {
    printf("%s %s\n", migration->state == MIGRATION_APPLIED ? "applied" : "took back",
           migration->name);
    fflush(stdout);
    count_state(migration, context);
}

static int up(PGconn *conn) {
    struct tally tally = {0};
    struct error err = {0};
    if (!migrate_up(conn, print_done, &tally, &err))
        return command_fail(name, &err);
    if (tally.count[MIGRATION_APPLIED] == 0)
        printf("nothing to do: the schema is up to date\n");
    return EXIT_DONE;
}

static int down(PGconn *conn) {
    struct tally tally = {0};
    struct error err = {0};
    return migrate_down(conn, print_done, &tally, &err) ? EXIT_DONE : command_fail(name, &err);
}

static int status(PGconn *conn) {
    struct tally tally = {0};
    struct error err = {0};
    if (!migrate_status(conn, print_state, &tally, &err))
        return command_fail(name, &err);
    return tally.count[MIGRATION_PENDING] || tally.count[MIGRATION_NEWER] ? EXIT_STATE : EXIT_DONE;
}

static const struct {
    const char *name;
    int (*run)(PGconn *conn);
} actions[] = {{"up", up}, {"down", down}, {"status", status}};

int command_migrate(const struct config *config, int argc, char **argv) {
    static const struct option longs[] = {{"wait", required_argument, NULL, 'w'}, {0}};
    long wait_seconds = 0;
    for (int option; (option = command_option(name, argc, argv, ":", longs)) != -1;) {
        if (option != 'w' ||
            !option_number(name, "--wait", optarg, 0, MAX_WAIT_SECONDS, &wait_seconds))
            return EXIT_USAGE;
    }
    for (size_t i = 0; argc - optind == 1 && i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(actions[i].name, argv[optind]) != 0)
            continue;
        struct error err = {0};
        SQL_CONNECTION conn = sql_connect(config_text(config, CONFIG_POSTGRES_CONNINFO),
                                          "siptrunkctl migrate", (int)wait_seconds, &err);
        return conn ? actions[i].run(conn) : command_fail(name, &err);
    }
    return command_usage(name, "say one of up, down, status");
}
