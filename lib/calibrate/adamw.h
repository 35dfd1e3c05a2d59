/* AdamW with decoupled weight decay, gradient clipping, and a learning rate that follows a cosine
 * with warm restarts (Loshchilov & Hutter: arXiv 1711.05101, arXiv 1608.03983). A struct adamw owns
 * its moments until adamw_free. No I/O. */
#ifndef TV_ADAMW_H
#define TV_ADAMW_H

#include <stddef.h>
#include <stdint.h>

struct adamw_settings {
    double lr, beta1, beta2, eps, weight_decay;
    double clip;    /* largest norm of a gradient; 0: no clipping */
    double eta_min; /* lowest learning rate, as a fraction of lr */
    uint64_t t0;    /* length of the first cosine cycle, in updates */
    uint64_t tmult; /* each cycle is tmult times as long as the one before */
};

struct adamw {
    struct adamw_settings settings;
    size_t n;
    double *m, *v;          /* (n): first and second moments */
    uint64_t updates;       /* done so far */
    uint64_t since_restart; /* T_cur: updates since the last restart */
    uint64_t cycle_length;  /* T_i: updates of the present cycle */
};

/* Zero moments for n parameters, at the start of the first cycle. */
void adamw_new(struct adamw *a, const struct adamw_settings *s, size_t n);
void adamw_free(struct adamw *a);

/* The learning rate of the next update. */
double adamw_learning_rate(const struct adamw *a);
/* Scales the gradient g (n) down to the norm `clip` if it is longer. Returns the norm before. */
double adamw_clip_gradient(const struct adamw *a, double *g);
/* One update of the parameters r (n) with the gradient g (n). */
void adamw_step(struct adamw *a, double *r, const double *g);

#endif
