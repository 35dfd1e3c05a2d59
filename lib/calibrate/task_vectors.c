#include "task_vectors.h"

#include "vector_math.h"
#include "spool.h"

#include <stdlib.h>
#include <string.h>

#define NOWHERE UINT64_MAX

struct task_vectors {
    const struct model_weights *base;
    const struct header *header;
    size_t experts;
    const size_t *models;
    long *tensors;    /* [weight_kind_index]; -1: none */
    uint64_t *offset; /* [tensor of the stream]: of its vectors (experts, n); NOWHERE: not kept */
    uint64_t size;
    const struct model_weights **mapped; /* [expert]: NULL: from the spool */
    struct spool *spool;
};

static long *slot(const struct task_vectors *d, enum weight_kind part, size_t layer)
{
    return &d->tensors[weight_kind_index(model_weights_arch(d->base), part, layer)];
}

/* ---- which is which -------------------------------------------------------------------------- */

static long find_tensor(const struct header *h, const char *name)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        if (strcmp(t->base_name ? t->base_name : t->name, name) == 0)
            return (long)i;
    }
    return -1;
}

static int find_part(struct task_vectors *d, enum weight_kind part, size_t layer, struct error *e)
{
    const struct model_source *in = model_weights_model_source(d->base);
    long i = model_weights_tensor_index(d->base, part, layer);
    *slot(d, part, layer) = -1;
    if (i < 0)
        return 0;
    const struct ckpt_tensor *b = model_source_tensor(in, (size_t)i);
    long found = find_tensor(d->header, b->name);
    if (found < 0)
        return 0;
    const struct tensor *t = &d->header->tensors[found];
    if (!tensor_is_float(t))
        return error_set(e, "tensor %s is %s; F16, BF16, F32 and F64 can be computed with", t->name,
                         dtype_name(t->vectors[0].dtype));
    if (t->rank != b->rank || memcmp(t->shape, b->shape, t->rank * sizeof *t->shape) != 0) {
        struct arena a = {0};
        error_set(e, "tensor %s is %s in the stream but %s in %s", t->name,
                  tensor_format_shape(&a, t->rank, t->shape),
                  tensor_format_shape(&a, b->rank, b->shape), model_source_name(in));
        arena_free(&a);
        return -1;
    }
    *slot(d, part, layer) = found;
    return 0;
}

struct task_vectors *task_vectors_new(const struct model_weights *base, const struct header *h,
                                      size_t experts, const size_t *models, struct error *e)
{
    struct task_vectors *d = mem_alloc(1, sizeof *d);
    const struct arch *a = model_weights_arch(base);
    int failed = 0;
    d->base = base;
    d->header = h;
    d->experts = experts;
    d->models = models;
    d->tensors = mem_alloc(weight_kind_index_count(a), sizeof *d->tensors);
    d->mapped = mem_alloc(experts, sizeof *d->mapped);
    d->offset = mem_alloc(h->n_tensors, sizeof *d->offset);
    for (size_t i = 0; i < h->n_tensors; i++)
        d->offset[i] = NOWHERE;
    for (enum weight_kind part = 0; part < WEIGHT_KINDS; part++)
        for (size_t l = 0; l < weight_kind_layers(a, part) && !failed; l++)
            failed = find_part(d, part, l, e);
    if (!failed)
        return d;
    task_vectors_free(d);
    return NULL;
}

void task_vectors_free(struct task_vectors *d)
{
    if (!d)
        return;
    spool_free(d->spool);
    free(d->tensors);
    free(d->offset);
    free(d->mapped);
    free(d);
}

long task_vectors_stream_tensor(const struct task_vectors *d, enum weight_kind part, size_t layer)
{
    return *slot(d, part, layer);
}

long task_vectors_expert_of_vector(const struct task_vectors *d, const struct vector *v)
{
    for (size_t k = 0; k < d->experts; k++)
        if (d->models[k] == v->model)
            return (long)k;
    return -1;
}

/* Does expert k change this part? */
static bool changes(const struct task_vectors *d, enum weight_kind part, size_t layer, size_t k)
{
    long i = *slot(d, part, layer);
    const struct tensor *t = i < 0 ? NULL : &d->header->tensors[i];
    for (size_t j = 0; t && j < t->n_vectors; j++)
        if (t->vectors[j].model == d->models[k])
            return true;
    return false;
}

/* ---- elements -------------------------------------------------------------------------------- */

void task_vectors_set_expert_file(struct task_vectors *d, size_t k,
                                  const struct model_weights *expert)
{
    d->mapped[k] = expert;
}

int task_vectors_reserve_spool(struct task_vectors *d, const bool *wanted, uint64_t memory,
                               const char *spool, struct error *e)
{
    d->size = 0;
    for (size_t i = 0; i < d->header->n_tensors; i++) {
        d->offset[i] = wanted[i] ? d->size : NOWHERE;
        if (wanted[i])
            d->size += (uint64_t)d->experts * tensor_elements(&d->header->tensors[i]) * 4;
    }
    d->spool = spool_new(memory, spool);
    return spool_reserve(d->spool, d->size, e);
}

bool task_vectors_is_stored(const struct task_vectors *d, size_t tensor)
{
    return d->offset[tensor] != NOWHERE;
}

uint64_t task_vectors_stored_bytes(const struct task_vectors *d)
{
    return d->size;
}

static uint64_t place(const struct task_vectors *d, size_t tensor, size_t k, size_t first)
{
    uint64_t n = tensor_elements(&d->header->tensors[tensor]);
    return d->offset[tensor] + (k * n + first) * sizeof(float);
}

int task_vectors_write(struct task_vectors *d, size_t tensor, size_t k, size_t first, size_t n,
                       const float *x, struct error *e)
{
    return spool_write(d->spool, place(d, tensor, k, first), x, n * sizeof *x, e);
}

/* x - base, n elements of the expert's part. */
static void subtract(const struct task_vectors *d, enum weight_kind part, size_t layer, size_t k,
                     size_t first, size_t n, const float *base, float *to)
{
    float own[2048];
    const size_t tile = sizeof own / sizeof *own;
    model_weights_read(d->mapped[k], part, layer, first, n, to);
    if (base)
        vector_math_subtract(to, base, to, n);
    for (size_t done = 0; !base && done < n; done += tile) {
        size_t count = n - done < tile ? n - done : tile;
        model_weights_read(d->base, part, layer, first + done, count, own);
        vector_math_subtract(to + done, own, to + done, count);
    }
}

static int read_vector(void *context, enum weight_kind part, size_t layer, size_t k, size_t first,
                       size_t n, const float *base, float *to, struct error *e)
{
    const struct task_vectors *d = context;
    if (!changes(d, part, layer, k)) {
        memset(to, 0, n * sizeof *to);
        return 0;
    }
    if (!d->mapped[k])
        return spool_read(d->spool,
                          place(d, (size_t)*slot(d, part, layer), k,
                                model_weights_tensor_offset(d->base, part, layer) + first),
                          to, n * sizeof *to, e);
    subtract(d, part, layer, k, first, n, base, to);
    return 0;
}

struct task_vector_source task_vectors_source(struct task_vectors *d)
{
    return (struct task_vector_source){d, d->mapped[0] != NULL, read_vector};
}
