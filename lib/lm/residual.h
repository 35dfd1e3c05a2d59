/* The residual stream: additions of a sublayer's output to its input. The gradient of an addition
 * is passed to both sides unchanged, so backward passes use the same functions. No I/O, no
 * allocation. */
#ifndef TV_RESIDUAL_H
#define TV_RESIDUAL_H

#include <stddef.h>

/* y += x, n elements. */
void residual_add(const float *x, size_t n, float *y);
/* y += g x, with LayerScale (arXiv 2103.17239);  x, y (T, d), g (d) */
void residual_add_scaled(const float *x, const float *g, size_t T, size_t d, float *y);

#endif
