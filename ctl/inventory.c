/* siptrunkctl inventory: reads a file of JSON Lines block by block. What a line may be is in
 * inventory_line.c, how a block is stored in inventory_store.c. */
#include "common/migrate.h"
#include "common/sql.h"
#include "ctl/command.h"
#include "ctl/inventory_store.h"
#include "ctl/lines.h"

#include <unistd.h>

static const char name[] = "inventory";

enum { BLOCK_LINES = 10000 };

struct load {
    struct lines lines;
    PGconn *conn;
    struct inventory_block block;
    size_t stored; /* last line whose block is stored */
    size_t counts[INVENTORY_TYPE_COUNT];
    bool shows_progress;
};

static bool add_line(struct load *load, struct slice line, struct error *err) {
    size_t number = load->lines.number;
    if (line_is_blank(line) || inventory_line_add(&load->block, line, number, err))
        return true;
    return error_prefix(err, "line %zu", number);
}

/* Reads up to a block's last line; *ret_more is false when the input has ended. */
static bool read_block(struct load *load, bool *ret_more, struct error *err) {
    struct slice line;
    inventory_block_clear(&load->block);
    do {
        if (!lines_next(&load->lines, &line, err))
            return false;
        if (line.data && !add_line(load, line, err))
            return false;
    } while (line.data && load->lines.number % BLOCK_LINES != 0);
    *ret_more = line.data != NULL;
    return true;
}

/* What the store refuses without a word of ours is bad input all the same, if not by a known line.
 */
static bool store_block(struct load *load, struct error *err) {
    if (inventory_store_block(load->conn, &load->block, err))
        return true;
    if (err->fault != FAULT_STATEMENT)
        return false;
    err->fault = FAULT_INPUT;
    return error_prefix(err, "one of lines %zu to %zu", load->stored + 1, load->lines.number);
}

static void show_progress(const struct load *load, const char *end) {
    if (load->shows_progress)
        fprintf(stderr, "\r%zu lines%s", load->stored, end);
}

static bool load_all(struct load *load, struct error *err) {
    for (bool more = true; more;) {
        if (!read_block(load, &more, err) || !store_block(load, err))
            return false;
        load->stored = load->lines.number;
        for (size_t i = 0; i < INVENTORY_TYPE_COUNT; i++)
            load->counts[i] += load->block.counts[i];
        show_progress(load, "");
    }
    return true;
}

static void print_summary(const struct load *load) {
    size_t lines = load->lines.number;
    printf("loaded %zu line%s", lines, command_plural(lines));
    const char *separator = ": ";
    for (size_t i = 0; i < INVENTORY_TYPE_COUNT; i++) {
        if (load->counts[i] == 0)
            continue;
        printf("%s%s %zu", separator, inventory_type_name((enum inventory_type)i), load->counts[i]);
        separator = ", ";
    }
    printf("\n");
}

static int fail(const struct load *load, struct error *err) {
    if (load->stored)
        show_progress(load, "\n");
    int status = command_fail(name, err);
    if (load->stored)
        fprintf(stderr, "lines 1 to %zu are stored, nothing from line %zu on\n", load->stored,
                load->stored + 1);
    else
        fprintf(stderr, "nothing is stored\n");
    return status;
}

static bool open_database(struct load *load, const struct config *config, struct error *err) {
    load->conn =
        sql_connect(config_text(config, CONFIG_POSTGRES_CONNINFO), "siptrunkctl inventory", 0, err);
    return load->conn && migrate_check(load->conn, err) && inventory_store_prepare(load->conn, err);
}

static int run_load(const struct config *config, const char *path) {
    struct load load = {.shows_progress = isatty(STDERR_FILENO)};
    struct error err = {0};
    int status = EXIT_DONE;
    if (!lines_open(&load.lines, path, &err))
        return command_fail(name, &err);
    if (open_database(&load, config, &err) && load_all(&load, &err)) {
        show_progress(&load, "\n");
        print_summary(&load);
    } else {
        status = fail(&load, &err);
    }
    lines_close(&load.lines);
    inventory_block_free(&load.block);
    PQfinish(load.conn);
    return status;
}

int command_inventory(const struct config *config, int argc, char **argv) {
    static const struct option longs[] = {{0}};
    if (command_option(name, argc, argv, ":", longs) != -1)
        return EXIT_USAGE;
    if (argc - optind != 2 || strcmp(argv[optind], "load") != 0)
        return command_usage(name, "say load and a file, or load -");
    return run_load(config, argv[optind + 1]);
}
