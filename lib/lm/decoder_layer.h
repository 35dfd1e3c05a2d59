/* One decoder layer, forward and backward, over samples that are packed one after another. The
 * weights come as pointers, the gradients of the weights go out through a callback that gets the
 * two factors of each: dL/dW is never stored. What a layer computes on the way forward stands in a
 * struct layer_workspace, which one layer after the other uses; it is made again from the layer's
 * input before the way back, so that only the inputs have to be kept: all of it, or where there is
 * memory for a trace of the layer, only what costs little. No I/O, no files, no streams. */
#ifndef TV_DECODER_LAYER_H
#define TV_DECODER_LAYER_H

#include "token_batch.h"

/* weights.at[part], shapes as in weight_kind_shape; NULL for a part that the model lacks, or that
 * is of another layer or place. */
struct layer_weights {
    const float *at[WEIGHT_KINDS];
};

/* The gradient of one tensor, (rows, columns), as the factors that it is made of: over N tokens,
 *
 *     dW = dy^T x                       a matrix;  dy (N, rows), x (N, columns)
 *     dw = sum_t dy_t                   a vector, columns 0;  dy (N, rows)
 *     dW_v = sum over t with id_t = v of dy_t    the embedding;  dy (N, columns)
 *
 * of which weight_gradient_compute_rows makes some rows. The pointers hold until the callback
 * returns. */
struct weight_gradient {
    enum weight_kind kind;
    size_t layer; /* of the parts of a layer */
    size_t tokens, rows, columns;
    const float *dy, *x;
    const uint32_t *token_ids; /* the embedding's */
};

/* Rows first .. first + n - 1, at their full width, into `to`. */
void weight_gradient_compute_rows(const struct weight_gradient *g, size_t first, size_t n,
                                  float *to);

/* Who gets the gradients of weights. A tensor may be given more than once, for some of the tokens
 * each time: the gradient is the sum. */
struct gradient_sink {
    void *context;
    /* Is this tensor's gradient wanted? */
    bool (*wants)(void *context, enum weight_kind part, size_t layer);
    void (*add)(void *context, const struct weight_gradient *g);
};

/* Where the gradients of some parts go, and what they have in common. */
struct gradient_emitter {
    const struct arch *arch;
    const struct gradient_sink *sink;
    size_t layer, tokens;
};

bool gradient_emitter_wants(const struct gradient_emitter *to, enum weight_kind part);
/* Gives it if it is wanted. */
void gradient_emitter_send(const struct gradient_emitter *to, enum weight_kind part,
                           const float *dy, const float *x);
/* A matrix and its bias, which have the same dy. */
void gradient_emitter_send_linear(const struct gradient_emitter *to, enum weight_kind matrix,
                                  enum weight_kind bias, const float *dy, const float *x);

/* What costs most to make again, of N tokens: what the products and attention put out. */
struct saved_activations {
    float *q, *k, *v;    /* (N, H D), (N, G D) twice: turned by their positions */
    float *o, *log_sums; /* (N, H D), (N, H) */
    float *h;            /* (N, d): the layer's input and the attention's part */
    float *g, *u;        /* (N, f) */
};

/* A trace of N tokens in so many floats; that of the tokens from `first` on. */
size_t saved_activations_floats(const struct arch *a, size_t N);
struct saved_activations saved_activations_at(const struct arch *a, float *memory, size_t N,
                                              size_t first);

struct layer_workspace;

/* For packs of up to `tokens` tokens with no sample longer than `longest`. */
struct layer_workspace *layer_workspace_new(const struct arch *a, size_t tokens, size_t longest);
void layer_workspace_free(struct layer_workspace *w);
/* From now on it works on this trace; NULL: on one of its own. */
void layer_workspace_set_saved(struct layer_workspace *w, const struct saved_activations *t);

/* y = layer(x);  x, y (N, d); y may be x, or NULL: then only `work` is filled. */
void decoder_layer_forward(const struct arch *a, size_t layer, const struct layer_weights *w,
                           const struct token_batch *p, const float *x, float *y,
                           struct layer_workspace *work);
/* Makes the rest of what decoder_layer_backward needs, in place of decoder_layer_forward, from its
 * trace. */
void decoder_layer_recompute(const struct arch *a, const struct layer_weights *w,
                             const struct token_batch *p, const float *x,
                             struct layer_workspace *work);
/* After one of these with the same x, whose values in `work` are used up. dy (N, d) becomes dx;
 * without `dx_wanted` it is undefined afterwards, which saves three products in the first layer. */
void decoder_layer_backward(const struct arch *a, size_t layer, const struct layer_weights *w,
                            const struct token_batch *p, const float *x, float *dy, bool dx_wanted,
                            const struct gradient_sink *taker, struct layer_workspace *work);

#endif
