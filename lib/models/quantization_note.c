#include "quantization_note.h"

#include "printable.h"

#include <string.h>

#define MAX_LISTED 3 /* models */

/* Appends the quantized models of a header to the text. */
static const char *list_quantized_models(const struct header *h, const char *text, size_t *n,
                                         struct arena *a)
{
    for (size_t i = 0; h && i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        if (!m->quantization || (*n)++ > MAX_LISTED)
            continue;
        text = *n > MAX_LISTED ? arena_printf(a, "%s, ...", text)
                               : arena_printf(a, "%s%s%.100s (%.100s)", text, *n > 1 ? ", " : "",
                                              m->name, m->quantization);
    }
    return text;
}

void quantization_note_print(const char *tool, const char *what, const struct header *a,
                             const struct header *b)
{
    struct arena arena = {0};
    size_t n = 0;
    const char *text = list_quantized_models(a, "", &n, &arena);
    text = list_quantized_models(b, text, &n, &arena);
    if (n)
        printable_note(tool,
                       "the %s contain the quantization error of %s; fine-tuning "
                       "changes a matrix by 0.1 to 3 %%",
                       what, text);
    arena_free(&arena);
}
