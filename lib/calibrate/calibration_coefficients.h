/* The coefficients of a calibration: created with their initial values, used by the merged model,
 * and returned as the weights of the stream's vectors or as a table. */
#ifndef TV_CALIBRATION_COEFFICIENTS_H
#define TV_CALIBRATION_COEFFICIENTS_H

#include "calibration.h"

/* Creates the coefficients, chunks[j] of each learned tensor j and expert (0: frozen), with the
 * initial values of --init, and merges the model with them. `use_start_table`: then moves them to
 * the values of --start. */
int calibration_coefficients_init(struct calibration *c, const size_t *chunks, bool use_start_table,
                                  struct error *e);

/* The n weights that vector `v` of the stream's tensor `tensor` gets: its coefficients; or one 0 if
 * the tensor keeps the base's values. */
const double *calibration_coefficients_of_vector(const struct calibration *c, size_t tensor,
                                                 const struct vector *v, size_t *n);
/* The weights of all vectors, for weigh --table: lines of tensor, model, chunk and value with tabs
 * between them. */
void calibration_coefficients_write_table(const struct calibration *c, FILE *out);

#endif
