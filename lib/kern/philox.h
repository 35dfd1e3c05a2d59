/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four words
 * for each counter. No globals. random.h has the numbers of elements. */
#ifndef TV_PHILOX_H
#define TV_PHILOX_H

#include <stdint.h>

#define PHILOX_BATCH 128 /* counters, of four words each */

/* u = (word >> 8) / 2^24 for the words of the counters (counter + j, stream), j < PHILOX_BATCH,
 * with key = seed. */
void philox_draw_uniform_batch(uint64_t seed, uint64_t stream, uint64_t counter,
                               float u[4 * PHILOX_BATCH]);

#endif
