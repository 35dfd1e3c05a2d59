#include "weight_segments.h"

#include <stdlib.h>

struct weight_segments weight_segments_begin(const struct tensor *tensor, const struct block *b)
{
    struct weight_segments s = {.K = b->n_vectors, .tensor = tensor, .block = b};
    s.x = mem_alloc(s.K, sizeof *s.x);
    s.w = mem_alloc(s.K, sizeof *s.w);
    return s;
}

bool weight_segments_next(struct weight_segments *s)
{
    size_t first = s->end;
    if (first == s->block->n)
        return false;
    s->n = tensor_find_weights_at(s->tensor, s->block->first + first, s->block->n - first, s->w);
    for (size_t k = 0; k < s->K; k++)
        s->x[k] = block_floats(s->block, k) + first;
    s->end = first + s->n;
    return true;
}

void weight_segments_free(struct weight_segments *s)
{
    free(s->x);
    free(s->w);
}
