#include "onto.h"

#include "layout.h"
#include "names.h"
#include "slice.h"

#include <stdlib.h>
#include <string.h>

/* What lies under one tensor of the stream. */
struct under {
    size_t tensor;
    size_t columns, base_columns; /* of a row here and there */
};

struct onto {
    struct input *model;
    enum dtype rounding;
    struct under *under; /* [tensor of the stream] */
    bool *taken;         /* [tensor of the base] */
};

const struct input *onto_model(const struct onto *o)
{
    return o->model;
}

const struct ckpt_tensor *onto_tensor(const struct onto *o, size_t index)
{
    return input_tensor(o->model, o->under[index].tensor);
}

bool onto_is_left_over(const struct onto *o, size_t i)
{
    return !o->taken[i];
}

/* ---- opening ------------------------------------------------------------------------------ */

static int check_fingerprint(const struct onto *o, const struct header *h, struct error *e)
{
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        if (m->role && strcmp(m->role, "base") == 0 && m->has_fingerprint &&
            m->fingerprint != input_fingerprint(o->model))
            return error_set(e,
                             "the stream was made against another base: its %s has the "
                             "fingerprint %016llx, but %s has %016llx (--onto says that this is "
                             "meant)",
                             m->name, (unsigned long long)m->fingerprint, input_name(o->model),
                             (unsigned long long)input_fingerprint(o->model));
    }
    return 0;
}

/* Is the stream's tensor the upper left part of the base's? */
static bool is_cut(const struct tensor *t, const struct ckpt_tensor *b)
{
    return names_is_vocabulary(t->name) && t->rank == 2 && b->rank == 2 &&
           t->shape[0] <= b->shape[0] && t->shape[1] <= b->shape[1];
}

static int find_under(struct onto *o, size_t index, const struct tensor *t, struct error *e)
{
    const char *name = t->base_name ? t->base_name : t->name;
    struct arena a = {0};
    long i = layout_find_tied(o->model, name);
    if (i < 0)
        return error_set(e, "%s has no tensor %s to add the task vector to", input_name(o->model),
                         name);
    const struct ckpt_tensor *b = input_tensor(o->model, (size_t)i);
    if (!dtype_is_float(b->dtype) || !tensor_is_float(t))
        return error_set(e,
                         "tensor %s is %s in %s and %s in the stream; only F16, BF16, F32 and "
                         "F64 can be added",
                         name, dtype_name(b->dtype), input_name(o->model),
                         dtype_name(t->vectors[0].dtype));
    bool same = t->rank == b->rank && memcmp(t->shape, b->shape, t->rank * sizeof *t->shape) == 0;
    if (!same && !is_cut(t, b)) {
        error_set(e, "tensor %s is %s in the stream but %s in %s", t->name,
                  tensor_shape_text(&a, t->rank, t->shape),
                  tensor_shape_text(&a, b->rank, b->shape), input_name(o->model));
        arena_free(&a);
        return -1;
    }
    o->under[index] = (struct under){.tensor = (size_t)i,
                                     .columns = tensor_columns(t),
                                     .base_columns = b->rank ? b->shape[b->rank - 1] : 1};
    /* A head that borrows the embedding does not use it up. */
    if (!names_is_head(t->name) || names_is_head(b->name))
        o->taken[i] = true;
    long own = input_find(o->model, t->name);
    if (own >= 0)
        o->taken[own] = true;
    return 0;
}

struct onto *onto_open(const struct stage *s, const char *operand, bool another,
                       const struct header *h, struct error *e)
{
    struct onto *o = mem_alloc(1, sizeof *o);
    o->rounding = h->rounding;
    const struct slice_options as_in_model = {.first = -1};
    o->model = slice_open(operand, &as_in_model, s->common.spool, s->filter->name, e);
    int failed = !o->model || (!another && check_fingerprint(o, h, e));
    if (!failed) {
        o->under = mem_alloc(h->n_tensors, sizeof *o->under);
        o->taken = mem_alloc(input_count(o->model), sizeof *o->taken);
    }
    for (size_t i = 0; !failed && i < h->n_tensors; i++)
        failed = find_under(o, i, &h->tensors[i], e);
    if (!failed)
        return o;
    onto_close(o);
    return NULL;
}

void onto_close(struct onto *o)
{
    if (!o)
        return;
    input_close(o->model);
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

void onto_read_f32(const struct onto *o, size_t index, size_t first, size_t n, float *to)
{
    const struct under *u = &o->under[index];
    for (size_t done = 0, at; done < n;) {
        size_t m = stretch(u, first + done, n - done, &at);
        input_read_f32(o->model, u->tensor, at, m, o->rounding, to + done);
        done += m;
    }
}

void onto_read_f64(const struct onto *o, size_t index, size_t first, size_t n, double *to)
{
    const struct under *u = &o->under[index];
    for (size_t done = 0, at; done < n;) {
        size_t m = stretch(u, first + done, n - done, &at);
        input_read_f64(o->model, u->tensor, at, m, o->rounding, to + done);
        done += m;
    }
}

void onto_done_with(const struct onto *o, size_t index, size_t first, size_t n)
{
    const struct under *u = &o->under[index];
    if (u->columns == u->base_columns)
        input_done_with(o->model, u->tensor, first, n);
}
