/* A block in stretches in which no weight changes, for filters that use weights given as lists. */
#ifndef TV_WEIGHT_SEGMENTS_H
#define TV_WEIGHT_SEGMENTS_H

#include "filter.h"

struct weight_segments {
    size_t K, n; /* vectors; elements of each */
    float **x;   /* (K, n) */
    double *w;   /* (K): their weights */
    const struct tensor *tensor;
    const struct block *block;
    size_t end; /* of the stretch in the block */
};

/* In a transform; `tensor` is the one with the weights. Before the first stretch. */
struct weight_segments weight_segments_begin(const struct tensor *tensor, const struct block *b);
/* Goes on to the next; false if there is none. */
bool weight_segments_next(struct weight_segments *s);
void weight_segments_free(struct weight_segments *s);

#endif
