/* Rotary positions: tables of cos and sin, and the rotation of queries and keys by them. Pairs are
 * (j, j + D/2), as in Hugging Face's checkpoints. No allocation, no globals. */
#ifndef TV_ROPE_H
#define TV_ROPE_H

#include "arch.h"

#include <stdint.h>

/* The tables of one sequence of T tokens: cos, sin (T, D/2). `positions` (3, T), each below T:
 * time, row and column for the sections of M-RoPE; NULL: 0 .. T - 1, the same for all. */
void rope_tables(const struct arch *a, size_t T, const uint32_t *positions, float *cos_,
                 float *sin_);
/* The frequencies behind them, inv (D/2), for a sequence of that length. */
void rope_frequencies(const struct rope_parameters *r, size_t D, size_t T, float *inv);

/* Turns x (T, heads, D), in place, forth and back again. */
void rope_forward(float *x, const float *cos_, const float *sin_, size_t T, size_t heads, size_t D);
void rope_backward(float *dx, const float *cos_, const float *sin_, size_t T, size_t heads,
                   size_t D);

#endif
