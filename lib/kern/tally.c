#include "tally.h"

#include "dtype.h"
#include "kern.h"
#include "simd.h"

#include <math.h>
#include <string.h>

static size_t pairs_of(size_t n)
{
    return n * (n - 1) / 2;
}

size_t tallies_size(size_t n)
{
    return n * sizeof(struct tally) + pairs_of(n) * sizeof(struct pair);
}

struct tallies tallies_at(void *memory, size_t n)
{
    struct tally *one = memory;
    return (struct tallies){n, one, (struct pair *)(one + n)};
}

struct tallies tallies_in(void *memory, size_t n)
{
    struct tallies t = tallies_at(memory, n);
    for (size_t k = 0; k < n; k++)
        t.one[k] = (struct tally){.min = INFINITY, .max = -INFINITY};
    memset(t.two, 0, pairs_of(n) * sizeof *t.two);
    return t;
}

struct pair *pair_of(const struct tallies *t, size_t later, size_t earlier)
{
    return &t->two[pairs_of(later) + earlier];
}

/* ---- one tile ------------------------------------------------------------------------------- */

/* Sum and extremes of a tile; element i goes into sum i mod KERN_LANES. */
TV_CLONES static void sum_and_range(const float *x, size_t n, double *sum, float *min, float *max)
{
    double lanes[KERN_LANES] = {0}, all = 0;
    float low = *min, high = *max;
    for (size_t i = 0; i < n; i++) {
        lanes[i % KERN_LANES] += (double)x[i];
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    for (size_t j = 0; j < KERN_LANES; j++)
        all += lanes[j];
    *sum += all;
    *min = low;
    *max = high;
}

TV_CLONES static uint64_t count_zeros(const float *x, size_t n)
{
    uint64_t zeros = 0;
    for (size_t i = 0; i < n; i++)
        zeros += x[i] == 0;
    return zeros;
}

TV_CLONES static void count_signs(const float *x, const float *y, size_t n, struct pair *p)
{
    uint64_t both = 0, opposite = 0;
    for (size_t i = 0; i < n; i++) {
        bool there = (x[i] != 0) & (y[i] != 0);
        both += there;
        opposite += there & ((x[i] > 0) != (y[i] > 0));
    }
    p->both += both;
    p->opposite += opposite;
}

/* The finite numbers of a tile, moved together. */
static size_t pick_finite(const float *x, size_t n, float *to)
{
    size_t finite = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(x[i]))
            to[finite++] = x[i];
    return finite;
}

static void look_at_tile(struct tally *t, const float *x, size_t n)
{
    t->finite += n;
    t->zeros += count_zeros(x, n);
    t->l1 += kern_sum_abs(x, n);
    t->squares += kern_sum_squares(x, n);
    sum_and_range(x, n, &t->sum, &t->min, &t->max);
}

void tallies_look(struct tallies *t, size_t k, const float *x, size_t n, float *tiles)
{
    struct tally *one = &t->one[k];
    float *tile = tiles + k * KERN_TILE;
    one->elements += n;
    if (!x) {
        memset(tile, 0, n * sizeof *tile);
        return;
    }
    one->floating += n;
    if (dtype_find_nonfinite(DTYPE_F32, x, n) == n) {
        look_at_tile(one, x, n);
        memcpy(tile, x, n * sizeof *tile);
    } else {
        look_at_tile(one, tile, pick_finite(x, n, tile));
        for (size_t i = 0; i < n; i++) /* pairs stay side by side */
            tile[i] = isfinite(x[i]) ? x[i] : 0;
    }
    for (size_t j = 0; j < k; j++) {
        struct pair *p = pair_of(t, k, j);
        p->dot += kern_dot(tile, tiles + j * KERN_TILE, n);
        count_signs(tile, tiles + j * KERN_TILE, n, p);
    }
}

/* ---- sums ----------------------------------------------------------------------------------- */

void tally_add(const struct tally *from, struct tally *to)
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

void pair_add(const struct pair *from, struct pair *to)
{
    to->dot += from->dot;
    to->both += from->both;
    to->opposite += from->opposite;
}

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : NAN;
}

double tally_zeros(const struct tally *t)
{
    return share(t->zeros, t->finite);
}

double tally_magnitude(const struct tally *t)
{
    return t->finite == 0 ? NAN : -t->min > t->max ? -t->min : t->max;
}

double tallies_cosine(const struct tallies *t, size_t later, size_t earlier)
{
    double norms = sqrt(t->one[later].squares) * sqrt(t->one[earlier].squares);
    return norms > 0 ? pair_of(t, later, earlier)->dot / norms : NAN;
}

double tallies_opposite(const struct tallies *t, size_t later, size_t earlier)
{
    const struct pair *p = pair_of(t, later, earlier);
    return share(p->opposite, p->both);
}
