#include "collected_hashes.h"

#include <stdlib.h>
#include <string.h>

void collected_hashes_add_model(struct collected_hashes *all, const char *model, uint64_t hash)
{
    size_t n = all->n_models++;
    all->models = mem_grow(all->models, n, sizeof *all->models);
    all->model_hashes = mem_grow(all->model_hashes, n, sizeof *all->model_hashes);
    all->models[n] = arena_copy_text_n(&all->arena, model, strlen(model));
    all->model_hashes[n] = hash;
}

void collected_hashes_add_tensor(struct collected_hashes *all, const struct tensor_hash *hash)
{
    size_t n = all->n_tensors++;
    all->tensors = mem_grow(all->tensors, n, sizeof *all->tensors);
    all->tensors[n] = *hash;
}

void collected_hashes_free(struct collected_hashes *all)
{
    free(all->models);
    free(all->model_hashes);
    free(all->tensors);
    arena_free(&all->arena);
}
