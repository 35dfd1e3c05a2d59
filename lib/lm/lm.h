/* A language model, forward and backward, layer by layer. Weights are loaded when a layer needs
 * them and need not stay, so memory holds one layer, the hidden states of a batch, and some rows of
 * the embedding and the LM head. The samples of a batch pass a layer together, as many at a time as
 * fit. An lm owns its buffers until lm_free; architecture and weights are borrowed. No files, no
 * streams.
 *
 * States: x_0 is the embeddings; x_l the residual stream after decoder layer l - 1; x_L the input
 * of the final norm; x_{L+1} = rmsnorm(x_L), from which the LM head makes logits. The hidden_states
 * of transformers are x_0 .. x_{L-1} and x_{L+1}. */
#ifndef TV_LM_H
#define TV_LM_H

#include "decoder_layer.h"

struct image_features;
struct lm;

/* `room`: tokens that are in a layer at once, at least one sample; `longest`: tokens of the longest
 * sample. Batches may be of any size. */
struct lm *lm_new(const struct arch *a, const struct weight_source *w, size_t room, size_t longest);
void lm_free(struct lm *m);
/* Sets the features of the images in later batches (image_features.h); borrowed. */
void lm_set_image_features(struct lm *m, const struct image_features *f);
/* The memory for activations that lm_forward saves for the lm_backward after it; layers whose
 * activations are saved are not computed twice. As many layers as fit are saved, the last ones
 * first. 0, the default: none. */
void lm_set_activation_budget(struct lm *m, uint64_t bytes);

/* Is called with every state x (N, d) in order, x_0 .. x_{L+1}; x must not be changed. */
struct state_hook {
    void *context;
    int (*on_state)(void *context, size_t state, const float *x, struct error *e);
};

/* Computes x_{L+1}, to x (N, d). `hook` may be NULL. */
int lm_forward(struct lm *m, const struct token_batch *b, float *x, const struct state_hook *hook,
               struct error *e);

/* Is called after each forward pass of some samples through a decoder layer, whose workspace has
 * their activations. */
struct layer_hook {
    void *context;
    void (*on_layer)(void *context, const struct decoder_layer *l);
};

/* The forward pass in steps, for callers that keep the states of more tokens than one batch.
 * Writes x_0 to x (N, d). */
int lm_forward_embedding(struct lm *m, const struct token_batch *b, float *x, struct error *e);
/* x_l becomes x_{l+1}. `hook` may be NULL. */
int lm_forward_layer(struct lm *m, size_t layer, const struct token_batch *b, float *x,
                     const struct layer_hook *hook, struct error *e);
/* x_L becomes x_{L+1}. */
int lm_forward_final_norm(struct lm *m, size_t N, float *x, struct error *e);

/* Tokens whose logits should be computed at a time; the logits of a whole batch are too large. */
size_t lm_logits_block_tokens(const struct arch *a);
/* z = h W^T with the LM head W (V, d);  h (n, d) rows of x_{L+1}, z (n, V) */
int lm_logits(struct lm *m, const float *h, size_t n, float *z, struct error *e);
/* dh = dz W, which overwrites dh (n, d). The gradient of W is sent to the sink. */
int lm_logits_backward(struct lm *m, const float *dz, const float *h, size_t n, float *dh,
                       const struct gradient_sink *sink, struct error *e);

/* What lm_backward asks its caller for. */
struct backward_hooks {
    void *context;
    /* Returns x_l (N, d), l <= L, of the forward pass, valid until the next call; NULL on error. */
    const float *(*load_state)(void *context, size_t state, struct error *e);
    /* Adds to dx (N, d) the gradient of a loss term that uses x_l directly, l < L. May be NULL. */
    void (*add_state_gradient)(void *context, size_t state, float *dx);
};

/* Backward pass from dx (N, d), the gradient of x_{L+1}. Afterwards dx is the gradient of x_0 if
 * the sink wants that of the embedding or projector, and otherwise undefined: the pass ends at the
 * lowest layer with a wanted gradient. */
int lm_backward(struct lm *m, const struct token_batch *b, const struct backward_hooks *hooks,
                float *dx, const struct gradient_sink *sink, struct error *e);

/* The backward pass in steps. dx, the gradient of x_{L+1}, becomes that of x_L;  x = x_L (N, d) */
int lm_backward_final_norm(struct lm *m, const struct token_batch *b, const float *x, float *dx,
                           const struct gradient_sink *sink, struct error *e);
/* dx, the gradient of x_{l+1}, becomes that of x_l, or with `needs_dx` false undefined;  x = x_l */
int lm_backward_layer(struct lm *m, size_t layer, const struct token_batch *b, const float *x,
                      float *dx, bool needs_dx, const struct gradient_sink *sink, struct error *e);

#endif
