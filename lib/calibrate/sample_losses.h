/* The losses of training samples, computed by all processes together (mpi.h): each computes its own
 * samples, and losses and gradients are summed. */
#ifndef TV_SAMPLE_LOSSES_H
#define TV_SAMPLE_LOSSES_H

#include "calibration.h"

/* losses[i] of training sample indices[i], for i < n; with `gradient` the sum of their gradients is
 * added to the coefficients' (objective_compute_losses). A loss that is not finite is an error,
 * unless --allow-nonfinite is given. */
int sample_losses_compute(const struct calibration *c, const size_t *indices, size_t n,
                          bool gradient, struct loss *losses, struct error *e);

#endif
