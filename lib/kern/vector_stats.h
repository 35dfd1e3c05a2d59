/* Statistics of K vectors and of all pairs of them, summed tile by tile, for the filter stats. The
 * functions use memory provided by the caller and own none. */
#ifndef TV_VECTOR_STATS_H
#define TV_VECTOR_STATS_H

#include <stddef.h>
#include <stdint.h>

/* One vector. All but `elements` and `floating` are over the finite elements. */
struct vector_stats {
    uint64_t elements; /* all */
    uint64_t floating; /* elements of a floating-point dtype */
    uint64_t finite, zeros;
    double sum, l1, squares; /* sum x, sum |x|, sum x^2 */
    float min, max;
};

/* Two vectors. */
struct pair_stats {
    double dot;
    uint64_t both_nonzero, opposite_signs; /* elements */
};

/* K vectors, and their pairs (1, 0), (2, 0), (2, 1), ... */
struct joint_stats {
    size_t n;
    struct vector_stats *vectors;
    struct pair_stats *pairs;
};

/* Bytes of memory for n vectors. */
size_t joint_stats_size(size_t n);
/* Starts the statistics of n vectors in memory of that size. */
struct joint_stats joint_stats_init(void *memory, size_t n);
/* The statistics that joint_stats_init started in this memory. */
struct joint_stats joint_stats_view_memory(void *memory, size_t n);
struct pair_stats *joint_stats_find_pair(const struct joint_stats *t, size_t later, size_t earlier);

/* Adds n <= VECTOR_MATH_TILE elements of vector k, after those of the vectors before it. `x` is
 * NULL if the vector's dtype is not floating-point. `tiles` (K, VECTOR_MATH_TILE) must be kept from
 * one vector to the next. */
void joint_stats_add_tile(struct joint_stats *t, size_t k, const float *x, size_t n, float *tiles);
/* Adds the statistics of `from` to `to`: those of vector k to those of vector positions[k]. The
 * positions increase; NULL: positions[k] = k. */
void joint_stats_accumulate(const struct joint_stats *from, struct joint_stats *to,
                            const size_t *positions);

/* These return NaN if the value is undefined. */
double vector_stats_zero_share(const struct vector_stats *t); /* zeros / finite elements */
double vector_stats_max_abs(const struct vector_stats *t);
double joint_stats_cosine(const struct joint_stats *t, size_t later, size_t earlier);
/* opposite_signs / both_nonzero */
double joint_stats_opposite_sign_share(const struct joint_stats *t, size_t later, size_t earlier);

#endif
