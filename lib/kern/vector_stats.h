/* Sums over K vectors side by side and over all pairs of them, tile by tile: what stats prints.
 * Tallies own nothing: their numbers stand in the memory that they were made in. */
#ifndef TV_VECTOR_STATS_H
#define TV_VECTOR_STATS_H

#include <stddef.h>
#include <stdint.h>

/* One vector. Only what is finite counts, elements and floating apart. */
struct vector_stats {
    uint64_t elements, floating, finite, zeros;
    double sum, l1, squares;
    float min, max;
};

/* Two vectors. */
struct pair {
    double dot;
    uint64_t both, opposite; /* elements where neither is 0; and the signs differ */
};

/* K vectors, and their pairs (1, 0), (2, 0), (2, 1), ... */
struct joint_stats {
    size_t n;
    struct vector_stats *vectors;
    struct pair *pairs;
};

size_t joint_stats_size(size_t n);
/* Empty ones in `memory` of that size; and those that are there already. */
struct joint_stats joint_stats_init(void *memory, size_t n);
struct joint_stats joint_stats_view(void *memory, size_t n);
struct pair *joint_stats_pair(const struct joint_stats *t, size_t later, size_t earlier);

/* Adds n <= VECTOR_MATH_TILE elements of vector k, after those of the vectors before it; x is NULL
 * for what is not floating. `tiles` holds (K, VECTOR_MATH_TILE) floats from one vector to the next.
 */
void joint_stats_add_tile(struct joint_stats *t, size_t k, const float *x, size_t n, float *tiles);
void vector_stats_merge(const struct vector_stats *from, struct vector_stats *to);
void pair_stats_merge(const struct pair *from, struct pair *to);

/* NAN where there is nothing to say. */
double vector_stats_zero_share(const struct vector_stats *t); /* share of the finite elements */
double vector_stats_max_abs(const struct vector_stats *t);
double joint_stats_cosine(const struct joint_stats *t, size_t later, size_t earlier);
double joint_stats_opposite_sign_share(const struct joint_stats *t, size_t later, size_t earlier);

#endif
