/* The sink of tv verify, in place of pack: compares what pack would write with an existing
 * checkpoint, bit for bit, and prints the report. Its run has the exit status
 * COMPARISON_SINK_DIFFERENT if something differs. */
#ifndef TV_COMPARISON_SINK_H
#define TV_COMPARISON_SINK_H

#include "filter.h"

#define COMPARISON_SINK_DIFFERENT 3

/* Its options are those of pack that change tensors, --input=NAME for the report, and
 * --note=SENTENCE for what may explain a difference; its operand is the checkpoint. */
extern const struct filter comparison_sink;

#endif
