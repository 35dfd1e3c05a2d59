#include "pipeline_template.h"

#include "number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS     4  /* significant ones of a chosen number */
#define INT_DIGITS 10 /* of a whole number */

/* ---- reading a placeholder ------------------------------------------------------------------- */

/* {NAME} or {NAME:RANGE}. */
struct placeholder {
    const char *begin, *end; /* of the braces */
    const char *name;        /* after the { */
    size_t name_length;
    const char *range; /* after the :, up to the }; NULL: {NAME} */
};

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

/* Does it look like a range, also like a wrong one? */
static bool begins_range(const char *text, const char *end)
{
    const char *dots = strstr(text, "..");
    return (dots && dots < end) || (*text && strchr("0123456789.+-", *text));
}

/* Finds the next {NAME} or {NAME:RANGE}, from `text` on. */
static bool find_placeholder(const char *text, struct placeholder *p)
{
    for (; (p->begin = strchr(text, '{')) != NULL; text = p->begin + 1) {
        const char *at = p->name = p->begin + 1;
        while (is_name_character(*at))
            at++;
        p->name_length = (size_t)(at - p->name);
        const char *close = strchr(at, '}');
        if (!p->name_length || !close)
            continue;
        p->end = close + 1;
        p->range = *at == ':' ? at + 1 : NULL;
        if (at == close || (p->range && begins_range(p->range, close)))
            return true;
    }
    return false;
}

static long find_number(const struct pipeline_template *t, const struct placeholder *p)
{
    for (size_t i = 0; i < t->n; i++)
        if (strlen(t->numbers[i].name) == p->name_length &&
            memcmp(t->numbers[i].name, p->name, p->name_length) == 0)
            return (long)i;
    return -1;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static int check_range(const struct template_number *number, struct error *e)
{
    const char *name = number->name, *range = number->range;
    if (!(number->low < number->high))
        return error_set(e, "{%s:%s}: the low end must be below the high end", name, range);
    if (number->scale == SCALE_LOG && number->low <= 0)
        return error_set(e, "{%s:%s}: a logarithmic range begins above 0", name, range);
    if (number->scale == SCALE_INT &&
        (number->low != floor(number->low) || number->high != floor(number->high) ||
         fabs(number->low) > 1e9 || fabs(number->high) > 1e9))
        return error_set(e, "{%s:%s}: the ends must be whole numbers of at most 1e9", name, range);
    return 0;
}

/* LOW..HIGH, LOW..HIGH:log or LOW..HIGH:int */
static int parse_range(struct template_number *number, struct arena *a, struct error *e)
{
    char *low = arena_copy_text(a, number->range), *high = strstr(low, "..");
    char *scale = high ? strchr(high, ':') : NULL;
    if (high) {
        *high = '\0';
        high += 2;
    }
    if (scale)
        *scale++ = '\0';
    number->scale = !scale ? SCALE_LINEAR : strcmp(scale, "log") == 0 ? SCALE_LOG : SCALE_INT;
    if (!high || number_parse(low, &number->low) || number_parse(high, &number->high) ||
        (scale && strcmp(scale, "log") != 0 && strcmp(scale, "int") != 0))
        return error_set(e, "{%s:%s}: expected LOW..HIGH, LOW..HIGH:log or LOW..HIGH:int",
                         number->name, number->range);
    return check_range(number, e);
}

static int add_number(struct pipeline_template *t, const struct placeholder *p, struct arena *a,
                      struct error *e)
{
    const char *range = arena_copy_text_n(a, p->range, (size_t)(p->end - 1 - p->range));
    long known = find_number(t, p);
    if (known >= 0 && strcmp(t->numbers[known].range, range) != 0)
        return error_set(e, "{%s} has two ranges: %s and %s", t->numbers[known].name,
                         t->numbers[known].range, range);
    if (known >= 0)
        return 0;
    if (t->n == PIPELINE_TEMPLATE_MAX_NUMBERS)
        return error_set(e, "the pipeline has more than %d numbers to choose",
                         PIPELINE_TEMPLATE_MAX_NUMBERS);
    struct template_number *number = &t->numbers[t->n++];
    number->name = arena_copy_text_n(a, p->name, p->name_length);
    number->range = range;
    return parse_range(number, a, e);
}

int pipeline_template_parse(struct pipeline_template *t, const char *text, struct arena *a,
                            struct error *e)
{
    struct placeholder p;
    *t = (struct pipeline_template){.text = text};
    for (const char *at = text; find_placeholder(at, &p); at = p.end)
        if (p.range && add_number(t, &p, a, e))
            return -1;
    return t->n ? 0
                : error_set(e, "the pipeline has no number to choose, such as {density:0.1..1}");
}

const char *pipeline_template_fill(const struct pipeline_template *t, const char *const *values,
                                   struct arena *a)
{
    struct placeholder p;
    struct bytes filled = {0};
    const char *at = t->text;
    for (; find_placeholder(at, &p); at = p.end) {
        long i = find_number(t, &p);
        bytes_append(&filled, at, (size_t)(p.begin - at));
        if (i >= 0)
            bytes_append(&filled, values[i], strlen(values[i]));
        else
            bytes_append(&filled, p.begin, (size_t)(p.end - p.begin));
    }
    bytes_append(&filled, at, strlen(at));
    const char *result = arena_copy_text_n(a, (const char *)filled.data, filled.size);
    bytes_free(&filled);
    return result;
}

/* ---- numbers --------------------------------------------------------------------------------- */

const char *template_number_format(const struct template_number *number, double x, char *text)
{
    double low = number->low, high = number->high, value = low + x * (high - low);
    if (number->scale == SCALE_LOG)
        value = low * pow(high / low, x);
    if (number->scale == SCALE_INT)
        value = fmin(low + floor(x * (high - low + 1)), high);
    snprintf(text, PIPELINE_TEMPLATE_NUMBER_SIZE, "%.*g",
             number->scale == SCALE_INT ? INT_DIGITS : DIGITS, value);
    number_parse(text, &value);
    return number_format(fmin(fmax(value, low), high), text);
}

int template_number_parse(const struct template_number *number, const char *text, double *x)
{
    double low = number->low, high = number->high, value;
    if (number_parse(text, &value) || value < low || value > high)
        return -1;
    *x = (value - low) / (high - low);
    if (number->scale == SCALE_LOG)
        *x = log(value / low) / log(high / low);
    if (number->scale == SCALE_INT)
        *x = (value - low + 0.5) / (high - low + 1);
    return 0;
}
