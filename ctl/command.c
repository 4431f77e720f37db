/* Messages and options of the subcommands. */
#include "ctl/command.h"

#include "common/nearest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_name(const char *name) {
    fprintf(stderr, "siptrunkctl%s%s: ", name ? " " : "", name ? name : "");
}

int command_usage(const char *name, const char *format, ...) {
    print_name(name);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nSee siptrunkctl%s%s --help.\n", name ? " " : "", name ? name : "");
    return EXIT_USAGE;
}

int command_fail(const char *name, const struct error *err) {
    print_name(name);
    fprintf(stderr, "%s\n", err->message);
    return fault_exit_code(err->fault);
}

const char *command_plural(size_t count) {
    return count == 1 ? "" : "s";
}

bool option_number(const char *name, const char *option, const char *text, long min, long max,
                   long *ret) {
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno || end == text || *end || number < min || number > max) {
        command_usage(name, "%s takes a whole number from %ld to %ld", option, min, max);
        return false;
    }
    *ret = number;
    return true;
}

/* ---- options ---- */

/* word as typed, such as --topci=x. */
static void refuse_unknown(const char *name, const char *word, const struct option *longs) {
    char typed[NEAREST_MAX_NAME], hint[2 * NEAREST_MAX_NAME];
    snprintf(typed, sizeof typed, "%.*s", (int)strcspn(word, "="), word);
    struct nearest nearest = nearest_to(typed);
    for (; longs->name; longs++) {
        char option[NEAREST_MAX_NAME];
        snprintf(option, sizeof option, "--%s", longs->name);
        nearest_offer(&nearest, option);
    }
    command_usage(name, "there is no option %s%s", typed,
                  nearest_hint(&nearest, hint, sizeof hint));
}

int command_option(const char *name, int argc, char **argv, const char *shorts,
                   const struct option *longs) {
    opterr = 0;
    int option = getopt_long(argc, argv, shorts, longs, NULL);
    if (option != '?' && option != ':')
        return option;
    const char *word = argv[optind - 1];
    if (option == ':')
        command_usage(name, "%s needs a value", word);
    else if (optopt == 0)
        refuse_unknown(name, word, longs);
    else if (strncmp(word, "--", 2) == 0 && strchr(word, '='))
        command_usage(name, "%.*s takes no value", (int)strcspn(word, "="), word);
    else
        command_usage(name, "there is no option -%c", optopt);
    return '?';
}
