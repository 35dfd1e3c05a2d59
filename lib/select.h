/* Exact selection by magnitude, in linear time: where to cut so that exactly so many elements
 * lie above the cut. One tensor (or one model) at a time, fed block by block.
 *
 * Elements are ordered by |x|, equal ones by flat index: SELECT_LOWER_FIRST puts the lower index
 * on the larger side (TIES keeps the lower of two equals), SELECT_HIGHER_FIRST the other way round
 * (Breadcrumbs drops the lower of two equals from below). The cut is the element at rank `above`
 * from the top: select_keeps is true for exactly `above` elements.
 *
 * A round looks at all blocks: select_observe by any thread into an area of its own, select_merge
 * in block order, then select_decide says whether the cut is known or another round is needed. The
 * first round counts a histogram of the leading bits of |x|; the next lists the elements of the bin
 * in which the cut lies, or, where the list would be longer than its cap (a frozen expert, all
 * deltas 0), counts the next bits. A select owns its memory until select_free. */
#ifndef TV_SELECT_H
#define TV_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum select_ties { SELECT_LOWER_FIRST, SELECT_HIGHER_FIRST };

struct select;
/* Elements that lie above: larger magnitude bits, or equal bits and the right side of `index`. */
struct select_cut {
    uint32_t bits;  /* of |x| at the cut, as an unsigned number: ordered as |x| is */
    uint64_t index; /* the last (LOWER_FIRST) or first (HIGHER_FIRST) flat index above the cut
                       among those whose bits equal the cut's */
    enum select_ties ties;
    bool all, none; /* above == n: everything; above == 0: nothing; then the rest says nothing */
};

/* Selection of `above` of the `n` elements that will be seen in a round, with a list of at most
 * `list_max` candidates (0: a default of 65536 + n / 64). */
struct select *select_new(uint64_t n, uint64_t above, enum select_ties ties, size_t list_max);
void select_free(struct select *s);

/* Bytes of the work area that observing `n` elements in one call needs now (it may differ from
 * round to round). Work areas need no initialisation and hold one call's finding. */
size_t select_work_size(const struct select *s, size_t n);
void select_observe(const struct select *s, const float *x, uint64_t first, size_t n, void *work);
/* In order of `first`. */
void select_merge(struct select *s, const void *work);
/* True when the cut is known (select_cut); false: another round over all elements. */
bool select_decide(struct select *s);
struct select_cut select_result(const struct select *s);

/* Zero what lies below the cut (`keep_above`) or above it, in x[0..n) with flat indices from
 * `first`. Zeroed elements become +0. */
void select_apply(const struct select_cut *cut, bool keep_above, float *x, uint64_t first, size_t n);

#endif
