/* config.json of a mixture of experts: the keys that Mixtral, Qwen2-MoE, Qwen3-MoE and DeepSeek-MoE
 * have beside those of the dense model that the experts were made from (the config classes of
 * transformers; DeepSeek's own for its code on the Hub). */
#ifndef TV_MOE_CONFIG_H
#define TV_MOE_CONFIG_H

#include "header.h"

#include <jansson.h>

/* In the order of MOE_CONFIG_CHOICES. */
enum moe_architecture { MOE_MIXTRAL, MOE_QWEN2, MOE_QWEN3, MOE_DEEPSEEK };
#define MOE_CONFIG_CHOICES "mixtral|qwen2_moe|qwen3_moe|deepseek"

struct moe_config {
    enum moe_architecture architecture;
    size_t experts, experts_per_token;
    bool has_shared_expert;
};

/* Finds the number of experts in the routers of a checkpoint, which must have the architecture's
 * names, and checks that `experts_per_token` is not larger. */
int moe_config_find(struct moe_config *m, enum moe_architecture architecture,
                    size_t experts_per_token, const struct header *h, struct error *e);
/* Adds the keys to the config of the dense model. */
void moe_config_update(const struct moe_config *m, json_t *config);

#endif
