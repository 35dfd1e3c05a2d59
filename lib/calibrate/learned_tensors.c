#include "learned_tensors.h"

#include "glob_pattern.h"
#include "printable.h"

#include <stdio.h>
#include <stdlib.h>

/* The inputs of the selection. */
struct selector {
    const struct calibrate_options *options;
    const struct arch *arch;
    const struct task_vectors *task_vectors;
    const struct header *header;
};

/* ---- which kinds of weights are merged ------------------------------------------------------- */

static bool matches_any_glob(const struct string_list *globs, const char *name)
{
    for (size_t i = 0; i < globs->n; i++)
        if (glob_pattern_matches(globs->items[i], name))
            return true;
    return false;
}

/* By the published lists, which name what keeps the base's values: norms, biases, embeddings, head
 * and vision tower; of Qwen2-VL also the projector, because they list `visual`; of InternVL's
 * projector the biases only, because its norm is called mlp1.0. */
static bool is_learned_in_paper_preset(const struct arch *a, enum weight_kind kind)
{
    if (kind < WEIGHT_TEXT_END)
        return kind <= WEIGHT_DOWN;
    return a->vision.kind == VISION_INTERNVL &&
           (kind == WEIGHT_PROJECTOR_NORM || kind == WEIGHT_PROJECTOR_IN ||
            kind == WEIGHT_PROJECTOR_OUT);
}

/* The matrices of decoder layers and projector. */
static bool is_learned_by_default(enum weight_kind kind)
{
    return kind <= WEIGHT_DOWN || kind == WEIGHT_PROJECTOR_IN || kind == WEIGHT_PROJECTOR_OUT;
}

static bool is_learned_tensor(const struct selector *s, enum weight_kind kind, const char *name)
{
    if (s->options->keep_base.n)
        return !matches_any_glob(&s->options->keep_base, name);
    return s->options->preset == PRESET_PAPER ? is_learned_in_paper_preset(s->arch, kind)
                                              : is_learned_by_default(kind);
}

/* Warns of globs that match nothing: they are probably typos. */
static void warn_of_unmatched_globs(const struct selector *s, const char *tool)
{
    const struct string_list *globs = &s->options->keep_base;
    for (size_t g = 0; g < globs->n; g++) {
        bool matched = globs->items[g][0] == 0; /* an empty glob means that all are merged */
        for (size_t i = 0; i < s->header->n_tensors && !matched; i++)
            matched = glob_pattern_matches(globs->items[g], s->header->tensors[i].name);
        if (!matched)
            printable_warning(tool, "--keep-base %s matches no tensor", globs->items[g]);
    }
}

/* ---- the list -------------------------------------------------------------------------------- */

static void add_tensor_if_learned(struct learned_tensors *m, const struct selector *s,
                                  enum weight_kind kind, size_t layer)
{
    long i = task_vectors_find_stream_tensor(s->task_vectors, kind, layer);
    if (i < 0 || m->index[i] >= 0 || !is_learned_tensor(s, kind, s->header->tensors[i].name))
        return;
    m->index[i] = (long)m->n;
    m->names[m->n] = s->header->tensors[i].name;
    m->tensors[m->n++] = (struct learned_tensor){kind, layer, (size_t)i};
}

int learned_tensors_select(struct learned_tensors *m, const struct calibrate_options *o,
                           const struct model_weights *base, const struct task_vectors *tv,
                           const struct header *h, const char *tool, struct error *e)
{
    const struct selector s = {o, model_weights_arch(base), tv, h};
    warn_of_unmatched_globs(&s, tool);
    m->tensors = mem_alloc(h->n_tensors, sizeof *m->tensors);
    m->names = mem_alloc(h->n_tensors, sizeof *m->names);
    m->index = mem_alloc(h->n_tensors, sizeof *m->index);
    for (size_t i = 0; i < h->n_tensors; i++)
        m->index[i] = -1;
    add_tensor_if_learned(m, &s, WEIGHT_EMBEDDING, 0);
    for (size_t l = 0; l < s.arch->layers; l++)
        for (enum weight_kind kind = 0; kind < WEIGHT_DECODER_LAYER_END; kind++)
            add_tensor_if_learned(m, &s, kind, l);
    for (enum weight_kind kind = WEIGHT_FINAL_NORM; kind < WEIGHT_PROJECTOR_END; kind++)
        add_tensor_if_learned(m, &s, kind, 0);
    return m->n ? 0
                : error_set(e, "there is no tensor to merge: the stream has none of the base's, or "
                               "--keep-base matches all of them");
}

void learned_tensors_free(struct learned_tensors *m)
{
    free(m->tensors);
    free(m->names);
    free(m->index);
    *m = (struct learned_tensors){0};
}
