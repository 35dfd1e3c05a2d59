#include "element_diff.h"
#include "unit.h"

static struct element_diff compare(enum dtype a, const void *x, enum dtype b, const void *y,
                                   size_t n, double allowed)
{
    struct element_diff d = {0};
    element_diff_add_tile(&d, a, x, b, y, n, allowed);
    return d;
}

static void test_numbers(void)
{
    const float x[] = {1, -2, 0, 4}, y[] = {1, -2.5f, 0, 4.25f};
    struct element_diff d = compare(DTYPE_F32, x, DTYPE_F32, y, 4, 0.25);
    CHECK(d.elements == 4 && d.unequal == 2 && d.beyond_tolerance == 1 &&
          d.max_abs_difference == 0.5);
    CHECK(d.dot == 1 + 5 + 17 && d.squares_a == 21);
    const double z[] = {1, -2, 0, 4};
    const int8_t w[] = {1, -2, 0, 4};
    CHECK(compare(DTYPE_F32, x, DTYPE_F64, z, 4, 0).unequal == 0);
    CHECK(compare(DTYPE_F32, x, DTYPE_I8, w, 4, 0).unequal == 0);
    CHECK(element_diff_max_magnitude(DTYPE_F32, y, 4, 1) == 4.25 &&
          element_diff_max_magnitude(DTYPE_I8, w, 4, 9) == 9);
}

static void test_nonfinite(void)
{
    const float x[] = {NAN, INFINITY, INFINITY, 1}, y[] = {NAN, INFINITY, -INFINITY, NAN};
    struct element_diff d = compare(DTYPE_F32, x, DTYPE_F32, y, 4, 1e300);
    CHECK(d.unequal == 2 && d.beyond_tolerance == 2 && isinf(d.max_abs_difference));
    CHECK(d.nonfinite_a == 3 && d.nonfinite_b == 4 && isnan(element_diff_cosine(&d)));
    CHECK(element_diff_max_magnitude(DTYPE_F32, x, 4, 0) == 1);
}

static void test_others(void)
{
    const int64_t x[] = {INT64_MAX, 5}, y[] = {INT64_MAX - 1, 5};
    CHECK(compare(DTYPE_I64, x, DTYPE_I64, y, 2, 0).beyond_tolerance == 1);
    const unsigned char a[] = {0x12, 0x34}, b[] = {0x12, 0x35};
    CHECK(compare(DTYPE_F8_E4M3, a, DTYPE_F8_E4M3, b, 2, 1e300).beyond_tolerance == 1);
    CHECK(compare(DTYPE_F4, a, DTYPE_F4, b, 4, 0).unequal == 1);
    CHECK(element_diff_can_compare(DTYPE_F4, DTYPE_F4) &&
          !element_diff_can_compare(DTYPE_F4, DTYPE_F32));
    CHECK(element_diff_can_compare(DTYPE_BF16, DTYPE_I64) &&
          !element_diff_can_compare(DTYPE_C64, DTYPE_F32));
}

int main(void)
{
    test_numbers();
    test_nonfinite();
    test_others();
    return unit_end();
}
