#include "model_modules.h"

#include "auxiliary_files.h"
#include "glob_pattern.h"
#include "model_source.h"
#include "tensor_name.h"

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* The names on disk, and those with the "model." that newer versions of transformers put in front.
 */
static const struct model_modules all_modules[] = {
    {{"qwen2_vl", "qwen2_5_vl"},
     false,
     {{"text_decoder", {0}},
      {"multi_modal_projector", {"*visual.merger.*"}},
      {"vision_tower", {"*visual.patch_embed.*", "*visual.blocks.*"}}}},
    {{"qwen3_vl", "qwen3_vl_moe"},
     false,
     {{"text_decoder", {0}},
      {"multi_modal_projector", {"*visual.merger.*", "*visual.deepstack_merger_list.*"}},
      {"vision_tower", {"*visual.patch_embed.*", "*visual.pos_embed.*", "*visual.blocks.*"}}}},
    {{"gemma3", "mistral3"},
     false,
     {{"text_decoder", {0}},
      {"multi_modal_projector", {"*multi_modal_projector.*"}},
      {"vision_tower", {"*vision_tower.*"}}}},
    {{"llama4"},
     false,
     {{"text_decoder", {0}},
      {"multi_modal_projector", {"*multi_modal_projector.*"}},
      {"vision_model", {"*vision_model.*"}}}},
    {{"t5"}, true, {{"decoder", {"decoder.*"}}, {"encoder", {"encoder.*"}}, {"shared", {0}}}},
    {{"whisper"}, true, {{"decoder", {0}}, {"encoder", {"*encoder.*"}}}},
};

const struct model_modules *model_modules_find(const char *type)
{
    for (size_t i = 0; i < COUNT(all_modules); i++)
        for (size_t j = 0; j < COUNT(all_modules[i].types) && all_modules[i].types[j]; j++)
            if (strcmp(all_modules[i].types[j], type) == 0)
                return &all_modules[i];
    return NULL;
}

const struct model_module *model_modules_find_module(const struct model_modules *m,
                                                     const char *name)
{
    for (const struct model_module *module = m->modules; module->name; module++)
        if (strcmp(module->name, name) == 0)
            return module;
    return NULL;
}

const char *model_modules_list_names(const struct model_modules *m, struct arena *a)
{
    const char *names = m->modules->name;
    for (const struct model_module *module = m->modules + 1; module->name; module++)
        names = arena_printf(a, "%s, %s", names, module->name);
    return names;
}

static bool matches_a_glob(const struct model_module *module, const char *tensor)
{
    for (size_t i = 0; i < MODEL_MODULE_MAX_GLOBS && module->globs[i]; i++)
        if (glob_pattern_matches(module->globs[i], tensor))
            return true;
    return false;
}

static bool has_tensor(const struct model_modules *m, const struct model_module *module,
                       const char *tensor)
{
    bool elsewhere = false;
    for (const struct model_module *other = m->modules; other->name; other++)
        elsewhere |= matches_a_glob(other, tensor);
    return module->globs[0] ? matches_a_glob(module, tensor) : !elsewhere;
}

int model_modules_read_type(const char *model, const char *tool, const char **type, struct arena *a,
                            struct error *e)
{
    struct model_source *source = model_source_open(model, NULL, tool, e);
    int failed = source ? auxiliary_files_read_model_type(source, type, a, e) : -1;
    model_source_close(source);
    return failed;
}

int model_modules_find_stack(const struct model_modules *m, const struct model_module *module,
                             const char *model, const char *tool, const char **stack,
                             struct arena *a, struct error *e)
{
    size_t length;
    struct model_source *source = model_source_open(model, NULL, tool, e);
    *stack = NULL;
    if (!source)
        return -1;
    for (size_t i = 0; i < model_source_tensor_count(source) && !*stack; i++) {
        const char *name = model_source_tensor(source, i)->name;
        if (has_tensor(m, module, name) && tensor_name_layer(name, &length) >= 0)
            *stack = arena_copy_text_n(a, name, length - 1);
    }
    model_source_close(source);
    return 0;
}
