#include "gaussian_process.h"

#include "mem.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* The priors: means and standard deviations of ln l and ln nu. The distance of random points grows
 * with sqrt(d), and l with it. */
#define PRIOR_SCALE           0.5 /* exp of the mean of ln l, for d = 1 */
#define PRIOR_SCALE_DEVIATION 1.0
#define PRIOR_NOISE           1e-6
#define PRIOR_NOISE_DEVIATION 3.0
#define LOWEST_NOISE          1e-8 /* keeps A positive definite */
#define HIGHEST_NOISE         1.0
#define FIRST_STEP            1.0 /* of the search, in logarithms */
#define LAST_STEP             0.05

/* ---- the kernel ------------------------------------------------------------------------------ */

static double compute_kernel(const struct gaussian_process *g, const double *a, const double *b)
{
    double squares = 0;
    for (size_t i = 0; i < g->d; i++) {
        double difference = (a[i] - b[i]) * g->inverse_scale[i];
        squares += difference * difference;
    }
    double t = sqrt(5 * squares);
    return (1 + t + t * t / 3) * exp(-t);
}

/* ---- A = L L^T ------------------------------------------------------------------------------- */

/* Cholesky; false if A is not positive definite to rounding. */
static bool factorise(struct gaussian_process *g)
{
    size_t n = g->n;
    double *L = g->factor;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = compute_kernel(g, g->x + i * g->d, g->x + j * g->d);
            sum += i == j ? g->noise : 0;
            for (size_t k = 0; k < j; k++)
                sum -= L[i * n + k] * L[j * n + k];
            if (i == j && sum <= DBL_EPSILON)
                return false;
            L[i * n + j] = i == j ? sqrt(sum) : sum / L[j * n + j];
        }
    return true;
}

/* v = L^-1 v */
static void solve_lower(const struct gaussian_process *g, double *v)
{
    for (size_t i = 0; i < g->n; i++) {
        for (size_t j = 0; j < i; j++)
            v[i] -= g->factor[i * g->n + j] * v[j];
        v[i] /= g->factor[i * g->n + i];
    }
}

/* v = L^-T v */
static void solve_upper(const struct gaussian_process *g, double *v)
{
    for (size_t i = g->n; i-- > 0;) {
        for (size_t j = i + 1; j < g->n; j++)
            v[i] -= g->factor[j * g->n + i] * v[j];
        v[i] /= g->factor[i * g->n + i];
    }
}

/* ---- the parameters -------------------------------------------------------------------------- */

static double log_prior(double logarithm, double mean, double deviation)
{
    double z = (logarithm - log(mean)) / deviation;
    return -z * z / 2;
}

static double prior_scale(const struct gaussian_process *g)
{
    return PRIOR_SCALE * sqrt((double)g->d);
}

/* Sets everything from p (d + 1): ln l_i, then ln nu. Returns the logarithm of marginal likelihood
 * times priors, without its constant. */
static double set_parameters(struct gaussian_process *g, const double *p, const double *y)
{
    double result = log_prior(p[g->d], PRIOR_NOISE, PRIOR_NOISE_DEVIATION), squares = 0;
    for (size_t i = 0; i < g->d; i++) {
        g->inverse_scale[i] = exp(-p[i]);
        result += log_prior(p[i], prior_scale(g), PRIOR_SCALE_DEVIATION);
    }
    g->noise = fmin(fmax(exp(p[g->d]), LOWEST_NOISE), HIGHEST_NOISE);
    if (!factorise(g))
        return -INFINITY;
    for (size_t i = 0; i < g->n; i++)
        g->weights[i] = y[i];
    solve_lower(g, g->weights);
    for (size_t i = 0; i < g->n; i++) {
        squares += g->weights[i] * g->weights[i];
        result -= log(g->factor[i * g->n + i]);
    }
    solve_upper(g, g->weights);
    g->s2 = fmax(squares / (double)g->n, DBL_MIN);
    return result - (double)g->n / 2 * log(g->s2);
}

/* Moves one parameter by `step` either way if that is better. */
static bool improve_parameter(struct gaussian_process *g, double *p, size_t i, double step,
                              const double *y, double *best)
{
    double before = p[i];
    for (int sign = -1; sign <= 1; sign += 2) {
        p[i] = before + sign * step;
        double value = set_parameters(g, p, y);
        if (value > *best) {
            *best = value;
            return true;
        }
    }
    p[i] = before;
    return false;
}

void gaussian_process_fit(struct gaussian_process *g, size_t d, size_t n, const double *x,
                          const double *y)
{
    double *p = mem_alloc(d + 1, sizeof *p);
    *g = (struct gaussian_process){.d = d, .n = n, .x = x};
    g->inverse_scale = mem_alloc(d, sizeof(double));
    g->factor = mem_alloc(n * n, sizeof(double));
    g->weights = mem_alloc(n, sizeof(double));
    g->k = mem_alloc(n, sizeof(double));
    for (size_t i = 0; i < d; i++)
        p[i] = log(prior_scale(g));
    p[d] = log(PRIOR_NOISE);
    double best = set_parameters(g, p, y);
    for (double step = FIRST_STEP; step >= LAST_STEP;) {
        bool moved = false;
        for (size_t i = 0; i <= d; i++)
            moved |= improve_parameter(g, p, i, step, y, &best);
        step = moved ? step : step / 2;
    }
    set_parameters(g, p, y);
    free(p);
}

/* ---- predictions ----------------------------------------------------------------------------- */

void gaussian_process_predict(const struct gaussian_process *g, const double *x, double *mean,
                              double *deviation)
{
    double explained = 0;
    *mean = 0;
    for (size_t i = 0; i < g->n; i++) {
        g->k[i] = compute_kernel(g, x, g->x + i * g->d);
        *mean += g->k[i] * g->weights[i];
    }
    solve_lower(g, g->k);
    for (size_t i = 0; i < g->n; i++)
        explained += g->k[i] * g->k[i];
    *deviation = sqrt(g->s2 * fmax(1 - explained, 0));
}

void gaussian_process_free(struct gaussian_process *g)
{
    free(g->inverse_scale);
    free(g->factor);
    free(g->weights);
    free(g->k);
    *g = (struct gaussian_process){0};
}
