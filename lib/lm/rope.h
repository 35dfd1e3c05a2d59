/* Rotary position embeddings (RoPE; Su et al. 2021, arXiv 2104.09864), forward and backward, with
 * the scalings of transformers and M-RoPE (Qwen2-VL, arXiv 2409.12191): tables of cos and sin, and
 * the rotation of queries and keys by them. The rotated pairs are (j, j + D/2), as in Hugging
 * Face's checkpoints. No allocation, no globals. */
#ifndef TV_ROPE_H
#define TV_ROPE_H

#include "arch.h"

#include <stdint.h>

/* The tables of one sequence: cos_, sin_ (T, D/2). `positions` (3, T), each below T, has the time,
 * row and column of each token for the sections of M-RoPE; NULL: tokens are at 0 .. T - 1. */
void rope_compute_tables(const struct arch *a, size_t T, const uint32_t *positions, float *cos_,
                         float *sin_);
/* The frequencies of the angles for a sequence of T tokens, to inv (D/2), theta^(-2j/D) with the
 * scaling. */
void rope_compute_frequencies(const struct rope_parameters *r, size_t D, size_t T, float *inv);

/* Rotates x (T, heads, D) in place. */
void rope_forward(float *x, const float *cos_, const float *sin_, size_t T, size_t heads, size_t D);
/* Rotates dx (T, heads, D) back, in place. */
void rope_backward(float *dx, const float *cos_, const float *sin_, size_t T, size_t heads,
                   size_t D);

#endif
