#include "moe_config.h"

#include "glob_pattern.h"

#include <string.h>

static const struct {
    const char *model_type, *class, *router;
} architectures[] = {
    [MOE_MIXTRAL] = {"mixtral", "MixtralForCausalLM", ".block_sparse_moe.gate.weight"},
    [MOE_QWEN2] = {"qwen2_moe", "Qwen2MoeForCausalLM", ".mlp.gate.weight"},
    [MOE_QWEN3] = {"qwen3_moe", "Qwen3MoeForCausalLM", ".mlp.gate.weight"},
    [MOE_DEEPSEEK] = {"deepseek", "DeepseekForCausalLM", ".mlp.gate.weight"},
};

/* ---- the tensors ----------------------------------------------------------------------------- */

int moe_config_find(struct moe_config *m, enum moe_architecture architecture,
                    size_t experts_per_token, const struct header *h, struct error *e)
{
    const char *router = architectures[architecture].router;
    *m = (struct moe_config){.architecture = architecture, .experts_per_token = experts_per_token};
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        m->has_shared_expert |= strstr(t->name, ".shared_expert") != NULL;
        if (!glob_pattern_text_ends_with(t->name, router) || t->rank != 2)
            continue;
        if (m->experts && m->experts != t->shape[0])
            return error_set(e, "tensor %s is the router of %zu experts, but others are of %zu",
                             t->name, (size_t)t->shape[0], m->experts);
        m->experts = t->shape[0];
    }
    if (m->experts == 0)
        return error_set(e, "--moe=%s: the stream has no routers (...%s)",
                         architectures[architecture].model_type, router);
    return experts_per_token <= m->experts
               ? 0
               : error_set(e, "--experts-per-token=%zu is more than the %zu experts",
                           experts_per_token, m->experts);
}

/* ---- config.json ----------------------------------------------------------------------------- */

static void set_size(json_t *config, const char *key, size_t value)
{
    json_object_set_new(config, key, json_integer((json_int_t)value));
}

/* The experts are as large as the dense model's MLP. */
static void copy_intermediate_size(json_t *config, const char *key)
{
    json_t *size = json_object_get(config, "intermediate_size");
    if (size)
        json_object_set(config, key, size);
}

static void set_qwen_keys(json_t *config)
{
    copy_intermediate_size(config, "moe_intermediate_size");
    set_size(config, "decoder_sparse_step", 1);
    json_object_set_new(config, "norm_topk_prob", json_true());
}

static void set_deepseek_keys(const struct moe_config *m, json_t *config)
{
    static const char *const classes[][2] = {
        {"AutoConfig", "configuration_deepseek.DeepseekConfig"},
        {"AutoModel", "modeling_deepseek.DeepseekModel"},
        {"AutoModelForCausalLM", "modeling_deepseek.DeepseekForCausalLM"}};
    json_t *map = json_object();
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        json_object_set_new(map, classes[i][0],
                            json_sprintf("deepseek-ai/deepseek-moe-16b-base--%s", classes[i][1]));
    json_object_set_new(config, "auto_map", map);
    copy_intermediate_size(config, "moe_intermediate_size");
    json_object_set_new(config, "n_shared_experts",
                        m->has_shared_expert ? json_integer(1) : json_null());
    set_size(config, "first_k_dense_replace", 0);
    set_size(config, "moe_layer_freq", 1);
    json_object_set_new(config, "scoring_func", json_string("softmax"));
    json_object_set_new(config, "norm_topk_prob", json_true());
}

void moe_config_update(const struct moe_config *m, json_t *config)
{
    const char *class = architectures[m->architecture].class;
    json_object_set_new(config, "architectures", json_pack("[s]", class));
    json_object_set_new(config, "model_type",
                        json_string(architectures[m->architecture].model_type));
    set_size(config, "num_experts_per_tok", m->experts_per_token);
    switch (m->architecture) {
    case MOE_MIXTRAL:
        set_size(config, "num_local_experts", m->experts);
        json_object_set_new(config, "sliding_window", json_null());
        break;
    case MOE_QWEN2:
        set_size(config, "num_experts", m->experts);
        set_qwen_keys(config);
        copy_intermediate_size(config, "shared_expert_intermediate_size");
        json_object_set_new(config, "sliding_window", json_null());
        json_object_set_new(config, "use_sliding_window", json_false());
        break;
    case MOE_QWEN3:
        set_size(config, "num_experts", m->experts);
        set_size(config, "num_local_experts", m->experts); /* transformers 5's name */
        set_qwen_keys(config);
        break;
    case MOE_DEEPSEEK:
        set_size(config, "n_routed_experts", m->experts);
        set_deepseek_keys(m, config);
        break;
    }
}
