#include "explog.h"

#define LN2_HIGH 0x1.62e42fefa38p-1   /* the first bits of ln 2: exact when multiplied by k */
#define LN2_LOW  0x1.ef35793c7673p-45 /* the remaining bits */
#define SHIFTER  0x1.8p52             /* adding and subtracting it rounds to an integer */

TV_INLINE double exp_one(double x)
{
    double clamped = x > -708 ? x : -708;
    double shifted = clamped * 0x1.71547652b82fep+0 + SHIFTER;
    double k = shifted - SHIFTER;
    double r = (clamped - k * LN2_HIGH) - k * LN2_LOW;
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r * r + r + 1;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits); /* the lowest bits are k */
    uint64_t power = (bits << 52) + 0x3FF0000000000000;
    double scale;
    memcpy(&scale, &power, sizeof scale);
    return x > -708 ? p * scale : 0;
}

/* x = 2^k m with m between sqrt(1/2) and sqrt(2); s = (m - 1) / (m + 1);
 * ln x = k ln 2 + 2 (s + s^3/3 + s^5/5 + ...), where 2 s = f - f s for f = m - 1. */
TV_INLINE double log_one(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    /* Relative to sqrt(1/2), so that the exponent bits are those of k. */
    uint64_t above = bits - 0x3FE6A09E667F3BCD;
    uint64_t exponent = (above >> 52) ^ 0x800; /* k + 2048 */
    uint64_t rest = bits - (above & 0xFFF0000000000000);
    double m, k;
    memcpy(&m, &rest, sizeof m);
    uint64_t number = exponent | 0x4330000000000000; /* 2^52 + k + 2048 */
    memcpy(&k, &number, sizeof k);
    k -= 0x1p52 + 2048;
    double f = m - 1, s = f / (m + 1), z = s * s;
    double p = 1.0 / 23;
    p = p * z + 1.0 / 21;
    p = p * z + 1.0 / 19;
    p = p * z + 1.0 / 17;
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    /* ln m = f - s (f - 2 z p) */
    return k * LN2_HIGH + (f - (s * (f - 2 * z * p) - k * LN2_LOW));
}

TV_CLONES void explog_exp(const double *x, double *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = exp_one(x[i]);
}

TV_CLONES void explog_log(const double *x, double *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = log_one(x[i]);
}
