/* Matrix products in F32, packed and divided into tiles as in BLIS (Van Zee and van de Geijn 2015,
 * doi 10.1145/2764454), by the kernels of gemm_kernel.h. The threads of parallel_for.h share the
 * tiles of a product. Matrices are row-major; ld is the distance between two rows.
 *
 * Several threads may ask for products at once; a product inside a parallel_for runs on the calling
 * thread alone. Each element of the result is summed over k in order: its bits depend on the
 * processor's kernel, but not on the number of threads or on its position. */
#ifndef TV_GEMM_H
#define TV_GEMM_H

#include <stddef.h>

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
