/* The source filter for the operand of a sink, such as tv-view: it reads a stream or a model. */
#ifndef TV_OPERAND_SOURCE_H
#define TV_OPERAND_SOURCE_H

#include "filter.h"

/* The source for `operand`: "-" or a saved stream, or a checkpoint as a stream of its weights. NULL
 * on error. A sink's descriptor names this function. */
const struct filter *operand_source_choose_filter(const char *operand, struct error *e);

#endif
