/* The sink of tv verify for LoRA adapters, in place of pack --lora: decomposes the task vector
 * again, compares the tensors and settings with those of an existing adapter, and prints the
 * answer. Factors that other matrix kernels have computed may differ although their products do
 * not; then the products are compared, up to rounding. */
#ifndef TV_ADAPTER_SINK_H
#define TV_ADAPTER_SINK_H

#include "filter.h"

/* Its options are those of pack for adapters, and those of the answer (comparison_answer.h); its
 * operand is the adapter. */
extern const struct filter adapter_sink;

#endif
