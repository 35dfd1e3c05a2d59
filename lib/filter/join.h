/* What every join does beside its arithmetic: the vectors of a tensor become one, F32 with weight
 * 1, of a model that the stream did not have. Integer tensors are taken where all models agree and
 * refused otherwise; payload that nobody can compute with yet (F8, F4, ...) is refused. */
#ifndef TV_JOIN_H
#define TV_JOIN_H

#include "filter.h"

/* The option row for the result's name, which a filter's options hold in `field`. */
#define JOIN_NAME_ROW(type, field)                                                                 \
    {                                                                                              \
        "name", OPTION_STRING, offsetof(struct type, field), "NAME",                               \
            .help = "name of the result (default merged)", .default_value = "merged"                      \
    }

/* In open: one vector per tensor. Each must have `least` to `most` of them; where that is one
 * number above 1, their order has a meaning, and all tensors must have those of the same models. */
int join_declare_result(struct header *h, const char *name, size_t least, size_t most,
                        struct error *e);

/* Which weights a join can use. */
enum join_weights {
    JOIN_NO_WEIGHTS,     /* none but 1 */
    JOIN_VECTOR_WEIGHTS, /* a number per vector */
    JOIN_CHUNK_WEIGHTS   /* and lists for the chunks of a vector */
};

/* In begin: refuses weights that the join would lose. */
int join_check_weights(const struct stage *s, const struct tensor *t, enum join_weights weights,
                       struct error *e);
/* The divisor of a weighted mean: `sum` of the weights; near 0 it counts as 1 in task vectors and
 * is an error in weights. `what` asks for the division ("--normalize=all"). */
int join_weight_divisor(enum stream_kind kind, double sum, const char *what, double *divisor,
                        struct error *e);

/* In transform: the block's floating vectors, to be freed. */
float **join_vector_pointers(const struct block *b);
/* In transform, for tensors that are not floating. */
int join_identical_vectors(const struct tensor *t, struct block *b, struct error *e);

#endif
