/* Coefficients as a table: lines of tensor, model, chunk and value with tabs between them, chunks
 * counted from 0. The line "tensor model chunk value" at the top, empty lines and those that start
 * with '#' say nothing. A table owns what it returns until table_free. */
#ifndef TV_TABLE_H
#define TV_TABLE_H

#include "header.h"

struct table;

/* NULL on error: a line that is none, chunks of a vector that are not 0, 1, ..., m - 1. */
struct table *table_read(const char *file, struct error *e);
void table_free(struct table *t);

/* How many values there are for that tensor and model, and where they lie; 0 if none. */
size_t table_find(const struct table *t, const char *tensor, const char *model,
                  const double **values);
/* Every line must speak of a vector of the stream, and its chunks fit that vector. */
int table_check(const struct table *t, const struct header *h, struct error *e);

#endif
