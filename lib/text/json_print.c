#include "json_print.h"

#include "number.h"
#include "text_print.h"

#include <math.h>

void json_print_text(const char *before, const char *text)
{
    fputs(before, stdout);
    if (text)
        text_print_quoted(stdout, text);
    else
        fputs("null", stdout);
}

void json_print_texts(const char *before, size_t n, const char *const *texts)
{
    fputs(before, stdout);
    putchar('[');
    for (size_t i = 0; i < n; i++)
        json_print_text(i ? ", " : "", texts[i]);
    putchar(']');
}

void json_print_number(const char *before, double x)
{
    char text[32];
    printf("%s%s", before, isfinite(x) ? number_format(x, text) : "null");
}

void json_print_count(const char *before, uint64_t n)
{
    printf("%s%llu", before, (unsigned long long)n);
}

void json_print_bool(const char *before, bool value)
{
    printf("%s%s", before, value ? "true" : "false");
}
