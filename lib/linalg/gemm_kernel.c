#include "gemm_kernel.h"

#include "simd.h"

/* Multiplications and additions are fused where the processor can do so. */
#if defined(__GNUC__) && !defined(__clang__)
#define FUSED __attribute__((optimize("O3", "fp-contract=fast")))
#else
#define FUSED
#endif

/* Makes the compiler round x here, where it might fuse a product with the sum that follows: it does
 * in some builds and not in others. */
#ifdef __aarch64__
#define ROUND_HERE(x) __asm__("" : "+w"(x))
#else
#define ROUND_HERE(x) __asm__("" : "+x"(x))
#endif

/* Vectors, and vectors where floats are in memory. */
typedef float floats_4 __attribute__((vector_size(16)));
typedef float floats_8 __attribute__((vector_size(32)));
typedef float floats_16 __attribute__((vector_size(64)));
typedef floats_4 floats_4_at __attribute__((aligned(4), may_alias));
typedef floats_8 floats_8_at __attribute__((aligned(4), may_alias));
typedef floats_16 floats_16_at __attribute__((aligned(4), may_alias));

#define UNROLLED _Pragma("GCC unroll 24")

/* A block of C is two vectors wide, and as high as the registers allow: they hold the whole block
 * while k runs. `m` is a constant in each call, so that the loops over rows are unrolled and
 * c[i][j] are registers. a[i] points to the next number of row 3 i; the addresses of the two rows
 * below it need no other register. */
#define DEFINE_KERNEL(name, target, rows, vector, CASES)                                           \
    target TV_INLINE void multiply_rows_##name(const size_t m, size_t k, float alpha,              \
                                               const struct gemm_rows *A, const float *B,          \
                                               float beta, float *C, size_t ldc)                   \
    {                                                                                              \
        enum { lanes = sizeof(vector) / sizeof(float) };                                           \
        const float *a[rows / 3];                                                                  \
        vector c[rows][2];                                                                         \
        size_t distance = A->distance, step = A->step;                                             \
        UNROLLED                                                                                   \
        for (size_t i = 0; i < m; i++) {                                                           \
            __builtin_prefetch(C + i * ldc, 1);                                                    \
            __builtin_prefetch(C + i * ldc + 2 * lanes - 1, 1);                                    \
            a[i / 3] = A->numbers + i / 3 * 3 * distance;                                          \
            c[i][0] = c[i][1] = (vector){0};                                                       \
        }                                                                                          \
        for (size_t p = 0; p < k; p++, B += 2 * lanes) {                                           \
            vector b0 = *(const vector##_at *)B, b1 = *(const vector##_at *)(B + lanes);           \
            UNROLLED                                                                               \
            for (size_t i = 0; i < m; i++) {                                                       \
                float x = a[i / 3][i % 3 * distance];                                              \
                c[i][0] += x * b0;                                                                 \
                c[i][1] += x * b1;                                                                 \
            }                                                                                      \
            UNROLLED                                                                               \
            for (size_t i = 0; i < m; i += 3)                                                      \
                a[i / 3] += step;                                                                  \
        }                                                                                          \
        UNROLLED                                                                                   \
        for (size_t i = 0; i < 2 * m; i++) {                                                       \
            vector##_at *to = (vector##_at *)(C + i / 2 * ldc + i % 2 * lanes);                    \
            vector sum = alpha * c[i / 2][i % 2];                                                  \
            ROUND_HERE(sum);                                                                       \
            *to = beta != 0 ? sum + beta * *to : sum;                                              \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    target FUSED static void multiply_##name(size_t m, size_t k, float alpha,                      \
                                             const struct gemm_rows *A, const float *B,            \
                                             float beta, float *C, size_t ldc)                     \
    {                                                                                              \
        switch (m) {                                                                               \
            CASES(multiply_rows_##name)                                                            \
        }                                                                                          \
    }

#define CASE(multiply_rows, m)                                                                     \
    case m:                                                                                        \
        multiply_rows(m, k, alpha, A, B, beta, C, ldc);                                            \
        break;
#define CASES_6(f)  CASE(f, 1) CASE(f, 2) CASE(f, 3) CASE(f, 4) CASE(f, 5) CASE(f, 6)
#define CASES_12(f) CASES_6(f) CASE(f, 7) CASE(f, 8) CASE(f, 9) CASE(f, 10) CASE(f, 11) CASE(f, 12)

#ifdef __x86_64__
DEFINE_KERNEL(avx512, __attribute__((target("avx512f"))), 12, floats_16, CASES_12)
DEFINE_KERNEL(avx2, __attribute__((target("avx2,fma"))), 6, floats_8, CASES_6)

static bool runs_avx512(void)
{
    return __builtin_cpu_supports("avx512f");
}

static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

/* With 32 registers, as on ARM, and with 16. */
#ifdef __aarch64__
DEFINE_KERNEL(plain, , 12, floats_4, CASES_12)
#define PLAIN_ROWS 12
#else
DEFINE_KERNEL(plain, , 6, floats_4, CASES_6)
#define PLAIN_ROWS 6
#endif

static bool runs_plain(void)
{
    return true;
}

const struct gemm_kernel gemm_kernels[] = {
#ifdef __x86_64__
    {"avx512", runs_avx512, 12, 32, multiply_avx512},
    {"avx2", runs_avx2, 6, 16, multiply_avx2},
#endif
    {"plain", runs_plain, PLAIN_ROWS, 8, multiply_plain},
};

const struct gemm_kernel *gemm_kernel_choose(void)
{
    const struct gemm_kernel *kernel = gemm_kernels;
    while (!kernel->runs_here())
        kernel++;
    return kernel;
}
