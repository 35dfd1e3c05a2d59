/* Softmax and its like over rows of floats. No I/O, no allocation, no globals. */
#ifndef TV_SOFTMAX_H
#define TV_SOFTMAX_H

#include <stddef.h>

/* The largest of n > 0 numbers. */
float softmax_row_max(const float *x, size_t n);
/* x = softmax(scale x), n > 0 numbers. Returns ln sum exp(scale x). */
double softmax_row(float *x, size_t n, float scale);
/* x = exp(x - log_sum): what softmax_row made, again. */
void softmax_row_from_log_sum(float *x, size_t n, float log_sum);

#endif
