#include "diff_report.h"

#include "number.h"
#include "text_scanner.h"

#include <stdarg.h>

void diff_report_set_widths(struct diff_report *r, const struct header *h)
{
    r->name_width = text_print_width("tensor");
    r->model_width = text_print_width("model");
    for (size_t i = 0; i < h->n_tensors; i++)
        r->name_width = text_print_max_width(r->name_width, h->tensors[i].name);
    for (size_t i = 0; i < h->n_models; i++)
        r->model_width = text_print_max_width(r->model_width, h->models[i].name);
}

/* ---- findings ------------------------------------------------------------------------------- */

static void put_json_text(const char *before, const char *text)
{
    fputs(before, stdout);
    if (text)
        text_print_quoted(stdout, text);
    else
        fputs("null", stdout);
}

void diff_report_print_finding(struct diff_report *r, const char *tensor, const char *format, ...)
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
        text_print_name(stdout, tensor, 0);
        fputs(": ", stdout);
    }
    text_print_name(stdout, text, 0);
    puts("");
}

/* ---- vectors -------------------------------------------------------------------------------- */

static double relative(const struct element_diff *d, double magnitude)
{
    return d->max_abs_difference == 0 ? 0
           : magnitude > 0            ? d->max_abs_difference / magnitude
                                      : INFINITY;
}

static void put_json_number(const char *key, double x)
{
    char number[32];
    if (isinf(x))
        printf(", \"%s\": \"infinite\"", key);
    else
        printf(", \"%s\": %s", key, isnan(x) ? "null" : number_format(x, number));
}

static void put_json(const char *tensor, const char *model, enum dtype a, enum dtype b,
                     const struct element_diff *d, double magnitude)
{
    put_json_text("{\"tensor\": ", tensor);
    put_json_text(", \"model\": ", model);
    printf(
        ", \"dtypes\": [\"%s\", \"%s\"], \"elements\": %llu, \"unequal\": %llu, \"beyond\": %llu",
        dtype_name(a), dtype_name(b), (unsigned long long)d->elements,
        (unsigned long long)d->unequal, (unsigned long long)d->beyond_tolerance);
    printf(", \"nonfinite\": [%llu, %llu]", (unsigned long long)d->nonfinite_a,
           (unsigned long long)d->nonfinite_b);
    put_json_number("max_abs", d->max_abs_difference);
    put_json_number("max_relative", relative(d, magnitude));
    put_json_number("cosine", element_diff_cosine(d));
    puts("}");
}

/* Equal vectors have no row, unless something odd is to be told of them. */
static bool is_worth_a_row(const struct element_diff *d, enum dtype a, enum dtype b)
{
    return d->unequal || d->nonfinite_a || d->nonfinite_b || a != b;
}

static void put_row(struct diff_report *r, const char *tensor, const char *model, enum dtype a,
                    enum dtype b, const struct element_diff *d, double magnitude)
{
    if (!r->title_printed)
        printf("%-*s  %-*s  %10s  %10s  %10s  %10s  %10s\n", r->name_width, "tensor",
               r->model_width, "model", "max abs", "relative", "cosine", "unequal", "beyond");
    r->title_printed = true;
    text_print_name(stdout, tensor, r->name_width);
    fputs("  ", stdout);
    text_print_name(stdout, model, r->model_width);
    double cosine = element_diff_cosine(d);
    printf("  %10.4g  %10.4g", d->max_abs_difference, relative(d, magnitude));
    if (isnan(cosine))
        printf("  %10s", "-");
    else
        printf("  %10.6f", cosine);
    printf("  %10llu  %10llu", (unsigned long long)d->unequal,
           (unsigned long long)d->beyond_tolerance);
    if (a != b)
        printf("  %s in A, %s in B", dtype_name(a), dtype_name(b));
    if (d->nonfinite_a || d->nonfinite_b)
        printf("  not finite: %llu in A, %llu in B", (unsigned long long)d->nonfinite_a,
               (unsigned long long)d->nonfinite_b);
    puts("");
}

void diff_report_print_vector(struct diff_report *r, const char *tensor, const char *model,
                              enum dtype a, enum dtype b, const struct element_diff *d,
                              double magnitude)
{
    double far = relative(d, magnitude);
    element_diff_merge(d, &r->total);
    r->vectors++;
    if (!r->worst_tensor || far > r->max_relative) {
        r->worst_tensor = tensor;
        r->max_relative = far;
    }
    if (r->json && !r->quiet)
        put_json(tensor, model, a, b, d, magnitude);
    else if (!r->quiet && is_worth_a_row(d, a, b))
        put_row(r, tensor, model, a, b, d, magnitude);
}

/* ---- at the end ----------------------------------------------------------------------------- */

void diff_report_print_summary(const struct diff_report *r, bool same)
{
    const struct element_diff *d = &r->total;
    if (r->quiet)
        return;
    if (r->json) {
        printf("{\"same\": %s, \"tensors\": %llu, \"vectors\": %llu, \"elements\": %llu, "
               "\"unequal\": %llu, \"beyond\": %llu, \"findings\": %llu",
               same ? "true" : "false", (unsigned long long)r->tensors,
               (unsigned long long)r->vectors, (unsigned long long)d->elements,
               (unsigned long long)d->unequal, (unsigned long long)d->beyond_tolerance,
               (unsigned long long)r->findings);
        put_json_number("max_abs", d->max_abs_difference);
        put_json_number("max_relative", r->max_relative);
        puts("}");
        return;
    }
    bool equal = same && d->unequal == 0;
    fputs(equal ? "equal: " : same ? "same within the tolerance: " : "different: ", stdout);
    text_print_count(stdout, r->tensors, "tensor");
    fputs(", ", stdout);
    text_print_count(stdout, r->vectors, "vector");
    fputs(", ", stdout);
    text_print_count(stdout, d->elements, "element");
    fputs(" compared", stdout);
    if (d->unequal) {
        printf("; %llu unequal, %llu beyond the tolerance, max abs %.4g, relative %.4g (",
               (unsigned long long)d->unequal, (unsigned long long)d->beyond_tolerance,
               d->max_abs_difference, r->max_relative);
        text_print_name(stdout, r->worst_tensor, 0);
        putchar(')');
    }
    puts("");
}
