/* The elements of a vector whose magnitudes rank in a band: below the `top` largest, the next
 * `kept`. Exact, found in rounds over the vector's blocks (select.h says how), which also give the
 * vector's L1 norm. A band owns its memory until band_free. */
#ifndef TV_BAND_H
#define TV_BAND_H

#include "mem.h"
#include "select.h"

struct band;

/* Of `n` elements leave out the `top` largest, then keep `kept`; kept + top <= n. `ties`: which of
 * two equal magnitudes counts as the larger. */
struct band *band_new(uint64_t n, uint64_t kept, uint64_t top, enum select_ties ties);
void band_free(struct band *b);
bool band_is_everything(const struct band *b);
/* sum |x| over the vector, once the band is known. */
double band_l1(const struct band *b);

/* The bands of K vectors side by side, which share their rounds. The vectors may be stretches of
 * longer ones: then `offset` says where they begin. */
struct bands {
    size_t n;
    struct band **each; /* NULL: none */
    uint64_t *offset;
};

/* Room for the bands of n vectors. */
struct bands bands_in(struct arena *a, size_t n);
void bands_free(struct bands *b); /* frees each */

/* Elements of the head of each block that the next round wants to see; 0: all of them. */
size_t bands_head(const struct bands *b);
/* Bytes of a work area for a block of up to n elements in the next round. */
size_t bands_work_size(const struct bands *b, size_t n);
/* n elements of each vector x[k], from index `first` on: on any thread into a work area of its own
 * ... */
void bands_observe(const struct bands *b, float *const *x, uint64_t first, size_t n, void *work);
/* ... which is merged in order of `first`, with the same n. */
void bands_merge(struct bands *b, size_t n, const void *work);
/* After a round: true when all bands are known. */
bool bands_decide(struct bands *b);
/* Zeroes what does not rank in its vector's band. */
void bands_apply(const struct bands *b, float *const *x, uint64_t first, size_t n);

#endif
