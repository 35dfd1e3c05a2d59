/* Attention with grouped queries, sample by sample, forward and backward: causal, or of every token
 * to all of its sample. Scores are held
 * for some queries of one head at a time, on each thread. No allocation, no I/O. */
#ifndef TV_ATTENTION_H
#define TV_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>

/* Heads of samples that are packed one after another, N tokens in all: q (N, H, D), k, v (N, G, D).
 * Sample s has the tokens starts[s] - starts[0] .. starts[s + 1] - starts[0] - 1. Query head h uses
 * head h / (H / G) of k and v. `window`: how many positions a token sees, itself counted; 0: all
 * before it. */
struct attention {
    size_t samples;
    const size_t *starts;
    size_t heads, kv_heads, head_dim, window;
    bool bidirectional; /* a token sees all of its sample */
    const float *q, *k, *v;
};

/* Floats of scratch that attention over samples of up to T tokens needs. */
size_t attention_scratch_floats(size_t T);

/* o = softmax(q k^T / sqrt(D)) v;  o (N, H, D); log_sums (N, H): ln sum exp of each row of scores,
 * for the way back. */
void attention_forward(const struct attention *a, float *o, float *log_sums, float *scratch);
/* dq, dk, dv are overwritten. */
void attention_backward(const struct attention *a, const float *o, const float *log_sums,
                        const float *d_o, float *dq, float *dk, float *dv, float *scratch);

#endif
