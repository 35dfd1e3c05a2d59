#include "finite_check.h"

bool finite_check_is_off(const struct stage *s)
{
    return s->common.allow_nonfinite || s->filter->accepts_nonfinite;
}

int finite_check_block(const struct tensor *t, const struct header *h, const struct block *b,
                       struct error *e)
{
    for (size_t k = 0; k < b->n_vectors; k++) {
        if (!dtype_is_float(b->dtypes[k]))
            continue;
        size_t i = dtype_find_nonfinite(b->dtypes[k], b->data[k], b->n);
        if (i < b->n)
            return error_set(e,
                             "tensor %s of %s has a non-finite number at flat index %zu "
                             "(--allow-nonfinite accepts it)",
                             t->name, h->models[t->vectors[k].model].name, b->first + i);
    }
    return 0;
}
