#include "adapter_targets.h"

#include "mem.h"
#include "model_config.h"
#include "printable.h"
#include "tensor_name.h"

#include <stdlib.h>
#include <string.h>

/* In the module's name, and in the checkpoint. The first exchange that finds a tensor counts. */
static const char *const exchanges[][2] = {
    {"", ""},
    {"transformer.", ""}, /* GPT-2 of the Hub has h.0... */
    {"", "transformer."},
    {"model.language_model.", "model."}, /* transformers >= 4.52 in memory */
    {"model.visual.", "visual."},
    {"model.language_model.", "language_model.model."},
    {"model.vision_tower.", "vision_tower."},
    {"model.", "model.language_model."}, /* a model that was saved again */
    {"visual.", "model.visual."},
    {"model.", ""},
    {"", "model."}, /* trained on the model without its head */
    {"", "language_model."},
};

long adapter_targets_find(const struct adapter_base *base, const char *module, const char *leaf)
{
    long found = -1;
    struct arena a = {0};
    for (size_t i = 0; found < 0 && i < sizeof exchanges / sizeof *exchanges; i++) {
        size_t n = strlen(exchanges[i][0]);
        if (strncmp(module, exchanges[i][0], n) == 0)
            found = base->find_tensor(
                base->model, arena_printf(&a, "%s%s.%s", exchanges[i][1], module + n, leaf));
    }
    arena_free(&a);
    return found;
}

/* ---- tied embeddings ------------------------------------------------------------------------- */

static bool is_named(const char *module, bool (*is)(const char *))
{
    char *name = mem_printf("%s.weight", module);
    bool found = is(name);
    free(name);
    return found;
}

static bool has_head(const struct adapter_base *base)
{
    for (size_t i = 0; i < base->n_tensors; i++)
        if (tensor_name_is_lm_head(base->tensor(base->model, i)->name))
            return true;
    return false;
}

static bool is_tied(const struct adapter_base *base)
{
    return !has_head(base) &&
           (!base->config ||
            model_config_tied_embeddings(base->config, base->config_size) != TIED_EMBEDDINGS_NO);
}

bool adapter_targets_is_tied_head(const struct adapter_base *base, const char *module)
{
    return is_named(module, tensor_name_is_lm_head) && is_tied(base);
}

bool adapter_targets_is_tied_embedding(const struct adapter_base *base, const char *module)
{
    return is_named(module, tensor_name_is_token_embedding) && is_tied(base);
}

void adapter_targets_print_tied_note(const struct adapter_base *base, const char *module,
                                     const char *path, const char *tool)
{
    if (adapter_targets_is_tied_embedding(base, module))
        printable_note(tool,
                       "%s changes %s, which is also the head of %s; in peft the "
                       "head stays as it is until the adapter is merged",
                       path, module, base->name);
}

/* ---- GPT-2 ----------------------------------------------------------------------------------- */

static const char *last_component(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* Does a weight of q, k and v together have them side by side in its rows? */
static bool has_transposed_attention(const struct adapter_base *base)
{
    static const char ending[] = ".c_attn.weight";
    for (size_t i = 0; i < base->n_tensors; i++) {
        const struct ckpt_tensor *t = base->tensor(base->model, i);
        size_t n = strlen(t->name), m = sizeof ending - 1;
        if (n > m && strcmp(t->name + n - m, ending) == 0 && t->rank == 2)
            return t->shape[1] > t->shape[0];
    }
    return false;
}

bool adapter_targets_is_conv1d(const struct adapter_base *base, const char *module)
{
    static const char *const names[] = {"c_attn", "c_proj", "c_fc", "q_attn"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(last_component(module), names[i]) == 0)
            return has_transposed_attention(base);
    return false;
}
