#include "vector_math.h"

#include "bitmask.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define STRIP 1024 /* elements whose sums over the vectors stay in cache */

/* ---- one vector ----------------------------------------------------------------------------- */

TV_CLONES void vector_math_subtract(const float *x, const float *b, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] - b[i];
}

TV_CLONES void vector_math_add(const float *x, const float *b, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] + b[i];
}

TV_CLONES void vector_math_scale(float *x, double factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(factor * (double)x[i]);
}

TV_CLONES static void mark(const float *restrict u, float bound, size_t n,
                           unsigned char *restrict bits)
{
    unsigned char bytes[STRIP];
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        for (size_t j = 0; j < m; j++)
            bytes[j] = u[i + j] < bound;
        bitmask_pack(bytes, m, bits + i / 8);
    }
}

void vector_math_mark_below(const float *u, double bound, size_t n, unsigned char *bits)
{
    /* For a float u, u < bound says the same as u < the smallest float that is not below bound. */
    float least = (float)bound;
    if ((double)least < bound)
        least = nextafterf(least, INFINITY);
    mark(u, least, n, bits);
}

TV_CLONES void vector_math_zero_unmarked(float *restrict x, const unsigned char *restrict bits,
                                         size_t n)
{
    unsigned char bytes[STRIP];
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        bitmask_unpack(bits + i / 8, m, bytes);
        for (size_t j = 0; j < m; j++)
            x[i + j] = bytes[j] ? x[i + j] : 0.0f;
    }
}

/* ---- sums ----------------------------------------------------------------------------------- */

enum sum { SUM_ABS, SUM_SQUARES, SUM_DOT };

TV_INLINE double term(enum sum what, double x, double y)
{
    return what == SUM_ABS ? fabs(x) : what == SUM_SQUARES ? x * x : x * y;
}

/* s0 + s1, s2 + s3, ...; then the same with the eight that are left, and so on. */
TV_INLINE double add_pairwise(double *s)
{
    for (size_t n = VECTOR_MATH_LANES; n > 1; n /= 2)
        for (size_t j = 0; j < n / 2; j++)
            s[j] = s[2 * j] + s[2 * j + 1];
    return s[0];
}

TV_INLINE double sum_tile(enum sum what, const float *x, const float *y, size_t n)
{
    double s[VECTOR_MATH_LANES] = {0};
    size_t i = 0;
    for (; i + VECTOR_MATH_LANES <= n; i += VECTOR_MATH_LANES)
        for (size_t j = 0; j < VECTOR_MATH_LANES; j++)
            s[j] += term(what, x[i + j], y[i + j]);
    for (size_t j = 0; i + j < n; j++)
        s[j] += term(what, x[i + j], y[i + j]);
    return add_pairwise(s);
}

TV_INLINE double sum_tiles(enum sum what, const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i += VECTOR_MATH_TILE)
        sum += sum_tile(what, x + i, y + i, n - i < VECTOR_MATH_TILE ? n - i : VECTOR_MATH_TILE);
    return sum;
}

TV_CLONES double vector_math_sum_abs(const float *x, size_t n)
{
    return sum_tiles(SUM_ABS, x, x, n);
}

TV_CLONES double vector_math_sum_squares(const float *x, size_t n)
{
    return sum_tiles(SUM_SQUARES, x, x, n);
}

TV_CLONES double vector_math_dot(const float *x, const float *y, size_t n)
{
    return sum_tiles(SUM_DOT, x, y, n);
}

/* ---- K vectors ------------------------------------------------------------------------------ */

/* A strip at a time: sums in a buffer, to which up to four vectors are added at once, one after
 * another. With a constant number the loops over k unroll. */

#define FEW 4

/* sum = (0 or sum) + w[k] x[k], for n elements of each x[k] from `first` on. */
TV_INLINE void add_some(float *const *x, const double *w, size_t K, size_t first, bool fresh,
                        double *restrict sum, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double s = fresh ? 0 : sum[i];
        for (size_t k = 0; k < K; k++)
            s += w[k] * (double)x[k][first + i];
        sum[i] = s;
    }
}

TV_CLONES static void add_few(float *const *x, const double *w, size_t K, size_t first, bool fresh,
                              double *restrict sum, size_t n)
{
    switch (K) {
    case 1:
        add_some(x, w, 1, first, fresh, sum, n);
        break;
    case 2:
        add_some(x, w, 2, first, fresh, sum, n);
        break;
    case 3:
        add_some(x, w, 3, first, fresh, sum, n);
        break;
    default:
        add_some(x, w, FEW, first, fresh, sum, n);
    }
}

static void sum_products(float *const *x, const double *w, size_t K, size_t first, double *sum,
                         size_t n)
{
    for (size_t k = 0; k < K; k += FEW)
        add_few(x + k, w + k, K - k < FEW ? K - k : FEW, first, k == 0, sum, n);
}

/* The same, and divisor = (0 or divisor) + w[k] where x[k] is not 0. */
TV_INLINE void add_some_disjoint(float *const *x, const double *w, size_t K, size_t first,
                                 bool fresh, double *restrict sum, double *restrict divisor,
                                 size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double s = fresh ? 0 : sum[i], d = fresh ? 0 : divisor[i];
        for (size_t k = 0; k < K; k++) {
            double value = (double)x[k][first + i];
            s += w[k] * value;
            d += value != 0 ? w[k] : 0.0;
        }
        sum[i] = s;
        divisor[i] = d;
    }
}

TV_CLONES static void add_few_disjoint(float *const *x, const double *w, size_t K, size_t first,
                                       bool fresh, double *restrict sum, double *restrict divisor,
                                       size_t n)
{
    switch (K) {
    case 1:
        add_some_disjoint(x, w, 1, first, fresh, sum, divisor, n);
        break;
    case 2:
        add_some_disjoint(x, w, 2, first, fresh, sum, divisor, n);
        break;
    case 3:
        add_some_disjoint(x, w, 3, first, fresh, sum, divisor, n);
        break;
    default:
        add_some_disjoint(x, w, FEW, first, fresh, sum, divisor, n);
    }
}

TV_CLONES static void drop_disagreeing(float *restrict x, double w, const double *restrict sum,
                                       size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double sign = sum[i] >= 0 ? 1.0 : -1.0;
        x[i] = sign * (w * (double)x[i]) > 0 ? x[i] : 0.0f;
    }
}

TV_CLONES static void multiply_all(const double *restrict sum, double factor, float *restrict y,
                                   size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(sum[i] * factor);
}

TV_CLONES static void divide_all(const double *restrict sum, double divisor, float *restrict y,
                                 size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(sum[i] / divisor);
}

TV_CLONES static void divide(const double *restrict sum, const double *restrict divisor,
                             float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(sum[i] / (fabs(divisor[i]) < 1e-8 ? 1.0 : divisor[i]));
}

TV_CLONES static void divide_floored(const double *restrict sum, const double *restrict divisor,
                                     double floor, float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(sum[i] / (divisor[i] > floor ? divisor[i] : floor));
}

void vector_math_elect_signs(float *const *x, const double *w, size_t K, size_t n)
{
    double sum[STRIP];
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        sum_products(x, w, K, i, sum, m);
        for (size_t k = 0; k < K; k++)
            drop_disagreeing(x[k] + i, w[k], sum, m);
    }
}

void vector_math_weighted_sum(float *const *x, const double *w, size_t K, double divisor, float *y,
                              size_t n)
{
    double sum[STRIP];
    int exponent;
    /* A quotient by a power of two, 1 above all, is a product to the last bit. */
    bool multiplies = fabs(frexp(divisor, &exponent)) == 0.5 && abs(exponent) < 1000;
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        sum_products(x, w, K, i, sum, m);
        if (multiplies)
            multiply_all(sum, 1 / divisor, y + i, m);
        else
            divide_all(sum, divisor, y + i, m);
    }
}

void vector_math_disjoint_mean(float *const *x, const double *w, size_t K, double floor, float *y,
                               size_t n)
{
    double sum[STRIP], divisor[STRIP];
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        for (size_t k = 0; k < K; k += FEW)
            add_few_disjoint(x + k, w + k, K - k < FEW ? K - k : FEW, i, k == 0, sum, divisor, m);
        if (floor > 0)
            divide_floored(sum, divisor, floor, y + i, m);
        else
            divide(sum, divisor, y + i, m);
    }
}
