/* Singular value decompositions A = sum_i s_i u_i v_i' of matrices of doubles (matrix.h), through
 * the eigenvectors of the Gram matrix of the shorter side: several times as fast as LAPACK's
 * dgesdd. For singular values of more than 1e-4 of the largest, 1e-13 of its precision is lost;
 * those below 1e-7 of it cannot be distinguished from 0. */
#ifndef TV_SVD_H
#define TV_SVD_H

#include "error.h"

#include <stddef.h>

/* The smallest tolerance that decides whether a singular value is 0. */
#define SVD_MIN_TOLERANCE 1e-7

/* The `count` largest of the r = min(m, n) singular values and vectors of A (m, n), in descending
 * order. The vectors are rows; those of singular values of at most `tolerance` times `norm` are 0.
 * An svd owns its arrays until svd_free. */
struct svd {
    size_t count;
    double *s; /* (r): all singular values */
    double *U; /* (count, m) */
    double *V; /* (count, n) */
};

/* Doubles that an svd of all singular values takes, with A and the decomposition's work area. */
double svd_memory(size_t m, size_t n);
/* `norm` is the largest singular value of A itself if it is 0. Call svd_free also after an error.
 */
int svd_compute(struct svd *svd, size_t m, size_t n, const double *A, size_t count,
                double tolerance, double norm, struct error *e);
/* The same of a matrix whose rank is at most `count` + 8, except for rounding in F32: much faster,
 * by a projection to the range that it maps random vectors to (Halko, Martinsson and Tropp 2011,
 * arXiv 0909.4061, algorithm 4.1), which is checked. 1: computed; 0: the rank is higher, and
 * svd_compute is needed; -1: error. Call svd_free if it is 1 or -1. */
int svd_compute_low_rank(struct svd *svd, size_t m, size_t n, const double *A, size_t count,
                         struct error *e);
void svd_free(struct svd *svd);
/* The largest singular value of A (m, n). */
int svd_norm(size_t m, size_t n, const double *A, double *norm, struct error *e);

/* result (m, n) = polar(U') diag(s) polar(V')', with U (count, m), V (count, n) and polar(X), the
 * matrix with orthonormal columns that is nearest to X: X (X'X)^-1/2. Directions of X with a
 * singular value of at most `tolerance` of its largest are dropped. `s` may be NULL: 1. */
int svd_polar_product(size_t m, size_t n, size_t count, const double *U, const double *s,
                      const double *V, double tolerance, double *result, struct error *e);

#endif
