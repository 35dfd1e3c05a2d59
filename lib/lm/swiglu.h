/* SwiGLU (Shazeer 2020, arXiv 2002.05202), the gate of a decoder's MLP, forward and backward:
 *
 *     z = silu(g) u,  silu(g) = g sigmoid(g)
 *
 * n elements each. No I/O, no allocation. */
#ifndef TV_SWIGLU_H
#define TV_SWIGLU_H

#include <stddef.h>

void swiglu_forward(const float *g, const float *u, size_t n, float *z);
/* g becomes dg, u becomes du. */
void swiglu_backward(const float *dz, float *g, float *u, size_t n);

#endif
