#include "number.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t count_digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* Length of the decimal number at the start of the text; 0 if there is none. Unlike strtod, it
 * accepts no hexadecimal number, infinity or NaN. */
static size_t measure_leading_number(const char *text)
{
    const char *p = text + strspn(text, "+-");
    if (p - text > 1)
        return 0;
    size_t whole = count_digits(p), fraction = p[whole] == '.' ? count_digits(p + whole + 1) : 0;
    if (whole + fraction == 0)
        return 0;
    p += whole + (p[whole] == '.') + fraction;
    if (*p == 'e' || *p == 'E') {
        const char *exponent = p + 1 + (p[1] == '+' || p[1] == '-');
        if (count_digits(exponent))
            p = exponent + count_digits(exponent);
    }
    return (size_t)(p - text);
}

static double strtod_in_c_locale(const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(c);
    double x = strtod(text, NULL);
    uselocale(before);
    freelocale(c);
    return x;
}

int number_parse(const char *text, double *x)
{
    size_t n = measure_leading_number(text);
    if (n == 0 || text[n] != '\0')
        return -1;
    *x = strtod_in_c_locale(text);
    return isfinite(*x) ? 0 : -1;
}

/* Writes x with `digits` significant digits to a buffer of 32 bytes. */
static void format_with_significant_digits(double x, int digits, char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(c);
    snprintf(text, 32, "%.*g", digits, x);
    uselocale(before);
    freelocale(c);
}

const char *number_format(double x, char *text)
{
    double parsed = NAN;
    for (int digits = 15; digits <= 17 && parsed != x; digits++) {
        format_with_significant_digits(x, digits, text);
        number_parse(text, &parsed);
    }
    return text;
}

const char *number_fraction_of_percentage(const char *text, char *fraction)
{
    size_t n = measure_leading_number(text);
    return n > 0 && strcmp(text + n, "%") == 0
               ? number_format(strtod_in_c_locale(text) / 100, fraction)
               : NULL;
}

const char *range_format(const struct range *range, char *text)
{
    char low[32], high[32];
    format_with_significant_digits(range->low, 6, low);
    format_with_significant_digits(range->high, 6, high);
    if (isinf(range->high))
        snprintf(text, 80, "%s %s", range->low_open ? "above" : "at least", low);
    else
        snprintf(text, 80, "in %c%s, %s%c", range->low_open ? '(' : '[', low, high,
                 range->high_open ? ')' : ']');
    return text;
}

bool range_contains(const struct range *range, double x)
{
    bool above = range->low_open ? x > range->low : x >= range->low;
    bool below = range->high_open ? x < range->high : x <= range->high;
    return (above && below) || (range->low == 0 && range->high == 0);
}

double range_clamp(const struct range *range, double x)
{
    if (range_contains(range, x))
        return x;
    if (x < range->low && !range->low_open)
        return range->low;
    return x > range->high && !range->high_open ? range->high : x;
}
