/* The search of tv tune on functions whose minimum is known, and the Gaussian process under it. */
#include "bayesian_search.h"
#include "gaussian_process.h"
#include "mem.h"
#include "random.h"
#include "unit.h"

#define MAX_EVALUATIONS 120
#define MAX_DIMENSIONS  5

typedef double function(const double *x, size_t d, size_t evaluation);

/* ---- the functions, on [0, 1]^d -------------------------------------------------------------- */

static double sphere(const double *x, size_t d, size_t evaluation)
{
    double sum = 0;
    for (size_t i = 0; i < d; i++)
        sum += (x[i] - 0.3 - 0.04 * (double)i) * (x[i] - 0.3 - 0.04 * (double)i);
    return sum;
}

/* On [-2, 2]^2; the minimum 0 is at (1, 1), in a curved valley. */
static double rosenbrock(const double *x, size_t d, size_t evaluation)
{
    double a = 4 * x[0] - 2, b = 4 * x[1] - 2;
    return 100 * (b - a * a) * (b - a * a) + (1 - a) * (1 - a);
}

static double noisy_sphere(const double *x, size_t d, size_t evaluation)
{
    float u;
    random_fill_uniform(99, 0, evaluation, 1, &u);
    return sphere(x, d, 0) + 0.02 * ((double)u - 0.5);
}

/* Branin's function: three minima of 0.397887. */
static double branin(const double *x, size_t d, size_t evaluation)
{
    double a = 15 * x[0] - 5, b = 15 * x[1];
    double t = b - 5.1 / (4 * M_PI * M_PI) * a * a + 5 / M_PI * a - 6;
    return t * t + 10 * (1 - 1 / (8 * M_PI)) * cos(a) + 10;
}

static double steep_valley(const double *x, size_t d, size_t evaluation)
{
    return exp(40 * fabs(x[0] - 0.7));
}

/* ---- searches -------------------------------------------------------------------------------- */

static void round_to_thousandths(void *context, double *x)
{
    const size_t *d = context;
    for (size_t i = 0; i < *d; i++)
        x[i] = round(x[i] * 1000) / 1000;
}

static void round_to_fifths(void *context, double *x)
{
    const size_t *d = context;
    for (size_t i = 0; i < *d; i++)
        x[i] = round(x[i] * 5) / 5;
}

struct result {
    size_t n;
    double x[MAX_EVALUATIONS * MAX_DIMENSIONS], y[MAX_EVALUATIONS];
    double lowest; /* of the function without noise, at the point with the lowest value */
};

static struct result search(function *f, function *without_noise, size_t d, uint64_t seed,
                            size_t evaluations, void (*rounding)(void *, double *))
{
    const struct bayesian_search s = {.d = d, .seed = seed, .round = rounding, .context = &d};
    struct result r = {0};
    size_t best = 0;
    while (r.n < evaluations && bayesian_search_propose(&s, r.n, r.x, r.y, r.x + r.n * d)) {
        r.y[r.n] = f(r.x + r.n * d, d, r.n);
        best = r.y[r.n] < r.y[best] ? r.n : best;
        r.n++;
    }
    r.lowest = without_noise(r.x + best * d, d, 0);
    return r;
}

/* The largest of the lowest values of several seeds. */
static double worst_of_seeds(function *f, function *without_noise, size_t d, uint64_t seeds,
                             size_t evaluations)
{
    double worst = 0;
    for (uint64_t seed = 0; seed < seeds; seed++) {
        struct result r = search(f, without_noise, d, seed, evaluations, round_to_thousandths);
        CHECK(r.n == evaluations);
        worst = r.lowest > worst ? r.lowest : worst;
    }
    return worst;
}

static void test_known_minima(void)
{
    CHECK(worst_of_seeds(sphere, sphere, 2, 2, 20) < 1e-3);
    CHECK(worst_of_seeds(sphere, sphere, 5, 1, 25) < 0.01);
    CHECK(worst_of_seeds(rosenbrock, rosenbrock, 2, 2, 40) < 0.5);
    CHECK(worst_of_seeds(branin, branin, 2, 2, 30) < 0.397887 + 0.1);
    CHECK(worst_of_seeds(noisy_sphere, sphere, 2, 2, 30) < 1e-2);
    CHECK(worst_of_seeds(steep_valley, steep_valley, 1, 2, 25) < 1.3);
}

static void test_repeats_and_continues(void)
{
    struct result a = search(branin, branin, 2, 7, 25, round_to_thousandths);
    struct result b = search(branin, branin, 2, 7, 25, round_to_thousandths);
    struct result c = search(branin, branin, 2, 8, 25, round_to_thousandths);
    struct result shorter = search(branin, branin, 2, 7, 15, round_to_thousandths);
    CHECK(memcmp(a.x, b.x, sizeof a.x) == 0);
    CHECK(memcmp(a.x, c.x, 2 * sizeof *a.x) != 0);
    CHECK(memcmp(a.x, shorter.x, 15 * 2 * sizeof *a.x) == 0);
}

/* No point is evaluated twice; when none is left, the search ends. */
static void test_few_points(void)
{
    struct result r = search(sphere, sphere, 2, 1, 100, round_to_fifths);
    CHECK(r.n == 36);
    for (size_t i = 0; i < r.n; i++)
        for (size_t j = 0; j < i; j++)
            CHECK(memcmp(r.x + 2 * i, r.x + 2 * j, 2 * sizeof *r.x) != 0);
}

static double constant(const double *x, size_t d, size_t evaluation)
{
    return 3;
}

static void test_constant(void)
{
    CHECK(search(constant, constant, 3, 1, 30, round_to_thousandths).n == 30);
}

/* ---- the Gaussian process -------------------------------------------------------------------- */

static void test_process(void)
{
    double x[] = {0, 0.2, 0.4, 0.6, 0.8, 1}, y[6], mean, deviation, far;
    struct gaussian_process g;
    for (size_t i = 0; i < 6; i++)
        y[i] = sin(6 * x[i]);
    gaussian_process_fit(&g, 1, 6, x, y);
    for (size_t i = 0; i < 6; i++) {
        gaussian_process_predict(&g, &x[i], &mean, &deviation);
        CHECK(fabs(mean - y[i]) < 0.01 && deviation < 0.05);
    }
    gaussian_process_predict(&g, &(double){0.5}, &mean, &deviation);
    CHECK(fabs(mean - sin(3)) < 0.1);
    gaussian_process_predict(&g, &(double){3}, &mean, &far);
    CHECK(far > deviation && fabs(mean) < 0.5);
    gaussian_process_free(&g);
}

int main(void)
{
    test_process();
    test_known_minima();
    test_repeats_and_continues();
    test_few_points();
    test_constant();
    return unit_end();
}
