/* Counts of what a run changes, for the summary of tv merge: how many elements each step that drops
 * elements receives and keeps, and the norm of the change by kind of tensor. One of 16 tiles of
 * each block is counted, in the pass that brings the block to the sink, while it is in the cache:
 * counting all elements takes about 5 % of the time of TIES. Several threads may add to the counts
 * at once. The counts belong to the chain's run until change_counts_free. */
#ifndef TV_CHANGE_COUNTS_H
#define TV_CHANGE_COUNTS_H

#include "filter.h"

#define CHANGE_COUNTS_KINDS   8        /* of tensors, at most */
#define CHANGE_COUNTS_UNKNOWN SIZE_MAX /* nonzero elements that were not counted */

/* The kind of a tensor by its name: an index below CHANGE_COUNTS_KINDS. */
typedef size_t change_counts_kind_of_tensor(const char *name);

/* The elements of a step that drops some, in the tiles that are counted: those that no earlier step
 * had dropped, and how many of them it kept. */
struct dropped_elements {
    uint64_t received, kept;
};

/* The change of all tensors of a kind: of their merged task vectors. */
struct change_norm {
    double squares;    /* sum of the squares of all elements, estimated from those counted */
    uint64_t elements; /* all */
};

struct change_counts;
struct change_counts *change_counts_new(size_t n_stages, change_counts_kind_of_tensor *kind);
void change_counts_free(struct change_counts *c);
/* After stage s has transformed a block: counts what is not 0, if the stage drops elements.
 * *nonzero is what the last such stage kept of the tiles that are counted. */
void change_counts_add_step(struct change_counts *c, const struct filter *f, size_t s,
                            const struct block *b, size_t *nonzero);
/* Adds a block that reaches the sink, of tensor t of stream h, if it is a merged task vector. */
void change_counts_add_result(struct change_counts *c, const struct header *h,
                              const struct tensor *t, const struct block *b);
struct dropped_elements change_counts_of_step(const struct change_counts *c, size_t s);
struct change_norm change_counts_of_kind(const struct change_counts *c, size_t kind);

#endif
