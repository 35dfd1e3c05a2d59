#include "bayesian_search.h"

#include "gaussian_process.h"
#include "mem.h"
#include "random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES_PER_DIMENSION 500  /* random points */
#define NEIGHBOURS               500  /* random points around the best one */
#define STARTS                   8    /* candidates from which the search for the maximum starts */
#define FIRST_SPACING            0.05 /* of the points, in the cube */
#define SPACING_HALVES_AFTER     8    /* evaluations */
#define FIRST_STEP               0.25 /* of the climb */
#define LAST_STEP                0.0005

/* ---- random numbers -------------------------------------------------------------------------- */

#define DRAWN 512 /* at once: a number alone would cost as much as all of them */

/* Numbers in [0, 1) that depend on the seed and the number of the evaluation. */
struct draws {
    uint64_t seed, stream, used;
    float numbers[DRAWN];
};

static double draw(struct draws *r)
{
    if (r->used % DRAWN == 0)
        random_fill_uniform(r->seed, r->stream, r->used, DRAWN, r->numbers);
    return (double)r->numbers[r->used++ % DRAWN];
}

/* Between -1 and 1, mostly near 0: a sum of three uniform numbers, as a normal distribution. */
static double draw_offset(struct draws *r)
{
    double sum = draw(r) + draw(r);
    return (sum + draw(r)) / 1.5 - 1;
}

static double clamp(double x)
{
    return fmin(fmax(x, 0), 1);
}

/* ---- the first points ------------------------------------------------------------------------ */

/* The number of points of the Latin hypercube. */
static size_t count_first_points(size_t d)
{
    return 2 * (d + 1);
}

/* Point `index` of a Latin hypercube of n points: in each dimension, every interval of length 1/n
 * has one point. */
static void compute_hypercube_point(const struct bayesian_search *s, size_t index, double *x)
{
    size_t n = count_first_points(s->d);
    size_t *order = mem_alloc(n, sizeof *order);
    struct draws r = {.seed = s->seed};
    for (size_t i = 0; i < s->d; i++) {
        for (size_t k = 0; k < n; k++) { /* a random permutation (Fisher, Yates) */
            size_t j = (size_t)(draw(&r) * (double)(k + 1));
            order[k] = order[j];
            order[j] = k;
        }
        for (size_t k = 0; k < n; k++) {
            double offset = draw(&r);
            if (k == index)
                x[i] = ((double)order[k] + offset) / (double)n;
        }
    }
    free(order);
}

/* ---- values ---------------------------------------------------------------------------------- */

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Compresses the values above the median, then gives all of them mean 0 and variance 1. */
static double *scale_values(size_t n, const double *y)
{
    double *scaled = mem_alloc(n, sizeof *scaled), *sorted = mem_alloc(n, sizeof *sorted);
    double mean = 0, variance = 0;
    memcpy(sorted, y, n * sizeof *y);
    qsort(sorted, n, sizeof *sorted, compare_numbers);
    double median = sorted[n / 2], unit = median - sorted[0];
    for (size_t i = 0; i < n; i++) {
        bool compressed = unit > 0 && y[i] > median;
        scaled[i] = compressed ? median + unit * log1p((y[i] - median) / unit) : y[i];
        mean += scaled[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++)
        variance += (scaled[i] - mean) * (scaled[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++)
        scaled[i] = variance > 0 ? (scaled[i] - mean) / sqrt(variance) : 0;
    free(sorted);
    return scaled;
}

/* ---- the expected improvement ---------------------------------------------------------------- */

/* What the maximization needs. */
struct maximization {
    const struct bayesian_search *search;
    const struct gaussian_process *process;
    double best;    /* the lowest mean so far */
    double spacing; /* points that are nearer to an evaluated one are left out; 0: only the same */
};

/* Points that crowd around the best one say little: the loss of a merge is rough on a small scale.
 * So they keep a distance, which shrinks while the search converges. */
static double compute_spacing(size_t d, size_t n)
{
    double later = (double)n - (double)count_first_points(d);
    return FIRST_SPACING * exp2(-later / SPACING_HALVES_AFTER);
}

static bool is_too_near(const struct maximization *m, const double *x)
{
    const struct gaussian_process *g = m->process;
    for (size_t i = 0; i < g->n; i++) {
        double squares = 0;
        for (size_t j = 0; j < g->d; j++)
            squares += (x[j] - g->x[i * g->d + j]) * (x[j] - g->x[i * g->d + j]);
        if (squares == 0 || sqrt(squares) < m->spacing)
            return true;
    }
    return false;
}

/* ln(z Phi(z) + phi(z)), for any z: far below 0 by the first terms of its asymptotic series. */
static double log_improvement(double z)
{
    double log_phi = -z * z / 2 - log(2 * M_PI) / 2;
    if (z > -5)
        return log(z * erfc(-z / M_SQRT2) / 2 + exp(log_phi));
    return log_phi - 2 * log(-z) + log1p(-3 / (z * z));
}

/* ln EI(x); -INFINITY for points that are left out */
static double log_expected_improvement(const struct maximization *m, const double *x)
{
    double mean, deviation;
    if (is_too_near(m, x))
        return -INFINITY;
    gaussian_process_predict(m->process, x, &mean, &deviation);
    deviation = fmax(deviation, 1e-12);
    return log(deviation) + log_improvement((m->best - mean) / deviation);
}

struct candidate {
    double *x; /* (d) */
    double value;
};

/* By falling value. */
static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *p = a, *q = b;
    return (p->value < q->value) - (p->value > q->value);
}

/* Moves along the axes as long as that is better, by ever smaller steps. `trial` has room for a
 * point. */
static void climb(const struct maximization *m, struct candidate *c, double *trial)
{
    size_t d = m->search->d;
    for (double step = FIRST_STEP; step >= LAST_STEP;) {
        bool moved = false;
        for (size_t i = 0; i < 2 * d; i++) {
            memcpy(trial, c->x, d * sizeof *trial);
            trial[i / 2] = clamp(trial[i / 2] + (i % 2 ? step : -step));
            m->search->round(m->search->context, trial);
            double value = log_expected_improvement(m, trial);
            if (value > c->value) {
                memcpy(c->x, trial, d * sizeof *trial);
                c->value = value;
                moved = true;
            }
        }
        step = moved ? step : step / 2;
    }
}

/* The lowest mean at the points so far; *index is the point. */
static double find_lowest_mean(const struct gaussian_process *g, size_t *index)
{
    double lowest = INFINITY;
    for (size_t i = 0; i < g->n; i++) {
        double mean, deviation;
        gaussian_process_predict(g, g->x + i * g->d, &mean, &deviation);
        if (mean < lowest) {
            lowest = mean;
            *index = i;
        }
    }
    return lowest;
}

/* Random points, of which some are around the best point so far. */
static void draw_candidates(const struct maximization *m, const double *best, struct draws *r,
                            struct candidate *candidates, size_t count)
{
    size_t d = m->search->d;
    for (size_t c = 0; c < count; c++) {
        double radius = c < NEIGHBOURS ? 0.3 * draw(r) * draw(r) : 0;
        for (size_t i = 0; i < d; i++)
            candidates[c].x[i] = radius > 0 ? clamp(best[i] + radius * draw_offset(r)) : draw(r);
        m->search->round(m->search->context, candidates[c].x);
        candidates[c].value = log_expected_improvement(m, candidates[c].x);
    }
}

/* The point with the largest expected improvement among those that were not evaluated. */
static bool maximize(const struct maximization *m, size_t best, struct draws *r, double *next)
{
    const struct gaussian_process *g = m->process;
    size_t d = g->d, count = NEIGHBOURS + CANDIDATES_PER_DIMENSION * d;
    struct candidate *candidates = mem_alloc(count, sizeof *candidates);
    double *points = mem_alloc((count + 1) * d, sizeof *points);
    for (size_t c = 0; c < count; c++)
        candidates[c].x = points + c * d;
    draw_candidates(m, g->x + best * d, r, candidates, count);
    qsort(candidates, count, sizeof *candidates, compare_candidates);
    for (size_t c = 0; c < STARTS; c++)
        climb(m, &candidates[c], points + count * d);
    qsort(candidates, STARTS, sizeof *candidates, compare_candidates);
    bool found = candidates[0].value > -INFINITY;
    memcpy(next, candidates[0].x, d * sizeof *next);
    free(candidates);
    free(points);
    return found;
}

static bool propose_by_improvement(const struct bayesian_search *s, size_t n, const double *x,
                                   const double *y, double *next)
{
    struct draws r = {.seed = s->seed, .stream = n};
    struct gaussian_process g;
    double *scaled = scale_values(n, y);
    size_t best = 0;
    gaussian_process_fit(&g, s->d, n, x, scaled);
    struct maximization m = {.search = s, .process = &g};
    m.best = find_lowest_mean(&g, &best);
    m.spacing = compute_spacing(s->d, n);
    bool found = maximize(&m, best, &r, next);
    m.spacing = 0;
    found = found || maximize(&m, best, &r, next);
    gaussian_process_free(&g);
    free(scaled);
    return found;
}

bool bayesian_search_propose(const struct bayesian_search *s, size_t n, const double *x,
                             const double *y, double *next)
{
    bool is_new = true;
    if (n < count_first_points(s->d)) {
        compute_hypercube_point(s, n, next);
        s->round(s->context, next);
        for (size_t i = 0; i < n && is_new; i++)
            is_new = memcmp(x + i * s->d, next, s->d * sizeof *x) != 0;
        if (is_new)
            return true;
    }
    return n > 0 && propose_by_improvement(s, n, x, y, next);
}
