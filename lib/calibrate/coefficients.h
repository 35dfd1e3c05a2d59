/* The coefficients that Expert Merging learns: of each tensor and expert one, or one for each of
 * some chunks of the flattened tensor. What is learned is r; alpha = max sigmoid(r). A coefficients
 * owns its arrays until coefficients_free. No I/O. */
#ifndef TV_COEFFICIENTS_H
#define TV_COEFFICIENTS_H

#include <stdbool.h>
#include <stddef.h>

/* The coefficient of tensor j, expert k and chunk c is number first + k chunks + c. */
struct coefficient_range {
    size_t first, chunks;
    bool frozen; /* stays where it starts, and counts nowhere */
};

struct coefficients {
    size_t tensors, experts;
    double max;
    struct coefficient_range *ranges; /* [tensor] */
    size_t n_learned;                 /* that are learned; those of frozen tensors follow */
    size_t n_all;
    double *r, *alpha; /* (all) */
    double *centre;    /* (all): alpha at the start, where the regulariser holds it */
    double *gradient;  /* (all): of the losses by alpha, added up over samples */
};

/* Tensors with the same number in `group` share their coefficients: group[j] <= j is the first of
 * them. `chunks` of each tensor, 0: frozen. All alpha start at max / 2. */
void coefficients_new(struct coefficients *c, size_t tensors, size_t experts, const size_t *group,
                      const size_t *chunks, double max);
void coefficients_free(struct coefficients *c);

/* Puts coefficient i at `alpha`, in (0, max). */
void coefficients_set_alpha(struct coefficients *c, size_t i, double alpha);
/* The regulariser holds those of a tensor and expert where they are now. */
void coefficients_set_centre(struct coefficients *c, size_t tensor, size_t expert);
/* alpha from r, after an update. */
void coefficients_compute_alpha(struct coefficients *c);

/* R = 1/N sum |alpha - centre|, or with `squared` the squares; N: coefficients per expert. */
double coefficients_regulariser(const struct coefficients *c, bool squared);
/* Its derivative by coefficient i. */
double coefficients_regulariser_gradient(const struct coefficients *c, size_t i, bool squared);
/* d alpha / d r of coefficient i. */
double coefficients_sigmoid_derivative(const struct coefficients *c, size_t i);

/* Expert Merging++: tensors get chunks in proportion to the power kappa of their importance,
 *
 *     share_j = budget tensors u_j^kappa / sum_i u_i^kappa,  m_j = floor(share_j)
 *
 * of which only those count that are not empty when n_j elements are cut into pieces of
 * ceil(n_j / m_j). All u zero: no tensor gets one. */
void importance_chunk_counts(size_t tensors, const double *u, const size_t *elements, double budget,
                             double kappa, size_t *chunks);

#endif
