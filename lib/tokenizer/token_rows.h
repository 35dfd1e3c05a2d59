/* The default rows of a vocabulary in one tensor: those that a model gets for the tokens it lacks.
 * By the first rule that applies, the default row of a token is: its source in the request; zeros,
 * if no model has it; the row of the only model that has it; that of the base; the mean of the rows
 * of those that have it. */
#ifndef TV_TOKEN_ROWS_H
#define TV_TOKEN_ROWS_H

#include "vocabulary.h"

/* A model that has the tensor. */
struct token_rows_model {
    size_t model;   /* of the vocabulary */
    uint64_t rows;  /* of its tensor */
    bool no_tensor; /* its rows cannot be read */
};

enum { TOKEN_ROW_ZERO = -1, TOKEN_ROW_MEAN = -2 };
struct token_row {
    int32_t model; /* of the list of models that have the tensor, or one of the above */
    int32_t row;
};

/* Sets the default row of each token. `tensor` is the name in messages; a warning under the name
 * `tool`, unless that is NULL, tells if rows are zero. An error if a tensor has too few rows, or if
 * a source is not among the n models. */
int token_rows_find_defaults(const struct vocabulary *v, const char *tensor, size_t n,
                             const struct token_rows_model *models, const char *tool,
                             struct token_row *defaults, struct error *e);
/* The row of a token in model m of the list, before it is moved; -1: it gets the default row. */
long token_rows_own_row(const struct vocabulary *v, const struct token_rows_model *m, size_t id);

#endif
