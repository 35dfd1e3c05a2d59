/* Ranks of the elements of a row by magnitude, |x| ascending, equal ones by index, for numbers that
 * depend on the rank. No allocation, no globals. */
#ifndef TV_MAGNITUDE_RANK_H
#define TV_MAGNITUDE_RANK_H

#include <stddef.h>
#include <stdint.h>

#define MAGNITUDE_RANK_WORK 2 /* numbers of a work area, per element */

/* values[i] = by_rank[rank of x[i]] */
void magnitude_rank_values(const float *x, size_t n, const float *by_rank, uint64_t *work,
                           float *values);
/* below[i] = u[i] < by_rank[rank of x[i]]; by_rank does not descend. Most of these comparisons do
 * not need the exact rank, so this is faster than magnitude_rank_values. */
void magnitude_rank_mark_below(const float *x, const float *u, size_t n, const float *by_rank,
                               uint64_t *work, unsigned char *below);

#endif
