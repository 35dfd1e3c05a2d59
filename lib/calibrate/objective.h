/* The loss of Expert Merging for some samples, and its gradient by the coefficients:
 *
 *     loss = beta_k (w_h H + w_z Z)
 *     H = 1/|S| sum_{l in S} 1/(P d) sum_{t, i} (h_l[t, i] - h_l^expert[t, i])^2
 *     Z = Theta^2 1/P sum_t (- sum_v q[t, v] ln p[t, v])
 *         q = softmax(z^expert / Theta), p = softmax(z / Theta)
 *
 * over the P positions of a sample that count. The samples pass the model together, and the merged
 * layers are made twice, forward and backward. Memory: the states of these samples, kept for the
 * way back, in a temporary file above a limit; what it leaves, traces of layers take (lm.h); and a
 * block of logits. */
#ifndef TV_OBJECTIVE_H
#define TV_OBJECTIVE_H

#include "merged_model.h"
#include "teachers.h"

struct objective_settings {
    double temperature, hidden_weight, logit_weight;
    const double *task_weights; /* [expert] */
    const bool *hidden;         /* [h_0 .. h_L]: is it in S? */
    size_t hidden_count;        /* |S| */
    size_t skip;                /* positions before this one do not count in H */
    bool relative; /* H by token: divided by the mean square of the expert's state there */
};

/* What one sample costs. */
struct loss {
    double hidden, logit; /* beta w_h H and beta w_z Z */
};

struct loss objective_mean_loss(const struct loss *losses, size_t n);

struct objective;

/* `sights`: of the examples' pictures; NULL will do where there are none. `longest`: tokens of the
 * longest example. All is borrowed. */
struct objective *objective_new(const struct arch *a, struct merged_model *m, struct teachers *t,
                                const struct example *examples, const struct image_features *sights,
                                const struct objective_settings *settings, size_t longest,
                                uint64_t memory, const char *spool);
void objective_free(struct objective *o);

/* The losses of n examples, loss[n], at the coefficients that the merged model has now; with
 * `gradient` the sum of their gradients is added where the merged model was told. */
int objective_compute_losses(struct objective *o, const size_t *examples, size_t n, bool gradient,
                             struct loss *loss, struct error *e);

#endif
