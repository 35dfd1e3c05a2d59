#include "tied_head.h"

#include "model_config.h"
#include "tensor_name.h"

#include <stdlib.h>

static bool has_equal_elements(const struct model_source *m, size_t i, size_t j)
{
    const struct ckpt_tensor *a = model_source_tensor(m, i), *b = model_source_tensor(m, j);
    return a->dtype == b->dtype && a->elements == b->elements &&
           model_source_hash_elements(m, i, 0, a->elements) ==
               model_source_hash_elements(m, j, 0, b->elements);
}

static bool is_equal_to_embedding(const struct model_source *m, size_t i)
{
    for (size_t j = 0; j < model_source_tensor_count(m); j++)
        if (j != i && tensor_name_has_vocabulary_rows(model_source_tensor(m, j)->name) &&
            has_equal_elements(m, i, j))
            return true;
    return false;
}

/* Does config.json say so? -1 on error. */
static int is_tied(const struct model_source *m, struct error *e)
{
    const struct ckpt *c = model_source_checkpoint(m);
    size_t size;
    char *config = NULL;
    if (c && ckpt_read_auxiliary_file(c, "config.json", &config, &size, e) < 0)
        return -1;
    int tied = config && model_config_tied_embeddings(config, size) == TIED_EMBEDDINGS_YES;
    free(config);
    return tied;
}

int tied_head_is_stored_again(const struct model_source *m, size_t i, struct error *e)
{
    if (!tensor_name_is_lm_head(model_source_tensor(m, i)->name) || model_source_is_pipe(m))
        return 0;
    int tied = is_tied(m, e);
    return tied > 0 ? is_equal_to_embedding(m, i) : tied;
}
