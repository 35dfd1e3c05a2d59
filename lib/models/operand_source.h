/* The operand of a sink that looks at a stream or a model. */
#ifndef TV_OPERAND_SOURCE_H
#define TV_OPERAND_SOURCE_H

#include "filter.h"

/* The source for it, a saved stream's or a checkpoint's; NULL on error. A filter's descriptor
 * names it. */
const struct filter *operand_source_filter(const char *operand, struct error *e);

#endif
