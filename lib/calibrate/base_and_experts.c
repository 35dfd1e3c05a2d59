#include "base_and_experts.h"

#include "layer_slice.h"
#include "printable.h"
#include "source_sink_services.h"
#include "vector_history.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The models that have vectors in the stream. */
static int list_models_with_vectors(struct base_and_experts *x, const struct header *h,
                                    struct error *e)
{
    bool *has = mem_alloc(h->n_models, sizeof *has);
    for (size_t i = 0; i < h->n_tensors; i++)
        for (size_t v = 0; v < h->tensors[i].n_vectors; v++)
            has[h->tensors[i].vectors[v].model] = true;
    x->models = mem_alloc(h->n_models, sizeof *x->models);
    x->names = mem_alloc(h->n_models, sizeof *x->names);
    for (size_t m = 0; m < h->n_models; m++)
        if (has[m]) {
            x->models[x->n] = m;
            x->names[x->n++] = h->models[m].name;
        }
    free(has);
    return x->n ? 0 : error_set(e, "the stream has no task vectors");
}

long base_and_experts_find_by_name(const struct base_and_experts *x, const char *name, size_t n)
{
    for (size_t k = 0; k < x->n; k++)
        if (strlen(x->names[k]) == n && strncmp(x->names[k], name, n) == 0)
            return (long)k;
    return -1;
}

static int check_base_matches_stream(const struct base_and_experts *x, const struct header *h,
                                     struct error *e)
{
    const struct model_source *in = model_weights_model_source(x->base);
    for (size_t m = 0; m < h->n_models; m++) {
        const struct model *base = &h->models[m];
        if (base->role && strcmp(base->role, "base") == 0 && base->has_fingerprint &&
            base->fingerprint != model_source_fingerprint(in))
            return error_set(
                e,
                "the task vectors were extracted against another base than %s (use --onto "
                "to accept that)",
                model_source_name(in));
    }
    return 0;
}

/* Do both have the weights first .. end - 1, with the same shapes and number of layers? */
static bool have_same_weight_shapes(const struct arch *a, const struct arch *b,
                                    enum weight_kind first, enum weight_kind end)
{
    for (enum weight_kind kind = first; kind < end; kind++) {
        size_t rows[2], columns[2];
        if (weight_kind_find_shape(a, kind, &rows[0], &columns[0]) !=
                weight_kind_find_shape(b, kind, &rows[1], &columns[1]) ||
            rows[0] != rows[1] || columns[0] != columns[1] ||
            weight_kind_layers(a, kind) != weight_kind_layers(b, kind))
            return false;
    }
    return true;
}

static int check_expert_model_sizes(const struct base_and_experts *x, size_t k, struct error *e)
{
    const struct arch *a = model_weights_arch(x->base), *b = model_weights_arch(x->files[k]);
    if (a->layers != b->layers || a->hidden != b->hidden || a->vocab != b->vocab)
        return error_set(e,
                         "%s has %zu layers, hidden size %zu and a vocabulary of %zu; the base has "
                         "%zu, %zu and %zu",
                         x->names[k], b->layers, b->hidden, b->vocab, a->layers, a->hidden,
                         a->vocab);
    if (!have_same_weight_shapes(a, b, WEIGHT_TEXT_END, WEIGHT_KINDS))
        return error_set(e, "the vision tower or projector of %s differs in shape from the base's",
                         x->names[k]);
    return 0;
}

/* ---- the experts' checkpoints ---------------------------------------------------------------- */

static struct model_weights *open_checkpoint(const char *operand, const struct stage *s,
                                             struct error *e)
{
    return model_weights_open(operand, NULL, s->common.spool, s->filter->name, e);
}

static int set_unknown_expert_error(const char *name, size_t length, struct error *e)
{
    return error_set(e,
                     "--expert: the stream has no model %.*s (write MODEL=PATH to name the model)",
                     (int)length, name);
}

/* Opens a checkpoint of --expert, for the expert of the same name. */
static int open_expert_option(struct base_and_experts *x, const char *operand,
                              const struct stage *s, struct error *e)
{
    size_t given = (size_t)(model_source_strip_name_from_operand(operand) - operand);
    if (given > 0 && base_and_experts_find_by_name(x, operand, given - 1) < 0)
        return set_unknown_expert_error(operand, given - 1, e);
    struct model_weights *file = open_checkpoint(operand, s, e);
    if (!file)
        return -1;
    const char *name = model_source_name(model_weights_model_source(file));
    long k = base_and_experts_find_by_name(x, name, strlen(name));
    int failed = 0;
    if (k < 0)
        failed = set_unknown_expert_error(name, strlen(name), e);
    else if (x->files[k])
        failed = error_set(e, "--expert: %s is given twice", name);
    if (failed) {
        model_weights_close(file);
        return -1;
    }
    x->files[k] = file;
    return check_expert_model_sizes(x, (size_t)k, e);
}

/* Can the operand of a source be opened again, and as a whole model? */
static bool is_whole_model_on_disk(const char *operand)
{
    const char *path = model_source_strip_name_from_operand(operand);
    struct stat st;
    if (model_source_is_standard_input(operand) || layer_slice_find_range_suffix(operand))
        return false;
    return stat(path, &st) != 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
}

/* Opens a model that tv-extract reads in the same run, if it is an expert without a checkpoint. */
static int open_extracted_expert(struct base_and_experts *x, const char *operand,
                                 const struct stage *s, struct error *e)
{
    if (!is_whole_model_on_disk(operand))
        return 0;
    struct model_weights *file = open_checkpoint(operand, s, e);
    if (!file)
        return -1;
    const char *name = model_source_name(model_weights_model_source(file));
    long k = base_and_experts_find_by_name(x, name, strlen(name));
    if (k < 0 || x->files[k]) {
        model_weights_close(file);
        return 0;
    }
    x->files[k] = file;
    return check_expert_model_sizes(x, (size_t)k, e);
}

/* The names of the experts without a checkpoint, with commas between them; NULL: none. */
static const char *list_experts_without_checkpoint(const struct base_and_experts *x,
                                                   struct arena *a)
{
    const char *list = NULL;
    for (size_t k = 0; k < x->n; k++)
        if (!x->files[k])
            list = list ? arena_printf(a, "%s, %s", list, x->names[k]) : x->names[k];
    return list;
}

/* Where a filter has changed the task vectors, base + task vector is no longer the expert. */
static int open_experts_of_changed_vectors(struct base_and_experts *x, const struct stage *s,
                                           const struct header *h, struct error *e)
{
    const char *change = vector_history_find_change(&h->history);
    const struct stage *source = source_sink_services_source(s);
    bool extracts = strcmp(source->filter->name, "tv-extract") == 0;
    for (size_t i = 1; change && extracts && i < source->operands.n; i++)
        if (open_extracted_expert(x, source->operands.items[i], s, e))
            return -1;
    struct arena a = {0};
    const char *missing = change ? list_experts_without_checkpoint(x, &a) : NULL;
    if (missing)
        printable_warning(s->filter->name,
                          "%s has changed the task vectors, so base + task vector is "
                          "not the expert; it is the teacher of %s (use --expert to give the "
                          "model's own checkpoint)",
                          change, missing);
    arena_free(&a);
    return 0;
}

int base_and_experts_open(struct base_and_experts *x, const struct base_and_experts_options *o,
                          const struct stage *s, const struct header *h, struct error *e)
{
    x->base = model_weights_open(o->base, o->config, s->common.spool, s->filter->name, e);
    if (!x->base || (!o->accept_other_base && check_base_matches_stream(x, h, e)) ||
        list_models_with_vectors(x, h, e))
        return -1;
    x->files = mem_alloc(x->n, sizeof *x->files);
    for (size_t i = 0; i < o->files.n; i++)
        if (open_expert_option(x, o->files.items[i], s, e))
            return -1;
    return o->need_teachers ? open_experts_of_changed_vectors(x, s, h, e) : 0;
}

int base_and_experts_open_checkpoints(struct base_and_experts *x,
                                      const struct base_and_experts_options *o, const char *spool,
                                      const char *tool, struct error *e)
{
    x->base = model_weights_open(o->base, o->config, spool, tool, e);
    if (!x->base)
        return -1;
    x->names = mem_alloc(o->files.n, sizeof *x->names);
    x->files = mem_alloc(o->files.n, sizeof *x->files);
    for (size_t k = 0; k < o->files.n; k++) {
        struct model_weights *file = model_weights_open(o->files.items[k], NULL, spool, tool, e);
        if (!file)
            return -1;
        const char *name = model_source_name(model_weights_model_source(file));
        bool is_new = base_and_experts_find_by_name(x, name, strlen(name)) < 0;
        x->files[k] = file;
        x->names[x->n++] = name;
        if (!is_new)
            return error_set(e, "two experts are called %s; write NAME=PATH to rename one", name);
        if (check_expert_model_sizes(x, k, e))
            return -1;
    }
    return 0;
}

/* ---- unchanged files ------------------------------------------------------------------------- */

static int check_unchanged(const struct model_weights *m, struct error *e)
{
    return m ? model_source_check_unchanged(model_weights_model_source(m), e) : 0;
}

int experts_check_unchanged(const struct base_and_experts *x, struct error *e)
{
    for (size_t k = 0; x->files && k < x->n; k++)
        if (check_unchanged(x->files[k], e))
            return -1;
    return check_unchanged(x->base, e);
}

void base_and_experts_close(struct base_and_experts *x)
{
    for (size_t k = 0; x->files && k < x->n; k++)
        model_weights_close(x->files[k]);
    model_weights_close(x->base);
    free(x->models);
    free(x->names);
    free(x->files);
    *x = (struct base_and_experts){0};
}

static bool file_matches_model(const struct model *m, const struct model_weights *file)
{
    return file && m->has_fingerprint &&
           m->fingerprint == model_source_fingerprint(model_weights_model_source(file));
}

static bool base_matches_stream(const struct base_and_experts *x, const struct header *h)
{
    for (size_t m = 0; m < h->n_models; m++)
        if (h->models[m].role && strcmp(h->models[m].role, "base") == 0)
            return file_matches_model(&h->models[m], x->base);
    return false;
}

/* Is tv-extract the only step, with whole models and default options? */
static bool is_plain_tv_extract_history(const struct header *h)
{
    const struct history_step *step = h->history.n == 1 ? &h->history.steps[0] : NULL;
    if (!step || strcmp(step->tool, "tv-extract") != 0 || step->n_parents ||
        h->input_rounding != DTYPE_NONE)
        return false;
    for (size_t i = 0; i < step->n_arguments; i++)
        if (strncmp(step->arguments[i], "--", 2) == 0 || strchr(step->arguments[i], '['))
            return false;
    return true;
}

/* Is F32 as exact as the models' own dtype? */
static bool f32_vectors_are_exact(const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        for (size_t v = 0; v < h->tensors[i].n_vectors; v++)
            if (h->tensors[i].vectors[v].dtype != DTYPE_F32 ||
                h->tensors[i].vectors[v].stored_dtype == DTYPE_F64)
                return false;
    return true;
}

bool base_and_experts_files_match_stream(const struct base_and_experts *x, const struct header *h)
{
    if (!is_plain_tv_extract_history(h) || !base_matches_stream(x, h) || !f32_vectors_are_exact(h))
        return false;
    for (size_t k = 0; k < x->n; k++)
        if (!file_matches_model(&h->models[x->models[k]], x->files[k]))
            return false;
    return true;
}
