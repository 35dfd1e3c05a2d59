#include "collected_hashes.h"

#include <stdlib.h>
#include <string.h>

void collected_hashes_add_model(struct collected_hashes *all, const char *model, uint64_t hash)
{
    size_t n = all->n_models++;
    all->models = mem_resize(all->models, n + 1, sizeof *all->models);
    all->model_hashes = mem_resize(all->model_hashes, n + 1, sizeof *all->model_hashes);
    all->models[n] = arena_copy_text_n(&all->arena, model, strlen(model));
    all->model_hashes[n] = hash;
}

/* There may be many tensors: the capacity doubles whenever their number is a power of two. */
void collected_hashes_add_tensor(struct collected_hashes *all, const struct tensor_hash *hash)
{
    size_t n = all->n_tensors++;
    if ((n & (n - 1)) == 0)
        all->tensors = mem_resize(all->tensors, n ? 2 * n : 1, sizeof *all->tensors);
    all->tensors[n] = *hash;
}

void collected_hashes_free(struct collected_hashes *all)
{
    free(all->models);
    free(all->model_hashes);
    free(all->tensors);
    arena_free(&all->arena);
}
