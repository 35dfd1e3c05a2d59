/* What all joins share: the vectors of a tensor become one vector of a new model, F32 and of weight
 * 1. Integer tensors pass if all models agree and are an error otherwise; quantized payload (F8,
 * F4, ...) is an error. */
#ifndef TV_JOIN_H
#define TV_JOIN_H

#include "filter.h"

/* The option row for the name of the result; `field` is in the filter's struct of options. */
#define JOIN_NAME_ROW(type, field)                                                                 \
    {                                                                                              \
        "name", OPTION_STRING, offsetof(struct type, field), "NAME",                               \
            .help = "name of the result (default merged)", .default_value = "merged"               \
    }

/* In open: changes the header to one vector per tensor, of the new model `name`. Each tensor must
 * have `least` to `most` vectors; if both are the same number above 1, the order of the vectors
 * matters, and all tensors must have the same models in the same order. */
int join_declare_merged_model(struct header *h, const char *name, size_t least, size_t most,
                              struct error *e);

/* The weights that a join can use. */
enum join_weights {
    JOIN_NO_WEIGHTS,     /* only 1 */
    JOIN_VECTOR_WEIGHTS, /* one per vector */
    JOIN_CHUNK_WEIGHTS   /* also one per chunk of a vector */
};

/* In begin: records the weights in the vector of the result (struct joined_vector). An error if a
 * vector has weights that the join cannot use. */
int join_use_weights(struct job *job, enum join_weights weights, struct error *e);
/* The divisor of a weighted mean. `sum` is that of the weights; if it is near 0, the divisor is 1
 * for task vectors, and it is an error for weights. `what` is what divides ("--normalize=all"). */
int join_mean_divisor(enum stream_kind kind, double sum, const char *what, double *divisor,
                      struct error *e);

/* In transform, floating tensors: x[k] of the block's vectors; to be freed. */
float **join_list_vector_pointers(const struct block *b);
/* In transform, other tensors: leaves one vector; an error if they are not identical. */
int join_require_identical(const struct tensor *t, struct block *b, struct error *e);

#endif
