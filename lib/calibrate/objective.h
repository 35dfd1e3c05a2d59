/* The loss of Expert Merging on some training samples, and its gradient with respect to the
 * coefficients. For a sample of expert k:
 *
 *     loss = beta_k (w_h H + w_z Z)
 *     H = 1/|S| sum_{l in S} 1/(P d) sum_{t, i} (h_l[t, i] - h_l^expert[t, i])^2
 *     Z = Theta^2 1/P sum_t (- sum_v q[t, v] ln p[t, v])
 *         q = softmax(z^expert / Theta), p = softmax(z / Theta)
 *         or q = p: the entropy of the merged model's own output, without teachers (AdaMerging)
 *
 * over the P positions that are compared. The samples pass through the model as one batch, and each
 * merged layer is computed twice, for the forward and for the backward pass. Memory: the residual
 * states of the batch, in a temporary file beyond a limit; memory left below the limit saves layer
 * activations (lm.h); and a block of logits. */
#ifndef TV_OBJECTIVE_H
#define TV_OBJECTIVE_H

#include "merged_model.h"
#include "teacher_outputs.h"

struct objective_settings {
    double temperature, hidden_weight, logit_weight; /* Theta, w_h, w_z */
    const double *task_weights;                      /* [expert]: beta_k */
    const bool *hidden_states;                       /* [h_0 .. h_L]: is it in S? */
    size_t n_hidden_states;                          /* |S| */
    size_t skip_first;                               /* H ignores the positions before this one */
    bool entropy;                                    /* q = p */
    bool relative; /* H divides by the mean square of the expert's state, token by token */
};

/* Of one sample. */
struct loss {
    double hidden, logit; /* beta w_h H and beta w_z Z */
};

struct loss objective_mean_loss(const struct loss *losses, size_t n);

struct objective;

struct objective_inputs {
    const struct arch *arch;
    const struct weight_source *weights; /* of the model that is compared with the teachers */
    struct merged_model *merged_model;   /* that model, for gradients; NULL: none are computed */
    struct teacher_outputs *teachers;
    const struct training_sample *samples;
    const struct image_features *image_features; /* of the samples; may be NULL without images */
    size_t longest;                              /* tokens of the longest sample */
    uint64_t memory;                             /* bytes of states and activations in memory */
    const char *spool;                           /* folder of the temporary file; may be NULL */
};

/* Borrows all inputs, and the settings' arrays. */
struct objective *objective_new(const struct objective_inputs *in,
                                const struct objective_settings *settings);
void objective_free(struct objective *o);

/* The losses of the n training samples indices[n], with the coefficients that the merged model has
 * now. With `gradient` the sum of their gradients is added to the coefficients' gradients (see
 * merged_model_set_coefficients). */
int objective_compute_losses(struct objective *o, const size_t *indices, size_t n, bool gradient,
                             struct loss *losses, struct error *e);

#endif
