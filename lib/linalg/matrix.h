/* Matrices of doubles: products, Gram matrices, eigenvectors and linear systems, by OpenBLAS on the
 * calling thread. matrix_init loads it. Matrices are row-major, without gaps between the rows, and
 * belong to the caller; the result does not overlap the arguments.
 *
 * Several threads may compute at once: the bits of a result depend on its arguments, on the
 * processor and on the version of OpenBLAS alone. */
#ifndef TV_MATRIX_H
#define TV_MATRIX_H

#include "error.h"

#include <stddef.h>

/* The most rows or columns of a matrix, and of one whose eigenvectors are computed: LAPACK's work
 * area of 2 n^2 + 6 n + 1 doubles is counted in 32 bits. */
#define MATRIX_MAX       ((size_t)0x7fffffff)
#define MATRIX_EIGEN_MAX ((size_t)32766)

/* Loads OpenBLAS. The error names the function that it lacks. */
int matrix_init(struct error *e);

/* C = alpha A B + beta C;    A (m, k), B (k, n), C (m, n) */
void matrix_nn(size_t m, size_t n, size_t k, double alpha, const double *A, const double *B,
               double beta, double *C);
/* C = alpha A B^T + beta C;  A (m, k), B (n, k), C (m, n) */
void matrix_nt(size_t m, size_t n, size_t k, double alpha, const double *A, const double *B,
               double beta, double *C);
/* C = alpha A^T B + beta C;  A (k, m), B (k, n), C (m, n) */
void matrix_tn(size_t m, size_t n, size_t k, double alpha, const double *A, const double *B,
               double beta, double *C);

/* C = alpha A A^T + beta C;  A (m, n), C (m, m) symmetric */
void matrix_gram_of_rows(size_t m, size_t n, double alpha, const double *A, double beta, double *C);
/* C = alpha A^T A + beta C;  A (m, n), C (n, n) symmetric */
void matrix_gram_of_columns(size_t m, size_t n, double alpha, const double *A, double beta,
                            double *C);

/* The eigenvalues of the symmetric A (n, n), ascending, and in place of A its eigenvectors: row i
 * belongs to eigenvalue i. An error if n is too large or the algorithm does not converge, which
 * happens with numbers that are not finite. */
int matrix_eigen(size_t n, double *A, double *eigenvalues, struct error *e);
/* The eigenvalues alone, ascending; A is overwritten. */
int matrix_eigenvalues(size_t n, double *A, double *eigenvalues, struct error *e);

/* The Cholesky factor of the symmetric A (n, n), in its place. -1 if A is not positive definite. */
int matrix_cholesky(size_t n, double *A);
/* Solves X A = B, where `factor` is that of the symmetric A (n, n); B (m, n) becomes X. */
void matrix_cholesky_solve(size_t m, size_t n, const double *factor, double *B);

#endif
