/* The samples that coefficients are learned from: the first ones of each task, each belonging to an
 * expert, and the order in which they are taken. Borrows the samples. */
#ifndef TV_EXAMPLES_H
#define TV_EXAMPLES_H

#include "samples.h"
#include "teachers.h"

struct examples {
    size_t n;
    struct example *list;   /* those of the first expert first */
    const char **tasks;     /* [example] */
    size_t *sample_numbers; /* [example]: which of its expert's */
    size_t longest;         /* tokens of the longest */
    size_t n_order;
    size_t n_held_out, *held_out; /* held out: the last of each expert's */
    size_t *order; /* round robin: one of each expert, again and again, short ones cycled */
};

/* What they are to be. */
struct example_selection {
    size_t experts;
    const char *const *names;     /* [expert] */
    size_t renamed;               /* tasks that are not called like their expert */
    const char *const *tasks;     /* [renamed] */
    const size_t *of;             /* [renamed]: its expert */
    size_t per_task;              /* the first so many */
    size_t held_out;              /* of each task, the last ones of these */
    const struct image *pictures; /* of all samples */
    bool responses; /* where the prompt's length is known, only those positions count */
};                  /* from which a token of the response is foretold */

/* An expert without samples, or a sample of no expert, is an error. */
int examples_select(struct examples *x, const struct samples *s, const struct example_selection *w,
                    struct error *e);
/* Leaves the examples of `own` to this of `count` processes: a fair share of any that follow one
 * another in the order, or are held out. */
void examples_assign_to_ranks(struct examples *x, size_t count, size_t own);
void examples_free(struct examples *x);

#endif
