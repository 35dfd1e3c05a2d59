#include "input_hashes.h"

#include "hash.h"
#include "source_sink_services.h"
#include "collected_hashes.h"

#include <stdlib.h>

/* ---- recording ------------------------------------------------------------------------------- */

/* Was the tensor of an input model read for this shard? */
static bool was_read_for_shard(const struct shard_layout *l, const struct tensor_hash *h,
                               size_t shard)
{
    if (h->sink_index == SIZE_MAX) /* the tensor was dropped on the way */
        return shard == PARTIAL_CHECKPOINT_AUXILIARY;
    return shard != PARTIAL_CHECKPOINT_AUXILIARY && l->tensors[h->sink_index].shard == shard;
}

json_t *input_hashes_of_shard(const struct partial_checkpoint *p, const struct stage *s,
                              size_t shard)
{
    const struct tensor_hash *hashes;
    size_t n = source_sink_services_get_tensor_hashes(s, &hashes);
    json_t *read = json_object();
    for (size_t i = 0; i < n; i++) {
        char index[24];
        if (!was_read_for_shard(partial_checkpoint_layout(p), &hashes[i], shard))
            continue;
        json_t *of_model = json_object_get(read, hashes[i].model);
        if (!of_model) {
            of_model = json_object();
            json_object_set_new(read, hashes[i].model, of_model);
        }
        snprintf(index, sizeof index, "%zu", hashes[i].index);
        json_object_set_new(of_model, index, shard_records_encode_hash(hashes[i].hash));
    }
    return read;
}

json_t *input_hashes_of_models(const struct stage *s)
{
    const char *const *models;
    const uint64_t *hashes;
    size_t n = source_sink_services_get_model_hashes(s, &models, &hashes);
    json_t *all = json_object();
    for (size_t i = 0; i < n; i++)
        json_object_set_new(all, models[i], shard_records_encode_hash(hashes[i]));
    return all;
}

/* ---- combining ------------------------------------------------------------------------------- */

struct indexed_hash {
    unsigned long long index;
    uint64_t hash;
};

/* The hashes of one model's tensors. */
struct hash_list {
    size_t n;
    struct indexed_hash *hashes;
};

/* Adds the hashes of one record. */
static void collect_tensor_hashes(struct hash_list *l, const json_t *record, const char *model)
{
    const char *index;
    json_t *hash, *of_model = json_object_get(json_object_get(record, "read"), model);
    json_object_foreach(of_model, index, hash)
    {
        if ((l->n & (l->n - 1)) == 0)
            l->hashes = mem_resize(l->hashes, l->n ? 2 * l->n : 1, sizeof *l->hashes);
        l->hashes[l->n++] =
            (struct indexed_hash){strtoull(index, NULL, 10), shard_records_decode_hash(hash)};
    }
}

static int compare_indexes(const void *a, const void *b)
{
    const struct indexed_hash *x = a, *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

/* The full hash, over the tensors in order, as model_set.c computes it. */
static uint64_t combine_tensor_hashes(struct hash_list *l)
{
    XXH3_state_t *state = hash_new_state();
    qsort(l->hashes, l->n, sizeof *l->hashes, compare_indexes);
    for (size_t i = 0; i < l->n; i++)
        if (i == 0 || l->hashes[i].index != l->hashes[i - 1].index)
            XXH3_64bits_update(state, &l->hashes[i].hash, sizeof l->hashes[i].hash);
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

/* Finds the full hash of a model from the records of n shards and of the auxiliary files. False if
 * nothing is known of the model. */
static bool find_or_compute_model_hash(const struct partial_checkpoint *p, size_t n,
                                       const char *model, uint64_t *hash)
{
    const json_t *auxiliary = partial_checkpoint_record(p, PARTIAL_CHECKPOINT_AUXILIARY);
    const json_t *whole = json_object_get(json_object_get(auxiliary, "hashes"), model);
    struct hash_list l = {0};
    for (size_t i = 0; i < n; i++)
        collect_tensor_hashes(&l, partial_checkpoint_record(p, i), model);
    collect_tensor_hashes(&l, auxiliary, model);
    *hash = l.n ? combine_tensor_hashes(&l) : shard_records_decode_hash(whole);
    free(l.hashes);
    return l.n || whole;
}

struct model_hashes input_hashes_combine(const struct partial_checkpoint *p, const struct header *h,
                                         struct arena *a)
{
    size_t n = partial_checkpoint_layout(p)->n_shards, known = 0;
    const char **models = arena_alloc(a, h->n_models, sizeof *models);
    uint64_t *hashes = arena_alloc(a, h->n_models, sizeof *hashes);
    for (size_t m = 0; m < h->n_models; m++) {
        models[known] = h->models[m].name;
        known += find_or_compute_model_hash(p, n, h->models[m].name, &hashes[known]);
    }
    return (struct model_hashes){known, models, hashes};
}
