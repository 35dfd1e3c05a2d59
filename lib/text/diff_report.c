#include "diff_report.h"

#include "json_print.h"
#include "number.h"
#include "standard_output.h"
#include "text_print.h"

#include <stdarg.h>

#define NUMBERS_WIDTH (2 + 5 * 12) /* columns of a row, without the two names */

void diff_report_set_column_widths(struct diff_report *r, const struct header *h)
{
    r->name_width = text_print_name_width("tensor");
    r->model_width = text_print_name_width("model");
    for (size_t i = 0; i < h->n_tensors; i++)
        r->name_width = text_print_max_name_width(r->name_width, h->tensors[i].name);
    for (size_t i = 0; i < h->n_models; i++)
        r->model_width = text_print_max_name_width(r->model_width, h->models[i].name);
    text_print_fit_names(&r->name_width, &r->model_width, NUMBERS_WIDTH, standard_output_columns());
}

/* ---- findings ------------------------------------------------------------------------------- */

void diff_report_add_finding(struct diff_report *r, const char *tensor, const char *format, ...)
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
        json_print_text("{\"tensor\": ", tensor);
        json_print_text(", \"finding\": ", text);
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

static double max_relative(const struct diff_report_vector *v)
{
    double max_abs = v->diff->max_abs_difference;
    return max_abs == 0 ? 0 : v->magnitude > 0 ? max_abs / v->magnitude : INFINITY;
}

static void print_vector_as_json(const struct diff_report_vector *v)
{
    const struct element_diff *d = v->diff;
    json_print_text("{\"tensor\": ", v->tensor);
    json_print_text(", \"model\": ", v->model);
    printf(", \"dtypes\": [\"%s\", \"%s\"]", dtype_name(v->dtype_a), dtype_name(v->dtype_b));
    json_print_count(", \"elements\": ", d->elements);
    json_print_count(", \"unequal\": ", d->unequal);
    json_print_count(", \"beyond\": ", d->beyond_tolerance);
    printf(", \"nonfinite\": [%llu, %llu]", (unsigned long long)d->nonfinite_a,
           (unsigned long long)d->nonfinite_b);
    json_print_number(", \"max_difference\": ", d->max_abs_difference);
    json_print_number(", \"max_relative_difference\": ", max_relative(v));
    json_print_number(", \"cosine\": ", element_diff_cosine(d));
    puts("}");
}

/* Equal vectors have no row, unless their dtypes differ or they contain non-finite numbers. */
static bool vector_needs_row(const struct diff_report_vector *v)
{
    const struct element_diff *d = v->diff;
    return d->unequal || d->nonfinite_a || d->nonfinite_b || v->dtype_a != v->dtype_b;
}

static void print_title_once(struct diff_report *r)
{
    if (!r->title_printed)
        printf("%-*s  %-*s  %10s  %10s  %10s  %10s  %10s\n", r->name_width, "tensor",
               r->model_width, "model", "max abs", "relative", "cosine", "unequal", "beyond");
    r->title_printed = true;
}

static void print_vector_row(struct diff_report *r, const struct diff_report_vector *v)
{
    const struct element_diff *d = v->diff;
    double cosine = element_diff_cosine(d);
    print_title_once(r);
    text_print_fitted_name(stdout, v->tensor, r->name_width);
    fputs("  ", stdout);
    text_print_fitted_name(stdout, v->model, r->model_width);
    printf("  %10.4g  %10.4g", d->max_abs_difference, max_relative(v));
    if (isnan(cosine))
        printf("  %10s", "-");
    else
        printf("  %10.6f", cosine);
    printf("  %10llu  %10llu", (unsigned long long)d->unequal,
           (unsigned long long)d->beyond_tolerance);
    if (v->dtype_a != v->dtype_b)
        printf("  %s in A, %s in B", dtype_name(v->dtype_a), dtype_name(v->dtype_b));
    if (d->nonfinite_a || d->nonfinite_b)
        printf("  not finite: %llu in A, %llu in B", (unsigned long long)d->nonfinite_a,
               (unsigned long long)d->nonfinite_b);
    puts("");
}

void diff_report_print_vector(struct diff_report *r, const struct diff_report_vector *v)
{
    double relative = max_relative(v);
    element_diff_accumulate(v->diff, &r->total);
    r->vectors++;
    if (!r->worst_tensor || relative > r->max_relative) {
        r->worst_tensor = v->tensor;
        r->max_relative = relative;
    }
    if (r->json && !r->quiet)
        print_vector_as_json(v);
    else if (!r->quiet && vector_needs_row(v))
        print_vector_row(r, v);
}

/* ---- summary -------------------------------------------------------------------------------- */

static void print_json_summary(const struct diff_report *r, bool same)
{
    const struct element_diff *d = &r->total;
    json_print_bool("{\"same\": ", same);
    json_print_count(", \"tensors\": ", r->tensors);
    json_print_count(", \"vectors\": ", r->vectors);
    json_print_count(", \"elements\": ", d->elements);
    json_print_count(", \"unequal\": ", d->unequal);
    json_print_count(", \"beyond\": ", d->beyond_tolerance);
    json_print_count(", \"findings\": ", r->findings);
    json_print_number(", \"max_difference\": ", d->max_abs_difference);
    json_print_number(", \"max_relative_difference\": ", r->max_relative);
    puts("}");
}

static void print_text_summary(const struct diff_report *r, bool same)
{
    const struct element_diff *d = &r->total;
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

void diff_report_print_summary(const struct diff_report *r, bool same)
{
    if (r->quiet)
        return;
    if (r->json)
        print_json_summary(r, same);
    else
        print_text_summary(r, same);
}
