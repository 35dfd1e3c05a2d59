#include "coefficient_table.h"

#include "hash.h"
#include "line_reader.h"
#include "number.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    const char *tensor, *model;
    size_t chunk;
    double value;
};

#define HEADING "tensor\tmodel\tchunk\tvalue"

struct coefficient_table {
    char *file;
    char *checksum; /* of the heading; NULL: it has none */
    size_t n;
    struct entry *entries; /* sorted by tensor, model, chunk */
    double *values;        /* in the same order */
    uint64_t hash;         /* of the file */
    struct arena arena;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int by = strcmp(x->tensor, y->tensor);
    if (by == 0)
        by = strcmp(x->model, y->model);
    return by ? by : (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

/* Splits a line at its tabs, in place; the number of fields, at most 5. */
static size_t split_line_at_tabs(char *line, char *fields[5])
{
    size_t n = 0;
    for (char *p = line; p && n < 5; n++) {
        fields[n] = p;
        p = strchr(p, '\t');
        if (p)
            *p++ = '\0';
    }
    return n;
}

static void append_table_entry(struct coefficient_table *t, const struct entry *entry)
{
    if ((t->n & (t->n - 1)) == 0)
        t->entries = mem_resize(t->entries, t->n ? 2 * t->n : 1, sizeof *t->entries);
    t->entries[t->n++] = *entry;
}

static int parse_chunk_number(const char *text, size_t *chunk)
{
    double x;
    if (number_parse(text, &x) || x < 0 || x >= 1e15 || x != (double)(size_t)x)
        return -1;
    *chunk = (size_t)x;
    return 0;
}

static int parse_table_line(struct coefficient_table *t, size_t number, char *line, struct error *e)
{
    char *fields[5];
    struct entry entry;
    if (line[0] == '#' || line[0] == '\0')
        return 0;
    if (split_line_at_tabs(line, fields) != 4)
        return error_set(e, "%s:%zu: expected tensor, model, chunk and value, separated by tabs",
                         t->file, number);
    if (parse_chunk_number(fields[2], &entry.chunk))
        return error_set(e, "%s:%zu: \"%s\" is not a chunk number", t->file, number, fields[2]);
    if (number_parse(fields[3], &entry.value))
        return error_set(e, "%s:%zu: \"%s\" is not a number", t->file, number, fields[3]);
    entry.tensor = arena_copy_text(&t->arena, fields[0]);
    entry.model = arena_copy_text(&t->arena, fields[1]);
    append_table_entry(t, &entry);
    return 0;
}

/* The chunks of each vector are 0, 1, ..., each once. */
static int check_chunks_are_consecutive(const struct coefficient_table *t, struct error *e)
{
    size_t expected = 0;
    for (size_t i = 0; i < t->n; i++, expected++) {
        const struct entry *x = &t->entries[i];
        if (i && (strcmp(x->tensor, x[-1].tensor) != 0 || strcmp(x->model, x[-1].model) != 0))
            expected = 0;
        if (x->chunk != expected)
            return error_set(e, "%s: tensor %s, model %s: chunk %zu is missing or repeated",
                             t->file, x->tensor, x->model, expected);
    }
    return 0;
}

/* ---- the checksum ---------------------------------------------------------------------------- */

static void hash_line(XXH3_state_t *state, const char *line)
{
    XXH3_64bits_update(state, line, strlen(line));
    XXH3_64bits_update(state, "\n", 1);
}

static const char *checksum_text(const XXH3_state_t *state, char text[32])
{
    snprintf(text, 32, "xxh3:%016llx", (unsigned long long)XXH3_64bits_digest(state));
    return text;
}

/* Titles whose last is "value", before all coefficients. */
static bool read_heading(struct coefficient_table *t, const char *line)
{
    char *copy = arena_copy_text(&t->arena, line), *fields[5];
    size_t n = split_line_at_tabs(copy, fields);
    if (t->n || n < 4 || strcmp(fields[3], "value") != 0)
        return false;
    t->checksum = n == 5 ? fields[4] : NULL;
    return true;
}

static int check_checksum(const struct coefficient_table *t, const XXH3_state_t *state,
                          struct error *e)
{
    char text[32];
    if (!t->checksum || strcmp(t->checksum, checksum_text(state, text)) == 0)
        return 0;
    return error_set(
        e,
        "%s was truncated or edited: its checksum is %s, expected %s (in a table that was "
        "edited on purpose, remove the checksum from the heading)",
        t->file, text, t->checksum);
}

void coefficient_table_print(FILE *out, const struct bytes *rows)
{
    char text[32];
    XXH3_state_t *state = hash_new_state();
    XXH3_64bits_update(state, rows->data, rows->size);
    fprintf(out, HEADING "\t%s\n", checksum_text(state, text));
    fwrite(rows->data, 1, rows->size, out);
    XXH3_freeState(state);
}

/* ---- reading --------------------------------------------------------------------------------- */

static int read_lines(struct coefficient_table *t, struct line_reader *l, struct error *e)
{
    XXH3_state_t *state = hash_new_state();
    int more, failed = 0;
    while (!failed && (more = line_reader_read_line(l, e)) > 0) {
        l->text[strcspn(l->text, "\r")] = '\0';
        if (read_heading(t, l->text)) {
            XXH3_64bits_reset(state);
            continue;
        }
        hash_line(state, l->text);
        failed = parse_table_line(t, l->line_number, l->text, e);
    }
    failed = failed || more < 0 || check_checksum(t, state, e) ? -1 : 0;
    XXH3_freeState(state);
    return failed;
}

bool coefficient_table_is_printed(const char *text, size_t size)
{
    char heading[sizeof HEADING + 32];
    const char *rows = memchr(text, '\n', size);
    if (!rows++)
        return false;
    uint64_t checksum = XXH3_64bits(rows, size - (size_t)(rows - text));
    int n =
        snprintf(heading, sizeof heading, HEADING "\txxh3:%016llx\n", (unsigned long long)checksum);
    return rows - text == n && memcmp(text, heading, (size_t)n) == 0;
}

struct coefficient_table *coefficient_table_read(const char *file, struct error *e)
{
    struct line_reader l;
    if (line_reader_open(&l, file, e))
        return NULL;
    struct coefficient_table *t = mem_alloc(1, sizeof *t);
    t->file = mem_copy_text(file);
    int failed = read_lines(t, &l, e);
    t->hash = XXH3_64bits_digest(l.hash);
    line_reader_close(&l);
    if (t->n)
        qsort(t->entries, t->n, sizeof *t->entries, compare_entries);
    if (failed || check_chunks_are_consecutive(t, e)) {
        coefficient_table_free(t);
        return NULL;
    }
    t->values = mem_alloc(t->n, sizeof *t->values);
    for (size_t i = 0; i < t->n; i++)
        t->values[i] = t->entries[i].value;
    return t;
}

void coefficient_table_free(struct coefficient_table *t)
{
    if (!t)
        return;
    arena_free(&t->arena);
    free(t->entries);
    free(t->values);
    free(t->file);
    free(t);
}

uint64_t coefficient_table_hash(const struct coefficient_table *t)
{
    return t->hash;
}

size_t coefficient_table_find_values(const struct coefficient_table *t, const char *tensor,
                                     const char *model, const double **values)
{
    const struct entry key = {tensor, model, 0, 0};
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_entries(&t->entries[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *values = t->values + low;
    while (high < t->n && strcmp(t->entries[high].tensor, tensor) == 0 &&
           strcmp(t->entries[high].model, model) == 0)
        high++;
    return high - low;
}

int coefficient_table_check_against_stream(const struct coefficient_table *t,
                                           const struct header *h, struct error *e)
{
    size_t used = 0;
    const double *values;
    for (size_t i = 0; i < h->n_tensors; i++)
        for (size_t k = 0; k < h->tensors[i].n_vectors; k++) {
            const struct tensor *own = &h->tensors[i];
            size_t m = coefficient_table_find_values(
                t, own->name, h->models[own->vectors[k].model].name, &values);
            used += m;
            if (m > 1 && !tensor_can_split_into_chunks(own, m))
                return error_set(e,
                                 "%s: tensor %s has %zu elements, which cannot be split into %zu "
                                 "chunks",
                                 t->file, own->name, tensor_elements(own), m);
        }
    if (used != t->n)
        return error_set(e, "%s: the stream does not have the tensor or model of %zu of %zu lines",
                         t->file, t->n - used, t->n);
    return 0;
}
