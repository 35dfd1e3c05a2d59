/* Gaussian process regression: a function on the unit cube, predicted from a few of its values.
 *
 *     y = f(x) + noise             f ~ GP(0, s^2 k),  noise ~ N(0, s^2 nu)
 *     k(x, x') = (1 + t + t^2/3) exp(-t)        Matern 5/2
 *     t^2 = 5 sum_i (x_i - x'_i)^2 / l_i^2
 *
 *     A = K + nu I                              K: k of all pairs of known points
 *     mean(x)     = k(x)^T A^-1 y
 *     variance(x) = s^2 (1 - k(x)^T A^-1 k(x))
 *
 * (Rasmussen, Williams: Gaussian Processes for Machine Learning, 2006, eq. 2.25, 2.26 and 4.17.)
 * The length scales l_i and nu maximize the marginal likelihood (eq. 5.8) with s^2 = y^T A^-1 y /
 * n, times log-normal priors that keep few points from being explained by extreme scales.
 *
 * A gaussian_process owns its arrays until gaussian_process_free and borrows x. */
#ifndef TV_GAUSSIAN_PROCESS_H
#define TV_GAUSSIAN_PROCESS_H

#include <stddef.h>

struct gaussian_process {
    size_t d, n;
    const double *x;       /* (n, d) */
    double *inverse_scale; /* (d): 1 / l_i */
    double noise;          /* nu */
    double s2;
    double *factor;  /* (n, n): L of A = L L^T, lower triangle */
    double *weights; /* (n): A^-1 y */
    double *k;       /* (n): of a prediction */
};

/* Fits n >= 1 values y, whose mean should be 0 and whose variance 1. */
void gaussian_process_fit(struct gaussian_process *g, size_t d, size_t n, const double *x,
                          const double *y);
/* Mean and standard deviation of f at x (d). Not from several threads. */
void gaussian_process_predict(const struct gaussian_process *g, const double *x, double *mean,
                              double *deviation);
void gaussian_process_free(struct gaussian_process *g);

#endif
