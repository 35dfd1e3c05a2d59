/* Random numbers that belong to an element: a function of seed, model, tensor and flat index
 * alone, so that a mask does not depend on order, threads or machine.
 * Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#ifndef TV_RANDOM_H
#define TV_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* FNV-1a 64 of the model's name, a zero byte, and the tensor's output name. */
uint64_t random_stream_of_tensor(const char *model, const char *tensor);
/* u[j] = (word j of the stream from `first` on >> 8) / 2^24, in [0, 1), for n elements.
 * Key = seed, counter = (index / 4, stream), word = index mod 4. */
void random_uniform(uint64_t seed, uint64_t stream, uint64_t first, size_t n, float *u);

#endif
