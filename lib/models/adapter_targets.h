/* Which tensor of the base a module of a LoRA adapter is. Adapters are trained on models in memory,
 * whose modules may have other names than the tensors of the checkpoint; the names differ in a
 * prefix. */
#ifndef TV_ADAPTER_TARGETS_H
#define TV_ADAPTER_TARGETS_H

#include "adapter_base.h"

#include <stdbool.h>

/* The tensor MODULE.LEAF of the base, else the same with one prefix exchanged; -1 if there is
 * none. */
long adapter_targets_find(const struct adapter_base *base, const char *module, const char *leaf);
/* Is it the head of a model whose head is its token embedding? */
bool adapter_targets_is_tied_head(const struct adapter_base *base, const char *module);
/* Is it the token embedding of such a model? */
bool adapter_targets_is_tied_embedding(const struct adapter_base *base, const char *module);
/* Prints a note under the name `tool` if the module, which the adapter at `path` changes, is such
 * an embedding. */
void adapter_targets_print_tied_note(const struct adapter_base *base, const char *module,
                                     const char *path, const char *tool);
/* Is the weight of the module stored as (in, out), as that of GPT-2's Conv1D? Only for a square
 * weight, whose shape does not say so. */
bool adapter_targets_is_conv1d(const struct adapter_base *base, const char *module);

#endif
