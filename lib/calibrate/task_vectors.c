#include "task_vectors.h"

#include "vector_math.h"
#include "spool.h"

#include <stdlib.h>
#include <string.h>

#define NOT_STORED UINT64_MAX
#define TILE       ((size_t)2048) /* elements that are converted together */

struct task_vectors {
    const struct model_weights *base;
    const struct header *header;
    size_t experts;
    const size_t *models;
    long *tensors;    /* [weight_kind_index]: the stream's tensor; -1: none */
    uint64_t *offset; /* [tensor of the stream]: of its vectors (experts, n) in the spool */
    uint64_t size;
    const struct model_weights **files; /* [expert]: its checkpoint; NULL: read from the spool */
    const struct saved_stream *saved;   /* they are read from this file; NULL: from the spool */
    struct spool *spool;
};

static long *stream_tensor_slot(const struct task_vectors *tv, enum weight_kind kind, size_t layer)
{
    return &tv->tensors[weight_kind_index(model_weights_arch(tv->base), kind, layer)];
}

/* ---- tensors of the stream and weights of the model ------------------------------------------ */

static long find_tensor_by_base_name(const struct header *h, const char *name)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        if (strcmp(t->base_name ? t->base_name : t->name, name) == 0)
            return (long)i;
    }
    return -1;
}

/* Can the stream's tensor be computed with, and has it the shape of the base's? */
static int check_dtype_and_base_shape(const struct tensor *t, const struct ckpt_tensor *of_base,
                                      const char *base_name, struct error *e)
{
    struct arena a = {0};
    if (!tensor_is_float(t))
        return error_set(e, "tensor %s has dtype %s; expected F16, BF16, F32 or F64", t->name,
                         dtype_name(t->vectors[0].dtype));
    if (t->rank == of_base->rank &&
        memcmp(t->shape, of_base->shape, t->rank * sizeof *t->shape) == 0)
        return 0;
    error_set(e, "tensor %s has shape %s in the stream but %s in %s", t->name,
              tensor_format_shape(&a, t->rank, t->shape),
              tensor_format_shape(&a, of_base->rank, of_base->shape), base_name);
    arena_free(&a);
    return -1;
}

static int match_weight_to_stream_tensor(struct task_vectors *tv, enum weight_kind kind,
                                         size_t layer, struct error *e)
{
    const struct model_source *base = model_weights_model_source(tv->base);
    long i = model_weights_tensor_index(tv->base, kind, layer);
    *stream_tensor_slot(tv, kind, layer) = -1;
    if (i < 0)
        return 0;
    const struct ckpt_tensor *of_base = model_source_tensor(base, (size_t)i);
    long found = find_tensor_by_base_name(tv->header, of_base->name);
    if (found < 0)
        return 0;
    *stream_tensor_slot(tv, kind, layer) = found;
    return check_dtype_and_base_shape(&tv->header->tensors[found], of_base, model_source_name(base),
                                      e);
}

struct task_vectors *task_vectors_new(const struct model_weights *base, const struct header *h,
                                      size_t experts, const size_t *models, struct error *e)
{
    struct task_vectors *tv = mem_alloc(1, sizeof *tv);
    const struct arch *a = model_weights_arch(base);
    int failed = 0;
    tv->base = base;
    tv->header = h;
    tv->experts = experts;
    tv->models = models;
    tv->tensors = mem_alloc(weight_kind_index_count(a), sizeof *tv->tensors);
    tv->files = mem_alloc(experts, sizeof *tv->files);
    tv->offset = mem_alloc(h->n_tensors, sizeof *tv->offset);
    for (size_t i = 0; i < h->n_tensors; i++)
        tv->offset[i] = NOT_STORED;
    for (enum weight_kind kind = 0; kind < WEIGHT_KINDS; kind++)
        for (size_t l = 0; l < weight_kind_layers(a, kind) && !failed; l++)
            failed = match_weight_to_stream_tensor(tv, kind, l, e);
    if (!failed)
        return tv;
    task_vectors_free(tv);
    return NULL;
}

void task_vectors_free(struct task_vectors *tv)
{
    if (!tv)
        return;
    spool_free(tv->spool);
    free(tv->tensors);
    free(tv->offset);
    free(tv->files);
    free(tv);
}

long task_vectors_find_stream_tensor(const struct task_vectors *tv, enum weight_kind kind,
                                     size_t layer)
{
    return *stream_tensor_slot(tv, kind, layer);
}

long task_vectors_expert_of_vector(const struct task_vectors *tv, const struct vector *v)
{
    for (size_t k = 0; k < tv->experts; k++)
        if (tv->models[k] == v->model)
            return (long)k;
    return -1;
}

/* The position of expert k's task vector in the stream's tensor for this weight; -1: none. */
static long find_vector_of_expert(const struct task_vectors *tv, enum weight_kind kind,
                                  size_t layer, size_t k)
{
    long i = *stream_tensor_slot(tv, kind, layer);
    const struct tensor *t = i < 0 ? NULL : &tv->header->tensors[i];
    for (size_t j = 0; t && j < t->n_vectors; j++)
        if (t->vectors[j].model == tv->models[k])
            return (long)j;
    return -1;
}

/* ---- elements -------------------------------------------------------------------------------- */

void task_vectors_set_expert_file(struct task_vectors *tv, size_t k,
                                  const struct model_weights *expert)
{
    tv->files[k] = expert;
}

void task_vectors_set_saved_stream(struct task_vectors *tv, const struct saved_stream *saved)
{
    tv->saved = saved;
}

/* The dtype of a tensor in the spool: that of its vectors if it is shorter than F32. */
static enum dtype spool_dtype(const struct task_vectors *tv, size_t tensor)
{
    const struct tensor *t = &tv->header->tensors[tensor];
    enum dtype d = t->vectors[0].dtype;
    for (size_t k = 1; k < t->n_vectors; k++)
        if (t->vectors[k].dtype != d)
            return DTYPE_F32;
    return dtype_bits(d) < dtype_bits(DTYPE_F32) ? d : DTYPE_F32;
}

int task_vectors_reserve_spool(struct task_vectors *tv, const bool *wanted, uint64_t memory,
                               const char *spool, struct error *e)
{
    tv->size = 0;
    for (size_t i = 0; i < tv->header->n_tensors; i++) {
        tv->offset[i] = wanted[i] ? tv->size : NOT_STORED;
        if (wanted[i])
            tv->size +=
                tv->experts *
                (uint64_t)dtype_bytes(spool_dtype(tv, i), tensor_elements(&tv->header->tensors[i]));
    }
    tv->spool = spool_new(memory, spool);
    return spool_reserve(tv->spool, tv->size, e);
}

bool task_vectors_is_stored_tensor(const struct task_vectors *tv, size_t tensor)
{
    return tv->offset[tensor] != NOT_STORED;
}

uint64_t task_vectors_stored_bytes(const struct task_vectors *tv)
{
    return tv->size;
}

static uint64_t compute_spool_offset(const struct task_vectors *tv, size_t tensor, size_t k,
                                     size_t first)
{
    uint64_t n = tensor_elements(&tv->header->tensors[tensor]);
    return tv->offset[tensor] + dtype_bytes(spool_dtype(tv, tensor), k * n + first);
}

int task_vectors_write(struct task_vectors *tv, size_t tensor, size_t k, size_t first, size_t n,
                       const float *x, struct error *e)
{
    enum dtype d = spool_dtype(tv, tensor);
    uint64_t offset = compute_spool_offset(tv, tensor, k, first);
    if (d == DTYPE_F32)
        return spool_write_at(tv->spool, offset, x, n * sizeof *x, e);
    unsigned char tile[2 * TILE];
    for (size_t done = 0; done < n; done += TILE) {
        size_t count = n - done < TILE ? n - done : TILE, bytes = dtype_bytes(d, count);
        dtype_from_f32(d, x + done, tile, count);
        if (spool_write_at(tv->spool, offset + dtype_bytes(d, done), tile, bytes, e))
            return -1;
    }
    return 0;
}

/* Elements of expert k from the spool. */
static int read_from_spool(const struct task_vectors *tv, size_t tensor, size_t k, size_t first,
                           size_t n, float *to, struct error *e)
{
    enum dtype d = spool_dtype(tv, tensor);
    uint64_t offset = compute_spool_offset(tv, tensor, k, first);
    if (d == DTYPE_F32)
        return spool_read_at(tv->spool, offset, to, n * sizeof *to, e);
    unsigned char tile[2 * TILE];
    for (size_t done = 0; done < n; done += TILE) {
        size_t count = n - done < TILE ? n - done : TILE, bytes = dtype_bytes(d, count);
        if (spool_read_at(tv->spool, offset + dtype_bytes(d, done), tile, bytes, e))
            return -1;
        dtype_to_f32(d, tile, to + done, count);
    }
    return 0;
}

/* Elements of vector k of a tensor of the saved stream. */
static void read_from_saved_stream(const struct task_vectors *tv, size_t tensor, size_t k,
                                   size_t first, size_t n, float *to)
{
    enum dtype d = tv->header->tensors[tensor].vectors[k].dtype;
    unsigned char tile[8 * TILE];
    if (d == DTYPE_F32) {
        saved_stream_read_elements(tv->saved, tensor, k, first, n, to);
        return;
    }
    for (size_t done = 0; done < n; done += TILE) {
        size_t count = n - done < TILE ? n - done : TILE;
        saved_stream_read_elements(tv->saved, tensor, k, first + done, count, tile);
        dtype_to_f32(d, tile, to + done, count);
    }
}

/* The expert's checkpoint minus the base. */
static void read_expert_minus_base(const struct task_vectors *tv, const struct task_vector_range *r,
                                   const float *base, float *to)
{
    float tile[TILE];
    model_weights_read(tv->files[r->expert], r->kind, r->layer, r->first, r->n, to);
    if (base) {
        vector_math_subtract(to, base, to, r->n);
        return;
    }
    for (size_t done = 0; done < r->n; done += TILE) {
        size_t n = r->n - done < TILE ? r->n - done : TILE;
        model_weights_read(tv->base, r->kind, r->layer, r->first + done, n, tile);
        vector_math_subtract(to + done, tile, to + done, n);
    }
}

/* For struct task_vector_source. */
static int read_task_vector_range(void *context, const struct task_vector_range *r,
                                  const float *base, float *to, struct error *e)
{
    const struct task_vectors *tv = context;
    long k = find_vector_of_expert(tv, r->kind, r->layer, r->expert);
    if (k < 0) {
        memset(to, 0, r->n * sizeof *to);
        return 0;
    }
    if (tv->files[r->expert]) {
        read_expert_minus_base(tv, r, base, to);
        return 0;
    }
    size_t tensor = (size_t)*stream_tensor_slot(tv, r->kind, r->layer);
    size_t first = model_weights_tensor_offset(tv->base, r->kind, r->layer) + r->first;
    if (!tv->saved)
        return read_from_spool(tv, tensor, r->expert, first, r->n, to, e);
    read_from_saved_stream(tv, tensor, (size_t)k, first, r->n, to);
    return 0;
}

struct task_vector_source task_vectors_source(struct task_vectors *tv)
{
    return (struct task_vector_source){tv, tv->files[0] != NULL, read_task_vector_range};
}
