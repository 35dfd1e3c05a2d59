/* Random numbers for elements: each depends only on seed, model, tensor and flat index, so that a
 * mask does not depend on order, threads or machine. The generator is Philox4x32-10 (Salmon et al.,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011); share/stream.md, appendix. */
#ifndef TV_RANDOM_H
#define TV_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* The stream number of a tensor: FNV-1a 64 of the model's name, a zero byte, and the tensor's
 * output name. */
uint64_t random_stream_number_of_tensor(const char *model, const char *tensor);
/* u[j] = (word >> 8) / 2^24, in [0, 1), for the elements i = first + j, j < n, where word is word
 * (i mod 4) of Philox with key = seed and counter = (i / 4, stream). */
void random_fill_uniform(uint64_t seed, uint64_t stream, uint64_t first, size_t n, float *u);
/* Numbers from N(0, 1): Phi^-1(u + 2^-25) of those u, by algorithm AS 241 (Wichura 1988, "The
 * percentage points of the normal distribution"), whose relative error is about 1e-7. */
void random_fill_normal(uint64_t seed, uint64_t stream, uint64_t first, size_t n, float *x);

#endif
