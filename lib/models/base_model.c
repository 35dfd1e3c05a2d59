#include "base_model.h"

#include "name_scheme.h"
#include "tensor_name.h"
#include "layer_slice.h"

#include <stdlib.h>
#include <string.h>

/* What lies under one tensor of the stream. */
struct under {
    size_t tensor;
    size_t columns, base_columns; /* of a row here and there */
};

struct base_model {
    struct model_source *model;
    enum dtype rounding;
    struct under *under; /* [tensor of the stream] */
    bool *taken;         /* [tensor of the base] */
};

const struct model_source *base_model_source(const struct base_model *o)
{
    return o->model;
}

const struct ckpt_tensor *base_model_matching_tensor(const struct base_model *o, size_t index)
{
    return model_source_tensor(o->model, o->under[index].tensor);
}

bool base_model_tensor_is_unused(const struct base_model *o, size_t i)
{
    return !o->taken[i];
}

/* ---- opening ------------------------------------------------------------------------------ */

static int check_fingerprint(const struct base_model *o, const struct header *h, struct error *e)
{
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        if (m->role && strcmp(m->role, "base") == 0 && m->has_fingerprint &&
            m->fingerprint != model_source_fingerprint(o->model))
            return error_set(e,
                             "the stream was made against another base: its %s has the "
                             "fingerprint %016llx, but %s has %016llx (--onto says that this is "
                             "meant)",
                             m->name, (unsigned long long)m->fingerprint,
                             model_source_name(o->model),
                             (unsigned long long)model_source_fingerprint(o->model));
    }
    return 0;
}

/* Is the stream's tensor the upper left part of the base's? */
static bool is_cut(const struct tensor *t, const struct ckpt_tensor *b)
{
    return tensor_name_has_vocabulary_rows(t->name) && t->rank == 2 && b->rank == 2 &&
           t->shape[0] <= b->shape[0] && t->shape[1] <= b->shape[1];
}

static int find_under(struct base_model *o, size_t index, const struct tensor *t, struct error *e)
{
    const char *name = t->base_name ? t->base_name : t->name;
    struct arena a = {0};
    long i = name_scheme_find_tensor_or_tied(o->model, name);
    if (i < 0)
        return error_set(e, "%s has no tensor %s to add the task vector to",
                         model_source_name(o->model), name);
    const struct ckpt_tensor *b = model_source_tensor(o->model, (size_t)i);
    if (!dtype_is_float(b->dtype) || !tensor_is_float(t))
        return error_set(e,
                         "tensor %s is %s in %s and %s in the stream; only F16, BF16, F32 and "
                         "F64 can be added",
                         name, dtype_name(b->dtype), model_source_name(o->model),
                         dtype_name(t->vectors[0].dtype));
    bool same = t->rank == b->rank && memcmp(t->shape, b->shape, t->rank * sizeof *t->shape) == 0;
    if (!same && !is_cut(t, b)) {
        error_set(e, "tensor %s is %s in the stream but %s in %s", t->name,
                  tensor_format_shape(&a, t->rank, t->shape),
                  tensor_format_shape(&a, b->rank, b->shape), model_source_name(o->model));
        arena_free(&a);
        return -1;
    }
    o->under[index] = (struct under){.tensor = (size_t)i,
                                     .columns = tensor_columns(t),
                                     .base_columns = b->rank ? b->shape[b->rank - 1] : 1};
    /* A head that borrows the embedding does not use it up. */
    if (!tensor_name_is_lm_head(t->name) || tensor_name_is_lm_head(b->name))
        o->taken[i] = true;
    long own = model_source_find_tensor(o->model, t->name);
    if (own >= 0)
        o->taken[own] = true;
    return 0;
}

struct base_model *base_model_open(const struct stage *s, const char *operand, bool another,
                                   const struct header *h, struct error *e)
{
    struct base_model *o = mem_alloc(1, sizeof *o);
    o->rounding = h->input_rounding;
    const struct layer_slice_options as_in_model = {.first_layer = -1};
    o->model = layer_slice_open(operand, &as_in_model, s->common.spool, s->filter->name, e);
    int failed = !o->model || (!another && check_fingerprint(o, h, e));
    if (!failed) {
        o->under = mem_alloc(h->n_tensors, sizeof *o->under);
        o->taken = mem_alloc(model_source_tensor_count(o->model), sizeof *o->taken);
    }
    for (size_t i = 0; !failed && i < h->n_tensors; i++)
        failed = find_under(o, i, &h->tensors[i], e);
    if (!failed)
        return o;
    base_model_close(o);
    return NULL;
}

void base_model_close(struct base_model *o)
{
    if (!o)
        return;
    model_source_close(o->model);
    free(o->under);
    free(o->taken);
    free(o);
}

/* ---- elements ------------------------------------------------------------------------------ */

/* The longest stretch from `first` on, of at most n elements, that is one in the base too; `at` is
 * where it starts there. */
static size_t stretch(const struct under *u, size_t first, size_t n, size_t *at)
{
    if (u->columns == u->base_columns) {
        *at = first;
        return n;
    }
    size_t column = first % u->columns, left = u->columns - column;
    *at = first / u->columns * u->base_columns + column;
    return n < left ? n : left;
}

void base_model_read_f32(const struct base_model *o, size_t index, size_t first, size_t n,
                         float *to)
{
    const struct under *u = &o->under[index];
    for (size_t done = 0, at; done < n;) {
        size_t m = stretch(u, first + done, n - done, &at);
        model_source_read_f32(o->model, u->tensor, at, m, o->rounding, to + done);
        done += m;
    }
}

void base_model_read_f64(const struct base_model *o, size_t index, size_t first, size_t n,
                         double *to)
{
    const struct under *u = &o->under[index];
    for (size_t done = 0, at; done < n;) {
        size_t m = stretch(u, first + done, n - done, &at);
        model_source_read_f64(o->model, u->tensor, at, m, o->rounding, to + done);
        done += m;
    }
}

void base_model_release_pages(const struct base_model *o, size_t index, size_t first, size_t n)
{
    const struct under *u = &o->under[index];
    if (u->columns == u->base_columns)
        model_source_release_pages(o->model, u->tensor, first, n);
}
