/* Bicubic interpolation of a table over a grid, as PyTorch's interpolate does it (A = -0.75,
 * aligned pixel areas, edges repeated). No I/O, no allocation. */
#ifndef TV_BICUBIC_H
#define TV_BICUBIC_H

#include <stddef.h>

/* from (side, side, d) to (height, width, d) */
void bicubic_resize(const float *from, size_t side, size_t d, size_t height, size_t width,
                    float *to);

#endif
