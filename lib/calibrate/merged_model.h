/* A merged model that nobody stores: base + sum_k alpha_k tau_k, made one layer at a time, as the
 * weights that lm.h computes with; and the gradient of its coefficients, of which each is the inner
 * product of dL/dW and a task vector, made panel by panel. Memory: a layer in F32, a panel of one
 * gradient, and a piece of a task vector on each thread, for any number of experts. A merged
 * borrows the base, the task vectors, the coefficients and the gradients. */
#ifndef TV_MERGED_MODEL_H
#define TV_MERGED_MODEL_H

#include "model_weights.h"
#include "weight_gradient.h"

/* Where task vectors come from. */
struct task_vector_source {
    void *context;
    bool needs_base; /* `read` subtracts the base: give it the base's elements */
    /* n elements of expert k's of a part of the base, from `first` on; 0 where it has none. `base`:
     * the base's elements there, or NULL. May be called by several threads at once. */
    int (*read)(void *context, enum weight_kind part, size_t layer, size_t k, size_t first,
                size_t n, const float *base, float *to, struct error *e);
};

struct merged_model;

/* With all coefficients zero. `rounding`: of the base's elements, DTYPE_NONE for none. */
struct merged_model *merged_model_new(const struct model_weights *base,
                                      const struct task_vector_source *v, size_t experts,
                                      enum dtype rounding);
void merged_model_free(struct merged_model *m);

/* Gives a part its coefficients alpha (experts, chunks), chunks of ceil(n / chunks) elements; NULL:
 * the part stays the base's. Where the gradient is wanted it is added to `gradient` (experts,
 * chunks). A head that is tied goes with the embedding. */
void merged_model_set_coefficients(struct merged_model *m, enum weight_kind part, size_t layer,
                                   size_t chunks, const double *alpha, double *gradient);
/* The coefficients have other values now. */
void merged_model_invalidate(struct merged_model *m);

/* Lets go of the layer that is held. */
void merged_model_release_layer(struct merged_model *m);

const struct weight_source *merged_model_weight_source(struct merged_model *m);
const struct gradient_sink *merged_model_gradient_sink(struct merged_model *m);
/* A taker cannot fail: did it? Then the error is set. */
int merged_model_check_gradients(struct merged_model *m, struct error *e);

#endif
