/* Matrix products in F32, by OpenBLAS. Each thread of parallel_for.h computes a tile of the result;
 * OpenBLAS itself is single-threaded. gemm_init loads it, so that filters without matrix products
 * do not need it. Matrices are row-major; ld is the distance between two rows.
 *
 * A process has one library and one number of threads. Several threads may ask for products at
 * once; a product inside a parallel_for runs on the calling thread alone.
 *
 * OpenBLAS's kernels process rows in groups (those for Haswell and Zen in groups of 12, 4 and 1),
 * and each group size rounds differently. So the bits of a row depend on the processor and on its
 * position among the rows; share/man/forward.1 states the tolerance. */
#ifndef TV_GEMM_H
#define TV_GEMM_H

#include "error.h"

#include <stddef.h>

/* Loads OpenBLAS, once, and sets the number of threads (0: one per processor). */
int gemm_init(size_t threads, struct error *e);

/* C = alpha A B^T + beta C;  A (m, k), B (n, k), C (m, n) */
void gemm_nt(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc);
/* C = alpha A B + beta C;    A (m, k), B (k, n), C (m, n) */
void gemm_nn(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc);
/* C = alpha A^T B + beta C;  A (k, m), B (k, n), C (m, n) */
void gemm_tn(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc);

#endif
