/* The merged model M_j = W_j + sum_k alpha_kj tau_kj, which is computed one layer at a time and
 * never stored: a weight source for lm.h, and a gradient sink that reduces dL/dM_j to the gradients
 * of the coefficients, dL/dalpha_kj = <dL/dM_j, tau_kj>. Memory: one layer in F32, a panel of rows
 * of one weight gradient, and a tile of a task vector per thread, for any number of experts. A
 * merged model borrows the base, the task vectors, the coefficients and their gradients. */
#ifndef TV_MERGED_MODEL_H
#define TV_MERGED_MODEL_H

#include "model_weights.h"
#include "weight_gradient.h"

/* n elements of an expert's task vector in one weight of the model, from the element `first` on. */
struct task_vector_range {
    enum weight_kind kind;
    size_t layer, expert, first, n;
};

/* Where task vectors are read from. */
struct task_vector_source {
    void *context;
    bool needs_base; /* `read` subtracts the base, so it is faster with the base's elements */
    /* Writes the range to `to`, as zeros if the expert has no task vector there. `base`: the base's
     * elements of the range, or NULL. Several threads may call it at once. */
    int (*read)(void *context, const struct task_vector_range *range, const float *base, float *to,
                struct error *e);
};

struct merged_model;

/* All weights are the base's until merged_model_set_coefficients. `rounding`: the dtype that the
 * base's elements are rounded to first; DTYPE_NONE: no rounding. */
struct merged_model *merged_model_new(const struct model_weights *base,
                                      const struct task_vector_source *v, size_t experts,
                                      enum dtype rounding);
void merged_model_free(struct merged_model *m);

/* Merges a weight with the coefficients alpha (experts, chunks), one per chunk of
 * ceil(elements / chunks); NULL: the base's weight. Gradients of the coefficients are added to
 * `gradient` (experts, chunks); NULL: none are computed. A tied head is merged with the
 * embedding. */
void merged_model_set_coefficients(struct merged_model *m, enum weight_kind kind, size_t layer,
                                   size_t chunks, const double *alpha, double *gradient);
/* To be called after the values in alpha have changed: the layer in memory is merged again. */
void merged_model_discard_loaded_layer(struct merged_model *m);

/* Frees the layer in memory. */
void merged_model_release_layer(struct merged_model *m);

const struct weight_source *merged_model_weight_source(struct merged_model *m);
const struct gradient_sink *merged_model_gradient_sink(struct merged_model *m);
/* A gradient sink cannot return errors. Returns -1 with its first error, if there was one. */
int merged_model_report_gradient_error(struct merged_model *m, struct error *e);

#endif
