#include "element_diff.h"

#include <math.h>
#include <string.h>

/* ---- elements as F64 ------------------------------------------------------------------------ */

#define CONVERT(type)                                                                              \
    do {                                                                                           \
        for (size_t i = 0; i < n; i++) {                                                           \
            type x;                                                                                \
            memcpy(&x, (const char *)from + i * sizeof x, sizeof x);                               \
            to[i] = (double)x;                                                                     \
        }                                                                                          \
    } while (0)

/* How many numbers an element consists of: 2 for C64, 0 if it is not numeric. */
static size_t numbers_per_element(enum dtype d)
{
    switch (d) {
    case DTYPE_C64:
        return 2;
    case DTYPE_BOOL:
    case DTYPE_U8:
    case DTYPE_I8:
    case DTYPE_U16:
    case DTYPE_I16:
    case DTYPE_U32:
    case DTYPE_I32:
    case DTYPE_U64:
    case DTYPE_I64:
        return 1;
    default:
        return dtype_is_float(d);
    }
}

/* Converts n elements to at most 2n numbers, those that are not numeric to bytes. Returns how many.
 */
static size_t convert_to_f64(enum dtype d, const void *from, double *to, size_t n)
{
    switch (d) {
    case DTYPE_F16:
    case DTYPE_BF16:
    case DTYPE_F32:
    case DTYPE_F64:
        dtype_to_f64(d, from, to, n);
        return n;
    case DTYPE_C64:
        dtype_to_f64(DTYPE_F32, from, to, 2 * n);
        return 2 * n;
    case DTYPE_I8:
        CONVERT(int8_t);
        return n;
    case DTYPE_U16:
        CONVERT(uint16_t);
        return n;
    case DTYPE_I16:
        CONVERT(int16_t);
        return n;
    case DTYPE_U32:
        CONVERT(uint32_t);
        return n;
    case DTYPE_I32:
        CONVERT(int32_t);
        return n;
    case DTYPE_U64:
        CONVERT(uint64_t);
        return n;
    case DTYPE_I64:
        CONVERT(int64_t);
        return n;
    default: /* bytes, including BOOL and U8 */
        n = n * dtype_bits(d) / 8;
        CONVERT(uint8_t);
        return n;
    }
}

/* ---- differences ---------------------------------------------------------------------------- */

bool element_diff_can_compare(enum dtype a, enum dtype b)
{
    return a == b || (numbers_per_element(a) && numbers_per_element(a) == numbers_per_element(b));
}

/* Compares 64-bit integers that are equal after conversion to F64. */
static bool equal_8_bytes(const void *a, const void *b, size_t i)
{
    return memcmp((const char *)a + 8 * i, (const char *)b + 8 * i, 8) == 0;
}

static void add_number_pair_to_diff(struct element_diff *d, double a, double b, double distance,
                                    double allowed)
{
    bool finite_a = isfinite(a), finite_b = isfinite(b);
    d->nonfinite_a += !finite_a;
    d->nonfinite_b += !finite_b;
    if (finite_a && finite_b) {
        d->dot += a * b;
        d->squares_a += a * a;
        d->squares_b += b * b;
    }
    if (distance == 0)
        return;
    d->unequal++;
    d->beyond_tolerance += distance > allowed;
    d->max_abs_difference = distance > d->max_abs_difference ? distance : d->max_abs_difference;
}

void element_diff_add_tile(struct element_diff *d, enum dtype type_a, const void *a,
                           enum dtype type_b, const void *b, size_t n, double allowed)
{
    double x[2 * ELEMENT_DIFF_TILE], y[2 * ELEMENT_DIFF_TILE];
    bool numeric = numbers_per_element(type_a) > 0;
    bool long_integers = type_a == type_b && (type_a == DTYPE_I64 || type_a == DTYPE_U64);
    size_t m = convert_to_f64(type_a, a, x, n);
    convert_to_f64(type_b, b, y, n);
    d->elements += m;
    for (size_t i = 0; i < m; i++) {
        double distance = x[i] == y[i] || (isnan(x[i]) && isnan(y[i])) ? 0 : fabs(x[i] - y[i]);
        if (!isfinite(distance) || (distance > 0 && !numeric))
            distance = INFINITY;
        if (long_integers && distance == 0 && !equal_8_bytes(a, b, i))
            distance = 1; /* a lower bound */
        add_number_pair_to_diff(d, x[i], y[i], distance, allowed);
    }
}

void element_diff_accumulate(const struct element_diff *from, struct element_diff *to)
{
    to->elements += from->elements;
    to->unequal += from->unequal;
    to->beyond_tolerance += from->beyond_tolerance;
    to->nonfinite_a += from->nonfinite_a;
    to->nonfinite_b += from->nonfinite_b;
    to->max_abs_difference = from->max_abs_difference > to->max_abs_difference
                                 ? from->max_abs_difference
                                 : to->max_abs_difference;
    to->dot += from->dot;
    to->squares_a += from->squares_a;
    to->squares_b += from->squares_b;
}

double element_diff_cosine(const struct element_diff *d)
{
    double norms = sqrt(d->squares_a) * sqrt(d->squares_b);
    return norms > 0 ? d->dot / norms : NAN;
}

double element_diff_max_magnitude(enum dtype type, const void *x, size_t n, double most)
{
    double y[2 * ELEMENT_DIFF_TILE];
    size_t m = numbers_per_element(type) ? convert_to_f64(type, x, y, n) : 0;
    for (size_t i = 0; i < m; i++)
        if (isfinite(y[i]) && fabs(y[i]) > most)
            most = fabs(y[i]);
    return most;
}
