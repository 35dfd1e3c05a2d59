/* adapter_config.json of a LoRA adapter, as peft writes it: ranks, scales, and the settings that
 * change what the tensors mean. What selected the modules in training is not read: the adapter has
 * what its file holds.
 *
 * An adapter_config owns itself until adapter_config_free. */
#ifndef TV_ADAPTER_CONFIG_H
#define TV_ADAPTER_CONFIG_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

struct adapter_config;

/* Parses the text; `file` names it in messages. Another type of adapter, and settings that change
 * more than the weights of a plain LoRA, are errors that name them. NULL on error. */
struct adapter_config *adapter_config_parse(const char *file, const char *text, size_t size,
                                            struct error *e);
void adapter_config_free(struct adapter_config *c);

/* rank_pattern, else r. A module is named as in the model, without "base_model.model.". */
int64_t adapter_config_rank(const struct adapter_config *c, const char *module);
/* alpha / r, or with use_rslora alpha / sqrt(r); alpha is that of alpha_pattern, else lora_alpha.
 * The rank must be above 0. */
double adapter_config_scale(const struct adapter_config *c, const char *module);
bool adapter_config_uses_dora(const struct adapter_config *c);
/* ensure_weight_tying: what changes a tied embedding changes the head too, also in peft. */
bool adapter_config_ties_weights(const struct adapter_config *c);
/* trainable_token_indices of the module: the rows of its embedding that the adapter replaces, all
 * at least 0. NULL if there are none. */
const int64_t *adapter_config_token_indices(const struct adapter_config *c, const char *module,
                                            size_t *n);

#endif
