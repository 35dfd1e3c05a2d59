#include "slice.h"

#include "card.h"
#include "names.h"

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

bool slice_is_asked(const char *operand)
{
    long from, to;
    return find_range(operand, &from, &to) != NULL;
}

const char *slice_text(const struct input *in, const char *operand, struct arena *a)
{
    long from, to;
    const char *range = find_range(operand, &from, &to);
    return arena_printf(a, "%s%s", input_name(in), range ? range : "");
}

/* ---- the stack ------------------------------------------------------------------------------- */

/* The one that was asked for. */
static const char *find_named(const struct input *in, const char *stack, size_t *length)
{
    for (size_t i = 0; i < input_count(in); i++) {
        const char *name = input_tensor(in, i)->name;
        if (names_layer(name, length) >= 0 && names_is_stack(name, *length, stack))
            return name;
    }
    return NULL;
}

/* Is there a tensor of a layer outside this stack? */
static bool has_another(const struct input *in, const char *stack, size_t length)
{
    size_t own;
    for (size_t i = 0; i < input_count(in); i++) {
        const char *name = input_tensor(in, i)->name;
        if (names_layer(name, &own) >= 0 && names_layer_in(name, stack, length) < 0)
            return true;
    }
    return false;
}

static const char *find_text_stack(const struct input *in, size_t *length, struct error *e)
{
    size_t size;
    const struct ckpt *c = input_ckpt(in);
    char *config = c ? ckpt_file_text(c, "config.json", &size) : NULL;
    long layers = config ? card_layers(config, size) : 0;
    const char *stack = layers ? input_text_stack(in, layers, length) : NULL;
    free(config);
    if (stack)
        return stack;
    stack = input_text_stack(in, 0, length);
    if (!stack)
        error_set(e, "%s has no layers", input_name(in));
    else if (has_another(in, stack, *length)) {
        error_set(e, "%s has several stacks of layers; --stack must say which one is meant",
                  input_name(in));
        stack = NULL;
    }
    return stack;
}

bool slice_lends(const char *name, const char *stack, size_t length, bool first, bool last)
{
    size_t own;
    if (names_layer_in(name, stack, length) >= 0)
        return true;
    return names_is_embedding(name) || names_layer(name, &own) >= 0 ? first : last;
}

/* ---- cutting --------------------------------------------------------------------------------- */

static int cut(struct input *in, const struct slice_options *o, const char *range, long from,
               long to, struct error *e)
{
    size_t length;
    const char *stack =
        o->stack ? find_named(in, o->stack, &length) : find_text_stack(in, &length, e);
    if (!stack)
        return o->stack ? error_set(e, "%s has no layers under %s", input_name(in), o->stack) : -1;
    long layers = input_layers(in, stack, length);
    if (!range) {
        from = 0;
        to = layers;
    }
    if (from >= to || to > layers)
        return error_set(e, "%s has layers 0 to %ld; the range [%ld:%ld] %s", input_name(in),
                         layers - 1, from, to, from >= to ? "is empty" : "goes beyond them");
    input_cut(in, stack, length, from, to, o->first < 0 ? from : o->first);
    return 0;
}

struct input *slice_open(const char *operand, const struct slice_options *o, const char *spool,
                         const char *tool, struct error *e)
{
    long from = 0, to = 0;
    const char *range = find_range(operand, &from, &to);
    char *plain = range ? strndup(operand, (size_t)(range - operand)) : mem_text(operand);
    struct input *in = input_open(plain, spool, tool, e);
    free(plain);
    if (!in || (!range && !o->always) || cut(in, o, range, from, to, e) == 0)
        return in;
    input_close(in);
    return NULL;
}

void slice_set_layers(const struct input *in, struct header *h)
{
    const struct input_cut *cut = input_how_cut(in);
    for (size_t i = 0; cut && i < h->n_tensors; i++) {
        struct tensor *t = &h->tensors[i];
        long layer = names_layer_in(t->name, cut->stack, cut->length);
        if (layer < 0)
            continue;
        t->layer = layer - cut->first;
        t->layers = cut->to - cut->from;
    }
}
