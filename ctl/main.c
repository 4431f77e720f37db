/* siptrunkctl: finds the subcommand, reads the configuration, hands over. What a subcommand does is
 * in the file of its name. */
#include "common/log.h"
#include "common/nearest.h"
#include "ctl/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MAX_OVERRIDES = 64 };

static const struct command {
    const char *name, *summary, *usage;
    int (*run)(const struct config *config, int argc, char **argv);
} commands[] = {
#define COMMAND_ROW(name, summary, usage) {#name, summary, usage, command_##name},
#include "ctl/commands.def"
#undef COMMAND_ROW
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

/* ---- help ---- */

static void print_help(void) {
    printf("siptrunkctl [-c FILE] [-X key=value]... COMMAND [ARGUMENT]...\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    printf(
        "\n  -c FILE        configuration file, lines of key=value\n"
        "  -X key=value   one key; stronger than the file and the environment\n"
        "  --help         this; behind a command, its own help\n"
        "  --version      the release\n"
        "\nKeys and their defaults:\n%s"
        "\nEach key may also come from the environment: SIPTRUNK_ and its name in upper case, with "
        "\"_\"\n"
        "for \".\"; with _FILE behind that, from the file so named.\n"
        "\nExit status: 0 done, 1 some rows refused, 2 usage, 3 input or configuration invalid,\n"
        "4 authentication, 5 server unreachable, 6 timed out, 7 state mismatch, 70 internal.\n",
        config_help());
}

static int unknown_command(const char *name) {
    struct nearest nearest = nearest_to(name);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        nearest_offer(&nearest, commands[i].name);
    char hint[2 * NEAREST_MAX_NAME];
    return command_usage(NULL, "there is no command %s%s", name,
                         nearest_hint(&nearest, hint, sizeof hint));
}

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static bool wants_help(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

/* ---- running ---- */

struct options {
    const char *file;
    const char *overrides[MAX_OVERRIDES];
    size_t override_count;
};

/* Chatter of librdkafka is for the worker's log; here it is shown when asked for. */
static void set_up_log(const struct config *config) {
    bool chosen = strcmp(config_source(config, CONFIG_LOG_LEVEL), "default") != 0;
    log_setup(chosen ? (enum log_level)config_int(config, CONFIG_LOG_LEVEL) : LOG_WARN,
              (enum log_format)config_int(config, CONFIG_LOG_FORMAT));
}

static int run(const struct command *command, const struct options *options, int argc,
               char **argv) {
    struct error err = {0};
    struct config *config = config_new();
    int status;
    if (!config)
        error_set(&err, FAULT_RETRY, "out-of-memory", "no memory for the configuration");
    if (config &&
        config_load(config, options->file, options->overrides, options->override_count, &err)) {
        set_up_log(config);
        optind = 0; /* glibc: begin anew, with another argv */
        status = command->run(config, argc, argv);
    } else {
        status = command_fail(command->name, &err);
    }
    config_free(config);
    return status;
}

/* Output that did not get out, on a full disk for instance, must not pass for success. */
static int close_output(int status) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "siptrunkctl: cannot write to standard output: %s\n", strerror(errno));
    return status == EXIT_DONE ? EXIT_STATE : status;
}

static int dispatch(const struct options *options, int argc, char **argv) {
    if (argc == 0) {
        print_help();
        return EXIT_USAGE;
    }
    const struct command *command = find_command(argv[0]);
    if (!command)
        return unknown_command(argv[0]);
    if (wants_help(argc, argv)) {
        printf("%s\n%s", command->summary, command->usage);
        return EXIT_DONE;
    }
    return run(command, options, argc, argv);
}

int main(int argc, char **argv) {
    static const struct option longs[] = {
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'v'}, {0}};
    struct options options = {.file = NULL};
    for (int option; (option = command_option(NULL, argc, argv, "+:c:X:h", longs)) != -1;) {
        switch (option) {
        case 'c':
            options.file = optarg;
            break;
        case 'X':
            if (options.override_count == MAX_OVERRIDES)
                return command_usage(NULL, "more than %d times -X", MAX_OVERRIDES);
            options.overrides[options.override_count++] = optarg;
            break;
        case 'h':
            print_help();
            return EXIT_DONE;
        case 'v':
            printf("siptrunkctl %s\n", SIPTRUNK_VERSION);
            return EXIT_DONE;
        default:
            return EXIT_USAGE;
        }
    }
    return close_output(dispatch(&options, argc - optind, argv + optind));
}
