#include "base_model.h"

#include "layer_slice.h"
#include "name_scheme.h"
#include "tensor_name.h"
#include "vocabulary_tensors.h"

#include <stdlib.h>
#include <string.h>

/* The base's tensor for one tensor of the stream. */
struct match {
    size_t tensor;
    size_t columns, base_columns; /* elements of a row in the stream and in the base */
};

struct base_model {
    struct model_source *model;
    enum dtype rounding;
    struct match *matches; /* [tensor of the stream] */
    bool *used;            /* [tensor of the base] */
    /* With a vocabulary: the models of the stream that have rows which the base may lack. */
    size_t n_models;
    struct model_source **models;     /* the base, then the others; NULL: in no file */
    const char **names;               /* of these */
    struct vocabulary_tensors *moved; /* NULL: rows stay where they are */
};

const struct model_source *base_model_source(const struct base_model *b)
{
    return b->model;
}

const struct ckpt_tensor *base_model_matching_tensor(const struct base_model *b, size_t index)
{
    return model_source_tensor(b->model, b->matches[index].tensor);
}

bool base_model_tensor_is_unused(const struct base_model *b, size_t i)
{
    return !b->used[i];
}

/* ---- matching -------------------------------------------------------------------------------- */

static int check_base_fingerprint(const struct base_model *b, const struct header *h,
                                  struct error *e)
{
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        if (m->role && strcmp(m->role, "base") == 0 && m->has_fingerprint &&
            m->fingerprint != model_source_fingerprint(b->model))
            return error_set(e,
                             "the task vectors were extracted against another base: %s with the "
                             "fingerprint %016llx, but %s has %016llx (--onto accepts it)",
                             m->name, (unsigned long long)m->fingerprint,
                             model_source_name(b->model),
                             (unsigned long long)model_source_fingerprint(b->model));
    }
    return 0;
}

/* Is the stream's tensor a smaller embedding, the upper left part of the base's? */
static bool is_smaller_embedding(const struct tensor *t, const struct ckpt_tensor *base)
{
    return tensor_name_has_vocabulary_rows(t->name) && t->rank == 2 && base->rank == 2 &&
           t->shape[0] <= base->shape[0] && t->shape[1] <= base->shape[1];
}

static int check_dtype_and_shape(const struct base_model *b, const char *name,
                                 const struct tensor *t, const struct ckpt_tensor *base,
                                 struct error *e)
{
    struct arena a = {0};
    if (!dtype_is_float(base->dtype) || !tensor_is_float(t))
        return error_set(e,
                         "tensor %s is %s in %s and %s in the stream; only F16, BF16, F32 and "
                         "F64 can be added",
                         name, dtype_name(base->dtype), model_source_name(b->model),
                         dtype_name(t->vectors[0].dtype));
    bool same_shape =
        t->rank == base->rank && memcmp(t->shape, base->shape, t->rank * sizeof *t->shape) == 0;
    if (same_shape || is_smaller_embedding(t, base))
        return 0;
    error_set(e, "tensor %s is %s in the stream but %s in %s", t->name,
              tensor_format_shape(&a, t->rank, t->shape),
              tensor_format_shape(&a, base->rank, base->shape), model_source_name(b->model));
    arena_free(&a);
    return -1;
}

/* Finds the base's tensor for tensor `index` of the stream. */
static int find_base_tensor_for(struct base_model *b, size_t index, const struct tensor *t,
                                struct error *e)
{
    const char *name = t->base_name ? t->base_name : t->name;
    long i = name_scheme_find_tensor_or_tied(b->model, name);
    if (i < 0)
        return error_set(e, "%s has no tensor %s to add the task vector to",
                         model_source_name(b->model), name);
    const struct ckpt_tensor *base = model_source_tensor(b->model, (size_t)i);
    if (check_dtype_and_shape(b, name, t, base, e) < 0)
        return -1;
    b->matches[index] =
        (struct match){.tensor = (size_t)i,
                       .columns = tensor_columns(t),
                       .base_columns = base->rank ? base->shape[base->rank - 1] : 1};
    /* A head that is matched with a tied embedding leaves the embedding unused. */
    if (!tensor_name_is_lm_head(t->name) || tensor_name_is_lm_head(base->name))
        b->used[i] = true;
    long same_name = model_source_find_tensor(b->model, t->name);
    if (same_name >= 0)
        b->used[same_name] = true;
    return 0;
}

/* ---- the vocabulary -------------------------------------------------------------------------- */

/* Opens the models of the stream that the vocabulary lists, after the base, which `operand`
 * names. */
static int open_models_of_vocabulary(struct base_model *b, const struct stage *s,
                                     const char *operand, const struct vocabulary *v,
                                     const struct header *h, struct error *e)
{
    b->models = mem_alloc(h->n_models + 1, sizeof(struct model_source *));
    b->names = mem_alloc(h->n_models + 1, sizeof *b->names);
    b->models[0] = b->model;
    b->names[0] = model_source_name(b->model);
    b->n_models = 1;
    for (size_t i = 0; i < h->n_models; i++) {
        const char *name = h->models[i].name;
        long listed = vocabulary_find_model(v, name);
        if (listed < 0 || strcmp(name, b->names[0]) == 0)
            continue;
        const struct vocabulary_model *m = &v->models[listed];
        struct model_source *source =
            m->only_tokenizer ? NULL
                              : model_source_open_on(m->path, b->model, operand, s->common.spool,
                                                     s->filter->name, e);
        if (!source && !m->only_tokenizer)
            return -1;
        b->names[b->n_models] = m->name;
        b->models[b->n_models++] = source;
    }
    return 0;
}

/* The matrices that the stream has. */
static int choose_vocabulary_tensors(const struct header *h)
{
    int which = 0;
    for (size_t i = 0; i < h->n_tensors; i++) {
        const char *name = h->tensors[i].name;
        which |= tensor_name_is_lm_head(name)           ? VOCABULARY_HEADS
                 : tensor_name_is_token_embedding(name) ? VOCABULARY_EMBEDDINGS
                                                        : 0;
    }
    return which;
}

static int move_vocabulary_rows(struct base_model *b, const struct stage *s, const char *operand,
                                struct vocabulary *v, const struct header *h, struct error *e)
{
    const struct vocabulary_tensors_options o = {
        .which = choose_vocabulary_tensors(h), .rounding = b->rounding, .n_moved = 1};
    if (open_models_of_vocabulary(b, s, operand, v, h, e))
        return -1;
    b->moved = vocabulary_tensors_move(v, b->models, b->names, b->n_models, &o, e);
    return b->moved ? 0 : -1;
}

/* ---- opening --------------------------------------------------------------------------------- */

struct base_model *base_model_open(const struct stage *s, const char *operand, bool accept_other,
                                   struct vocabulary *v, const struct header *h, struct error *e)
{
    struct base_model *b = mem_alloc(1, sizeof *b);
    b->rounding = h->input_rounding;
    const struct layer_slice_options keep_numbers = {.first_layer = -1};
    b->model = layer_slice_open(operand, &keep_numbers, s->common.spool, s->filter->name, e);
    int failed = !b->model || (!accept_other && check_base_fingerprint(b, h, e)) ||
                 (v && move_vocabulary_rows(b, s, operand, v, h, e));
    if (!failed) {
        b->matches = mem_alloc(h->n_tensors, sizeof *b->matches);
        b->used = mem_alloc(model_source_tensor_count(b->model), sizeof *b->used);
    }
    for (size_t i = 0; !failed && i < h->n_tensors; i++)
        failed = find_base_tensor_for(b, i, &h->tensors[i], e);
    if (!failed)
        return b;
    base_model_close(b);
    return NULL;
}

void base_model_close(struct base_model *b)
{
    if (!b)
        return;
    for (size_t i = 1; i < b->n_models; i++) /* before the base of an adapter */
        model_source_close(b->models[i]);
    model_source_close(b->model);
    vocabulary_tensors_free(b->moved);
    free(b->models);
    free(b->names);
    free(b->matches);
    free(b->used);
    free(b);
}

/* ---- elements ------------------------------------------------------------------------------ */

/* The number of elements from `first` on, at most n, that are contiguous in the base too; *at is
 * the flat index of the first one there. */
static size_t count_contiguous_elements(const struct match *m, size_t first, size_t n, size_t *at)
{
    if (m->columns == m->base_columns) {
        *at = first;
        return n;
    }
    size_t column = first % m->columns, left = m->columns - column;
    *at = first / m->columns * m->base_columns + column;
    return n < left ? n : left;
}

void base_model_read_f32(const struct base_model *b, size_t index, size_t first, size_t n,
                         float *to)
{
    const struct match *m = &b->matches[index];
    for (size_t done = 0, at; done < n;) {
        size_t run = count_contiguous_elements(m, first + done, n - done, &at);
        model_source_read_f32(b->model, m->tensor, at, run, b->rounding, to + done);
        done += run;
    }
}

static void read_f64(const struct base_model *b, size_t index, size_t first, size_t n, double *to)
{
    const struct match *m = &b->matches[index];
    for (size_t done = 0, at; done < n;) {
        size_t run = count_contiguous_elements(m, first + done, n - done, &at);
        model_source_read_f64(b->model, m->tensor, at, run, b->rounding, to + done);
        done += run;
    }
}

static void read_and_add_in_f64(const struct base_model *b, size_t index, size_t first, size_t n,
                                const float *tau, enum dtype to, void *sum)
{
    double *x = mem_alloc_aligned(n * sizeof *x);
    read_f64(b, index, first, n, x);
    for (size_t i = 0; i < n; i++)
        x[i] += (double)tau[i];
    dtype_from_f64(to, x, sum, n);
    free(x);
}

static void read_and_add_in_f32(const struct base_model *b, size_t index, size_t first, size_t n,
                                const float *tau, enum dtype to, void *sum)
{
    float *x = mem_alloc_aligned(n * sizeof *x);
    base_model_read_f32(b, index, first, n, x);
    vector_math_add(x, tau, x, n);
    dtype_from_f32(to, x, sum, n);
    free(x);
}

void base_model_add(const struct base_model *b, size_t index, size_t first, size_t n,
                    enum dtype from, const void *tau, enum dtype to, void *sum)
{
    bool is_f64 = base_model_matching_tensor(b, index)->dtype == DTYPE_F64;
    float *converted = NULL;
    if (from != DTYPE_F32) {
        converted = mem_alloc_aligned(n * sizeof *converted);
        dtype_to_f32(from, tau, converted, n);
        tau = converted;
    }
    if (is_f64)
        read_and_add_in_f64(b, index, first, n, tau, to, sum);
    else
        read_and_add_in_f32(b, index, first, n, tau, to, sum);
    free(converted);
}

void base_model_release_pages(const struct base_model *b, size_t index, size_t first, size_t n)
{
    const struct match *m = &b->matches[index];
    if (m->columns == m->base_columns)
        model_source_release_pages(b->model, m->tensor, first, n);
}
