/* What the subcommands of siptrunkctl share: their declarations, options, and how they fail. */
#ifndef SIPTRUNK_CTL_COMMAND_H
#define SIPTRUNK_CTL_COMMAND_H

#include "common/config.h"
#include "common/error.h"

#include <getopt.h>

/* Exit codes beside those of fault_exit_code. */
enum {
    EXIT_DONE = 0,
    EXIT_SOME_REFUSED = 1,
    EXIT_USAGE = 2,
    EXIT_TIMED_OUT = 6,
    EXIT_STATE = 7,
    EXIT_INTERRUPTED = 130
};

/* command_migrate(config, argc, argv) and so on. argv[0] is the subcommand's name; command_option
 * may be used right away. Returns the exit code. --help never gets here. */
#define COMMAND_ROW(name, summary, usage)                                                          \
    int command_##name(const struct config *config, int argc, char **argv);
#include "ctl/commands.def"
#undef COMMAND_ROW

/* "siptrunkctl NAME: message" and a hint at --help on standard error; returns EXIT_USAGE. Without a
 * name (NULL) it is about siptrunkctl itself. */
int command_usage(const char *name, const char *format, ...) PRINTF_LIKE(2, 3);

/* "siptrunkctl NAME: message" on standard error; returns the error's exit code. */
int command_fail(const char *name, const struct error *err);

/* getopt_long with one voice: the next option, -1 behind the last one, or '?' after the user was
 * told what is wrong, and which option may have been meant. shorts begin with ":" (behind a "+"),
 * as getopt wants it to tell a missing value from an unknown option. */
int command_option(const char *name, int argc, char **argv, const char *shorts,
                   const struct option *longs);

/* A whole number in min..max as an option's value; else says so and returns false. */
bool option_number(const char *name, const char *option, const char *text, long min, long max,
                   long *ret) MUST_CHECK;

/* "" for one, "s" for any other count. */
const char *command_plural(size_t count);

#endif
