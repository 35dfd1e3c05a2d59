/* Matrix products in F32, with OpenBLAS. It is loaded when gemm_open asks for it, so that filters
 * that multiply nothing do not carry it, and with a single thread: the threads are ours
 * (threads.h), each takes a rectangle of the result. Matrices are row-major; ld is the distance
 * between two rows.
 *
 * OpenBLAS's kernels take rows in groups (those for Haswell and Zen in groups of 12, 4 and 1), and
 * each size of group rounds differently. So the bits of a row depend on the processor and on its
 * place among the others; share/man/forward.1 states the tolerance.
 *
 * All a process has one library and one number of threads; the products may be asked for by several
 * threads at once, and are made on the calling thread alone inside a loop of threads.h. */
#ifndef TV_GEMM_H
#define TV_GEMM_H

#include "error.h"

#include <stddef.h>

/* Loads the library, once, and starts the threads: 0 as many as there are processors. */
int gemm_open(size_t threads, struct error *e);

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
