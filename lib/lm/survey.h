/* Looking before learning: the losses of all examples at some coefficients. */
#ifndef TV_SURVEY_H
#define TV_SURVEY_H

#include "calibration.h"

/* Every example once, `group` at a time, losses[c->examples.n]; with `gradient` the sum of their
 * gradients is left in the coefficients. */
int survey_all(struct calibration *c, size_t group, bool gradient, struct loss *losses,
               struct error *e);
/* --init auto: lets the coefficients start at the one number for all that has the least loss. */
int survey_start(struct calibration *c, size_t group, const size_t *chunks, struct error *e);

#endif
