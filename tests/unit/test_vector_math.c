#include "vector_math.h"
#include "bitmask.h"
#include "unit.h"

/* Plain reference implementations of the functions, compared bit for bit. */

static float reference_drop(float x, float u, double keep)
{
    return (double)u < keep ? x : 0.0f;
}

/* y = x without the elements that are not marked. */
static void keep_marked(const float *x, float *y, size_t n, const unsigned char *marks)
{
    memcpy(y, x, n * sizeof *x);
    bitmask_keep_marked(y, marks, n, y);
}

static double reference_sum(const float *x, const float *y, size_t n, int what)
{
    double sum = 0;
    for (size_t start = 0; start < n; start += 4096) {
        double s[16] = {0};
        for (size_t i = start; i < n && i < start + 4096; i++)
            s[i % 16] += what == 0 ? fabs((double)x[i]) : (double)x[i] * (double)y[i];
        double quarter[4];
        for (int j = 0; j < 4; j++)
            quarter[j] = (s[4 * j] + s[4 * j + 1]) + (s[4 * j + 2] + s[4 * j + 3]);
        sum += (quarter[0] + quarter[1]) + (quarter[2] + quarter[3]);
    }
    return sum;
}

static void reference_elect(float **x, const double *w, size_t K, size_t i)
{
    double sum = 0;
    for (size_t k = 0; k < K; k++)
        sum += w[k] * (double)x[k][i];
    for (size_t k = 0; k < K; k++) {
        double product = w[k] * (double)x[k][i];
        if (sum >= 0 ? !(product > 0) : !(product < 0))
            x[k][i] = 0;
    }
}

static float reference_weighted_sum(float **x, const double *w, size_t K, double divisor, size_t i)
{
    double sum = 0;
    for (size_t k = 0; k < K; k++)
        sum += w[k] * (double)x[k][i];
    return (float)(sum / divisor);
}

static float reference_disjoint_mean(float **x, const double *w, size_t K, double floor, size_t i)
{
    double sum = 0, divisor = 0;
    for (size_t k = 0; k < K; k++) {
        sum += w[k] * (double)x[k][i];
        if (x[k][i] != 0)
            divisor += w[k];
    }
    if (floor > 0)
        divisor = divisor > floor ? divisor : floor;
    else if (fabs(divisor) < 1e-8)
        divisor = 1;
    return (float)(sum / divisor);
}

#define N     10007
#define K_MAX 8

static unsigned long long seed = 88172645463325252ull;

static double draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) * 0x1p-53;
}

/* Deltas of both signs and many magnitudes; a third of them are +0 or -0. */
static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double u = draw();
        x[i] = (float)(u < 0.2 ? 0 : u < 0.3 ? -0.0 : (draw() - 0.5) * pow(10, 10 * draw() - 8));
    }
}

static int same(const float *x, const float *y, size_t n)
{
    return memcmp(x, y, n * sizeof *x) == 0;
}

static void test_single(size_t n)
{
    static float x[N], b[N], u[N], y[N], want[N];
    static unsigned char marks[(N + 7) / 8];
    static const double factors[] = {0.3, -1, 1e-30, 3e38}, keeps[] = {0, 0.1, 0.25, 1, 0.7};
    fill(x, n);
    fill(b, n);
    for (size_t i = 0; i < n; i++)
        u[i] = floorf((float)(draw() * 0x1p24)) * 0x1p-24f;
    if (n > 0)
        u[0] = 0.1f; /* as a float slightly larger than 0.1 */
    vector_math_subtract(x, b, y, n);
    for (size_t i = 0; i < n; i++)
        want[i] = (float)((double)x[i] - (double)b[i]);
    CHECK(same(y, want, n));
    vector_math_add(x, b, y, n);
    for (size_t i = 0; i < n; i++)
        want[i] = x[i] + b[i];
    CHECK(same(y, want, n));
    memcpy(y, x, n * sizeof *x);
    vector_math_add(y, b, y, n);
    CHECK(same(y, want, n));
    for (size_t f = 0; f < 4; f++) {
        memcpy(y, x, n * sizeof *x);
        vector_math_scale(y, factors[f], n);
        for (size_t i = 0; i < n; i++)
            want[i] = (float)(factors[f] * (double)x[i]);
        CHECK(same(y, want, n));
    }
    for (size_t f = 0; f < 5; f++) {
        bitmask_mark_below(u, keeps[f], n, marks);
        keep_marked(x, y, n, marks);
        for (size_t i = 0; i < n; i++)
            want[i] = reference_drop(x[i], u[i], keeps[f]);
        CHECK(same(y, want, n));
        CHECK(vector_math_sum_abs_marked(x, marks, n) == reference_sum(want, want, n, 0));
    }
    CHECK(vector_math_sum_abs(x, n) == reference_sum(x, x, n, 0));
    CHECK(vector_math_sum_squares(x, n) == reference_sum(x, x, n, 1));
    CHECK(vector_math_dot(x, b, n) == reference_sum(x, b, n, 1));
}

static void test_joins(size_t K, size_t n, const double *w)
{
    static float x[K_MAX][N], y[K_MAX][N], want[N], got[N];
    static const double floors[] = {0, 1e-6, 0.5};
    static const double divisors[] = {1.5, 1, -4, 0.125, 0x1p-40, 0x1p-1060};
    float *from[K_MAX], *copy[K_MAX];
    for (size_t k = 0; k < K; k++) {
        from[k] = x[k];
        copy[k] = y[k];
        fill(x[k], n);
        for (size_t i = 3; k > 0 && i < n; i += 7) /* sums of exactly 0 */
            x[k][i] = -x[0][i];
        memcpy(y[k], x[k], n * sizeof(float));
    }
    double dots[K_MAX * (K_MAX + 1) / 2];
    size_t start = n / 5;
    vector_math_gram(from, K, start, n - start, dots);
    for (size_t j = 0, p = 0; j < K; j++)
        for (size_t k = 0; k <= j; k++, p++)
            CHECK(dots[p] == vector_math_dot(x[j] + start, x[k] + start, n - start));
    for (size_t d = 0; d < 6; d++) {
        vector_math_weighted_sum(from, w, K, divisors[d], got, n);
        for (size_t i = 0; i < n; i++)
            want[i] = reference_weighted_sum(from, w, K, divisors[d], i);
        CHECK(same(got, want, n));
    }
    for (size_t f = 0; f < 3; f++) {
        vector_math_disjoint_mean(from, w, K, floors[f], got, n);
        for (size_t i = 0; i < n; i++)
            want[i] = reference_disjoint_mean(from, w, K, floors[f], i);
        CHECK(same(got, want, n));
    }
    vector_math_elect_signs_and_zero_others(from, w, K, n);
    for (size_t i = 0; i < n; i++)
        reference_elect(copy, w, K, i);
    for (size_t k = 0; k < K; k++)
        CHECK(same(x[k], y[k], n));
    for (size_t i = 0; i < n; i++)
        want[i] = reference_weighted_sum(from, w, K, 1.5, i);
    vector_math_weighted_sum(from, w, K, 1.5, x[0], n); /* in place */
    CHECK(same(x[0], want, n));
}

/* Two vectors by hand: election, then the mean over the agreeing elements. */
static void test_example(void)
{
    float a[] = {1, -2, 3, 0}, b[] = {-3, -4, 1, 0}, y[4];
    float *x[] = {a, b};
    double w[] = {1, 1};
    vector_math_elect_signs_and_zero_others(x, w, 2, 4);
    CHECK(a[0] == 0 && b[0] == -3 && a[1] == -2 && b[1] == -4 && a[2] == 3 && b[2] == 1);
    vector_math_disjoint_mean(x, w, 2, 0, y, 4);
    CHECK(y[0] == -3 && y[1] == -3 && y[2] == 2 && y[3] == 0);
}

int main(void)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 33, 1023, 1024, 1025, 4096, 4111, N};
    static const double ones[] = {1, 1, 1, 1, 1, 1, 1, 1};
    static const double mixed[] = {0.3, -0.7, 1e-12, 0.4, 0, 2, 1e-310, 0.1};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        test_single(sizes[s]);
        for (size_t K = 1; K <= K_MAX; K++) {
            test_joins(K, sizes[s], ones);
            test_joins(K, sizes[s], mixed);
        }
    }
    test_example();
    return unit_end();
}
