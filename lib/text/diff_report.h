/* What tv-diff says: findings, a row for each pair of vectors, a summary; for a person, as JSON, or
 * not at all. Borrows every name it is given. */
#ifndef TV_DIFF_REPORT_H
#define TV_DIFF_REPORT_H

#include "element_diff.h"

#include "header.h"

struct diff_report {
    bool quiet, json;
    int name_width, model_width; /* widths of the first two columns */
    bool title_printed;
    uint64_t tensors, vectors, findings;
    struct element_diff total;
    double max_relative;
    const char *worst_tensor; /* the tensor that has it */
};

/* The columns must hold the names of these tensors and models. */
void diff_report_set_widths(struct diff_report *r, const struct header *h);
/* Something that makes A and B different whatever their elements are. `tensor` may be NULL. */
void diff_report_print_finding(struct diff_report *r, const char *tensor, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A vector of a tensor, of dtype a in A and b in B, and the largest magnitude of B's. */
void diff_report_print_vector(struct diff_report *r, const char *tensor, const char *model,
                              enum dtype a, enum dtype b, const struct element_diff *d,
                              double magnitude);
void diff_report_print_summary(const struct diff_report *r, bool same);

#endif
