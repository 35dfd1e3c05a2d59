/* A block in stretches in which no weight changes, for filters that use weights given as lists. */
#ifndef TV_STRETCH_H
#define TV_STRETCH_H

#include "filter.h"

struct stretch {
    size_t K, n; /* vectors; elements of each */
    float **x;   /* (K, n) */
    double *w;   /* (K): their weights */
    const struct tensor *tensor;
    const struct block *block;
    size_t end; /* of the stretch in the block */
};

/* In a transform; `tensor` is the one with the weights. Before the first stretch. */
struct stretch stretch_before(const struct tensor *tensor, const struct block *b);
/* Goes on to the next; false if there is none. */
bool stretch_next(struct stretch *s);
void stretch_free(struct stretch *s);

#endif
