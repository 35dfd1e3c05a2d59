/* Refuses numbers that are not finite. */
#ifndef TV_FINITE_CHECK_H
#define TV_FINITE_CHECK_H

#include "filter.h"

/* Does the stage let them pass? */
bool finite_check_is_off(const struct stage *s);
/* A block of tensor `t`, of `h`, which say whose the number is that was found. */
int finite_check_block(const struct tensor *t, const struct header *h, const struct block *b,
                       struct error *e);

#endif
