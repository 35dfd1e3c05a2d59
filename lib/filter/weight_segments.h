/* A block cut into segments of constant weights, for filters that use one weight per chunk of a
 * vector. */
#ifndef TV_WEIGHT_SEGMENTS_H
#define TV_WEIGHT_SEGMENTS_H

#include "filter.h"

struct weight_segments {
    size_t K, n; /* vectors; elements of the current segment */
    float **x;   /* (K, n) */
    double *w;   /* (K): their weights */
    const struct tensor *tensor;
    const struct block *block;
    size_t end; /* of the current segment in the block */
};

/* Before the first segment; `tensor` has the weights. Free it with weight_segments_free. */
struct weight_segments weight_segments_begin(const struct tensor *tensor, const struct block *b);
/* Advances to the next segment; false after the last. */
bool weight_segments_next(struct weight_segments *s);
void weight_segments_free(struct weight_segments *s);

#endif
