/* The elements of a vector whose magnitudes rank in a band: below the `top` largest, the next
 * `kept`. The band is exact; it is found in rounds over the vector's blocks (magnitude_select.h),
 * which also compute the vector's L1 norm. A magnitude_band owns its memory until
 * magnitude_band_free. */
#ifndef TV_MAGNITUDE_BAND_H
#define TV_MAGNITUDE_BAND_H

#include "magnitude_select.h"
#include "mem.h"

struct magnitude_band;

/* The band of n elements that excludes the `top` largest and keeps the next `kept`;
 * kept + top <= n. */
struct magnitude_band *magnitude_band_new(uint64_t n, uint64_t kept, uint64_t top,
                                          enum tie_rule tie_rule);
void magnitude_band_free(struct magnitude_band *b);
bool magnitude_band_keeps_all(const struct magnitude_band *b);
/* sum |x| over the vector, once the band is known. */
double magnitude_band_l1_norm(const struct magnitude_band *b);

/* The bands of K vectors, which share their rounds. A vector may be part of a longer one that the
 * band belongs to: `offset` is then its position there. */
struct magnitude_bands {
    size_t n;
    struct magnitude_band **bands; /* NULL: no band */
    uint64_t *offset;
};

/* An empty set of n bands, in the arena. */
struct magnitude_bands magnitude_bands_new(struct arena *a, size_t n);
void magnitude_bands_free(struct magnitude_bands *b); /* frees each band */

/* How many elements of the start of each block the next round needs; 0: all of them. */
size_t magnitude_bands_sample_elements(const struct magnitude_bands *b);
/* Bytes of the work area for a block of up to n elements in the next round. */
size_t magnitude_bands_work_size(const struct magnitude_bands *b, size_t n);
/* Scans n elements of each vector x[k], from index `first` on; on any thread, with a work area per
 * call. */
void magnitude_bands_observe_block(const struct magnitude_bands *b, float *const *x, uint64_t first,
                                   size_t n, void *work);
/* Adds a work area, with the n of its observation; in order of `first`. */
void magnitude_bands_accumulate_block(struct magnitude_bands *b, size_t n, const void *work);
/* Ends a round: true if all bands are known. */
bool magnitude_bands_decide_after_round(struct magnitude_bands *b);
/* Zeroes the elements of each vector that are outside its band. */
void magnitude_bands_zero_outside(const struct magnitude_bands *b, float *const *x, uint64_t first,
                                  size_t n);

#endif
