#include "arch.h"

#include <stdlib.h>

void arch_free(struct arch *a)
{
    free(a->sliding_windows);
    a->sliding_windows = NULL;
}

size_t arch_values_per_patch(const struct vision_arch *v)
{
    return v->channels * v->temporal_patch_size * v->patch_size * v->patch_size;
}

size_t arch_values_per_feature(const struct vision_arch *v)
{
    return v->merge_size * v->merge_size * v->hidden;
}
