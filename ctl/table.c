/* Rows wait in one buffer, cell behind cell, until their widths are known. */
#include "ctl/table.h"

#include "common/buffer.h"
#include "common/text.h"

#include <stdlib.h>

enum { MAX_COLUMNS = 16, MAX_WAITING = 500 };

struct table {
    FILE *out;
    const char *heads[MAX_COLUMNS];
    bool right[MAX_COLUMNS];
    size_t widths[MAX_COLUMNS];
    size_t columns;
    struct buffer cells; /* each with a NUL behind it */
    size_t rows;
    bool has_heads; /* printed */
};

struct table *table_new(FILE *out, const char *const *heads, size_t columns) {
    struct table *table = columns <= MAX_COLUMNS ? calloc(1, sizeof *table) : NULL;
    if (!table)
        return NULL;
    table->out = out;
    table->columns = columns;
    for (size_t i = 0; i < columns; i++) {
        table->right[i] = heads[i][0] == '>';
        table->heads[i] = heads[i] + table->right[i];
        table->widths[i] = strlen(table->heads[i]);
    }
    return table;
}

void table_free(struct table *table) {
    if (!table)
        return;
    buffer_free(&table->cells);
    free(table);
}

/* U+0000-001F and 007F, and in two bytes U+0080-009F, which terminals obey as well. */
static void blot_out_controls(char *text) {
    for (; *text; text++) {
        unsigned char byte = (unsigned char)text[0], next = (unsigned char)text[1];
        if (byte == 0xc2 && next >= 0x80 && next < 0xa0)
            text[0] = text[1] = '?';
        else if (byte < 0x20 || byte == 0x7f)
            text[0] = '?';
    }
}

static void add_cell(struct table *table, size_t column, const char *text) {
    struct buffer *cells = &table->cells;
    size_t start = cells->size;
    buffer_add(cells, text, strlen(text) + 1);
    if (cells->failed)
        return;
    blot_out_controls(cells->data + start);
    size_t width = text_length(slice_of(cells->data + start));
    if (width > table->widths[column])
        table->widths[column] = width;
}

bool table_row(struct table *table, const char *const *cells) {
    for (size_t i = 0; i < table->columns; i++)
        add_cell(table, i, cells[i] ? cells[i] : "");
    table->rows++;
    bool ok = !table->cells.failed;
    if (ok && table->rows == MAX_WAITING)
        table_flush(table);
    return ok;
}

/* printf would count bytes. The last column is not filled up. */
static void print_cell(const struct table *table, size_t column, const char *text) {
    size_t width = text_length(slice_of(text));
    size_t missing = table->widths[column] > width ? table->widths[column] - width : 0;
    bool last = column + 1 == table->columns;
    fprintf(table->out, "%*s%s%*s%s", table->right[column] ? (int)missing : 0, "", text,
            table->right[column] || last ? 0 : (int)missing, "", last ? "\n" : "  ");
}

void table_flush(struct table *table) {
    if (table->rows > 0 && !table->has_heads) {
        for (size_t i = 0; i < table->columns; i++)
            print_cell(table, i, table->heads[i]);
        table->has_heads = true;
    }
    const char *cell = table->cells.data;
    for (size_t row = 0; row < table->rows && !table->cells.failed; row++) {
        for (size_t i = 0; i < table->columns; i++) {
            print_cell(table, i, cell);
            cell += strlen(cell) + 1;
        }
    }
    buffer_clear(&table->cells);
    table->rows = 0;
    fflush(table->out);
}
