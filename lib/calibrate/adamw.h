/* AdamW with decoupled weight decay, clipping, and a learning rate that is annealed by a cosine and
 * restarts (Loshchilov & Hutter 2019, arXiv 1711.05101; 2017, arXiv 1608.03983). An adamw owns its
 * moments until adamw_free. No I/O. */
#ifndef TV_ADAMW_H
#define TV_ADAMW_H

#include <stddef.h>
#include <stdint.h>

struct adamw_settings {
    double lr, beta1, beta2, eps, weight_decay;
    double clip;    /* largest norm of a gradient; 0: any */
    double eta_min; /* the least learning rate, as a share of lr */
    uint64_t t0;    /* updates to the first restart */
    uint64_t tmult; /* each stretch is so many times as long as the one before */
};

struct adamw {
    struct adamw_settings settings;
    size_t n;
    double *m, *v;                        /* (n) */
    uint64_t updates;                     /* done */
    uint64_t since_restart, cycle_length; /* updates since the last restart, and to the next one */
};

/* For n numbers. */
void adamw_new(struct adamw *a, const struct adamw_settings *s, size_t n);
void adamw_free(struct adamw *a);

/* The learning rate of the next update. */
double adamw_learning_rate(const struct adamw *a);
/* Scales the gradient g (n) to a norm of `clip` where it is longer. Returns the norm before. */
double adamw_clip_gradient(const struct adamw *a, double *g);
/* One update of r (n) by the gradient g (n). */
void adamw_step(struct adamw *a, double *r, const double *g);

#endif
