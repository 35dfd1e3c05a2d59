#include "layer_slice.h"

#include "model_config.h"
#include "tensor_name.h"

#include <stdlib.h>
#include <string.h>

#define LAYERS_MAX 10000000 /* larger numbers in a range count as this one */

/* Finds "[from:to]" at the end of an operand; NULL if there is none. */
static const char *parse_layer_range_suffix(const char *operand, long *from, long *to)
{
    const char *open = strrchr(operand, '[');
    if (!open || open == operand)
        return NULL;
    const char *colon = open + 1 + strspn(open + 1, "0123456789");
    if (colon == open + 1 || *colon != ':')
        return NULL;
    const char *close = colon + 1 + strspn(colon + 1, "0123456789");
    if (close == colon + 1 || strcmp(close, "]") != 0)
        return NULL;
    *from = strtol(open + 1, NULL, 10);
    *to = strtol(colon + 1, NULL, 10);
    *from = *from < LAYERS_MAX ? *from : LAYERS_MAX;
    *to = *to < LAYERS_MAX ? *to : LAYERS_MAX;
    return open;
}

const char *layer_slice_find_range_suffix(const char *operand)
{
    long from, to;
    return parse_layer_range_suffix(operand, &from, &to);
}

const char *layer_slice_format_name_with_range(const struct model_source *m, const char *operand,
                                               struct arena *a)
{
    long from, to;
    const char *range = parse_layer_range_suffix(operand, &from, &to);
    return arena_printf(a, "%s%s", model_source_name(m), range ? range : "");
}

/* ---- the layer stack ------------------------------------------------------------------------- */

/* The prefix of the stack that the user named; NULL if the model has no such stack. */
static const char *find_stack_by_prefix(const struct model_source *m, const char *stack,
                                        size_t *length)
{
    for (size_t i = 0; i < model_source_tensor_count(m); i++) {
        const char *name = model_source_tensor(m, i)->name;
        if (tensor_name_layer(name, length) >= 0 &&
            tensor_name_is_stack_prefix(name, *length, stack))
            return name;
    }
    return NULL;
}

static bool has_second_layer_stack(const struct model_source *m, const char *prefix, size_t length)
{
    size_t own;
    for (size_t i = 0; i < model_source_tensor_count(m); i++) {
        const char *name = model_source_tensor(m, i)->name;
        if (tensor_name_layer(name, &own) >= 0 &&
            tensor_name_layer_in_stack(name, prefix, length) < 0)
            return true;
    }
    return false;
}

/* The number of layers in config.json; 0 if it is not known; -1 on error. */
static long read_layer_count_from_config(const struct model_source *m, struct error *e)
{
    size_t size;
    char *config = NULL;
    const struct ckpt *c = model_source_checkpoint(m);
    if (c && ckpt_read_auxiliary_file(c, "config.json", &config, &size, e) < 0)
        return -1;
    long layers = config ? model_config_layer_count(config, size) : 0;
    free(config);
    return layers;
}

/* The stack with as many layers as config.json says, else the only one. */
static const char *find_text_stack(const struct model_source *m, size_t *length, struct error *e)
{
    long layers = read_layer_count_from_config(m, e);
    if (layers < 0)
        return NULL;
    const char *prefix = layers ? model_source_find_text_stack(m, layers, length) : NULL;
    if (prefix)
        return prefix;
    prefix = model_source_find_text_stack(m, 0, length);
    if (!prefix)
        error_set(e, "%s has no layers", model_source_name(m));
    else if (has_second_layer_stack(m, prefix, *length)) {
        error_set(e, "%s has several layer stacks; choose one with --stack", model_source_name(m));
        prefix = NULL;
    }
    return prefix;
}

/* Embeddings, and the layers of vision towers between patches and blocks. */
static bool is_before_layers(const char *name)
{
    static const char *const parts[] = {"patch_conv.", "ln_pre.", "layernorm_pre.",
                                        "pre_layrnorm."};
    bool is = tensor_name_is_embedding(name);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        is |= strstr(name, parts[i]) != NULL;
    return is;
}

bool layer_slice_contributes_tensor(const char *name, const char *prefix, size_t length,
                                    bool is_first, bool is_last)
{
    size_t own;
    if (tensor_name_layer_in_stack(name, prefix, length) >= 0)
        return true;
    return is_before_layers(name) || tensor_name_layer(name, &own) >= 0 ? is_first : is_last;
}

/* ---- slicing --------------------------------------------------------------------------------- */

/* Selects the layers from ... to - 1 of `range`, its text; all layers if that is NULL. */
static int select_layer_range(struct model_source *m, const struct layer_slice_options *o,
                              const char *range, long from, long to, struct error *e)
{
    size_t length;
    const char *prefix =
        o->stack ? find_stack_by_prefix(m, o->stack, &length) : find_text_stack(m, &length, e);
    if (!prefix)
        return o->stack ? error_set(e, "%s has no layers under %s", model_source_name(m), o->stack)
                        : -1;
    long layers = model_source_count_layers(m, prefix, length);
    if (!range) {
        from = 0;
        to = layers;
    } else if (from >= to || to > layers) {
        return error_set(e, "%s has layers 0 to %ld; the range %.100s %s", model_source_name(m),
                         layers - 1, range, to > layers ? "goes beyond them" : "is empty");
    }
    const struct selected_layers selected = {.prefix = prefix,
                                             .length = length,
                                             .from = from,
                                             .to = to,
                                             .first_number =
                                                 o->first_layer < 0 ? from : o->first_layer};
    model_source_select_layers(m, &selected);
    return 0;
}

bool layer_slice_is_standard_input(const char *operand)
{
    long from, to;
    const char *range = parse_layer_range_suffix(operand, &from, &to);
    char *without_range =
        range ? mem_copy_text_n(operand, (size_t)(range - operand)) : mem_copy_text(operand);
    bool found = model_source_is_standard_input(without_range);
    free(without_range);
    return found;
}

struct model_source *layer_slice_open(const char *operand, const struct layer_slice_options *o,
                                      const char *spool, const char *tool, struct error *e)
{
    long from = 0, to = 0;
    const char *range = parse_layer_range_suffix(operand, &from, &to);
    char *without_range =
        range ? mem_copy_text_n(operand, (size_t)(range - operand)) : mem_copy_text(operand);
    struct model_source *m =
        o->accepts_standard_input && model_source_is_standard_input(without_range)
            ? model_source_open_standard_input(without_range, o->adapter_base, spool, tool, e)
        : o->adapter_base ? model_source_open_on(without_range, o->adapter_base,
                                                 o->adapter_base_operand, spool, tool, e)
                          : model_source_open(without_range, spool, tool, e);
    free(without_range);
    if (!m || (!range && !o->without_range) || select_layer_range(m, o, range, from, to, e) == 0)
        return m;
    model_source_close(m);
    return NULL;
}

void layer_slice_set_layer_numbers(const struct model_source *m, struct header *h)
{
    const struct selected_layers *s = model_source_selected_layers(m);
    for (size_t i = 0; s && i < h->n_tensors; i++) {
        struct tensor *t = &h->tensors[i];
        long layer = tensor_name_layer_in_stack(t->name, s->prefix, s->length);
        if (layer < 0)
            continue;
        t->layer = layer - s->first_number;
        t->layers = s->to - s->from;
    }
}
