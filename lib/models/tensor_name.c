#include "tensor_name.h"

#include "pattern.h"

#include <stdlib.h>
#include <string.h>

/* ---- layers ---------------------------------------------------------------------------------- */

long tensor_name_layer(const char *name, size_t *stack)
{
    static const char *const words[] = {"layers", "layer", "h", "block", "blocks"};
    for (const char *p = name; p;) {
        size_t n = strcspn(p, ".");
        const char *next = p[n] ? p + n + 1 : NULL;
        for (size_t w = 0; next && w < sizeof words / sizeof *words; w++) {
            size_t digits = strspn(next, "0123456789");
            if (strlen(words[w]) == n && memcmp(p, words[w], n) == 0 && digits && digits < 7 &&
                (next[digits] == '.' || !next[digits])) {
                *stack = (size_t)(next - name);
                return strtol(next, NULL, 10);
            }
        }
        p = next;
    }
    return -1;
}

long tensor_name_layer_in_stack(const char *name, const char *stack, size_t length)
{
    size_t own;
    long layer = tensor_name_layer(name, &own);
    return own == length && layer >= 0 && strncmp(name, stack, length) == 0 ? layer : -1;
}

bool tensor_name_is_stack_prefix(const char *stack, size_t length, const char *asked)
{
    size_t n = strlen(asked);
    n -= n > 0 && asked[n - 1] == '.';
    return length == n + 1 && strncmp(stack, asked, n) == 0;
}

void tensor_name_set_layer_numbers(struct header *h)
{
    /* Sorted names keep a stack's tensors together. */
    for (size_t i = 0; i < h->n_tensors;) {
        size_t stack = 0, other, j = i;
        long last = -1, layer;
        h->tensors[i].layer = h->tensors[i].layers = -1;
        if (tensor_name_layer(h->tensors[i].name, &stack) < 0) {
            i++;
            continue;
        }
        for (; j < h->n_tensors; j++) {
            layer = tensor_name_layer(h->tensors[j].name, &other);
            if (layer < 0 || other != stack ||
                strncmp(h->tensors[i].name, h->tensors[j].name, stack) != 0)
                break;
            h->tensors[j].layer = layer;
            last = layer > last ? layer : last;
        }
        for (; i < j; i++)
            h->tensors[i].layers = last + 1;
    }
}

/* ---- parts ----------------------------------------------------------------------------------- */

bool tensor_name_is_lm_head(const char *name)
{
    return pattern_text_ends_with(name, "lm_head.weight");
}

bool tensor_name_is_token_embedding(const char *name)
{
    return !tensor_name_is_vision_or_audio(name) &&
           (pattern_text_ends_with(name, "embed_tokens.weight") ||
            pattern_text_ends_with(name, "wte.weight"));
}

bool tensor_name_has_vocabulary_rows(const char *name)
{
    return pattern_text_ends_with(name, "embed_tokens.weight") || tensor_name_is_lm_head(name);
}

bool tensor_name_is_embedding(const char *name)
{
    static const char *const globs[] = {"*embed*", "wte.*", "*.wte.*", "wpe.*", "*.wpe.*"};
    bool is = false;
    for (size_t i = 0; i < sizeof globs / sizeof *globs; i++)
        is |= pattern_matches(globs[i], name);
    return is;
}

bool tensor_name_is_vision_or_audio(const char *name)
{
    return strstr(name, "vision") || strstr(name, "visual") || strstr(name, "audio");
}
