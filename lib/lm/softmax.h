/* Softmax of a row of floats, in place. No I/O, no allocation, no globals. */
#ifndef TV_SOFTMAX_H
#define TV_SOFTMAX_H

#include <stddef.h>

/* The largest of n > 0 values. */
float softmax_row_max(const float *x, size_t n);
/* x = softmax(scale x), n > 0 values. Returns ln sum exp(scale x). */
double softmax_row(float *x, size_t n, float scale);
/* x = exp(x - log_sum): the softmax again, from the result of softmax_row with scale 1. */
void softmax_row_from_log_sum(float *x, size_t n, float log_sum);

#endif
