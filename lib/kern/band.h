/* The elements of a vector whose magnitudes rank in a band: below the `top` largest, the next
 * `kept`. Exact, found in rounds over the vector's blocks (select.h says how), which also give the
 * vector's L1 norm. A band owns its memory until band_free. */
#ifndef TV_BAND_H
#define TV_BAND_H

#include "select.h"

struct band;

/* Of `n` elements leave out the `top` largest, then keep `kept`; kept + top <= n. `ties`: which of
 * two equal magnitudes counts as the larger. */
struct band *band_new(uint64_t n, uint64_t kept, uint64_t top, enum select_ties ties);
void band_free(struct band *b);
bool band_is_everything(const struct band *b);

/* Elements of the head of each block that the next round wants to see; 0: all of them. */
size_t band_head(const struct band *b);
/* Bytes of a work area for a block of up to n elements in the next round. */
size_t band_work_size(const struct band *b, size_t n);
/* n elements from flat index `first` on: on any thread into a work area of its own ... */
void band_observe(const struct band *b, const float *x, uint64_t first, size_t n, void *work);
/* ... which is merged in order of `first`, with the same n. */
void band_merge(struct band *b, size_t n, const void *work);
/* After a round: true when the band is known. */
bool band_decide(struct band *b);

/* Zeroes what does not rank in the band. */
void band_apply(const struct band *b, float *x, uint64_t first, size_t n);
/* sum |x| over the vector, once the band is known. */
double band_l1(const struct band *b);

#endif
