/* Looking before learning: the losses of all examples at some coefficients. */
#ifndef TV_INITIAL_LOSSES_H
#define TV_INITIAL_LOSSES_H

#include "calibration.h"

/* Every example once, `group` at a time, losses[c->examples.n]; with `gradient` the sum of their
 * gradients is left in the coefficients. */
int initial_losses_compute(struct calibration *c, size_t group, bool gradient, struct loss *losses,
                           struct error *e);
/* --init auto: lets the coefficients start at the one number for all that has the least loss. */
int initial_losses_search_init(struct calibration *c, size_t group, const size_t *chunks,
                               struct error *e);

#endif
