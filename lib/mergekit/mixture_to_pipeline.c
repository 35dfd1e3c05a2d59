#include "mixture_to_pipeline.h"

#include "auxiliary_files.h"
#include "glob_pattern.h"
#include "input_models.h"
#include "mergekit_options.h"
#include "model_source.h"
#include "number.h"
#include "pipeline_builder.h"
#include "printable.h"
#include "tensor_name.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* How an architecture names the MLPs, from the dense models' model.layers.*.mlp.*. */
static const struct {
    const char *name;               /* of pack --moe */
    const char *const *projections; /* NULL: the names of the projections stay */
    const char *experts, *shared;   /* the modules of experts and shared expert; NULL: none */
    const char *router;             /* NULL: moe-router's name */
    bool has_qkv_bias;
} layouts[] = {
    [MOE_MIXTRAL] = {"mixtral",
                     (const char *const[]){"gate_proj=w1", "up_proj=w3", "down_proj=w2", NULL},
                     "block_sparse_moe.experts", NULL, "block_sparse_moe.gate", false},
    [MOE_QWEN2] = {"qwen2_moe", NULL, "mlp.experts", "mlp.shared_expert", NULL, true},
    [MOE_QWEN3] = {"qwen3_moe", NULL, "mlp.experts", NULL, NULL, false},
    [MOE_DEEPSEEK] = {"deepseek", NULL, "mlp.experts", "mlp.shared_experts", NULL, false},
};

/* A configuration that is being translated. */
struct translation {
    const struct mixture_config *config;
    const struct mixture_options *options;
    struct input_models inputs;
    enum moe_architecture architecture;
    /* Of the base. */
    const char *model_type;
    size_t layers, hidden;
    enum dtype dtype;
    bool has_qkv_bias;
    struct arena *a;
    struct error *e;
};

static int config_error(const struct translation *t, size_t line, const char *sentence)
{
    return error_set(t->e, "%.200s, line %zu: %s", t->config->path, line, sentence);
}

static bool is_mlp_tensor(const char *name)
{
    return strstr(name, ".mlp.") != NULL;
}

/* ---- the models ------------------------------------------------------------------------------ */

/* Entry i of the experts and shared experts. */
static const struct mixture_expert *get_expert(const struct translation *t, size_t i)
{
    const struct mixture_config *c = t->config;
    return i < c->n_experts ? &c->experts[i] : &c->shared[i - c->n_experts];
}

/* The models as one document of a merge configuration, for their names in streams. */
static int list_models(struct translation *t)
{
    const struct mixture_config *c = t->config;
    struct config_slice slice = {.n_sources = c->n_experts + c->n_shared};
    slice.sources = arena_alloc(t->a, slice.n_sources, sizeof *slice.sources);
    for (size_t i = 0; i < slice.n_sources; i++)
        slice.sources[i].model = get_expert(t, i)->model;
    struct config_module module = {.n_slices = 1, .slices = &slice};
    const struct merge_config merge = {.base = c->base, .n_modules = 1, .modules = &module};
    const struct merge_config_file file = {.path = c->path};
    return input_models_list_and_name(&t->inputs, &file, &merge, false, t->a, t->e);
}

static const struct input_model *find_model(const struct translation *t, const char *model)
{
    return input_models_find(&t->inputs, model, t->a);
}

/* A model's model_type, in the arena; NULL on error. */
static const char *read_model_type(const struct translation *t, const struct model_source *m)
{
    const char *type;
    if (auxiliary_files_read_model_type(m, &type, t->a, t->e))
        return NULL;
    if (!type)
        error_set(t->e, "config.json of %s names no model_type", model_source_name(m));
    return type;
}

/* The MLPs must be those of the base, tensor by tensor. */
static int check_same_mlps(const struct translation *t, const struct model_source *base,
                           const struct model_source *m)
{
    for (size_t i = 0; i < model_source_tensor_count(base); i++) {
        const struct ckpt_tensor *x = model_source_tensor(base, i);
        if (!is_mlp_tensor(x->name))
            continue;
        long j = model_source_find_tensor(m, x->name);
        const struct ckpt_tensor *y = j < 0 ? NULL : model_source_tensor(m, (size_t)j);
        if (!y)
            return error_set(t->e, "%s has no tensor %s, which the base has", model_source_name(m),
                             x->name);
        if (y->rank != x->rank || memcmp(y->shape, x->shape, x->rank * sizeof *x->shape) != 0)
            return error_set(t->e, "tensor %s of %s has shape %s, but %s in the base", x->name,
                             model_source_name(m), tensor_format_shape(t->a, y->rank, y->shape),
                             tensor_format_shape(t->a, x->rank, x->shape));
    }
    for (size_t i = 0; i < model_source_tensor_count(m); i++) {
        const char *name = model_source_tensor(m, i)->name;
        if (is_mlp_tensor(name) && model_source_find_tensor(base, name) < 0)
            return error_set(t->e, "%s has a tensor %s, which the base lacks", model_source_name(m),
                             name);
    }
    return 0;
}

static int check_expert(const struct translation *t, const struct model_source *base,
                        const struct mixture_expert *x)
{
    struct model_source *m = model_source_open(find_model(t, x->model)->operand, t->options->spool,
                                               t->options->tool, t->e);
    const char *type = m ? read_model_type(t, m) : NULL;
    int failed = type ? check_same_mlps(t, base, m) : -1;
    if (!failed && strcmp(type, t->model_type) != 0)
        failed = error_set(t->e, "%.200s, line %zu: %s is of type %s, but the base is of type %s",
                           t->config->path, x->line, model_source_name(m), type, t->model_type);
    model_source_close(m);
    return failed;
}

/* A bias that the mixture has no place for: of the MLP, of attention's output, and in Mixtral of
 * queries, keys and values. */
static bool is_unplaced_bias(const struct translation *t, const char *name)
{
    bool is_qkv = strstr(name, ".q_proj.") || strstr(name, ".k_proj.") || strstr(name, ".v_proj.");
    return glob_pattern_text_ends_with(name, ".bias") &&
           (!is_qkv || t->architecture == MOE_MIXTRAL);
}

/* Reads sizes and dtype of the base. */
static int read_base(struct translation *t, const struct model_source *base)
{
    size_t length;
    if (!(t->model_type = read_model_type(t, base)))
        return -1;
    t->layers = (size_t)model_source_count_layers(base, "model.layers.", strlen("model.layers."));
    for (size_t i = 0; i < model_source_tensor_count(base); i++) {
        const struct ckpt_tensor *x = model_source_tensor(base, i);
        t->has_qkv_bias |= strstr(x->name, ".q_proj.bias") != NULL;
        if (!tensor_name_is_token_embedding(x->name) || x->rank != 2 ||
            tensor_name_layer(x->name, &length) >= 0)
            continue;
        t->hidden = x->shape[1];
        t->dtype = x->dtype;
    }
    return t->layers && t->hidden
               ? 0
               : error_set(t->e, "%s has no layers named model.layers.N, or no token embedding",
                           model_source_name(base));
}

static int check_biases(const struct translation *t, const struct model_source *base)
{
    for (size_t i = 0; i < model_source_tensor_count(base); i++)
        if (is_unplaced_bias(t, model_source_tensor(base, i)->name))
            return error_set(t->e, "%s has a tensor %s, for which a %s model has no place",
                             model_source_name(base), model_source_tensor(base, i)->name,
                             layouts[t->architecture].name);
    return 0;
}

/* ---- the architecture ------------------------------------------------------------------------ */

static bool is_type(const struct translation *t, const char *type)
{
    return strcmp(t->model_type, type) == 0;
}

/* Why the models do not fit an architecture; NULL: they do. */
static const char *why_architecture_does_not_fit(const struct translation *t,
                                                 enum moe_architecture architecture)
{
    const struct mixture_config *c = t->config;
    bool llama = is_type(t, "llama") || is_type(t, "mistral");
    switch (architecture) {
    case MOE_MIXTRAL:
        return !llama        ? "Mixtral is made of Llama and Mistral models"
               : c->n_shared ? "Mixtral has no shared_experts"
                             : NULL;
    case MOE_DEEPSEEK:
        return !llama            ? "DeepSeek MoE is made of Llama and Mistral models"
               : c->n_shared > 1 ? "DeepSeek MoE has at most one of shared_experts"
               : c->n_shared && c->shared->positive.n + c->shared->negative.n
                   ? "shared_experts of DeepSeek MoE have no prompts"
                   : NULL;
    case MOE_QWEN2:
        return !llama && !is_type(t, "qwen2")
                   ? "Qwen MoE is made of Llama, Mistral and Qwen2 models"
               : c->n_shared != 1 ? "Qwen MoE needs exactly one of shared_experts"
               : c->shared->positive.n == 0 && !mixture_config_is_random(c)
                   ? "shared_experts of Qwen MoE need positive_prompts"
                   : NULL;
    case MOE_QWEN3:
        return !is_type(t, "qwen3") ? "Qwen3 MoE is made of Qwen3 models"
               : c->n_shared        ? "Qwen3 MoE has no shared_experts"
                                    : NULL;
    }
    return NULL;
}

/* The configured architecture, or the first that fits. */
static int choose_architecture(struct translation *t)
{
    static const enum moe_architecture order[] = {MOE_MIXTRAL, MOE_DEEPSEEK, MOE_QWEN2, MOE_QWEN3};
    const struct mixture_config *c = t->config;
    const char *why = NULL;
    if (c->architecture >= 0) {
        t->architecture = (enum moe_architecture)c->architecture;
        why = why_architecture_does_not_fit(t, t->architecture);
        return why ? config_error(t, c->line, why) : 0;
    }
    for (size_t i = 0; i < COUNT(order); i++)
        if (!why_architecture_does_not_fit(t, order[i])) {
            t->architecture = order[i];
            return 0;
        }
    why = is_type(t, "qwen2")   ? why_architecture_does_not_fit(t, MOE_QWEN2)
          : is_type(t, "qwen3") ? why_architecture_does_not_fit(t, MOE_QWEN3)
          : c->n_shared         ? "no architecture has these shared_experts"
                                : "experts must be Llama, Mistral, Qwen2 or Qwen3 models";
    return config_error(t, c->line, why);
}

static int check_models(struct translation *t)
{
    const struct mixture_config *c = t->config;
    struct model_source *base = model_source_open(find_model(t, c->base)->operand,
                                                  t->options->spool, t->options->tool, t->e);
    int failed = base ? read_base(t, base) : -1;
    for (size_t i = 0; i < c->n_experts + c->n_shared && !failed; i++)
        failed = check_expert(t, base, get_expert(t, i));
    if (!failed)
        failed = choose_architecture(t) || check_biases(t, base);
    model_source_close(base);
    return failed;
}

/* ---- the pipeline ---------------------------------------------------------------------------- */

static void add_option(const struct translation *t, struct pipeline_command *c, const char *option,
                       uint64_t value)
{
    pipeline_builder_add_option(c, option, arena_printf(t->a, "%" PRIu64, value), t->a);
}

/* Adds an operand <( ... ) and returns its pipeline, still empty. */
static struct pipeline *add_substitution(const struct translation *t, struct pipeline_command *c)
{
    struct pipeline_word *w = pipeline_add_operand(c, "", t->a);
    w->substitution = arena_alloc(t->a, 1, sizeof *w->substitution);
    return w->substitution;
}

/* unpack MODEL | pick [--drop] (the tensors of its MLPs) */
static void add_unpack_and_pick(const struct translation *t, struct pipeline *p, const char *model,
                                bool drop)
{
    pipeline_add_operand(pipeline_add_command(p, "unpack", t->a), find_model(t, model)->operand,
                         t->a);
    struct pipeline_command *pick = pipeline_add_command(p, "pick", t->a);
    if (drop)
        pipeline_add_word(pick, "--drop", t->a);
    pipeline_add_word(pick, "/*.mlp.*", t->a);
}

/* From model.layers.*.mlp.gate_proj.weight to the expert's name. */
static void add_expert_renaming(const struct translation *t, struct pipeline *p, const char *place)
{
    const char *const *names = layouts[t->architecture].projections;
    struct pipeline_command *rename = pipeline_add_command(p, "tv-rename", t->a);
    if (!names)
        pipeline_add_word(
            rename, arena_printf(t->a, "model.layers.*.mlp.*=model.layers.*.%s.*", place), t->a);
    for (size_t i = 0; names && names[i]; i++) {
        const char *equals = strchr(names[i], '=');
        pipeline_add_word(rename,
                          arena_printf(t->a,
                                       "model.layers.*.mlp.%.*s.weight=model.layers.*.%s.%s.weight",
                                       (int)(equals - names[i]), names[i], place, equals + 1),
                          t->a);
    }
}

static const char *format_number(const struct translation *t, double x)
{
    return number_format(x, arena_alloc(t->a, 32, 1));
}

/* The seed of an expert's noise, which is another one for each expert of the same model. */
static uint64_t noise_seed(const struct translation *t, const struct mixture_expert *x)
{
    uint64_t seed = t->options->seed;
    for (size_t i = 0; get_expert(t, i) != x; i++)
        seed += find_model(t, get_expert(t, i)->model) == find_model(t, x->model);
    return seed;
}

static void add_expert(const struct translation *t, struct pipeline_command *stack,
                       const struct mixture_expert *x, const char *place)
{
    struct pipeline *p = add_substitution(t, stack);
    add_unpack_and_pick(t, p, x->model, false);
    if (x->noise_scale > 0) {
        struct pipeline_command *noise = pipeline_add_command(p, "add-noise", t->a);
        add_option(t, noise, "seed", noise_seed(t, x));
        pipeline_add_word(noise, format_number(t, x->noise_scale), t->a);
    }
    if (x->residual_scale != 1)
        pipeline_add_word(
            pipeline_add_command(p, "rescale", t->a),
            arena_printf(t->a, "/*.down_proj.*=%s", format_number(t, x->residual_scale)), t->a);
    add_expert_renaming(t, p, place);
}

/* forward BASE --only=hidden --tokens=... */
static void add_hidden_states(const struct translation *t, struct pipeline_command *router,
                              const struct prompt_list *prompts)
{
    bool embed = t->config->gate_mode == GATE_CHEAP_EMBED;
    struct pipeline *p = add_substitution(t, router);
    struct pipeline_command *forward = pipeline_add_command(p, "forward", t->a);
    pipeline_add_word(forward, embed ? "--only=embeddings" : "--only=hidden", t->a);
    for (size_t i = 0; i < prompts->n; i++)
        pipeline_builder_add_option(forward, "tokens", prompts->ids[i], t->a);
    pipeline_add_operand(forward, find_model(t, t->config->base)->operand, t->a);
}

/* The routers of some experts, under moe-router's names. */
static struct pipeline *add_routers(const struct translation *t, struct pipeline_command *stack,
                                    const struct mixture_expert *experts, size_t n, uint64_t seed)
{
    const struct mixture_config *c = t->config;
    const char *negative = "";
    struct pipeline *p = add_substitution(t, stack);
    struct pipeline_command *router = pipeline_add_command(p, "moe-router", t->a);
    pipeline_builder_add_option(router, "gate-mode", mixture_config_gate_mode_name(c->gate_mode),
                                t->a);
    if (mixture_config_is_random(c) || c->gate_mode == GATE_CHEAP_EMBED)
        add_option(t, router, "layers", t->layers);
    if (mixture_config_is_random(c)) {
        add_option(t, router, "experts", n);
        add_option(t, router, "hidden-size", t->hidden);
        add_option(t, router, "seed", seed);
        return p;
    }
    for (size_t i = 0; i < n; i++)
        if (experts[i].negative.n)
            negative = arena_printf(t->a, "%s%s%zu", negative, *negative ? "," : "", i);
    if (*negative)
        pipeline_builder_add_option(router, "negative", negative, t->a);
    for (size_t i = 0; i < n; i++)
        add_hidden_states(t, router, &experts[i].positive);
    for (size_t i = 0; i < n; i++)
        if (experts[i].negative.n)
            add_hidden_states(t, router, &experts[i].negative);
    return p;
}

static void add_router_renaming(const struct translation *t, struct pipeline *p, const char *name)
{
    pipeline_add_word(
        pipeline_add_command(p, "tv-rename", t->a),
        arena_printf(t->a, "model.layers.*.mlp.gate.weight=model.layers.*.%s.weight", name), t->a);
}

static void add_zero_bias(const struct translation *t, struct pipeline_command *stack)
{
    struct pipeline_command *zero =
        pipeline_add_command(add_substitution(t, stack), "zero-bias", t->a);
    pipeline_add_operand(zero, find_model(t, t->config->base)->operand, t->a);
    for (const char *map = "qkv"; *map; map++)
        pipeline_add_word(zero, arena_printf(t->a, "*.self_attn.%c_proj", *map), t->a);
}

static void add_stack_command(const struct translation *t, struct pipeline *p)
{
    const struct mixture_config *c = t->config;
    struct pipeline_command *stack = pipeline_add_command(p, "stack", t->a);
    pipeline_add_word(stack, "--disjoint", t->a);
    add_unpack_and_pick(t, add_substitution(t, stack), c->base, true);
    if (layouts[t->architecture].has_qkv_bias && !t->has_qkv_bias)
        add_zero_bias(t, stack);
    for (size_t i = 0; i < c->n_experts; i++)
        add_expert(t, stack, &c->experts[i],
                   arena_printf(t->a, "%s.%zu", layouts[t->architecture].experts, i));
    if (c->n_shared)
        add_expert(t, stack, c->shared, layouts[t->architecture].shared);
    struct pipeline *routers = add_routers(t, stack, c->experts, c->n_experts, t->options->seed);
    if (layouts[t->architecture].router)
        add_router_renaming(t, routers, layouts[t->architecture].router);
    if (t->architecture == MOE_QWEN2)
        add_router_renaming(t, add_routers(t, stack, c->shared, 1, t->options->seed + 1),
                            "mlp.shared_expert_gate");
}

static void add_pack_command(const struct translation *t, struct pipeline *p, const char *out)
{
    const struct mixture_config *c = t->config;
    struct pipeline_command *pack = pipeline_add_command(p, "pack", t->a);
    pipeline_add_word(pack, "--like", t->a);
    pipeline_add_word(pack, find_model(t, c->base)->plain_operand, t->a);
    pipeline_builder_add_option(pack, "moe", layouts[t->architecture].name, t->a);
    add_option(t, pack, "experts-per-token", c->experts_per_token);
    enum dtype dtype = c->dtype != DTYPE_NONE ? c->dtype : t->dtype;
    pipeline_builder_add_dtype(pack, dtype, t->a);
    const char *shard_size = t->options->shard_size;
    if (t->options->shard_parameters)
        shard_size = mergekit_options_shard_bytes(t->options->shard_parameters, dtype, t->a);
    pipeline_builder_add_option(pack, "shard-size", shard_size, t->a);
    if (t->options->force)
        pipeline_add_word(pack, "--force", t->a);
    if (t->options->no_tokenizer)
        pipeline_add_word(pack, "--no-tokenizer", t->a);
    pipeline_add_word(pack, *out == '-' && out[1] ? arena_printf(t->a, "./%s", out) : out, t->a);
}

int mixture_to_pipeline(struct pipeline *p, const struct mixture_config *c, const char *out,
                        const struct mixture_options *o, struct arena *a, struct error *e)
{
    struct translation t = {.config = c, .options = o, .dtype = DTYPE_NONE, .a = a, .e = e};
    *p = (struct pipeline){0};
    if (list_models(&t) || check_models(&t))
        return -1;
    if (c->n_experts & (c->n_experts - 1))
        printable_warning(o->tool,
                          "%zu experts are not a power of two; older versions of "
                          "llama.cpp do not load such a model",
                          c->n_experts);
    add_stack_command(&t, p);
    add_pack_command(&t, p, out);
    return 0;
}
