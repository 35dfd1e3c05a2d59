/* The coefficients alpha that Expert Merging learns: one per learned tensor and expert, or one per
 * chunk of the flattened tensor. The learned parameter is r, with alpha = max sigmoid(r). A struct
 * coefficients owns its arrays until coefficients_free. No I/O. */
#ifndef TV_COEFFICIENTS_H
#define TV_COEFFICIENTS_H

#include <stdbool.h>
#include <stddef.h>

/* Coefficients of one tensor: that of expert k and chunk c has the index first + k chunks + c. */
struct coefficient_range {
    size_t first, chunks;
    bool frozen; /* not learned; excluded from the regularizer and from the gradient's norm */
};

struct coefficients {
    size_t tensors, experts;
    double max;
    struct coefficient_range *ranges; /* [tensor] */
    size_t n_learned;                 /* learned ones come first, then those of frozen tensors */
    size_t n_all;
    double *r, *alpha; /* (n_all) */
    double *center;    /* (n_all): alpha_0, from which the regularizer measures the distance */
    double *gradient;  /* (n_all): d loss / d alpha, summed over samples, without the regularizer */
};

/* `group`: tensors with the same group[j] share their coefficients; group[j] <= j is the first of
 * them. `chunks`: of each tensor; 0: frozen. All alpha are max / 2. */
void coefficients_new(struct coefficients *c, size_t tensors, size_t experts, const size_t *group,
                      const size_t *chunks, double max);
void coefficients_free(struct coefficients *c);

/* Sets coefficient i to `alpha`, in (0, max), and its r to match. */
void coefficients_set_alpha(struct coefficients *c, size_t i, double alpha);
/* Copies alpha of a tensor and expert to the regularizer's center. */
void coefficients_set_regularizer_center(struct coefficients *c, size_t tensor, size_t expert);
/* alpha from r, after an update. */
void coefficients_compute_alpha(struct coefficients *c);

/* R = 1/N sum |alpha - alpha_0|, or with `squared` 1/N sum (alpha - alpha_0)^2; N is the number of
 * learned coefficients per expert, so R is the mean times the number of experts. */
double coefficients_regularizer(const struct coefficients *c, bool squared);
/* dR / d alpha_i */
double coefficients_regularizer_gradient(const struct coefficients *c, size_t i, bool squared);
/* d alpha_i / d r_i = alpha (1 - alpha / max) */
double coefficients_sigmoid_derivative(const struct coefficients *c, size_t i);

#endif
