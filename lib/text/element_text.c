#include "element_text.h"

#include "text_print.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum number_format { FORMAT_FLOAT, FORMAT_SIGNED, FORMAT_UNSIGNED, FORMAT_HEX };

static enum number_format get_number_format(enum dtype d)
{
    switch (d) {
    case DTYPE_I8:
    case DTYPE_I16:
    case DTYPE_I32:
    case DTYPE_I64:
        return FORMAT_SIGNED;
    case DTYPE_U8:
    case DTYPE_U16:
    case DTYPE_U32:
    case DTYPE_U64:
        return FORMAT_UNSIGNED;
    default:
        return dtype_is_float(d) ? FORMAT_FLOAT : FORMAT_HEX;
    }
}

bool element_text_is_hex(enum dtype d)
{
    return get_number_format(d) == FORMAT_HEX;
}

/* The bits of a NaN that is written as "nan": quiet, positive, other bits 0. */
static uint64_t get_default_nan_bits(enum dtype d)
{
    return d == DTYPE_F64   ? 0x7ff8000000000000
           : d == DTYPE_F32 ? 0x7fc00000
           : d == DTYPE_F16 ? 0x7e00
                            : 0x7fc0;
}

static uint64_t bits_from_bytes(const void *from, size_t size)
{
    uint64_t bits = 0;
    for (size_t i = size; i-- > 0;)
        bits = bits << 8 | ((const unsigned char *)from)[i];
    return bits;
}

static void bits_to_bytes(void *to, size_t size, uint64_t bits)
{
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)to)[i] = (unsigned char)(bits >> 8 * i);
}

/* The numbers of significant digits to try. Any decimal of `least` digits (1 for subnormal numbers)
 * is unchanged by a conversion to the dtype and back, so fewer need not be tried; `most` digits are
 * always enough. */
static void get_significant_digit_range(enum dtype d, double x, int *least, int *most)
{
    double normal = d == DTYPE_F64 ? DBL_MIN : d == DTYPE_F16 ? 0x1p-14 : FLT_MIN;
    *least = d == DTYPE_F64 ? 15 : d == DTYPE_F32 ? 6 : d == DTYPE_F16 ? 3 : 2;
    *most = d == DTYPE_F64 ? 17 : d == DTYPE_F32 ? 9 : d == DTYPE_F16 ? 5 : 4;
    if (fabs(x) < normal)
        *least = 1;
}

/* ---- printing ------------------------------------------------------------------------------ */

static void print_nan(FILE *out, enum dtype d, uint64_t bits)
{
    fputs("nan", out);
    if (bits != get_default_nan_bits(d))
        fprintf(out, ":%0*llx", (int)dtype_bits(d) / 4, (unsigned long long)bits);
}

static void print_float(FILE *out, enum dtype d, const void *from)
{
    size_t size = dtype_bits(d) / 8;
    char text[64];
    double x, parsed;
    unsigned char element[8];
    int digits, most;
    dtype_to_f64(d, from, &x, 1);
    if (isnan(x)) {
        print_nan(out, d, bits_from_bytes(from, size));
        return;
    }
    if (isinf(x)) {
        fputs(x < 0 ? "-inf" : "inf", out);
        return;
    }
    for (get_significant_digit_range(d, x, &digits, &most); digits <= most; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        parsed = strtod(text, NULL);
        dtype_from_f64(d, &parsed, element, 1);
        if (memcmp(element, from, size) == 0)
            break;
    }
    fputs(text, out);
}

static void print_element(FILE *out, enum dtype d, const unsigned char *from)
{
    size_t size = dtype_bits(d) / 8;
    uint64_t bits;
    int unused = (int)(64 - 8 * size);
    switch (get_number_format(d)) {
    case FORMAT_FLOAT:
        print_float(out, d, from);
        break;
    case FORMAT_SIGNED:
        bits = bits_from_bytes(from, size);
        fprintf(out, "%lld", (long long)(int64_t)(bits << unused) >> unused);
        break;
    case FORMAT_UNSIGNED:
        fprintf(out, "%llu", (unsigned long long)bits_from_bytes(from, size));
        break;
    case FORMAT_HEX:
        text_print_hex(out, from, size);
        break;
    }
}

void element_text_print_rows(FILE *out, enum dtype d, size_t columns, size_t first, size_t n,
                             const void *from)
{
    size_t size = dtype_bits(d) / 8;
    if (dtype_bits(d) % 8) {
        text_print_hex(out, from, n * dtype_bits(d) / 8);
        putc('\n', out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        print_element(out, d, (const unsigned char *)from + i * size);
        putc((first + i + 1) % columns ? ' ' : '\n', out);
    }
}

/* ---- parsing ------------------------------------------------------------------------------- */

/* "nan", or "nan:7fc00001" with its bits. */
static int parse_nan(const char *word, enum dtype d, void *to, struct error *e)
{
    size_t size = dtype_bits(d) / 8;
    char *end = NULL;
    uint64_t bits = word[3] ? strtoull(word + 4, &end, 16) : get_default_nan_bits(d);
    double x = 0;
    bits_to_bytes(to, size, bits);
    dtype_to_f64(d, to, &x, 1);
    if ((word[3] && (word[3] != ':' || strlen(word + 4) != 2 * size || *end)) || !isnan(x))
        return error_set(e, "%s is not a NaN of %s", word, dtype_name(d));
    return 0;
}

static int parse_float(const char *word, enum dtype d, void *to, struct error *e)
{
    char *end;
    double x, rounded;
    if (strncmp(word, "nan", 3) == 0)
        return parse_nan(word, d, to, e);
    bool infinite = strcmp(word + (*word == '-'), "inf") == 0;
    x = strtod(word, &end);
    if (*end || (!infinite && !strchr("+-.0123456789", *word)))
        return error_set(e, "%s is not a number", word);
    dtype_from_f64(d, &x, to, 1);
    dtype_to_f64(d, to, &rounded, 1);
    if (!infinite && !isfinite(rounded))
        return error_set(e, "%s is out of the range of %s", word, dtype_name(d));
    return 0;
}

static int parse_integer(const char *word, enum dtype d, void *to, struct error *e)
{
    size_t size = dtype_bits(d) / 8;
    int unused = (int)(64 - 8 * size);
    bool is_signed = get_number_format(d) == FORMAT_SIGNED, negative = *word == '-';
    char *end;
    errno = 0;
    uint64_t bits = negative ? (uint64_t)strtoll(word, &end, 10) : strtoull(word, &end, 10);
    if (word[negative] < '0' || word[negative] > '9' || *end)
        return error_set(e, "%s is not an integer", word);
    int64_t low = is_signed ? INT64_MIN >> unused : 0;
    uint64_t high = is_signed ? (uint64_t)(INT64_MAX >> unused) : UINT64_MAX >> unused;
    if (errno || (negative ? (int64_t)bits < low : bits > high))
        return error_set(e, "%s is out of the range of %s", word, dtype_name(d));
    bits_to_bytes(to, size, bits);
    return 0;
}

int element_text_parse(const char *word, enum dtype d, void *to, struct error *e)
{
    return get_number_format(d) == FORMAT_FLOAT ? parse_float(word, d, to, e)
                                                : parse_integer(word, d, to, e);
}
