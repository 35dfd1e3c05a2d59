/* Exact selection by magnitude, in linear time: where to cut so that exactly so many elements
 * lie above the cut. One tensor at a time, or several as one (their flat indices then count on
 * from tensor to tensor).
 *
 * Elements are ordered by |x|, equal ones by flat index: SELECT_LOWER_FIRST puts the lower index
 * on the larger side (TIES keeps the lower of two equals), SELECT_HIGHER_FIRST the other way round
 * (Breadcrumbs drops the lower of two equals from below). select_keeps is true for exactly `above`
 * elements. A NaN is larger than infinity.
 *
 * It goes by rounds: select_observe by any thread, a finding per call; select_merge in order of
 * `first`; then select_decide says whether the cut is known. A sample (the head of each block)
 * gives a bracket around the cut. The next round, over everything, counts what lies above the
 * bracket and lists what lies inside, which mostly settles it. Where the sample misled, or the
 * list would be longer than its cap, rounds of histograms narrow the bracket. What equals the
 * bracket's lower end is not listed but counted call by call, so that the many zeros of a frozen
 * expert cost no list and at most one round more.
 *
 * Every round but the sample must come in the same calls (same `first` and `n`).
 * A select owns its memory until select_free. */
#ifndef TV_SELECT_H
#define TV_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

/* Selection of `above` of n elements, with a list of at most `list_max` candidates (0: a default
 * of 2^18 + n / 64, at most 2^24). 0 and n need no round. */
struct select *select_new(uint64_t n, uint64_t above, enum select_ties ties, size_t list_max);
/* Another number of elements, before the decision on a round: where it has to be counted first, a
 * guess will do for the sample's round. */
void select_revise(struct select *s, uint64_t above);
void select_free(struct select *s);

/* How many elements of the head of each block the next round wants to see; 0: all of them. More
 * do no harm, and whole rows make a better sample; fewer only where the block is shorter. */
size_t select_head(const struct select *s);
/* Bytes of the work area that observing `n` elements in one call needs now (it may differ from
 * round to round). Work areas are aligned for any type, need no initialisation and hold one call's
 * finding. n < 2^32. */
size_t select_work_size(const struct select *s, size_t n);
void select_observe(const struct select *s, const float *x, uint64_t first, size_t n, void *work);
/* In order of `first`. */
void select_merge(struct select *s, const void *work);
/* After a round: true when the cut is known (select_result); false: another round. */
bool select_decide(struct select *s);
/* Is it known already? (Right after select_new: is no round needed?) */
bool select_is_known(const struct select *s);
struct select_cut select_result(const struct select *s);

/* Does this element lie above the cut? */
static inline bool select_keeps(const struct select_cut *cut, float x, uint64_t index)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0x7FFFFFFF;
    bool right_side = cut->ties == SELECT_LOWER_FIRST ? index <= cut->index : index >= cut->index;
    return cut->all || (!cut->none && (bits > cut->bits || (bits == cut->bits && right_side)));
}

/* Zero what lies below the cut (`keep_above`) or above it, in x[0..n) with flat indices from
 * `first`. Zeroed elements become +0. */
void select_apply(const struct select_cut *cut, bool keep_above, float *x, uint64_t first,
                  size_t n);
/* The same in x where the selection was among the numbers v. */
void select_apply_by(const struct select_cut *cut, bool keep_above, const float *v, float *x,
                     uint64_t first, size_t n);

#endif
