/* Coefficients as a table: lines of tensor, model, chunk and value with tabs between them, chunks
 * counted from 0. The line "tensor model chunk value" at the top, empty lines and those that start
 * with '#' say nothing. A table owns what it returns until coefficient_table_free. */
#ifndef TV_COEFFICIENT_TABLE_H
#define TV_COEFFICIENT_TABLE_H

#include "header.h"

struct coefficient_table;

/* NULL on error: a line that is none, chunks of a vector that are not 0, 1, ..., m - 1. */
struct coefficient_table *coefficient_table_read(const char *file, struct error *e);
void coefficient_table_free(struct coefficient_table *t);

/* How many values there are for that tensor and model, and where they lie; 0 if none. */
size_t coefficient_table_find(const struct coefficient_table *t, const char *tensor,
                              const char *model, const double **values);
/* Every line must speak of a vector of the stream, and its chunks fit that vector. */
int coefficient_table_check_stream(const struct coefficient_table *t, const struct header *h,
                                   struct error *e);

#endif
