/* Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245), forward and backward, over the
 * samples of a batch: causal, causal with a sliding window, or bidirectional in each sample. The
 * scores of a few queries of one head are in memory at a time, for each thread; the backward pass
 * recomputes them (as FlashAttention does, arXiv 2205.14135). No allocation, no I/O. */
#ifndef TV_ATTENTION_H
#define TV_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>

/* Queries, keys and values of N tokens: q (N, H, D), k, v (N, G, D), samples one after another.
 * Sample s has the tokens starts[s] - starts[0] .. starts[s + 1] - starts[0] - 1. Query head h uses
 * key and value head h / (H / G). */
struct attention {
    size_t samples;
    const size_t *starts; /* [samples + 1] */
    size_t heads, kv_heads, head_dim;
    size_t window;      /* positions that a token attends to, its own included; 0: all up to it */
    bool bidirectional; /* a token attends to all of its sample */
    const float *q, *k, *v;
};

/* Floats of scratch memory for samples of up to T tokens. */
size_t attention_scratch_floats(size_t T);

/* o = softmax(q k^T / sqrt(D)) v;  o (N, H, D). Writes log_sums (N, H), ln sum exp of each row of
 * scores, for the backward pass. */
void attention_forward(const struct attention *a, float *o, float *log_sums, float *scratch);
/* From d_o (N, H, D): dq (N, H, D), dk, dv (N, G, D), which are overwritten. */
void attention_backward(const struct attention *a, const float *o, const float *log_sums,
                        const float *d_o, float *dq, float *dk, float *dv, float *scratch);

#endif
