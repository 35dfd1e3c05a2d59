/* Matrix products, against sums in double; the kernels of gemm_kernel.h against the plain one. */

#include "gemm.h"
#include "gemm_kernel.h"
#include "mem.h"
#include "parallel_for.h"
#include "unit.h"

#include <stdint.h>

static void randomize(float *x, size_t n)
{
    static uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = (float)(state >> 8) / (1 << 23) - 1;
    }
}

/* ---- kernels --------------------------------------------------------------------------------- */

#define DEPTH 77
#define ALPHA 0.3f

/* A block of C by one kernel, whose element (i, j) multiplies row i of A and column j of B. */
static void multiply_by_kernel(const struct gemm_kernel *k, const float *A, const float *B,
                               size_t i, size_t j, size_t m, float beta, float *C)
{
    float *b = mem_alloc_aligned(DEPTH * k->columns * sizeof *b);
    for (size_t p = 0; p < DEPTH; p++)
        for (size_t c = 0; c < k->columns; c++)
            b[p * k->columns + c] = B[(j + c) * DEPTH + p];
    k->multiply(m, DEPTH, ALPHA, &(struct gemm_rows){A + i * DEPTH, DEPTH, 1}, b, beta, C,
                k->columns);
    free(b);
}

/* Every number of rows; rows beyond them stay. */
static void check_kernel(const struct gemm_kernel *k, const struct gemm_kernel *plain)
{
    float A[64 * DEPTH], B[64 * DEPTH], C[GEMM_KERNEL_MAX_BLOCK], one[GEMM_KERNEL_MAX_BLOCK];
    randomize(A, 64 * DEPTH);
    randomize(B, 64 * DEPTH);
    for (size_t m = 1; m <= k->rows; m++) {
        for (size_t i = 0; i < GEMM_KERNEL_MAX_BLOCK; i++)
            C[i] = 3;
        multiply_by_kernel(k, A, B, 0, 0, m, 2, C);
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < k->columns; j++) {
                one[0] = 3;
                multiply_by_kernel(plain, A, B, i, j, 1, 2, one);
                CHECK(fabsf(C[i * k->columns + j] - one[0]) < 1e-5f);
            }
        CHECK(m == k->rows || C[m * k->columns] == 3);
    }
    C[0] = NAN;
    multiply_by_kernel(k, A, B, 0, 0, 1, 0, C);
    CHECK(!isnan(C[0]));
    for (size_t i = 0; i < k->columns; i++)
        one[i] = 3;
    multiply_by_kernel(k, A, B, 0, 0, 1, 1, one);
    for (size_t i = 0; i < k->columns; i++) { /* alpha A B is rounded before the sum */
        volatile float rounded = C[i];
        CHECK(one[i] == rounded + 3);
    }
}

static void check_kernels(void)
{
    const struct gemm_kernel *plain = gemm_kernels;
    while (strcmp(plain->name, "plain"))
        plain++;
    CHECK(plain->runs_here());
    for (const struct gemm_kernel *k = gemm_kernels; k <= plain; k++)
        if (k->runs_here())
            check_kernel(k, plain);
}

/* ---- products -------------------------------------------------------------------------------- */

enum { NT, NN, TN };

static double exact_element(int form, const float *A, const float *B, size_t k, size_t lda,
                            size_t ldb, size_t i, size_t j)
{
    double sum = 0;
    for (size_t p = 0; p < k; p++)
        sum += (double)(form == TN ? A[p * lda + i] : A[i * lda + p]) *
               (double)(form == NT ? B[j * ldb + p] : B[p * ldb + j]);
    return sum;
}

static void multiply(int form, size_t m, size_t n, size_t k, const float *A, size_t lda,
                     const float *B, size_t ldb, float beta, float *C, size_t ldc)
{
    if (form == NT)
        gemm_nt(m, n, k, 0.5f, A, lda, B, ldb, beta, C, ldc);
    else if (form == NN)
        gemm_nn(m, n, k, 0.5f, A, lda, B, ldb, beta, C, ldc);
    else
        gemm_tn(m, n, k, 0.5f, A, lda, B, ldb, beta, C, ldc);
}

/* C = A B / 2 + beta C, with gaps between the rows, on one thread and on three. */
static void check_product(int form, size_t m, size_t n, size_t k, float beta)
{
    size_t lda = (form == TN ? m : k) + 3, ldb = (form == NT ? k : n) + 5, ldc = n + 2;
    size_t a = (form == TN ? k : m) * lda, b = (form == NT ? n : k) * ldb, c = m * ldc;
    float *A = mem_alloc(a, sizeof *A), *B = mem_alloc(b, sizeof *B);
    float *C = mem_alloc(c, sizeof *C), *D = mem_alloc(c, sizeof *D), *before = D;
    randomize(A, a);
    randomize(B, b);
    randomize(C, c);
    memcpy(D, C, c * sizeof *C);
    double worst = 0;
    parallel_set_threads(1);
    multiply(form, m, n, k, A, lda, B, ldb, beta, C, ldc);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < ldc; j++) {
            double old = (double)before[i * ldc + j];
            double exact =
                j >= n ? old
                       : exact_element(form, A, B, k, lda, ldb, i, j) / 2 + (double)beta * old;
            worst = fmax(worst, fabs((double)C[i * ldc + j] - exact));
        }
    CHECK(worst < 1e-4);
    parallel_set_threads(3);
    multiply(form, m, n, k, A, lda, B, ldb, beta, D, ldc);
    CHECK(!memcmp(C, D, c * sizeof *C));
    free(A);
    free(B);
    free(C);
    free(D);
}

int main(void)
{
    check_kernels();
    for (int form = NT; form <= TN; form++) {
        check_product(form, 1, 1, 1, 0);
        check_product(form, 13, 33, 7, 2);
        check_product(form, 61, 190, 400, 1);
        check_product(form, 250, 210, 90, 0);
        check_product(form, 3, 1100, 5, 1);
        check_product(form, 1600, 3, 5, 1);
        check_product(form, 5, 9, 0, 2);
        check_product(form, 30, 9, 509, 0); /* rows of A that are packed */
    }
    return unit_end();
}
