/* Bayesian optimization: the next point at which a function on the unit cube should be evaluated,
 * to find its minimum in few evaluations. The first points are a Latin hypercube; each later one
 * maximizes the expected improvement
 *
 *     EI(x) = E max(0, best - f(x)) = s (z Phi(z) + phi(z)),   z = (best - mean(x)) / s
 *
 * under a Gaussian process (gaussian_process.h) that is fitted to all values so far; best is the
 * lowest mean at these points. (Jones, Schonlau, Welch: Efficient Global Optimization of Expensive
 * Black-Box Functions, 1998, eq. 15.) Values above the median are compressed logarithmically
 * first, because the scale of bad values says nothing about where the good ones are.
 *
 * The next point depends only on the seed and the points so far: a search that is interrupted
 * continues from its log. Nothing is owned. */
#ifndef TV_BAYESIAN_SEARCH_H
#define TV_BAYESIAN_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bayesian_search {
    size_t d; /* dimensions */
    uint64_t seed;
    /* Replaces x (d) by the nearest point that can be evaluated, such as one with few digits. */
    void (*round)(void *context, double *x);
    void *context;
};

/* Writes the next point to `next` (d), after n evaluations at the points x (n, d) with values y
 * (n), which are finite. False if no other point was found: all have been evaluated. */
bool bayesian_search_propose(const struct bayesian_search *s, size_t n, const double *x,
                             const double *y, double *next);

#endif
