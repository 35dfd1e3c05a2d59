/* The cut of a magnitude selection: which elements are above it, and zeroing those on one side.
 * magnitude_select.h finds a cut. No allocation, no globals.
 *
 * Elements are ordered by |x|; a NaN is larger than infinity. A tie rule orders elements of equal
 * magnitude by flat index. TIES keeps the lower index of two equal elements (TIE_LOWER_INDEX_WINS);
 * Breadcrumbs drops the lower index of two equal elements (TIE_HIGHER_INDEX_WINS). */
#ifndef TV_MAGNITUDE_CUT_H
#define TV_MAGNITUDE_CUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Which of two elements of equal magnitude counts as the larger. */
enum tie_rule { TIE_LOWER_INDEX_WINS, TIE_HIGHER_INDEX_WINS };

/* An element is above the cut if its magnitude is larger than `bits`, or equal and its flat index
 * is on the winning side of `index`. */
struct magnitude_cut {
    uint32_t bits;  /* bits of |x| at the cut; as unsigned numbers they are ordered like |x| */
    uint64_t index; /* among the elements of that magnitude, the last one above the cut
                       (TIE_LOWER_INDEX_WINS) or the first (TIE_HIGHER_INDEX_WINS) */
    enum tie_rule tie_rule;
    bool all, none; /* all elements are above; no element is above: bits and index are unused */
};

/* True if the element x with this flat index is above the cut. */
static inline bool magnitude_cut_keeps(const struct magnitude_cut *cut, float x, uint64_t index)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0x7FFFFFFF;
    bool wins_tie =
        cut->tie_rule == TIE_LOWER_INDEX_WINS ? index <= cut->index : index >= cut->index;
    return cut->all || (!cut->none && (bits > cut->bits || (bits == cut->bits && wins_tie)));
}

/* Zeroes the elements of x[0..n) that are below the cut (`keep_above`) or above it; their flat
 * indices start at `first`. A zeroed element becomes +0. */
void magnitude_cut_keep_one_side(const struct magnitude_cut *cut, bool keep_above, float *x,
                                 uint64_t first, size_t n);
/* The same, for a selection among the numbers v: zeroes x[i] depending on v[i]. */
void magnitude_cut_keep_by_other_vector(const struct magnitude_cut *cut, bool keep_above,
                                        const float *v, float *x, uint64_t first, size_t n);

#endif
