/* Expert Merging++: how many coefficients each tensor gets, from what a first run has learned. */
#ifndef TV_IMPORTANCE_H
#define TV_IMPORTANCE_H

#include "calibration.h"

/* u_j = sum_k alpha_kj ||tau_kj||_1, and from it the chunks of each merged tensor as in
 * importance_chunk_counts. */
int importance_allocate_chunks(const struct calibration *c, double budget, double kappa,
                               size_t *chunks, struct error *e);

#endif
