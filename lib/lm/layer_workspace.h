/* Activations and gradients of one decoder layer: the memory that a forward and backward pass
 * through the layers reuses from layer to layer. A layer_workspace owns its memory until
 * layer_workspace_free. Letters are those of arch.h; N tokens. */
#ifndef TV_LAYER_WORKSPACE_H
#define TV_LAYER_WORKSPACE_H

#include "arch.h"

/* The activations that are expensive to recompute: results of matrix products and of attention. */
struct saved_activations {
    float *q, *k, *v;       /* (N, H D), (N, G D), (N, G D); q and k after RoPE */
    float *q_proj, *k_proj; /* with q and k norms: (N, H D), (N, G D), before them ... */
    float *q_r, *k_r;       /* ... and (N, H), (N, G): r of RMSNorm */
    float *o, *log_sums;    /* (N, H D), (N, H): of attention */
    float *h;               /* (N, d): the residual stream between attention and MLP */
    float *g, *u;           /* (N, f): gate and up projection */
};

/* Floats of memory for the saved activations of N tokens. */
size_t saved_activations_floats(const struct arch *a, size_t N);
/* Places the saved activations of N tokens in `memory`; the result is those from token `first` on.
 */
struct saved_activations saved_activations_at(const struct arch *a, float *memory, size_t N,
                                              size_t first);

struct layer_workspace {
    struct saved_activations saved; /* in use: `own`, or set by layer_workspace_set_saved */
    struct saved_activations own;   /* in this workspace's memory */
    float *x_norm, *x_r;            /* (N, d), (N): RMSNorm of the layer's input x, and its r */
    float *h_norm, *h_r;            /* (N, d), (N): of h */
    float *z;                       /* (N, f): swiglu(g, u); then dz */
    float *d_o, *dq, *dk, *dv;      /* like o, q, k, v */
    float *d_norm;                  /* (N, d): gradient of x_norm or h_norm */
    float *attention_scratch;
    float *memory;
};

/* For batches of up to `tokens` tokens with no sample longer than `longest`. */
struct layer_workspace *layer_workspace_new(const struct arch *a, size_t tokens, size_t longest);
void layer_workspace_free(struct layer_workspace *w);
/* The next passes use these saved activations; NULL: the workspace's own. */
void layer_workspace_set_saved(struct layer_workspace *w, const struct saved_activations *saved);

#endif
