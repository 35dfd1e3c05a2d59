/* Several magnitude selections over the same numbers, which share their rounds
 * (magnitude_select.h). A multi_select owns its selections until magnitude_multi_select_free. */
#ifndef TV_MAGNITUDE_MULTI_SELECT_H
#define TV_MAGNITUDE_MULTI_SELECT_H

#include "magnitude_select.h"

#define MULTI_SELECT_MAX 3

struct magnitude_multi_select {
    struct magnitude_select *selections[MULTI_SELECT_MAX]; /* NULL: unused */
};

void magnitude_multi_select_free(struct magnitude_multi_select *s);
/* True if all cuts are known. */
bool magnitude_multi_select_is_done(const struct magnitude_multi_select *s);

/* These do the same as magnitude_select_..., for all selections whose cut is not known yet. */
size_t magnitude_multi_select_sample_elements(const struct magnitude_multi_select *s);
size_t magnitude_multi_select_work_size(const struct magnitude_multi_select *s, size_t n);
void magnitude_multi_select_observe_block(const struct magnitude_multi_select *s, const float *x,
                                          uint64_t first, size_t n, void *work);
/* `n` must be that of the observation. */
void magnitude_multi_select_accumulate_block(struct magnitude_multi_select *s, size_t n,
                                             const void *work);
bool magnitude_multi_select_decide_after_round(struct magnitude_multi_select *s);

#endif
