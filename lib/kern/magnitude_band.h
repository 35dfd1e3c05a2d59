/* The elements of a vector whose magnitudes rank in a band: below the `top` largest, the next
 * `kept`. Exact, found in rounds over the vector's blocks (magnitude_select.h says how), which also
 * give the vector's L1 norm. A band owns its memory until magnitude_band_free. */
#ifndef TV_MAGNITUDE_BAND_H
#define TV_MAGNITUDE_BAND_H

#include "mem.h"
#include "magnitude_select.h"

struct magnitude_band;

/* Of `n` elements leave out the `top` largest, then keep `kept`; kept + top <= n. `ties`: which of
 * two equal magnitudes counts as the larger. */
struct magnitude_band *magnitude_band_new(uint64_t n, uint64_t kept, uint64_t top,
                                          enum tie_rule ties);
void magnitude_band_free(struct magnitude_band *b);
bool magnitude_band_keeps_all(const struct magnitude_band *b);
/* sum |x| over the vector, once the band is known. */
double magnitude_band_l1_norm(const struct magnitude_band *b);

/* The bands of K vectors side by side, which share their rounds. The vectors may be stretches of
 * longer ones: then `offset` says where they begin. */
struct magnitude_bands {
    size_t n;
    struct magnitude_band **bands; /* NULL: none */
    uint64_t *offset;
};

/* Room for the bands of n vectors. */
struct magnitude_bands magnitude_bands_new(struct arena *a, size_t n);
void magnitude_bands_free(struct magnitude_bands *b); /* frees each */

/* Elements of the head of each block that the next round wants to see; 0: all of them. */
size_t magnitude_bands_sample_elements(const struct magnitude_bands *b);
/* Bytes of a work area for a block of up to n elements in the next round. */
size_t magnitude_bands_work_size(const struct magnitude_bands *b, size_t n);
/* n elements of each vector x[k], from index `first` on: on any thread into a work area of its own
 * ... */
void magnitude_bands_observe(const struct magnitude_bands *b, float *const *x, uint64_t first,
                             size_t n, void *work);
/* ... which is merged in order of `first`, with the same n. */
void magnitude_bands_merge(struct magnitude_bands *b, size_t n, const void *work);
/* After a round: true when all bands are known. */
bool magnitude_bands_decide(struct magnitude_bands *b);
/* Zeroes what does not rank in its vector's band. */
void magnitude_bands_apply(const struct magnitude_bands *b, float *const *x, uint64_t first,
                           size_t n);

#endif
