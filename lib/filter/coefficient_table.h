/* A table of coefficients in a text file: lines of tensor, model, chunk (from 0) and value,
 * separated by tabs. Empty lines and lines that start with '#' are ignored. The heading "tensor
 * model chunk value" at the top may be missing, and so may its fifth field, the checksum of the
 * lines below: "xxh3:" and 16 hexadecimal digits. */
#ifndef TV_COEFFICIENT_TABLE_H
#define TV_COEFFICIENT_TABLE_H

#include "header.h"

struct coefficient_table;

/* NULL on error: a malformed line, another checksum than the heading's, or a vector whose chunks
 * are not 0, 1, ..., m - 1. */
struct coefficient_table *coefficient_table_read(const char *file, struct error *e);
void coefficient_table_free(struct coefficient_table *t);
/* XXH3 of the file, for the history. */
uint64_t coefficient_table_hash(const struct coefficient_table *t);

/* The number of values for that tensor and model, 0 if there are none; they are the table's. */
size_t coefficient_table_find_values(const struct coefficient_table *t, const char *tensor,
                                     const char *model, const double **values);
/* An error if a line names no vector of the stream, or a vector cannot be cut into its chunks. */
int coefficient_table_check_against_stream(const struct coefficient_table *t,
                                           const struct header *h, struct error *e);

/* Is it a printed table, by the checksum in its heading? An atomic_file_recognizer. */
bool coefficient_table_is_printed(const char *text, size_t size);
/* Prints a table with these rows, each a line. */
void coefficient_table_print(FILE *out, const struct bytes *rows);

#endif
