/* Rejects payload that contains NaN or infinity. */
#ifndef TV_FINITE_CHECK_H
#define TV_FINITE_CHECK_H

#include "filter.h"

/* Does the stage accept NaN and infinity? */
bool finite_check_is_off(const struct stage *s);
/* -1 if a block of `t` has one; the error names the tensor, the model (of header `h`) and the flat
 * index. */
int finite_check_block(const struct tensor *t, const struct header *h, const struct block *b,
                       struct error *e);

#endif
