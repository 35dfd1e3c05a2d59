/* Filters that drop elements at random (DARE, DELLA): the vectors of a tensor with their densities,
 * and the round in which both filters draw the elements to keep, and sum |x| over all elements and
 * over those, for rescale --by l1, which then needs no round of its own.
 * job->state begins with a struct random_drop, in job->arena. */
#ifndef TV_RANDOM_DROP_H
#define TV_RANDOM_DROP_H

#include "keep_mask.h"

struct random_drop_vector {
    double density;         /* 1 or more: nothing is drawn, all elements are kept */
    uint64_t random_stream; /* of random.h */
    bool sums_l1;           /* the round finds l1 */
    double l1;              /* L1 norm before the drop; NAN: not recorded */
    double kept_l1;         /* and after it; NAN: the round has not found it */
};

struct random_drop {
    struct keep_mask mask; /* the elements to keep; has no bits if there was no round */
    struct random_drop_vector *vectors; /* (K) */
};

/* In begin: the vectors of the tensor, with densities by rules (1 where none matches). If `sum_l1`,
 * the norms that no earlier stage has recorded are found in a round. */
void random_drop_init(struct random_drop *d, const struct job *job,
                      const struct tensor_rules *density, bool sum_l1);
/* In begin, after that: the plan. */
enum plan random_drop_choose_plan(struct random_drop *d, struct job *job);

/* Draws which elements of a block's vector k are kept, a bit each. */
typedef int random_drop_draw(const struct job *job, const struct block *b, size_t k,
                             unsigned char *bits, struct error *e);
/* In observe: draws if the mask is stored, and sums. */
int random_drop_observe(const struct job *job, const struct block *b, void *work,
                        random_drop_draw *draw, struct error *e);
/* For the descriptor. */
int random_drop_accumulate(struct job *job, const struct block *b, void *work, struct error *e);
/* In end_round: records the norms in a vector of the result. */
void random_drop_set_attributes(const struct random_drop_vector *d, double keep_probability,
                                struct vector *v);

#endif
