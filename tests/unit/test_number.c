#include "number.h"
#include "unit.h"

#include <locale.h>

static void test_numbers(void)
{
    static const char *const good[] = {"0",    "-1",   "+2.5", ".5",    "5.",
                                       "1e-3", "1E+2", "0e0",  "1e-400"};
    static const double values[] = {0, -1, 2.5, 0.5, 5, 1e-3, 100, 0, 0};
    static const char *const bad[] = {"",    " 1",    "1 ",    "1,5", "0x10", "inf",
                                      "nan", "-inf",  "1e",    "e1",  ".",    "--1",
                                      "+-1", "1e999", "1.2.3", "1f",  "-",    "1e+"};
    double x;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(number_parse(good[i], &x) == 0 && x == values[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(number_parse(bad[i], &x) == -1);
}

static void test_ranges(void)
{
    static const struct range density = {.low = 0, .high = 1, .low_open = true};
    static const struct range closed = {.low = -1, .high = 2.5, .high_open = true}, none = {0};
    static const struct range positive = {.high = INFINITY, .low_open = true};
    static const struct range count = {.low = 1, .high = INFINITY};
    char text[80];
    CHECK(strcmp(range_format(&density, text), "in (0, 1]") == 0);
    CHECK(strcmp(range_format(&closed, text), "in [-1, 2.5)") == 0);
    CHECK(strcmp(range_format(&positive, text), "above 0") == 0);
    CHECK(strcmp(range_format(&count, text), "at least 1") == 0);
    CHECK(!range_contains(&density, 0) && range_contains(&density, 1) &&
          range_contains(&density, 1e-9));
    CHECK(range_contains(&closed, -1) && !range_contains(&closed, 2.5) &&
          !range_contains(&closed, -1.1));
    CHECK(range_contains(&none, -1) && range_contains(&none, 1e300));
}

static void test_shortest(void)
{
    static const double numbers[] = {0.1, -1, 1.0 / 3, 1e-308, 5e-324, 123456789, 1e22};
    char text[32];
    double x;
    CHECK(strcmp(number_format(0.1, text), "0.1") == 0 &&
          strcmp(number_format(-2, text), "-2") == 0);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        CHECK(number_parse(number_format(numbers[i], text), &x) == 0 && x == numbers[i]);
}

int main(void)
{
    static const char *const locales[] = {"C", "C.UTF-8", "de_DE.UTF-8"};
    for (size_t i = 0; i < 3; i++) {
        setlocale(LC_ALL, locales[i]); /* a missing locale keeps the previous one */
        test_numbers();
        test_ranges();
        test_shortest();
    }
    return unit_end();
}
