/* Losses of all training samples before training: for --dry-run and for --init auto. */
#ifndef TV_INITIAL_LOSSES_H
#define TV_INITIAL_LOSSES_H

#include "calibration.h"

/* --init auto: sets the default initial value to the one number for all coefficients that has the
 * lowest mean loss. `chunks`: as for calibration_coefficients_init. */
int initial_losses_search_best_alpha(struct calibration *c, const size_t *chunks, struct error *e);

/* --dry-run: writes the losses at the present coefficients to `log`, and with their gradients to
 * `gradients`; each may be NULL. Gradients are computed only if they are written. */
int initial_losses_write_report(struct calibration *c, FILE *log, FILE *gradients, struct error *e);

#endif
