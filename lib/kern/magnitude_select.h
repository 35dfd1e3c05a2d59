/* Exact selection by magnitude, in linear time: where to cut so that exactly so many elements
 * lie above the cut. One tensor at a time, or several as one (their flat indices then count on
 * from tensor to tensor).
 *
 * Elements are ordered by |x|, equal ones by flat index: TIE_LOWER_INDEX_WINS puts the lower index
 * on the larger side (TIES keeps the lower of two equals), TIE_HIGHER_INDEX_WINS the other way
 * round (Breadcrumbs drops the lower of two equals from below). magnitude_cut_keeps is true for
 * exactly `above` elements. A NaN is larger than infinity.
 *
 * It goes by rounds: magnitude_select_observe by any thread, a finding per call;
 * magnitude_select_merge in order of `first`; then magnitude_select_decide says whether the cut is
 * known. A sample (the head of each block) gives a bracket around the cut. The next round, over
 * everything, counts what lies above the bracket and lists what lies inside, which mostly settles
 * it. Where the sample misled, or the list would be longer than its cap, rounds of histograms
 * narrow the bracket. What equals the bracket's lower end is not listed but counted call by call,
 * so that the many zeros of a frozen expert cost no list and at most one round more.
 *
 * Every round but the sample must come in the same calls (same `first` and `n`).
 * A select owns its memory until magnitude_select_free. */
#ifndef TV_MAGNITUDE_SELECT_H
#define TV_MAGNITUDE_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum tie_rule { TIE_LOWER_INDEX_WINS, TIE_HIGHER_INDEX_WINS };

struct magnitude_select;
/* Elements that lie above: larger magnitude bits, or equal bits and the right side of `index`. */
struct magnitude_cut {
    uint32_t bits;  /* of |x| at the cut, as an unsigned number: ordered as |x| is */
    uint64_t index; /* the last (LOWER_FIRST) or first (HIGHER_FIRST) flat index above the cut
                       among those whose bits equal the cut's */
    enum tie_rule tie_rule;
    bool all, none; /* above == n: everything; above == 0: nothing; then the rest says nothing */
};

/* Selection of `above` of n elements, with a list of at most `list_max` candidates (0: a default
 * of 2^18 + n / 64, at most 2^24). 0 and n need no round. */
struct magnitude_select *magnitude_select_new(uint64_t n, uint64_t above, enum tie_rule ties,
                                              size_t list_max);
/* Another number of elements, before the decision on a round: where it has to be counted first, a
 * guess will do for the sample's round. */
void magnitude_select_set_count(struct magnitude_select *s, uint64_t above);
void magnitude_select_free(struct magnitude_select *s);

/* How many elements of the head of each block the next round wants to see; 0: all of them. More
 * do no harm, and whole rows make a better sample; fewer only where the block is shorter. */
size_t magnitude_select_sample_elements(const struct magnitude_select *s);
/* Bytes of the work area that observing `n` elements in one call needs now (it may differ from
 * round to round). Work areas are aligned for any type, need no initialisation and hold one call's
 * finding. n < 2^32. */
size_t magnitude_select_work_size(const struct magnitude_select *s, size_t n);
void magnitude_select_observe(const struct magnitude_select *s, const float *x, uint64_t first,
                              size_t n, void *work);
/* In order of `first`. */
void magnitude_select_merge(struct magnitude_select *s, const void *work);
/* After a round: true when the cut is known (magnitude_select_result); false: another round. */
bool magnitude_select_decide(struct magnitude_select *s);
/* Is it known already? (Right after magnitude_select_new: is no round needed?) */
bool magnitude_select_is_done(const struct magnitude_select *s);
struct magnitude_cut magnitude_select_result(const struct magnitude_select *s);

/* Does this element lie above the cut? */
static inline bool magnitude_cut_keeps(const struct magnitude_cut *cut, float x, uint64_t index)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0x7FFFFFFF;
    bool right_side =
        cut->tie_rule == TIE_LOWER_INDEX_WINS ? index <= cut->index : index >= cut->index;
    return cut->all || (!cut->none && (bits > cut->bits || (bits == cut->bits && right_side)));
}

/* Zero what lies below the cut (`keep_above`) or above it, in x[0..n) with flat indices from
 * `first`. Zeroed elements become +0. */
void magnitude_cut_apply(const struct magnitude_cut *cut, bool keep_above, float *x, uint64_t first,
                         size_t n);
/* The same in x where the selection was among the numbers v. */
void magnitude_cut_apply_by(const struct magnitude_cut *cut, bool keep_above, const float *v,
                            float *x, uint64_t first, size_t n);

#endif
