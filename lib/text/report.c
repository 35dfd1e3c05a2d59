#include "report.h"

#include "number.h"
#include "text.h"

#include <stdarg.h>

void report_measure(struct report *r, const struct header *h)
{
    r->name = text_width("tensor");
    r->model = text_width("model");
    for (size_t i = 0; i < h->n_tensors; i++)
        r->name = text_wider(r->name, h->tensors[i].name);
    for (size_t i = 0; i < h->n_models; i++)
        r->model = text_wider(r->model, h->models[i].name);
}

/* ---- findings ------------------------------------------------------------------------------- */

static void put_json_text(const char *before, const char *text)
{
    fputs(before, stdout);
    if (text)
        text_put_quoted(stdout, text);
    else
        fputs("null", stdout);
}

void report_finding(struct report *r, const char *tensor, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    r->findings++;
    if (r->quiet)
        return;
    if (r->json) {
        put_json_text("{\"tensor\": ", tensor);
        put_json_text(", \"finding\": ", text);
        puts("}");
        return;
    }
    if (tensor) {
        fputs("tensor ", stdout);
        text_put_name(stdout, tensor, 0);
        fputs(": ", stdout);
    }
    text_put_name(stdout, text, 0);
    puts("");
}

/* ---- vectors -------------------------------------------------------------------------------- */

static double relative(const struct differ *d, double magnitude)
{
    return d->max_abs == 0 ? 0 : magnitude > 0 ? d->max_abs / magnitude : INFINITY;
}

static void put_json_number(const char *key, double x)
{
    char number[32];
    if (isinf(x))
        printf(", \"%s\": \"infinite\"", key);
    else
        printf(", \"%s\": %s", key, isnan(x) ? "null" : number_text(x, number));
}

static void put_json(const char *tensor, const char *model, enum dtype a, enum dtype b,
                     const struct differ *d, double magnitude)
{
    put_json_text("{\"tensor\": ", tensor);
    put_json_text(", \"model\": ", model);
    printf(
        ", \"dtypes\": [\"%s\", \"%s\"], \"elements\": %llu, \"unequal\": %llu, \"beyond\": %llu",
        dtype_name(a), dtype_name(b), (unsigned long long)d->elements,
        (unsigned long long)d->unequal, (unsigned long long)d->beyond);
    printf(", \"nonfinite\": [%llu, %llu]", (unsigned long long)d->nonfinite_a,
           (unsigned long long)d->nonfinite_b);
    put_json_number("max_abs", d->max_abs);
    put_json_number("max_relative", relative(d, magnitude));
    put_json_number("cosine", differ_cosine(d));
    puts("}");
}

/* Equal vectors have no row, unless something odd is to be told of them. */
static bool is_worth_a_row(const struct differ *d, enum dtype a, enum dtype b)
{
    return d->unequal || d->nonfinite_a || d->nonfinite_b || a != b;
}

static void put_row(struct report *r, const char *tensor, const char *model, enum dtype a,
                    enum dtype b, const struct differ *d, double magnitude)
{
    if (!r->titled)
        printf("%-*s  %-*s  %10s  %10s  %10s  %10s  %10s\n", r->name, "tensor", r->model, "model",
               "max abs", "relative", "cosine", "unequal", "beyond");
    r->titled = true;
    text_put_name(stdout, tensor, r->name);
    fputs("  ", stdout);
    text_put_name(stdout, model, r->model);
    double cosine = differ_cosine(d);
    printf("  %10.4g  %10.4g", d->max_abs, relative(d, magnitude));
    if (isnan(cosine))
        printf("  %10s", "-");
    else
        printf("  %10.6f", cosine);
    printf("  %10llu  %10llu", (unsigned long long)d->unequal, (unsigned long long)d->beyond);
    if (a != b)
        printf("  %s in A, %s in B", dtype_name(a), dtype_name(b));
    if (d->nonfinite_a || d->nonfinite_b)
        printf("  not finite: %llu in A, %llu in B", (unsigned long long)d->nonfinite_a,
               (unsigned long long)d->nonfinite_b);
    puts("");
}

void report_vector(struct report *r, const char *tensor, const char *model, enum dtype a,
                   enum dtype b, const struct differ *d, double magnitude)
{
    double far = relative(d, magnitude);
    differ_add(d, &r->all);
    r->vectors++;
    if (!r->worst || far > r->max_relative) {
        r->worst = tensor;
        r->max_relative = far;
    }
    if (r->json && !r->quiet)
        put_json(tensor, model, a, b, d, magnitude);
    else if (!r->quiet && is_worth_a_row(d, a, b))
        put_row(r, tensor, model, a, b, d, magnitude);
}

/* ---- at the end ----------------------------------------------------------------------------- */

void report_summary(const struct report *r, bool same)
{
    const struct differ *d = &r->all;
    if (r->quiet)
        return;
    if (r->json) {
        printf("{\"same\": %s, \"tensors\": %llu, \"vectors\": %llu, \"elements\": %llu, "
               "\"unequal\": %llu, \"beyond\": %llu, \"findings\": %llu",
               same ? "true" : "false", (unsigned long long)r->tensors,
               (unsigned long long)r->vectors, (unsigned long long)d->elements,
               (unsigned long long)d->unequal, (unsigned long long)d->beyond,
               (unsigned long long)r->findings);
        put_json_number("max_abs", d->max_abs);
        put_json_number("max_relative", r->max_relative);
        puts("}");
        return;
    }
    bool equal = same && d->unequal == 0;
    fputs(equal ? "equal: " : same ? "same within the tolerance: " : "different: ", stdout);
    text_put_count(stdout, r->tensors, "tensor");
    fputs(", ", stdout);
    text_put_count(stdout, r->vectors, "vector");
    fputs(", ", stdout);
    text_put_count(stdout, d->elements, "element");
    fputs(" compared", stdout);
    if (d->unequal) {
        printf("; %llu unequal, %llu beyond the tolerance, max abs %.4g, relative %.4g (",
               (unsigned long long)d->unequal, (unsigned long long)d->beyond, d->max_abs,
               r->max_relative);
        text_put_name(stdout, r->worst, 0);
        putchar(')');
    }
    puts("");
}
