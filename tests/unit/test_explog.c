#include "explog.h"
#include "unit.h"

#include <stdint.h>

/* Compares with libm's long double functions: at most two units in the last place. */

#define N 4099

static uint64_t seed = 88172645463325252u;

static double draw(double low, double high)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return low + (double)(seed >> 11) * 0x1p-53 * (high - low);
}

static int near_to(double x, long double exact)
{
    return fabsl(x - exact) <= 2 * 0x1p-53L * 2 * fabsl(exact);
}

static void test_exp(double low, double high)
{
    static double x[N], y[N];
    int good = 1;
    for (size_t i = 0; i < N; i++)
        x[i] = draw(low, high);
    explog_exp(x, y, N);
    for (size_t i = 0; i < N; i++)
        good &= near_to(y[i], expl((long double)x[i]));
    CHECK(good);
    explog_exp(x, x, N); /* in place, the same numbers */
    CHECK(memcmp(x, y, sizeof x) == 0);
}

static void test_log(double low, double high)
{
    static double x[N], y[N];
    int good = 1;
    for (size_t i = 0; i < N; i++)
        x[i] = exp2(draw(low, high));
    explog_log(x, y, N);
    for (size_t i = 0; i < N; i++)
        good &= near_to(y[i], logl((long double)x[i]));
    CHECK(good);
    explog_log(x, x, N);
    CHECK(memcmp(x, y, sizeof x) == 0);
}

static void test_edges(void)
{
    double x[] = {0, -0.0, 1, -708, -709, -1e300, 709}, y[7];
    explog_exp(x, y, 7);
    CHECK(y[0] == 1 && y[1] == 1);
    CHECK(near_to(y[2], expl(1)) && near_to(y[6], expl(709)));
    CHECK(y[3] == 0 && y[4] == 0 && y[5] == 0);
    double z[] = {1, 2, 0.5, 0x1p-1022, 0x1.fffffffffffffp1023, 0x1.0000000000001p0, M_SQRT1_2};
    explog_log(z, y, 7);
    CHECK(y[0] == 0);
    for (size_t i = 1; i < 7; i++)
        CHECK(near_to(y[i], logl((long double)z[i])));
    explog_exp(x, y, 0);
}

static void test_float(float low, float high)
{
    int good = 1;
    for (size_t i = 0; i < N; i++) {
        float x = (float)draw((double)low, (double)high), y = explog_exp_float(x);
        double exact = exp((double)x);
        good &= fabs((double)y - exact) <= 2 * 0x1p-24 * 2 * exact;
    }
    CHECK(good);
    CHECK(explog_exp_float(0) == 1 && explog_exp_float(-0.0f) == 1);
    CHECK(explog_exp_float(-87) == 0 && explog_exp_float(-INFINITY) == 0);
}

int main(void)
{
    test_float(-86.9f, 88);
    test_float(-1, 1);
    test_float(-1e-3f, 1e-3f);
    test_exp(-707, 709);
    test_exp(-20, 0);
    test_exp(-1e-6, 1e-6);
    test_log(-1022, 1023);
    test_log(-0.6, 0.6);
    test_log(-1e-6, 1e-6);
    test_edges();
    return unit_end();
}
