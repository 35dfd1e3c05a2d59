/* Moves the rows of the vocabulary tensors of several models (embeddings and LM heads) to the ids
 * of one vocabulary: each model gets new matrices with a row for every token, its own or the
 * default one, and the mean of all rows as padding. A model without a head, whose embedding is its
 * head, gets one of its own as soon as another model has one. A tensor whose rows are those of the
 * tokens already stays as it is. A new matrix is F32, or F64 if one of the models has F64; means
 * are sums in double of rows that are rounded as every input is.
 *
 * A vocabulary_tensors borrows the models and the vocabulary, and is freed after the models are
 * closed. */
#ifndef TV_VOCABULARY_TENSORS_H
#define TV_VOCABULARY_TENSORS_H

#include "model_source.h"
#include "vocabulary.h"

/* Which of them to move. */
enum { VOCABULARY_EMBEDDINGS = 1, VOCABULARY_HEADS = 2 };

struct vocabulary_tensors_options {
    int which;           /* the above, or-ed */
    enum dtype rounding; /* of every input; DTYPE_NONE */
    size_t n_moved;      /* of the models; the others only give rows */
    const char *tool;    /* in warnings; NULL: they are not printed */
};

struct vocabulary_tensors;

/* names[i] is the name of models[i] in messages and in the vocabulary, which gets those that it
 * lacks. A model may be NULL: its weights cannot be read here. NULL on error: a tensor is no matrix
 * of floating-point numbers or has too few rows; a default row is that of a model that cannot be
 * read. */
struct vocabulary_tensors *vocabulary_tensors_move(struct vocabulary *v,
                                                   struct model_source *const *models,
                                                   const char *const *names, size_t n,
                                                   const struct vocabulary_tensors_options *o,
                                                   struct error *e);
void vocabulary_tensors_free(struct vocabulary_tensors *t);

#endif
