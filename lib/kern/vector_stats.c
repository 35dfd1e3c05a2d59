#include "vector_stats.h"

#include "dtype.h"
#include "vector_math.h"
#include "simd.h"

#include <math.h>
#include <string.h>

static size_t count_pairs(size_t n)
{
    return n * (n - 1) / 2;
}

size_t joint_stats_size(size_t n)
{
    return n * sizeof(struct vector_stats) + count_pairs(n) * sizeof(struct pair_stats);
}

struct joint_stats joint_stats_view_memory(void *memory, size_t n)
{
    struct vector_stats *vectors = memory;
    return (struct joint_stats){n, vectors, (struct pair_stats *)(vectors + n)};
}

struct joint_stats joint_stats_init(void *memory, size_t n)
{
    struct joint_stats t = joint_stats_view_memory(memory, n);
    for (size_t k = 0; k < n; k++)
        t.vectors[k] = (struct vector_stats){.min = INFINITY, .max = -INFINITY};
    memset(t.pairs, 0, count_pairs(n) * sizeof *t.pairs);
    return t;
}

struct pair_stats *joint_stats_find_pair(const struct joint_stats *t, size_t later, size_t earlier)
{
    return &t->pairs[count_pairs(later) + earlier];
}

/* ---- one tile ------------------------------------------------------------------------------- */

/* Sum, minimum and maximum of a tile; element i is added to sum i mod VECTOR_MATH_LANES. */
TV_CLONES static void compute_sum_and_range(const float *x, size_t n, double *sum, float *min,
                                            float *max)
{
    double lanes[VECTOR_MATH_LANES] = {0}, all = 0;
    float low = *min, high = *max;
    for (size_t i = 0; i < n; i++) {
        lanes[i % VECTOR_MATH_LANES] += (double)x[i];
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    for (size_t j = 0; j < VECTOR_MATH_LANES; j++)
        all += lanes[j];
    *sum += all;
    *min = low;
    *max = high;
}

TV_CLONES static void count_opposite_signs(const float *x, const float *y, size_t n,
                                           struct pair_stats *p)
{
    uint64_t both = 0, opposite = 0;
    for (size_t i = 0; i < n; i++) {
        bool nonzero = (x[i] != 0) & (y[i] != 0);
        both += nonzero;
        opposite += nonzero & ((x[i] > 0) != (y[i] > 0));
    }
    p->both_nonzero += both;
    p->opposite_signs += opposite;
}

/* Copies the finite numbers of a tile to the start of `to`; returns how many. */
static size_t copy_finite(const float *x, size_t n, float *to)
{
    size_t finite = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(x[i]))
            to[finite++] = x[i];
    return finite;
}

static void add_finite_tile(struct vector_stats *t, const float *x, size_t n)
{
    t->finite += n;
    t->zeros += vector_math_count_zeros(x, n);
    t->l1 += vector_math_sum_abs(x, n);
    t->squares += vector_math_sum_squares(x, n);
    compute_sum_and_range(x, n, &t->sum, &t->min, &t->max);
}

void joint_stats_add_tile(struct joint_stats *t, size_t k, const float *x, size_t n, float *tiles)
{
    struct vector_stats *own = &t->vectors[k];
    float *tile = tiles + k * VECTOR_MATH_TILE;
    own->elements += n;
    if (!x) {
        memset(tile, 0, n * sizeof *tile);
        return;
    }
    own->floating += n;
    if (dtype_find_nonfinite(DTYPE_F32, x, n) == n) {
        add_finite_tile(own, x, n);
        memcpy(tile, x, n * sizeof *tile);
    } else {
        add_finite_tile(own, tile, copy_finite(x, n, tile));
        for (size_t i = 0; i < n; i++) /* elements stay at their index, for the pairs */
            tile[i] = isfinite(x[i]) ? x[i] : 0;
    }
    for (size_t j = 0; j < k; j++) {
        struct pair_stats *p = joint_stats_find_pair(t, k, j);
        p->dot += vector_math_dot(tile, tiles + j * VECTOR_MATH_TILE, n);
        count_opposite_signs(tile, tiles + j * VECTOR_MATH_TILE, n, p);
    }
}

/* ---- sums ----------------------------------------------------------------------------------- */

static void add_vector_stats(const struct vector_stats *from, struct vector_stats *to)
{
    to->elements += from->elements;
    to->floating += from->floating;
    to->finite += from->finite;
    to->zeros += from->zeros;
    to->sum += from->sum;
    to->l1 += from->l1;
    to->squares += from->squares;
    to->min = from->min < to->min ? from->min : to->min;
    to->max = from->max > to->max ? from->max : to->max;
}

static void add_pair_stats(const struct pair_stats *from, struct pair_stats *to)
{
    to->dot += from->dot;
    to->both_nonzero += from->both_nonzero;
    to->opposite_signs += from->opposite_signs;
}

void joint_stats_accumulate(const struct joint_stats *from, struct joint_stats *to,
                            const size_t *positions)
{
    for (size_t k = 0; k < from->n; k++) {
        size_t later = positions ? positions[k] : k;
        add_vector_stats(&from->vectors[k], &to->vectors[later]);
        for (size_t j = 0; j < k; j++) {
            size_t earlier = positions ? positions[j] : j;
            add_pair_stats(joint_stats_find_pair(from, k, j),
                           joint_stats_find_pair(to, later, earlier));
        }
    }
}

static double divide_or_nan(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : NAN;
}

double vector_stats_zero_share(const struct vector_stats *t)
{
    return divide_or_nan(t->zeros, t->finite);
}

double vector_stats_max_abs(const struct vector_stats *t)
{
    return t->finite == 0 ? NAN : -t->min > t->max ? -t->min : t->max;
}

double joint_stats_cosine(const struct joint_stats *t, size_t later, size_t earlier)
{
    double norms = sqrt(t->vectors[later].squares) * sqrt(t->vectors[earlier].squares);
    return norms > 0 ? joint_stats_find_pair(t, later, earlier)->dot / norms : NAN;
}

double joint_stats_opposite_sign_share(const struct joint_stats *t, size_t later, size_t earlier)
{
    const struct pair_stats *p = joint_stats_find_pair(t, later, earlier);
    return divide_or_nan(p->opposite_signs, p->both_nonzero);
}
