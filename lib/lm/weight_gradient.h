/* Gradients of the loss with respect to weights, as the two factors of the product dL/dW = dy^T x.
 * dL/dW is never stored as a whole: the receiver, a gradient_sink, computes as many rows at a time
 * as fit into its memory. Pointers in a weight_gradient are valid until gradient_sink.add returns.
 */
#ifndef TV_WEIGHT_GRADIENT_H
#define TV_WEIGHT_GRADIENT_H

#include "weight_kind.h"

/* The gradient of one weight (rows, columns) over N tokens:
 *
 *     dW = dy^T x                           a matrix;  dy (N, rows), x (N, columns)
 *     db = sum_t dy_t                       a vector (columns is 0);  dy (N, rows)
 *     dW_v = sum_{t: token_t = v} dy_t      the embedding's row v;  dy (N, columns) */
struct weight_gradient {
    enum weight_kind kind;
    size_t layer; /* of a weight in a layer */
    size_t tokens, rows, columns;
    const float *dy, *x;
    const uint32_t *token_ids; /* (N), for the embedding; otherwise NULL */
};

/* Computes rows first .. first + n - 1 of the gradient, to (n, columns). */
void weight_gradient_compute_rows(const struct weight_gradient *g, size_t first, size_t n,
                                  float *to);

/* The receiver of weight gradients. A backward pass may add several gradients of one weight, each
 * for some of the tokens; the weight's gradient is their sum. */
struct gradient_sink {
    void *context;
    bool (*wants)(void *context, enum weight_kind kind, size_t layer);
    void (*add)(void *context, const struct weight_gradient *g);
};

/* Sends the weight gradients of one layer to a sink. */
struct gradient_emitter {
    const struct arch *arch;
    const struct gradient_sink *sink;
    size_t layer, tokens;
};

/* The model has the weight and the sink wants its gradient. */
bool gradient_emitter_wants(const struct gradient_emitter *m, enum weight_kind kind);
/* Sends dW = dy^T x, or with x NULL db = sum_t dy_t, if the sink wants it. */
void gradient_emitter_send(const struct gradient_emitter *m, enum weight_kind kind, const float *dy,
                           const float *x);
/* Sends the gradients of y = x W^T + b with respect to W and b, if the sink wants them. */
void gradient_emitter_send_linear(const struct gradient_emitter *m, enum weight_kind matrix,
                                  enum weight_kind bias, const float *dy, const float *x);

#endif
