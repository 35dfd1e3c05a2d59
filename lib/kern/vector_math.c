#include "vector_math.h"

#include "bitmask.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define NEAR_ZERO 1e-8 /* a smaller divisor is replaced */
#define STRIP     1024 /* elements processed at a time, so that their sums stay in cache */

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

/* ---- sums ----------------------------------------------------------------------------------- */

enum sum { SUM_ABS, SUM_SQUARES, SUM_DOT };

TV_INLINE double compute_summand(enum sum what, double x, double y)
{
    return what == SUM_ABS ? fabs(x) : what == SUM_SQUARES ? x * x : x * y;
}

/* s0 + s1, s2 + s3, ...; then the same with the remaining eight, and so on. */
TV_INLINE double sum_lanes_pairwise(double *s)
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
            s[j] += compute_summand(what, x[i + j], y[i + j]);
    for (size_t j = 0; i + j < n; j++)
        s[j] += compute_summand(what, x[i + j], y[i + j]);
    return sum_lanes_pairwise(s);
}

TV_INLINE double sum_tiles(enum sum what, const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i += VECTOR_MATH_TILE)
        sum += sum_tile(what, x + i, y + i, n - i < VECTOR_MATH_TILE ? n - i : VECTOR_MATH_TILE);
    return sum;
}

TV_CLONES size_t vector_math_count_zeros(const float *x, size_t n)
{
    size_t zeros = 0;
    for (size_t i = 0; i < n; i++)
        zeros += x[i] == 0;
    return zeros;
}

TV_CLONES double vector_math_sum_abs(const float *x, size_t n)
{
    return sum_tiles(SUM_ABS, x, x, n);
}

TV_CLONES double vector_math_sum_abs_marked(const float *x, const unsigned char *bits, size_t n)
{
    float marked[VECTOR_MATH_TILE];
    double sum = 0;
    for (size_t i = 0; i < n; i += VECTOR_MATH_TILE) {
        size_t m = n - i < VECTOR_MATH_TILE ? n - i : VECTOR_MATH_TILE;
        bitmask_keep_marked(x + i, bits + i / 8, m, marked);
        sum += sum_tile(SUM_ABS, marked, marked, m);
    }
    return sum;
}

TV_CLONES double vector_math_sum_squares(const float *x, size_t n)
{
    return sum_tiles(SUM_SQUARES, x, x, n);
}

TV_CLONES static double sum_products(const float *x, const float *y, size_t n)
{
    return sum_tiles(SUM_DOT, x, y, n);
}

double vector_math_dot(const float *x, const float *y, size_t n)
{
    return x == y ? vector_math_sum_squares(x, n) : sum_products(x, y, n);
}

/* ---- K vectors ------------------------------------------------------------------------------ */

/* Up to four vectors are elected or averaged in one loop over the elements. Of more, the sums of a
 * strip are kept in a buffer, to which a loop adds up to four vectors. K is a constant in each
 * call, so that the loops over k are unrolled. */

#define GROUP 4

/* sum[i] = (is_first ? 0 : sum[i]) + sum_k w[k] x[k][first + i], for i < n */
TV_INLINE void add_weighted_vectors(float *const *x, const double *w, size_t K, size_t first,
                                    bool is_first, double *restrict sum, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double s = is_first ? 0 : sum[i];
        for (size_t k = 0; k < K; k++)
            s += w[k] * (double)x[k][first + i];
        sum[i] = s;
    }
}

TV_CLONES static void add_weighted_vector_group(float *const *x, const double *w, size_t K,
                                                size_t first, bool is_first, double *restrict sum,
                                                size_t n)
{
    switch (K) {
    case 1:
        add_weighted_vectors(x, w, 1, first, is_first, sum, n);
        break;
    case 2:
        add_weighted_vectors(x, w, 2, first, is_first, sum, n);
        break;
    case 3:
        add_weighted_vectors(x, w, 3, first, is_first, sum, n);
        break;
    default:
        add_weighted_vectors(x, w, GROUP, first, is_first, sum, n);
    }
}

static void sum_weighted_vectors(float *const *x, const double *w, size_t K, size_t first,
                                 double *sum, size_t n)
{
    for (size_t k = 0; k < K; k += GROUP)
        add_weighted_vector_group(x + k, w + k, K - k < GROUP ? K - k : GROUP, first, k == 0, sum,
                                  n);
}

/* The same, and divisor[i] = (is_first ? 0 : divisor[i]) + the sum of w[k] over nonzero x[k]. */
TV_INLINE void add_weighted_vectors_and_divisors(float *const *x, const double *w, size_t K,
                                                 size_t first, bool is_first, double *restrict sum,
                                                 double *restrict divisor, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double s = is_first ? 0 : sum[i], d = is_first ? 0 : divisor[i];
        for (size_t k = 0; k < K; k++) {
            double value = (double)x[k][first + i];
            s += w[k] * value;
            d += value != 0 ? w[k] : 0.0;
        }
        sum[i] = s;
        divisor[i] = d;
    }
}

TV_CLONES static void add_weighted_group_and_divisors(float *const *x, const double *w, size_t K,
                                                      size_t first, bool is_first,
                                                      double *restrict sum,
                                                      double *restrict divisor, size_t n)
{
    switch (K) {
    case 1:
        add_weighted_vectors_and_divisors(x, w, 1, first, is_first, sum, divisor, n);
        break;
    case 2:
        add_weighted_vectors_and_divisors(x, w, 2, first, is_first, sum, divisor, n);
        break;
    case 3:
        add_weighted_vectors_and_divisors(x, w, 3, first, is_first, sum, divisor, n);
        break;
    default:
        add_weighted_vectors_and_divisors(x, w, GROUP, first, is_first, sum, divisor, n);
    }
}

TV_CLONES static void zero_elements_of_other_sign(float *restrict x, double w,
                                                  const double *restrict sum, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double sign = sum[i] >= 0 ? 1.0 : -1.0;
        x[i] = sign * (w * (double)x[i]) > 0 ? x[i] : 0.0f;
    }
}

/* The election of K vectors in one loop. */
TV_INLINE void elect_signs_of_group(float *const *x, const double *w, size_t K, size_t n)
{
    float *v[GROUP];
    for (size_t k = 0; k < K; k++)
        v[k] = x[k];
    TV_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        double weighted[GROUP], sum = 0;
        for (size_t k = 0; k < K; k++)
            sum += weighted[k] = w[k] * (double)v[k][i];
        double sign = sum >= 0 ? 1.0 : -1.0;
        for (size_t k = 0; k < K; k++)
            v[k][i] = sign * weighted[k] > 0 ? v[k][i] : 0.0f;
    }
}

TV_CLONES static void elect_signs_of_few(float *const *x, const double *w, size_t K, size_t n)
{
    switch (K) {
    case 1:
        elect_signs_of_group(x, w, 1, n);
        break;
    case 2:
        elect_signs_of_group(x, w, 2, n);
        break;
    case 3:
        elect_signs_of_group(x, w, 3, n);
        break;
    default:
        elect_signs_of_group(x, w, GROUP, n);
    }
}

TV_CLONES static void multiply_by_scalar(const double *restrict sum, double factor,
                                         float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(sum[i] * factor);
}

TV_CLONES static void divide_by_scalar(const double *restrict sum, double divisor,
                                       float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(sum[i] / divisor);
}

TV_CLONES static void divide_elementwise(const double *restrict sum, const double *restrict divisor,
                                         float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(sum[i] / (fabs(divisor[i]) < NEAR_ZERO ? 1.0 : divisor[i]));
}

TV_CLONES static void divide_elementwise_with_floor(const double *restrict sum,
                                                    const double *restrict divisor, double floor,
                                                    float *restrict y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(sum[i] / (divisor[i] > floor ? divisor[i] : floor));
}

/* The disjoint mean of K vectors in one loop. */
TV_INLINE void average_group(float *const *x, const double *w, size_t K, double floor, float *y,
                             size_t n)
{
    const float *v[GROUP];
    for (size_t k = 0; k < K; k++)
        v[k] = x[k];
    TV_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        double sum = 0, divisor = 0;
        for (size_t k = 0; k < K; k++) {
            double value = (double)v[k][i];
            sum += w[k] * value;
            divisor += value != 0 ? w[k] : 0.0;
        }
        y[i] = (float)(sum / (divisor > floor ? divisor : floor));
    }
}

TV_CLONES static void average_few(float *const *x, const double *w, size_t K, double floor,
                                  float *y, size_t n)
{
    switch (K) {
    case 1:
        average_group(x, w, 1, floor, y, n);
        break;
    case 2:
        average_group(x, w, 2, floor, y, n);
        break;
    case 3:
        average_group(x, w, 3, floor, y, n);
        break;
    default:
        average_group(x, w, GROUP, floor, y, n);
    }
}

/* A floor that gives the same means as 0: if no weight is smaller, a divisor is below it only where
 * all elements are 0, and so is their sum. Else 0. */
static double find_equivalent_floor(const double *w, size_t K)
{
    for (size_t k = 0; k < K; k++)
        if (!(w[k] >= NEAR_ZERO))
            return 0;
    return NEAR_ZERO;
}

void vector_math_elect_signs_and_zero_others(float *const *x, const double *w, size_t K, size_t n)
{
    double sum[STRIP];
    if (K <= GROUP) {
        elect_signs_of_few(x, w, K, n);
        return;
    }
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        sum_weighted_vectors(x, w, K, i, sum, m);
        for (size_t k = 0; k < K; k++)
            zero_elements_of_other_sign(x[k] + i, w[k], sum, m);
    }
}

void vector_math_weighted_sum(float *const *x, const double *w, size_t K, double divisor, float *y,
                              size_t n)
{
    double sum[STRIP];
    int exponent;
    /* Dividing by a power of two, such as 1, equals multiplying by its inverse, to the last bit. */
    bool multiply = fabs(frexp(divisor, &exponent)) == 0.5 && abs(exponent) < 1000;
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        sum_weighted_vectors(x, w, K, i, sum, m);
        if (multiply)
            multiply_by_scalar(sum, 1 / divisor, y + i, m);
        else
            divide_by_scalar(sum, divisor, y + i, m);
    }
}

void vector_math_disjoint_mean(float *const *x, const double *w, size_t K, double floor, float *y,
                               size_t n)
{
    double sum[STRIP], divisor[STRIP];
    if (floor == 0)
        floor = find_equivalent_floor(w, K);
    if (floor > 0 && K <= GROUP) {
        average_few(x, w, K, floor, y, n);
        return;
    }
    for (size_t i = 0; i < n; i += STRIP) {
        size_t m = n - i < STRIP ? n - i : STRIP;
        for (size_t k = 0; k < K; k += GROUP)
            add_weighted_group_and_divisors(x + k, w + k, K - k < GROUP ? K - k : GROUP, i, k == 0,
                                            sum, divisor, m);
        if (floor > 0)
            divide_elementwise_with_floor(sum, divisor, floor, y + i, m);
        else
            divide_elementwise(sum, divisor, y + i, m);
    }
}

/* ---- inner products of K vectors ------------------------------------------------------------- */

#define GROUP_PAIRS (GROUP * (GROUP + 1) / 2)

#ifdef TV_AVX512
#include <immintrin.h>

#define LANES 8 /* doubles in a register */

/* Adds the inner products of a tile of K <= GROUP vectors. Each number is converted once, and the
 * sums of all pairs are computed side by side. */
TV_INLINE TV_AVX512 void add_tile_gram(float *const *x, size_t K, size_t first, size_t n,
                                       double *dots)
{
    __m512d s[GROUP_PAIRS][VECTOR_MATH_LANES / LANES];
    double sums[VECTOR_MATH_LANES];
    size_t whole = n / VECTOR_MATH_LANES * VECTOR_MATH_LANES, p = 0;
    for (size_t i = 0; i < K * (K + 1) / 2; i++)
        s[i][0] = s[i][1] = _mm512_setzero_pd();
    for (size_t i = first; i < first + whole; i += VECTOR_MATH_LANES)
        for (size_t half = 0; half < VECTOR_MATH_LANES / LANES; half++) {
            __m512d v[GROUP];
            for (size_t k = 0; k < K; k++)
                v[k] = _mm512_cvtps_pd(_mm256_loadu_ps(x[k] + i + half * LANES));
            p = 0;
            for (size_t j = 0; j < K; j++)
                for (size_t k = 0; k <= j; k++, p++)
                    s[p][half] = _mm512_add_pd(s[p][half], _mm512_mul_pd(v[j], v[k]));
        }
    p = 0;
    for (size_t j = 0; j < K; j++)
        for (size_t k = 0; k <= j; k++, p++) {
            _mm512_storeu_pd(sums, s[p][0]);
            _mm512_storeu_pd(sums + LANES, s[p][1]);
            for (size_t i = whole; i < n; i++)
                sums[i - whole] += (double)x[j][first + i] * (double)x[k][first + i];
            dots[p] += sum_lanes_pairwise(sums);
        }
}

/* Of 2 to GROUP vectors. */
TV_AVX512 static void compute_gram_avx512(float *const *x, size_t K, size_t first, size_t n,
                                          double *dots)
{
    for (size_t p = 0; p < K * (K + 1) / 2; p++)
        dots[p] = 0;
    for (size_t i = 0; i < n; i += VECTOR_MATH_TILE) {
        size_t m = n - i < VECTOR_MATH_TILE ? n - i : VECTOR_MATH_TILE;
        if (K == 2)
            add_tile_gram(x, 2, first + i, m, dots);
        else if (K == 3)
            add_tile_gram(x, 3, first + i, m, dots);
        else
            add_tile_gram(x, GROUP, first + i, m, dots);
    }
}
#endif

/* The same of any number of vectors up to GROUP, on any processor. */
static void compute_group_gram(float *const *x, size_t K, size_t first, size_t n, double *dots)
{
#ifdef TV_AVX512
    if (K > 1 && TV_HAS_AVX512) {
        compute_gram_avx512(x, K, first, n, dots);
        return;
    }
#endif
    for (size_t j = 0, p = 0; j < K; j++)
        for (size_t k = 0; k <= j; k++, p++)
            dots[p] = vector_math_dot(x[j] + first, x[k] + first, n);
}

void vector_math_gram(float *const *x, size_t K, size_t first, size_t n, double *dots)
{
    double own[GROUP_PAIRS];
    for (size_t g = 0; g < K; g += GROUP) {
        size_t count = K - g < GROUP ? K - g : GROUP;
        compute_group_gram(x + g, count, first, n, own);
        for (size_t j = g, p = 0; j < g + count; j++) {
            double *row = dots + j * (j + 1) / 2;
            for (size_t k = 0; k < g; k++)
                row[k] = vector_math_dot(x[j] + first, x[k] + first, n);
            for (size_t k = g; k <= j; k++)
                row[k] = own[p++];
        }
    }
}
