#include "comparison_report.h"

#include "json_print.h"
#include "text_print.h"

#include <stdlib.h>

#define MAX_LISTED 5 /* of a kind */

static const char *const titles[] = {
    [DIFFERENT_ELEMENTS] = "different elements", [DIFFERENT_DTYPE] = "different dtype",
    [DIFFERENT_SHAPE] = "different shape",       [MISSING] = "missing from the model",
    [EXTRA] = "not a result of the merge",       [DIFFERENT_METADATA] = "different metadata",
};

void comparison_report_add(struct comparison_report *r, enum difference kind, const char *tensor,
                           const char *detail)
{
    size_t i = r->found[kind].n++;
    r->found[kind].items = arena_grow(&r->arena, r->found[kind].items, i, &r->found[kind].capacity,
                                      sizeof *r->found[kind].items);
    r->found[kind].items[i] = (struct difference_found){tensor, detail};
}

static size_t count_differences(const struct comparison_report *r)
{
    size_t n = 0;
    for (size_t kind = 0; kind < DIFFERENCES; kind++)
        n += r->found[kind].n;
    return n;
}

bool comparison_report_is_equal(const struct comparison_report *r)
{
    return count_differences(r) == 0;
}

static void print_names(const struct string_list *names)
{
    for (size_t i = 0; i < names->n; i++) {
        fputs(i ? ", " : "", stdout);
        text_print_name(stdout, names->items[i], 0);
    }
}

static void print_tensors(const struct comparison_report *r, enum difference kind)
{
    size_t n = r->found[kind].n;
    if (n == 0)
        return;
    printf("%s: ", titles[kind]);
    for (size_t i = 0; i < n && i < MAX_LISTED; i++) {
        const struct difference_found *f = &r->found[kind].items[i];
        fputs(i ? ", " : "", stdout);
        text_print_name(stdout, f->tensor, 0);
        if (f->detail) {
            fputs(" (", stdout);
            text_print_name(stdout, f->detail, 0);
            putchar(')');
        }
    }
    if (n > MAX_LISTED)
        printf(" and %zu more", n - MAX_LISTED);
    putchar('\n');
}

void comparison_report_print(struct comparison_report *r, const struct string_list *inputs,
                             const struct string_list *notes)
{
    bool equal = comparison_report_is_equal(r);
    if (equal) {
        fputs(r->rounded ? "equal within the tolerance: " : "equal: ", stdout);
        text_print_count(stdout, r->tensors, "tensor");
        if (r->rounded)
            printf(", %zu of them with differences of rounding", r->rounded);
    } else {
        printf("different: %zu of ", count_differences(r) - r->found[DIFFERENT_METADATA].n);
        text_print_count(stdout, r->tensors + r->found[EXTRA].n, "tensor");
    }
    fputs(", recomputed from ", stdout);
    print_names(inputs);
    fputs(r->carried_weights ? ", with the weights that it carries" : "", stdout);
    puts(r->lacks_metadata ? "; metadata not compared (give the --like model)" : "");
    for (size_t kind = 0; kind < DIFFERENCES; kind++)
        print_tensors(r, (enum difference)kind);
    for (size_t i = 0; i < notes->n; i++) {
        text_print_name(stdout, notes->items[i], 0);
        putchar('\n');
    }
    arena_free(&r->arena);
}

/* Prints a line for each difference of a kind. A key of the metadata is part of the sentence. */
static void print_findings_as_json(struct comparison_report *r, enum difference kind)
{
    for (size_t i = 0; i < r->found[kind].n; i++) {
        const struct difference_found *f = &r->found[kind].items[i];
        const char *sentence = titles[kind];
        if (kind == DIFFERENT_METADATA)
            sentence = arena_printf(&r->arena, "%s: %s", sentence, f->tensor);
        if (f->detail)
            sentence = arena_printf(&r->arena, "%s (%s)", sentence, f->detail);
        json_print_text("{\"tensor\": ", kind == DIFFERENT_METADATA ? NULL : f->tensor);
        json_print_text(", \"finding\": ", sentence);
        puts("}");
    }
}

void comparison_report_print_json(struct comparison_report *r, const struct string_list *inputs,
                                  const struct string_list *notes)
{
    for (size_t kind = 0; kind < DIFFERENCES; kind++)
        print_findings_as_json(r, (enum difference)kind);
    json_print_bool("{\"same\": ", comparison_report_is_equal(r));
    json_print_count(", \"tensors\": ", r->tensors);
    json_print_count(", \"rounded\": ", r->rounded);
    json_print_count(", \"findings\": ", count_differences(r));
    json_print_bool(", \"carried_weights\": ", r->carried_weights);
    json_print_bool(", \"metadata\": ", !r->lacks_metadata);
    json_print_texts(", \"models\": ", inputs->n, inputs->items);
    json_print_texts(", \"notes\": ", notes->n, notes->items);
    puts("}");
    arena_free(&r->arena);
}
