#include "magnitude_cut.h"

#include "magnitude_scan.h"

/* Keeps x[i] where (|v[i]| > bound) == larger, zeroes the others; v may be x. */
TV_CLONES static void keep_larger_or_smaller_elements(const float *v, float *x, size_t n,
                                                      magnitude bound, bool larger)
{
    TV_INDEPENDENT
    for (size_t i = 0; i < n; i++)
        x[i] = (magnitude_of(v[i]) > bound) == larger ? x[i] : 0.0f;
}

void magnitude_cut_keep_by_other_vector(const struct magnitude_cut *cut, bool keep_above,
                                        const float *v, float *x, uint64_t first, size_t n)
{
    magnitude bits = (magnitude)cut->bits;
    bool lower_wins = cut->tie_rule == TIE_LOWER_INDEX_WINS;
    if (cut->all || cut->none) {
        if (cut->all != keep_above)
            memset(x, 0, n * sizeof *x);
        return;
    }
    /* The tie rule gives one answer for the flat indices below `border`, the other for the rest. */
    uint64_t border = cut->index + lower_wins;
    size_t before = border <= first ? 0 : border - first < n ? (size_t)(border - first) : n;
    keep_larger_or_smaller_elements(v, x, before, lower_wins ? bits - 1 : bits, keep_above);
    keep_larger_or_smaller_elements(v + before, x + before, n - before,
                                    lower_wins ? bits : bits - 1, keep_above);
}

void magnitude_cut_keep_one_side(const struct magnitude_cut *cut, bool keep_above, float *x,
                                 uint64_t first, size_t n)
{
    magnitude_cut_keep_by_other_vector(cut, keep_above, x, x, first, n);
}
