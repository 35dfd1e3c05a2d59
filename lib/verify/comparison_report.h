/* The report of tv verify: a summary, a line for each kind of difference with the first tensors,
 * and notes; or the same as lines of JSON.
 *
 * A comparison_report borrows all names until it is printed, which frees the report. */
#ifndef TV_COMPARISON_REPORT_H
#define TV_COMPARISON_REPORT_H

#include "option_row.h"

enum difference {
    DIFFERENT_ELEMENTS,
    DIFFERENT_DTYPE,
    DIFFERENT_SHAPE,
    MISSING,
    EXTRA,
    DIFFERENT_METADATA, /* keys, not tensors */
    DIFFERENCES
};

/* Starts zeroed. */
struct comparison_report {
    size_t tensors;       /* of the result of the merge */
    size_t rounded;       /* of these, tensors that are equal but for rounding */
    bool carried_weights; /* the weights were those that the model carries */
    bool lacks_metadata;  /* those of the GGUF file are not compared */
    struct {
        size_t n, capacity;
        struct difference_found {
            const char *tensor, *detail; /* detail: NULL if there is none */
        } * items;
    } found[DIFFERENCES];
    struct arena arena;
};

/* `detail` follows the name of the tensor or key: "17 of 4096 elements"; NULL: nothing. */
void comparison_report_add(struct comparison_report *r, enum difference kind, const char *tensor,
                           const char *detail);
bool comparison_report_is_equal(const struct comparison_report *r);
/* Print the report on standard output, as text or as lines of JSON with all differences, and free
 * it. */
void comparison_report_print(struct comparison_report *r, const struct string_list *inputs,
                             const struct string_list *notes);
void comparison_report_print_json(struct comparison_report *r, const struct string_list *inputs,
                                  const struct string_list *notes);

#endif
