#include "layer_slice.h"

#include "model_config.h"
#include "tensor_name.h"

#include <stdlib.h>
#include <string.h>

/* "[from:to]" at the end of an operand: where it starts; NULL if there is none. Numbers too large
 * to be layers become LAYERS_MAX. */
#define LAYERS_MAX 10000000

static const char *find_range(const char *operand, long *from, long *to)
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

bool layer_slice_is_given(const char *operand)
{
    long from, to;
    return find_range(operand, &from, &to) != NULL;
}

const char *layer_slice_describe(const struct model_source *in, const char *operand,
                                 struct arena *a)
{
    long from, to;
    const char *range = find_range(operand, &from, &to);
    return arena_printf(a, "%s%s", model_source_name(in), range ? range : "");
}

/* ---- the stack ------------------------------------------------------------------------------- */

/* The one that was asked for. */
static const char *find_named(const struct model_source *in, const char *stack, size_t *length)
{
    for (size_t i = 0; i < model_source_tensor_count(in); i++) {
        const char *name = model_source_tensor(in, i)->name;
        if (tensor_name_layer(name, length) >= 0 &&
            tensor_name_is_stack_prefix(name, *length, stack))
            return name;
    }
    return NULL;
}

/* Is there a tensor of a layer outside this stack? */
static bool has_another(const struct model_source *in, const char *stack, size_t length)
{
    size_t own;
    for (size_t i = 0; i < model_source_tensor_count(in); i++) {
        const char *name = model_source_tensor(in, i)->name;
        if (tensor_name_layer(name, &own) >= 0 &&
            tensor_name_layer_in_stack(name, stack, length) < 0)
            return true;
    }
    return false;
}

static const char *find_text_stack(const struct model_source *in, size_t *length, struct error *e)
{
    size_t size;
    const struct ckpt *c = model_source_checkpoint(in);
    char *config = c ? ckpt_read_auxiliary_file(c, "config.json", &size) : NULL;
    long layers = config ? model_config_layer_count(config, size) : 0;
    const char *stack = layers ? model_source_find_text_stack(in, layers, length) : NULL;
    free(config);
    if (stack)
        return stack;
    stack = model_source_find_text_stack(in, 0, length);
    if (!stack)
        error_set(e, "%s has no layers", model_source_name(in));
    else if (has_another(in, stack, *length)) {
        error_set(e, "%s has several stacks of layers; --stack must say which one is meant",
                  model_source_name(in));
        stack = NULL;
    }
    return stack;
}

bool layer_slice_contributes(const char *name, const char *stack, size_t length, bool first,
                             bool last)
{
    size_t own;
    if (tensor_name_layer_in_stack(name, stack, length) >= 0)
        return true;
    return tensor_name_is_embedding(name) || tensor_name_layer(name, &own) >= 0 ? first : last;
}

/* ---- cutting --------------------------------------------------------------------------------- */

static int cut(struct model_source *in, const struct layer_slice_options *o, const char *range,
               long from, long to, struct error *e)
{
    size_t length;
    const char *stack =
        o->stack ? find_named(in, o->stack, &length) : find_text_stack(in, &length, e);
    if (!stack)
        return o->stack ? error_set(e, "%s has no layers under %s", model_source_name(in), o->stack)
                        : -1;
    long layers = model_source_count_layers(in, stack, length);
    if (!range) {
        from = 0;
        to = layers;
    }
    if (from >= to || to > layers)
        return error_set(e, "%s has layers 0 to %ld; the range [%ld:%ld] %s", model_source_name(in),
                         layers - 1, from, to, from >= to ? "is empty" : "goes beyond them");
    model_source_select_layers(in, stack, length, from, to,
                               o->first_layer < 0 ? from : o->first_layer);
    return 0;
}

struct model_source *layer_slice_open(const char *operand, const struct layer_slice_options *o,
                                      const char *spool, const char *tool, struct error *e)
{
    long from = 0, to = 0;
    const char *range = find_range(operand, &from, &to);
    char *plain = range ? strndup(operand, (size_t)(range - operand)) : mem_copy_text(operand);
    struct model_source *in = model_source_open(plain, spool, tool, e);
    free(plain);
    if (!in || (!range && !o->without_range) || cut(in, o, range, from, to, e) == 0)
        return in;
    model_source_close(in);
    return NULL;
}

void layer_slice_set_layer_numbers(const struct model_source *in, struct header *h)
{
    const struct model_source_select_layers *cut = model_source_selected_layers(in);
    for (size_t i = 0; cut && i < h->n_tensors; i++) {
        struct tensor *t = &h->tensors[i];
        long layer = tensor_name_layer_in_stack(t->name, cut->stack, cut->length);
        if (layer < 0)
            continue;
        t->layer = layer - cut->first;
        t->layers = cut->to - cut->from;
    }
}
