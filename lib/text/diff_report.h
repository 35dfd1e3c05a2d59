/* The report of tv-diff: findings, a row for each pair of vectors that is not equal, and a summary;
 * as a table, as lines of JSON, or not printed at all. Borrows all names that it is given. */
#ifndef TV_DIFF_REPORT_H
#define TV_DIFF_REPORT_H

#include "element_diff.h"
#include "header.h"

struct diff_report {
    bool quiet, json;
    int name_width, model_width; /* of the first two columns */
    bool title_printed;
    uint64_t tensors, vectors, findings;
    struct element_diff total; /* over all vectors */
    double max_relative;
    const char *worst_tensor; /* the tensor with that difference; NULL: no vector yet */
};

/* A pair of vectors that was compared. */
struct diff_report_vector {
    const char *tensor, *model;
    enum dtype dtype_a, dtype_b;
    const struct element_diff *diff;
    double magnitude; /* the largest of the vector in B */
};

/* Makes the columns wide enough for the tensors and models of a header; on a terminal that is too
 * narrow for them, narrower. */
void diff_report_set_column_widths(struct diff_report *r, const struct header *h);
/* Reports a difference other than of elements. `tensor` may be NULL. */
void diff_report_add_finding(struct diff_report *r, const char *tensor, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Reports a pair of vectors, and adds it to the total. */
void diff_report_print_vector(struct diff_report *r, const struct diff_report_vector *v);
void diff_report_print_summary(const struct diff_report *r, bool same);

#endif
