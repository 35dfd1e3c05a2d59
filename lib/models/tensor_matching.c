#include "tensor_matching.h"

#include "layer_slice.h"
#include "name_scheme.h"
#include "printable.h"
#include "tensor_name.h"
#include "tied_head.h"

#include <stdlib.h>
#include <string.h>

static const char *model_name(const struct tensor_matching *m, size_t model)
{
    return model_source_name(m->models[model]);
}

const struct ckpt_tensor *tensor_matching_view_tensor(const struct tensor_matching *m,
                                                      const struct tensor_view *v)
{
    return model_source_tensor(m->models[v->model], v->tensor);
}

static bool same_shape(const struct ckpt_tensor *a, const struct ckpt_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

/* ---- q, k and v of vision layers ------------------------------------------------------------- */

/* For a name of q, k and v of a vision layer: does the model store them in one tensor where the
 * name is of one of three, or the other way round? */
static bool stores_qkv_in_other_split(const struct model_source *model, const char *name)
{
    char canonical[NAME_SCHEME_MAX_NAME], other[NAME_SCHEME_MAX_NAME];
    if (!name_scheme_to_canonical(name, canonical) ||
        name_scheme_qkv_kind(canonical) == NAME_SCHEME_NOT_QKV)
        return false;
    size_t head = (size_t)(strstr(canonical, ".attn.") + strlen(".attn.") - canonical);
    const char *suffix = strchr(canonical + head, '.');
    const char *word = name_scheme_qkv_kind(canonical) == NAME_SCHEME_FUSED_QKV ? "q_proj" : "qkv";
    int n = snprintf(other, sizeof other, "%.*s%s%s", (int)head, canonical, word, suffix);
    return n > 0 && (size_t)n < sizeof other && name_scheme_find_tensor(model, other) >= 0;
}

static int report_qkv_split_mismatch(const struct tensor_matching *m, size_t model,
                                     const char *name, struct error *e)
{
    return error_set(e,
                     "one of %s and %s stores q, k and v of a vision layer in one tensor, the "
                     "other in three (%s); save both in one naming scheme",
                     model_name(m, 0), model_name(m, model), name);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* A buffer in old Llama files, which is computed and not trained. */
static bool is_rotary_buffer(const char *name)
{
    return strstr(name, "rotary_emb.inv_freq") != NULL;
}

/* A tensor that is no weight, and that libraries save in some versions only: frequencies of RoPE,
 * positions, causal masks, counters. */
static bool is_buffer(const struct ckpt_tensor *t)
{
    return is_rotary_buffer(t->name) || strstr(t->name, "position_ids") ||
           strstr(t->name, "attn.masked_bias") || t->dtype == DTYPE_I64 || t->dtype == DTYPE_BOOL;
}

static bool all_models_have(const struct tensor_matching *m, const char *name)
{
    for (size_t i = 0; i < m->n_models; i++)
        if (name_scheme_find_tensor_or_tied(m->models[i], name) < 0)
            return false;
    return true;
}

/* The buffers that some of the models lack. */
struct omitted_buffers {
    size_t n;
    const char *first;
};

static void omit_buffer(struct omitted_buffers *o, const char *name)
{
    if (o->n++ == 0)
        o->first = name;
}

static void print_omitted_buffers(const struct tensor_matching *m, const struct omitted_buffers *o)
{
    if (o->n)
        printable_note(m->tool, "%zu buffer%s that not all models have %s omitted: %s%s", o->n,
                       o->n == 1 ? "" : "s", o->n == 1 ? "is" : "are", o->first,
                       o->n == 1 ? "" : ", ...");
}

/* Is the tensor among those to read, by --outside and by kind of vector? */
static bool is_selected_tensor(const struct tensor_matching *m, const char *name)
{
    const struct selected_layers *s = model_source_selected_layers(m->models[0]);
    int outside = m->options->outside;
    if (m->task_vectors && is_rotary_buffer(name))
        return false;
    return outside < 0 || layer_slice_contributes_tensor(name, s->prefix, s->length,
                                                         outside == MODEL_SET_OUTSIDE_FIRST,
                                                         outside == MODEL_SET_OUTSIDE_LAST);
}

/* Has the first model the tensor `name` of another model? Under a name of another scheme only if
 * the other model has no tensor of that name itself. */
static bool first_model_has(const struct tensor_matching *m, size_t model, const char *name)
{
    const struct model_source *first = m->models[0];
    char canonical[NAME_SCHEME_MAX_NAME];
    if (model_source_find_tensor(first, name) >= 0)
        return true;
    long i =
        name_scheme_to_canonical(name, canonical) ? name_scheme_find_tensor(first, canonical) : -1;
    return i >= 0 && model_source_find_tensor(m->models[model],
                                              model_source_tensor(first, (size_t)i)->name) < 0;
}

/* Handles a tensor that the first model lacks. 1: it is a head, to be matched with the first
 * model's embedding; 0: it is omitted. */
static int accept_or_omit_extra_tensor(const struct tensor_matching *m, size_t model,
                                       const char *name, struct error *e)
{
    if (tensor_name_is_lm_head(name) && name_scheme_find_tensor_or_tied(m->models[0], name) >= 0)
        return 1;
    if (stores_qkv_in_other_split(m->models[0], name))
        return report_qkv_split_mismatch(m, model, name, e);
    if (m->options->missing < 0)
        return error_set(e, "%s has a tensor %s that %s lacks (--missing=skip omits it)",
                         model_name(m, model), name, model_name(m, 0));
    printable_warning(m->tool, "tensor %s of %s is omitted, because %s lacks it", name,
                      model_name(m, model), model_name(m, 0));
    return 0;
}

/* Is it a head that all models that store one only repeat from their embeddings? -1 on error. */
static int is_repeated_head(const struct tensor_matching *m, const char *name, struct error *e)
{
    int repeated = tensor_name_is_lm_head(name);
    for (size_t i = 0; repeated > 0 && i < m->n_models; i++) {
        long own = name_scheme_find_tensor_or_tied(m->models[i], name);
        if (own >= 0 &&
            tensor_name_is_lm_head(model_source_tensor(m->models[i], (size_t)own)->name))
            repeated = tied_head_is_stored_again(m->models[i], (size_t)own, e);
    }
    return repeated;
}

static bool name_list_contains(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Adds the heads of one model that the first model lacks; names[own..*n) are those of others. */
static int add_names_missing_in_first_model(const struct tensor_matching *m, size_t model,
                                            const char **names, size_t own, size_t *n,
                                            struct omitted_buffers *omitted, struct error *e)
{
    for (size_t i = 0; i < model_source_tensor_count(m->models[model]); i++) {
        const struct ckpt_tensor *t = model_source_tensor(m->models[model], i);
        const char *name = t->name;
        bool is_selected = is_rotary_buffer(name) || is_selected_tensor(m, name);
        if (first_model_has(m, model, name) || !is_selected ||
            name_list_contains(names + own, *n - own, name))
            continue;
        if (is_buffer(t)) {
            omit_buffer(omitted, name);
            continue;
        }
        int repeated = is_repeated_head(m, name, e);
        int add = repeated < 0 ? -1 : repeated ? 0 : accept_or_omit_extra_tensor(m, model, name, e);
        if (add < 0)
            return -1;
        if (add)
            names[(*n)++] = name;
    }
    return 0;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int tensor_matching_list_names(const struct tensor_matching *m, const char ***names, size_t *n,
                               struct error *e)
{
    size_t count = model_source_tensor_count(m->models[0]);
    const char **all = mem_alloc(count + m->n_models, sizeof *all);
    struct omitted_buffers omitted = {0};
    *names = all;
    *n = 0;
    for (size_t i = 0; i < count; i++) {
        const struct ckpt_tensor *t = model_source_tensor(m->models[0], i);
        if (!is_selected_tensor(m, t->name))
            continue;
        int repeated = is_repeated_head(m, t->name, e);
        if (repeated < 0)
            return -1;
        if (is_buffer(t) && !all_models_have(m, t->name))
            omit_buffer(&omitted, t->name);
        else if (!repeated)
            all[(*n)++] = t->name;
    }
    size_t own = *n;
    for (size_t model = 1; model < m->n_models; model++)
        if (add_names_missing_in_first_model(m, model, all, own, n, &omitted, e) < 0)
            return -1;
    print_omitted_buffers(m, &omitted);
    qsort(all, *n, sizeof *all, compare_strings);
    return 0;
}

/* ---- views ----------------------------------------------------------------------------------- */

static int report_missing_tensor(const struct tensor_matching *m, size_t model, const char *name,
                                 struct error *e)
{
    return error_set(e,
                     "%s lacks the tensor %s of %s (--missing=base or --missing=skip accepts that)",
                     model_name(m, model), name, model_name(m, 0));
}

static int report_shape_mismatch(const struct tensor_matching *m, size_t model,
                                 const struct ckpt_tensor *own, const struct ckpt_tensor *first,
                                 struct error *e)
{
    return error_set(e, "tensor %s is %s in %s but %s in %s (%s)", first->name,
                     tensor_format_shape(m->arena, own->rank, own->shape), model_name(m, model),
                     tensor_format_shape(m->arena, first->rank, first->shape), model_name(m, 0),
                     tensor_name_has_vocabulary_rows(first->name)
                         ? "--embed=truncate or --embed=base accepts that"
                         : "--mismatch=drop omits it");
}

/* Chooses the view for tensors of different shapes: 1 found, 0 omitted, -1 error. */
static int choose_view_of_other_shape(const struct tensor_matching *m, const char *name,
                                      const struct ckpt_tensor *first,
                                      const struct tensor_view *own, struct tensor_view *v,
                                      struct error *e)
{
    const struct ckpt_tensor *t = tensor_matching_view_tensor(m, own);
    if (!tensor_name_has_vocabulary_rows(name))
        return m->options->mismatch >= 0 ? 0 : report_shape_mismatch(m, own->model, t, first, e);
    if (m->options->embed == MODEL_SET_EMBED_BASE)
        return 1;
    if (m->options->embed != MODEL_SET_EMBED_TRUNCATE || t->rank != 2 || first->rank != 2)
        return report_shape_mismatch(m, own->model, t, first, e);
    *v = *own;
    v->columns = t->shape[1];
    return 1;
}

/* Finds one model's tensor for the first model's `name`: 1 found, 0 omitted, -1 error. */
static int find_matching_view(const struct tensor_matching *m, size_t model, const char *name,
                              struct tensor_view *v, struct error *e)
{
    long found = name_scheme_find_tensor_or_tied(m->models[model], name);
    *v =
        (struct tensor_view){.tensor = (size_t)name_scheme_find_tensor_or_tied(m->models[0], name)};
    if (found < 0) {
        if (stores_qkv_in_other_split(m->models[model], name))
            return report_qkv_split_mismatch(m, model, name, e);
        if (m->options->missing < 0)
            return report_missing_tensor(m, model, name, e);
        return m->options->missing == MODEL_SET_MISSING_BASE;
    }
    const struct tensor_view own = {.model = model, .tensor = (size_t)found};
    const struct ckpt_tensor *first = tensor_matching_view_tensor(m, v);
    if (!same_shape(tensor_matching_view_tensor(m, &own), first))
        return choose_view_of_other_shape(m, name, first, &own, v, e);
    *v = own;
    return 1;
}

static int find_matching_views(const struct tensor_matching *m, const char *name,
                               struct tensor_match *match, struct error *e)
{
    for (size_t model = 0; model < m->n_models; model++) {
        int found = find_matching_view(m, model, name, &match->views[match->n], e);
        if (found < 0)
            return -1;
        if (found && m->task_vectors && model == 0)
            match->base = match->views[0];
        else if (found)
            match->models[match->n++] = model;
    }
    if (match->n == 0) /* every expert was skipped: use the base's tensor for all of them */
        for (size_t model = 1; model < m->n_models; model++) {
            match->views[match->n] = match->base;
            match->models[match->n++] = model;
        }
    return 0;
}

/* ---- the common shape ------------------------------------------------------------------------ */

/* The first model's shape; of embeddings to truncate, the rows and columns that all have. */
static const uint64_t *compute_common_shape(const struct tensor_matching *m,
                                            const struct tensor_match *match,
                                            const struct ckpt_tensor *first)
{
    uint64_t *shape = arena_copy(m->arena, first->shape, first->rank * sizeof *shape);
    for (size_t k = 0; k < match->n; k++) {
        const struct tensor_view *v = &match->views[k];
        const struct ckpt_tensor *t = tensor_matching_view_tensor(m, v);
        for (size_t d = 0; v->columns && d < 2; d++)
            shape[d] = t->shape[d] < shape[d] ? t->shape[d] : shape[d];
    }
    return shape;
}

/* Sets `columns` if the view's rows are longer than those of the common shape. */
static void set_truncated_columns(const struct tensor_matching *m, const struct tensor_match *match,
                                  struct tensor_view *v)
{
    const struct ckpt_tensor *t = tensor_matching_view_tensor(m, v);
    bool truncated = match->rank == 2 && t->shape[1] != match->shape[1];
    v->columns = truncated ? t->shape[1] : 0;
}

static void set_common_shape(const struct tensor_matching *m, struct tensor_match *match)
{
    const struct ckpt_tensor *first = model_source_tensor(m->models[0], match->first_tensor);
    match->rank = first->rank;
    match->shape = compute_common_shape(m, match, first);
    for (size_t k = 0; k < match->n; k++)
        set_truncated_columns(m, match, &match->views[k]);
    if (m->task_vectors)
        set_truncated_columns(m, match, &match->base);
}

/* ---- adapters -------------------------------------------------------------------------------- */

bool tensor_matching_is_delta(const struct tensor_matching *m, const struct tensor_match *match,
                              size_t k)
{
    const struct tensor_view *v = &match->views[k], *base = &match->base;
    return m->task_vectors && m->adapts_base[v->model] && base->model == 0 && !v->columns &&
           !base->columns &&
           strcmp(model_source_stored_name(m->models[v->model], v->tensor),
                  model_source_stored_name(m->models[0], base->tensor)) == 0;
}

bool tensor_matching_is_unchanged(const struct tensor_matching *m, const struct tensor_match *match)
{
    for (size_t k = 0; k < match->n; k++)
        if (!tensor_matching_is_delta(m, match, k) ||
            model_source_is_adapted(m->models[match->views[k].model], match->views[k].tensor))
            return false;
    return true;
}

/* ---- task vectors ---------------------------------------------------------------------------- */

static uint64_t hash_view_elements(const struct tensor_matching *m, const struct tensor_view *v)
{
    return model_source_hash_elements(m->models[v->model], v->tensor, 0,
                                      tensor_matching_view_tensor(m, v)->elements);
}

static bool differs_from_base(const struct tensor_matching *m, const struct tensor_match *match)
{
    const struct ckpt_tensor *base = tensor_matching_view_tensor(m, &match->base);
    for (size_t k = 0; k < match->n; k++) {
        const struct ckpt_tensor *t = tensor_matching_view_tensor(m, &match->views[k]);
        if (tensor_matching_is_delta(m, match, k)) /* adapters change no integers */
            continue;
        if (t->dtype != base->dtype || !same_shape(t, base) ||
            hash_view_elements(m, &match->views[k]) != hash_view_elements(m, &match->base))
            return true;
    }
    return false;
}

/* Can the base's tensor be subtracted? 0: it is omitted, with a warning if an expert changed it. */
static int check_subtractable(const struct tensor_matching *m, const char *name,
                              const struct tensor_match *match, struct error *e)
{
    enum dtype d = tensor_matching_view_tensor(m, &match->base)->dtype;
    bool is_float = dtype_is_float(d), all_float = is_float;
    for (size_t k = 0; k < match->n; k++)
        all_float &= dtype_is_float(tensor_matching_view_tensor(m, &match->views[k])->dtype);
    if (is_float != all_float)
        return error_set(e, "tensor %s is floating-point in one model but not in another", name);
    if (is_float)
        return 1;
    bool differs = differs_from_base(m, match);
    if (differs && dtype_is_quantized(d))
        return error_set(e,
                         "tensor %s is %s and differs between the models; quantized weights cannot "
                         "be subtracted, so convert the models first",
                         name, dtype_name(d));
    if (differs)
        printable_warning(m->tool, "tensor %s is %s and differs between the models; it is omitted",
                          name, dtype_name(d));
    return 0;
}

int tensor_matching_match(const struct tensor_matching *m, const char *name,
                          struct tensor_match *match, struct error *e)
{
    *match = (struct tensor_match){
        .first_tensor = (size_t)name_scheme_find_tensor_or_tied(m->models[0], name),
        .views = arena_alloc(m->arena, m->n_models, sizeof *match->views),
        .models = arena_alloc(m->arena, m->n_models, sizeof *match->models)};
    if (find_matching_views(m, name, match, e) < 0)
        return -1;
    set_common_shape(m, match);
    return m->task_vectors ? check_subtractable(m, name, match, e) : 1;
}
