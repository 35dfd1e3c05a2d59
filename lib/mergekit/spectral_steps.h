/* The methods that decompose matrices, which are extensions of mergekit's: tsv_m, iso_c, iso_cts,
 * wudi, optmerge, swudi and swudi_a as filters. The functions return -1 with the builder's error
 * set.
 */
#ifndef TV_SPECTRAL_STEPS_H
#define TV_SPECTRAL_STEPS_H

#include "slice_context.h"

/* The steps of the builder's method. */
int spectral_steps_add(const struct slice_context *s);
/* Is it one of these methods? */
bool spectral_steps_has_method(const char *name);

#endif
