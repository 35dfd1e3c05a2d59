/* What tv-diff says: findings, a row for each pair of vectors, a summary; for a person, as JSON, or
 * not at all. Borrows every name it is given. */
#ifndef TV_REPORT_H
#define TV_REPORT_H

#include "differ.h"

#include "header.h"

struct report {
    bool quiet, json;
    int name, model; /* widths of the first two columns */
    bool titled;
    uint64_t tensors, vectors, findings;
    struct differ all;
    double max_relative;
    const char *worst; /* the tensor that has it */
};

/* The columns must hold the names of these tensors and models. */
void report_measure(struct report *r, const struct header *h);
/* Something that makes A and B different whatever their elements are. `tensor` may be NULL. */
void report_finding(struct report *r, const char *tensor, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A vector of a tensor, of dtype a in A and b in B, and the largest magnitude of B's. */
void report_vector(struct report *r, const char *tensor, const char *model, enum dtype a,
                   enum dtype b, const struct differ *d, double magnitude);
void report_summary(const struct report *r, bool same);

#endif
