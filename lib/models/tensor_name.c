#include "tensor_name.h"

#include "glob_pattern.h"

#include <stdlib.h>
#include <string.h>

/* ---- layers ---------------------------------------------------------------------------------- */

/* Is this component followed by a layer number, which starts at `next`? */
static bool is_component_before_layer_number(const char *component, size_t n, const char *next)
{
    static const char *const words[] = {"layers", "layer", "h", "block", "blocks"};
    size_t digits = strspn(next, "0123456789");
    if (!digits || digits > 6 || (next[digits] != '.' && next[digits]))
        return false;
    for (size_t w = 0; w < sizeof words / sizeof *words; w++)
        if (strlen(words[w]) == n && memcmp(component, words[w], n) == 0)
            return true;
    return false;
}

long tensor_name_layer(const char *name, size_t *length)
{
    for (const char *p = name; p;) {
        size_t n = strcspn(p, ".");
        const char *next = p[n] ? p + n + 1 : NULL;
        if (next && is_component_before_layer_number(p, n, next)) {
            *length = (size_t)(next - name);
            return strtol(next, NULL, 10);
        }
        p = next;
    }
    return -1;
}

long tensor_name_layer_in_stack(const char *name, const char *prefix, size_t length)
{
    size_t own;
    long layer = tensor_name_layer(name, &own);
    return own == length && layer >= 0 && strncmp(name, prefix, length) == 0 ? layer : -1;
}

bool tensor_name_is_stack_prefix(const char *prefix, size_t length, const char *stack)
{
    size_t n = strlen(stack);
    n -= n > 0 && stack[n - 1] == '.';
    return length == n + 1 && strncmp(prefix, stack, n) == 0;
}

/* Sets the layer numbers of the tensors of one stack, which begin at index i. Returns the index
 * after them. */
static size_t set_layer_numbers_of_stack(struct header *h, size_t i, size_t length)
{
    const char *prefix = h->tensors[i].name;
    long last = -1, layer;
    size_t end = i;
    for (; end < h->n_tensors; end++) {
        layer = tensor_name_layer_in_stack(h->tensors[end].name, prefix, length);
        if (layer < 0)
            break;
        h->tensors[end].layer = layer;
        last = layer > last ? layer : last;
    }
    for (; i < end; i++)
        h->tensors[i].layers = last + 1;
    return end;
}

void tensor_name_set_layer_numbers(struct header *h)
{
    /* In sorted order the tensors of a stack are adjacent. */
    for (size_t i = 0, length = 0; i < h->n_tensors;) {
        if (tensor_name_layer(h->tensors[i].name, &length) >= 0) {
            i = set_layer_numbers_of_stack(h, i, length);
            continue;
        }
        h->tensors[i].layer = h->tensors[i].layers = -1;
        i++;
    }
}

/* ---- embeddings, heads and towers ------------------------------------------------------------ */

bool tensor_name_is_lm_head(const char *name)
{
    return glob_pattern_text_ends_with(name, "lm_head.weight");
}

bool tensor_name_is_token_embedding(const char *name)
{
    return !tensor_name_is_vision_or_audio(name) &&
           (glob_pattern_text_ends_with(name, "embed_tokens.weight") ||
            glob_pattern_text_ends_with(name, "wte.weight"));
}

bool tensor_name_has_vocabulary_rows(const char *name)
{
    return glob_pattern_text_ends_with(name, "embed_tokens.weight") || tensor_name_is_lm_head(name);
}

bool tensor_name_is_embedding(const char *name)
{
    static const char *const globs[] = {"*embed*", "wte.*", "*.wte.*", "wpe.*", "*.wpe.*"};
    bool is = false;
    for (size_t i = 0; i < sizeof globs / sizeof *globs; i++)
        is |= glob_pattern_matches(globs[i], name);
    return is;
}

bool tensor_name_is_vision_or_audio(const char *name)
{
    return strstr(name, "vision") || strstr(name, "visual") || strstr(name, "audio");
}
