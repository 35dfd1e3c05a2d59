#include "step_order.h"

#include "printable.h"

#include <string.h>

static bool has_one_vector_per_tensor(const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        if (h->tensors[i].n_vectors > 1)
            return false;
    return h->n_tensors > 0;
}

bool step_order_is_merged(const struct header *h)
{
    for (size_t i = 0; i < h->n_models; i++)
        if (h->models[i].role && strcmp(h->models[i].role, "merged") == 0)
            return has_one_vector_per_tensor(h);
    return false;
}

void step_order_warn(const struct stage *s, const struct header *in)
{
    const struct filter *f = s->filter;
    bool before_join = f->across_vectors || f->step == STEP_WEIGH || f->step == STEP_RESOLVE;
    if (before_join && step_order_is_merged(in))
        printable_warning(f->name,
                          "the vectors are merged already; put %s before combine or "
                          "the other step that joins them",
                          f->name);
    else if (f->across_vectors && has_one_vector_per_tensor(in))
        printable_warning(f->name,
                          "every tensor has only one vector, so %s has nothing to "
                          "compare",
                          f->name);
}
