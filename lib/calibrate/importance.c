#include "importance.h"

#include "vector_math.h"

#include <math.h>
#include <stdlib.h>

#define PIECE 65536 /* elements that are summed at a time */

/* ||tau_kj||_1 */
static int l1_norm(const struct calibration *c, size_t j, size_t k, size_t n, double *norm,
                   struct error *e)
{
    const struct task_vector_source v = task_vectors_source(c->task_vectors);
    const struct merged_tensor *at = &c->merged_tensors[j];
    float *tau = mem_alloc_aligned((n < PIECE ? n : PIECE) * sizeof *tau);
    int failed = 0;
    *norm = 0;
    for (size_t done = 0; done < n && !failed; done += PIECE) {
        size_t count = n - done < PIECE ? n - done : PIECE;
        failed = v.read(v.context, at->part, at->layer, k, done, count, NULL, tau, e);
        *norm += failed ? 0 : vector_math_sum_abs(tau, count);
    }
    free(tau);
    return failed;
}

static int importance_of(const struct calibration *c, size_t j, size_t n, double *u,
                         struct error *e)
{
    const double *alpha = c->coefficients.alpha + c->coefficients.ranges[j].first;
    double norm;
    *u = 0;
    for (size_t k = 0; k < c->experts.n; k++) {
        if (l1_norm(c, j, k, n, &norm, e))
            return -1;
        *u += fabs(alpha[k]) * norm;
    }
    return 0;
}

int importance_allocate_chunks(const struct calibration *c, double budget, double kappa,
                               size_t *chunks, struct error *e)
{
    double *u = mem_alloc(c->n_merged, sizeof *u);
    size_t *elements = mem_alloc(c->n_merged, sizeof *elements);
    int failed = 0;
    for (size_t j = 0; j < c->n_merged && !failed; j++) {
        elements[j] = tensor_elements(&c->header->tensors[c->merged_tensors[j].tensor]);
        failed = importance_of(c, j, elements[j], &u[j], e);
    }
    if (!failed)
        importance_chunk_counts(c->n_merged, u, elements, budget, kappa, chunks);
    free(u);
    free(elements);
    return failed;
}
