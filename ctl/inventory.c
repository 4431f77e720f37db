/* siptrunkctl inventory: reads a file of JSON Lines block by block. What a line may be is in
 * inventory_line.c, how a block is stored in inventory_store.c. */
#include "common/migrate.h"
#include "common/sql.h"
#include "ctl/command.h"
#include "ctl/inventory_store.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char name[] = "inventory";

enum { BLOCK_LINES = 10000 };

struct load {
    FILE *in;
    PGconn *conn;
    struct inventory_block block;
    size_t line;   /* last line read */
    size_t stored; /* last line whose block is stored */
    size_t counts[INVENTORY_TYPE_COUNT];
    bool shows_progress;
};

static bool is_blank(struct slice text) {
    for (size_t i = 0; i < text.size; i++) {
        if (!strchr(" \t\r\n", text.data[i]) || text.data[i] == '\0')
            return false;
    }
    return true;
}

static bool add_line(struct load *load, struct slice text, struct error *err) {
    load->line++;
    if (is_blank(text) || inventory_line_add(&load->block, text, load->line, err))
        return true;
    return error_prefix(err, "line %zu", load->line);
}

/* Reads up to a block's last line; *ret_more is false when the input has ended. */
static bool read_block(struct load *load, bool *ret_more, struct error *err) {
    char *text = NULL;
    size_t capacity = 0;
    bool ok = true, more = true;
    inventory_block_clear(&load->block);
    do {
        errno = 0;
        ssize_t size = getline(&text, &capacity, load->in);
        if (size < 0 && !feof(load->in))
            ok = error_set(err, FAULT_INPUT, "inventory-read", "reading line %zu: %s",
                           load->line + 1, strerror(errno));
        more = size >= 0;
        if (more)
            ok = add_line(load, (struct slice){.data = text, .size = (size_t)size}, err);
    } while (ok && more && load->line % BLOCK_LINES != 0);
    free(text);
    *ret_more = more;
    return ok;
}

static void show_progress(const struct load *load, const char *end) {
    if (load->shows_progress)
        fprintf(stderr, "\r%zu lines%s", load->stored, end);
}

static bool load_all(struct load *load, struct error *err) {
    for (bool more = true; more;) {
        if (!read_block(load, &more, err) || !inventory_store_block(load->conn, &load->block, err))
            return false;
        load->stored = load->line;
        for (size_t i = 0; i < INVENTORY_TYPE_COUNT; i++)
            load->counts[i] += load->block.counts[i];
        show_progress(load, "");
    }
    return true;
}

static void print_summary(const struct load *load) {
    printf("loaded %zu lines:", load->line);
    const char *separator = " ";
    for (size_t i = 0; i < INVENTORY_TYPE_COUNT; i++) {
        if (load->counts[i] == 0)
            continue;
        printf("%s%zu %s", separator, load->counts[i], inventory_type_name((enum inventory_type)i));
        separator = ", ";
    }
    printf("\n");
}

static int fail(const struct load *load, struct error *err) {
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

static int run_load(const struct config *config, FILE *in) {
    struct load load = {.in = in, .shows_progress = isatty(STDERR_FILENO)};
    struct error err = {0};
    bool ok = open_database(&load, config, &err) && load_all(&load, &err);
    int status = EXIT_DONE;
    if (ok) {
        show_progress(&load, "\n");
        print_summary(&load);
    } else {
        status = fail(&load, &err);
    }
    inventory_block_free(&load.block);
    PQfinish(load.conn);
    return status;
}

int command_inventory(const struct config *config, int argc, char **argv) {
    static const struct option longs[] = {{0}};
    if (getopt_long(argc, argv, "", longs, NULL) != -1)
        return command_usage(name, "unknown option");
    if (argc - optind != 2 || strcmp(argv[optind], "load") != 0)
        return command_usage(name, "say load and a file, or load -");
    const char *path = argv[optind + 1];
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!in) {
        struct error err;
        error_set(&err, FAULT_INPUT, "inventory-read", "cannot read %s: %s", path, strerror(errno));
        return command_fail(name, &err);
    }
    int status = run_load(config, in);
    if (in != stdin)
        fclose(in);
    return status;
}
