#include "tensor_sums.h"

int tensor_sums_observe_abs(const struct job *job, const struct block *b, void *work,
                            struct error *e)
{
    double *sums = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        sums[k] = vector_math_sum_abs(block_floats(b, k), b->n);
    return 0;
}

int tensor_sums_observe_squares(const struct job *job, const struct block *b, void *work,
                                struct error *e)
{
    double *sums = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        sums[k] = vector_math_sum_squares(block_floats(b, k), b->n);
    return 0;
}

void tensor_sums_add_block_sums(const void *work, size_t n, double *sums)
{
    const double *block_sums = work;
    for (size_t i = 0; i < n; i++)
        sums[i] += block_sums[i];
}
