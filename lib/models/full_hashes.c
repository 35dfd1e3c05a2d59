#include "full_hashes.h"

#include "hash.h"
#include "source_sink_services.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct full_hashes {
    const struct tensor_matching *matching;
    const struct header *header; /* for the block geometry */
    size_t n_tensors;
    uint64_t **block_hashes;  /* [tensor][view, the base's last][block], until it has been hashed */
    uint64_t **tensor_hashes; /* [model][tensor]; 0: not read */
    pthread_mutex_t lock;     /* held to allocate block_hashes */
};

struct full_hashes *full_hashes_new(const struct tensor_matching *m, const struct header *h)
{
    struct full_hashes *f = mem_alloc(1, sizeof *f);
    *f = (struct full_hashes){.matching = m,
                              .header = h,
                              .n_tensors = h->n_tensors,
                              .block_hashes = mem_alloc(h->n_tensors, sizeof *f->block_hashes),
                              .tensor_hashes = mem_alloc(m->n_models, sizeof *f->tensor_hashes)};
    for (size_t i = 0; i < m->n_models; i++)
        f->tensor_hashes[i] = mem_alloc(f->n_tensors, sizeof **f->tensor_hashes);
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

void full_hashes_free(struct full_hashes *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_tensors; i++)
        free(f->block_hashes[i]);
    for (size_t i = 0; i < f->matching->n_models; i++)
        free(f->tensor_hashes[i]);
    free(f->block_hashes);
    free(f->tensor_hashes);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static uint64_t hash_truncated_rows(const struct model_source *model, const struct tensor_view *v,
                                    const struct block *b, size_t columns)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < b->n; i += columns)
        hash = hash * 31 + model_source_hash_elements(
                               model, v->tensor, (b->first + i) / columns * v->columns, columns);
    return hash;
}

/* What determines the vector of an adapter, which is the same for all blocks. */
static uint64_t hash_delta(const struct model_source *model, const struct tensor_view *v)
{
    return model_source_is_adapted(model, v->tensor) ? model_source_hash_delta(model, v->tensor)
                                                     : 1;
}

/* Where the hash of a block is stored. */
static uint64_t *find_block_hash_slot(struct full_hashes *f, size_t index, size_t n_views, size_t k,
                                      size_t block)
{
    size_t blocks = tensor_block_count(&f->header->tensors[index]);
    pthread_mutex_lock(&f->lock);
    if (!f->block_hashes[index])
        f->block_hashes[index] = mem_alloc((n_views + 1) * blocks, sizeof **f->block_hashes);
    pthread_mutex_unlock(&f->lock);
    return &f->block_hashes[index][k * blocks + block];
}

static const struct tensor_view *get_view(const struct tensor_match *match, size_t k)
{
    return k < match->n ? &match->views[k] : &match->base;
}

void full_hashes_add_block(struct full_hashes *f, size_t index, const struct tensor_match *match,
                           size_t k, const struct block *b)
{
    const struct tensor_view *v = get_view(match, k);
    const struct model_source *model = f->matching->models[v->model];
    size_t first, n;
    tensor_block_range(&f->header->tensors[index], b->index, &first, &n);
    if (b->n < n)
        return;
    uint64_t *hash = find_block_hash_slot(f, index, match->n, k, b->index);
    if (*hash)
        return;
    size_t columns = tensor_columns(&f->header->tensors[index]);
    if (k < match->n && tensor_matching_is_delta(f->matching, match, k))
        *hash = hash_delta(model, v);
    else
        *hash = v->columns ? hash_truncated_rows(model, v, b, columns)
                           : model_source_hash_elements(model, v->tensor, b->first, b->n);
}

static uint64_t combine_block_hashes(const struct ckpt_tensor *t, const char *name,
                                     const uint64_t *blocks, size_t n)
{
    XXH3_state_t *state = hash_new_state();
    const char *dtype = dtype_name(t->dtype);
    uint64_t rank = t->rank;
    XXH3_64bits_update(state, name, strlen(name) + 1);
    XXH3_64bits_update(state, dtype, strlen(dtype) + 1);
    XXH3_64bits_update(state, &rank, sizeof rank);
    XXH3_64bits_update(state, t->shape, t->rank * sizeof *t->shape);
    XXH3_64bits_update(state, blocks, n * sizeof *blocks);
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash ? hash : 1;
}

/* Was a block of the view read? The base is not, where all vectors are those of adapters. */
static bool was_read(const uint64_t *blocks, size_t n)
{
    for (size_t i = 0; blocks && i < n; i++)
        if (blocks[i])
            return true;
    return n == 0;
}

void full_hashes_end_tensor(struct full_hashes *f, size_t index, const struct tensor_match *match,
                            struct stage *s)
{
    const uint64_t *hashes = f->block_hashes[index];
    size_t blocks = tensor_block_count(&f->header->tensors[index]);
    for (size_t k = 0; k < match->n + f->matching->task_vectors; k++) {
        const struct tensor_view *v = get_view(match, k);
        const struct model_source *model = f->matching->models[v->model];
        if (!was_read(hashes ? hashes + k * blocks : NULL, blocks))
            continue;
        uint64_t *hash = &f->tensor_hashes[v->model][index];
        *hash = combine_block_hashes(tensor_matching_view_tensor(f->matching, v),
                                     model_source_stored_name(model, v->tensor),
                                     hashes ? hashes + k * blocks : NULL, hashes ? blocks : 0);
        source_sink_services_add_tensor_hash(s, model_source_name(model), index, *hash);
    }
    free(f->block_hashes[index]);
    f->block_hashes[index] = NULL;
}

void full_hashes_report(const struct full_hashes *f, struct stage *s)
{
    for (size_t i = 0; i < f->matching->n_models; i++) {
        XXH3_state_t *state = hash_new_state();
        size_t n = 0;
        for (size_t j = 0; j < f->n_tensors; j++)
            if (f->tensor_hashes[i][j]) {
                XXH3_64bits_update(state, &f->tensor_hashes[i][j], sizeof f->tensor_hashes[i][j]);
                n++;
            }
        if (n > 0 || f->n_tensors == 0)
            source_sink_services_add_model_hash(s, model_source_name(f->matching->models[i]),
                                                XXH3_64bits_digest(state));
        XXH3_freeState(state);
    }
}
