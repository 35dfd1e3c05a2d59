/* Warnings about steps of a merge in an unusual order, which is possible but often a mistake. */
#ifndef TV_STEP_ORDER_H
#define TV_STEP_ORDER_H

#include "filter.h"

/* Is there one vector per tensor, joined by an earlier step? */
bool step_order_is_merged(const struct header *h);
/* After open: warns if the filter belongs before the join and the vectors are merged already, or if
 * it compares vectors and there is only one per tensor. */
void step_order_warn(const struct stage *s, const struct header *in);

#endif
