/* Kernels of the matrix product (gemm.h): a small block of C from rows of A and a packed slice of
 * B, in the vectors of a processor. Every element is a sum over k in order, in each kernel; those
 * with fused multiply-add give the same bits. No allocation. */
#ifndef TV_GEMM_KERNEL_H
#define TV_GEMM_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#define GEMM_KERNEL_MAX_BLOCK ((size_t)12 * 32) /* elements of the largest block */

/* Rows of A: number p of row i is at i distance + p step. */
struct gemm_rows {
    const float *numbers;
    size_t distance, step;
};

struct gemm_kernel {
    const char *name;
    bool (*runs_here)(void);
    size_t rows, columns; /* of a block */
    /* C = alpha A B + beta C;  A (m, k), B (k, columns) packed, C (m, columns), m <= rows. With
     * beta 0, C is not read. */
    void (*multiply)(size_t m, size_t k, float alpha, const struct gemm_rows *A, const float *B,
                     float beta, float *C, size_t ldc);
};

/* All kernels, the fastest first; the last one runs on every processor. */
extern const struct gemm_kernel gemm_kernels[];
/* The fastest that this processor runs. */
const struct gemm_kernel *gemm_kernel_choose(void);

#endif
