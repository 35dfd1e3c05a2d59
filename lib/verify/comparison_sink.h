/* The sink of tv verify, in place of pack: compares what pack would write with an existing
 * checkpoint, bit for bit, and prints the answer. */
#ifndef TV_COMPARISON_SINK_H
#define TV_COMPARISON_SINK_H

#include "filter.h"

/* Its options are those of pack that change tensors, and those of the answer
 * (comparison_answer.h); its operand is the checkpoint. */
extern const struct filter comparison_sink;

#endif
