/* Exact selection of the largest magnitudes (top-k) in linear time: finds the cut above which
 * exactly k elements lie (magnitude_cut.h). The elements are those of one tensor, or of several
 * tensors with consecutive flat indices. A magnitude_select owns its memory until
 * magnitude_select_free.
 *
 * The selection works in rounds over the data. In a round, any thread calls
 * magnitude_select_observe_block, which fills a work area per call;
 * magnitude_select_accumulate_block takes the work areas in order of `first`; then
 * magnitude_select_decide_after_round returns whether the cut is known. The first round reads a
 * sample (some elements of each block) and gives a bracket around the cut. The next round reads
 * everything, counts the elements above the bracket and lists those inside, which is usually
 * enough. If the sample was misleading, or the list would exceed its maximum, rounds of histograms
 * narrow the bracket. If very many elements equal the bracket's lower end they are not listed but
 * counted per call, so that the zeros of a frozen expert need no list and at most one more round.
 *
 * All rounds except the first must make the same calls (same `first` and `n`). */
#ifndef TV_MAGNITUDE_SELECT_H
#define TV_MAGNITUDE_SELECT_H

#include "magnitude_cut.h"

struct magnitude_select;

/* A selection of `above` of n elements, with a list of at most `list_max` candidates (0: the
 * default of 2^18 + n / 64, at most 2^24). It needs no round if `above` is 0 or n. */
struct magnitude_select *magnitude_select_new(uint64_t n, uint64_t above, enum tie_rule tie_rule,
                                              size_t list_max);
/* Changes the number of elements to select. Call it before magnitude_select_decide_after_round: if
 * the number is known only after a round, magnitude_select_new takes an estimate. */
void magnitude_select_set_count_above(struct magnitude_select *s, uint64_t above);
void magnitude_select_free(struct magnitude_select *s);

/* How many elements of the start of each block the next round needs; 0: all of them. Observing more
 * is allowed, and whole rows make a better sample; fewer only if the block is shorter. */
size_t magnitude_select_sample_elements(const struct magnitude_select *s);
/* Bytes of the work area for observing n < 2^32 elements in one call of this round. Work areas are
 * aligned for any type and need no initialization. */
size_t magnitude_select_work_size(const struct magnitude_select *s, size_t n);
/* Scans the n elements x with flat indices from `first` on. */
void magnitude_select_observe_block(const struct magnitude_select *s, const float *x,
                                    uint64_t first, size_t n, void *work);
/* Adds a work area; in order of `first`. */
void magnitude_select_accumulate_block(struct magnitude_select *s, const void *work);
/* Ends a round: true if the cut is known, false if another round is needed. */
bool magnitude_select_decide_after_round(struct magnitude_select *s);
/* True if the cut is known; right after magnitude_select_new: if no round is needed. */
bool magnitude_select_is_done(const struct magnitude_select *s);
/* The cut, once it is known. */
struct magnitude_cut magnitude_select_result(const struct magnitude_select *s);

#endif
