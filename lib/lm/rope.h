/* Rotary positions: tables of cos and sin, and the rotation of queries and keys by them. Pairs are
 * (j, j + D/2), as in Hugging Face's checkpoints. No allocation, no globals. */
#ifndef TV_ROPE_H
#define TV_ROPE_H

#include "arch.h"

/* The tables of one sequence of T tokens, positions 0 .. T - 1: cos, sin (T, D/2). */
void rope_tables(const struct arch *a, size_t T, float *cos_, float *sin_);
/* The frequencies behind them, inv (D/2), for a sequence of that length. */
void rope_frequencies(const struct rope_recipe *r, size_t D, size_t T, float *inv);

/* Turns x (T, heads, D), in place, forth and back again. */
void rope_forward(float *x, const float *cos_, const float *sin_, size_t T, size_t heads, size_t D);
void rope_backward(float *dx, const float *cos_, const float *sin_, size_t T, size_t heads,
                   size_t D);

#endif
