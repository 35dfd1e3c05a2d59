/* A whole language model, forward and backward, layer by layer: its weights are asked for when they
 * are needed and need not outlive that, so that memory holds one layer, the states of the samples
 * at hand, and some rows of embedding and head. The samples of a pack pass a layer together, some
 * at a time. No files, no streams.
 *
 * States: x_0 is the embeddings, x_l the residual stream behind layer l - 1, x_L what goes into the
 * final norm, and x_{L+1} the normed x_L. Transformers' hidden_states are x_0 .. x_{L-1}, x_{L+1}.
 */
#ifndef TV_LM_H
#define TV_LM_H

#include "decoder_layer.h"

/* Where weights come from. NULL and -1: an error. */
struct weight_source {
    void *context;
    /* The weights of a layer, of the projector, or of the vision tower outside its layers; they
     * stay until the next call. */
    int (*load_layer)(void *context, struct weight_range parts, size_t layer,
                      struct layer_weights *w, struct error *e);
    /* Rows first .. first + n - 1 of embedding or head, or elements of the final norm: where they
     * lie, or written to `to`. They stay until `to` is written again. */
    const float *(*load_rows)(void *context, enum weight_kind part, size_t first, size_t n,
                              float *to, struct error *e);
};

struct lm;

/* For packs of any size, `room` tokens of which, at least a sample, are in a layer at once; no
 * sample is longer than `longest`. Arch and weights are borrowed. */
struct lm *lm_new(const struct arch *a, const struct weight_source *w, size_t room, size_t longest);
void lm_free(struct lm *m);
/* What the pictures of samples look like from now on (image_features.h), borrowed. */
struct image_features;
void lm_set_image_features(struct lm *m, const struct image_features *sights);

/* Traces of so many bytes are kept from the next lm_forward for the lm_backward after it, of as
 * many layers as there is room for: these layers need not compute again. 0, as at the start: none.
 */
void lm_set_activation_budget(struct lm *m, uint64_t bytes);

/* Gets every state, x (N, d), as it comes: x_0, x_1, ..., x_{L+1}. It may not be changed. */
struct state_hook {
    void *context;
    int (*on_state)(void *context, size_t state, const float *x, struct error *e);
};

/* x (N, d) receives x_{L+1}. `keeper` may be NULL. */
int lm_forward(struct lm *m, const struct token_batch *p, float *x, const struct state_hook *keeper,
               struct error *e);

/* z = h W_head^T;  h (n, d) normed states, z (n, V). lm_logits_block_tokens says how many tokens to
 * take at a time: never all. */
size_t lm_logits_block_tokens(const struct arch *a);
int lm_logits(struct lm *m, const float *h, size_t n, float *z, struct error *e);
/* dh (n, d) is overwritten. The taker gets the head's gradient. */
int lm_logits_backward(struct lm *m, const float *dz, const float *h, size_t n, float *dh,
                       const struct gradient_sink *taker, struct error *e);

/* What backward asks for. */
struct backward_hooks {
    void *context;
    /* x_l (N, d), l <= L, as lm_forward gave it; needed until the next call. NULL: an error. */
    const float *(*load_state)(void *context, size_t state, struct error *e);
    /* Adds to dx (N, d) what the loss owes to x_l, l < L, in other ways. May be NULL. */
    void (*add_state_gradient)(void *context, size_t state, float *dx);
};

/* dx (N, d): the gradient of the loss by x_{L+1}; afterwards that by x_0, if the embedding's or the
 * projector's gradient is wanted, else undefined. Ends at the lowest layer of which the taker wants
 * anything.
 */
int lm_backward(struct lm *m, const struct token_batch *p, const struct backward_hooks *tape,
                float *dx, const struct gradient_sink *taker, struct error *e);

#endif
