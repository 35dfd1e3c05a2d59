#include "tensor_importance.h"

#include "vector_math.h"

#include <math.h>
#include <stdlib.h>

#define TILE 65536 /* elements that are read at a time */

/* ||tau_kj||_1 of the n elements of learned tensor j. */
static int compute_l1_norm(const struct calibration *c, size_t j, size_t k, size_t n, double *norm,
                           struct error *e)
{
    const struct task_vector_source v = task_vectors_source(c->task_vectors);
    const struct learned_tensor *t = &c->merged.tensors[j];
    struct task_vector_range range = {.kind = t->kind, .layer = t->layer, .expert = k};
    float *tau = mem_alloc_aligned((n < TILE ? n : TILE) * sizeof *tau);
    int failed = 0;
    *norm = 0;
    for (; range.first < n && !failed; range.first += TILE) {
        range.n = n - range.first < TILE ? n - range.first : TILE;
        failed = v.read(v.context, &range, NULL, tau, e);
        *norm += failed ? 0 : vector_math_sum_abs(tau, range.n);
    }
    free(tau);
    return failed;
}

/* u_j, after a phase with one coefficient per tensor and expert. */
static int compute_importance_of_tensor(const struct calibration *c, size_t j, size_t n, double *u,
                                        struct error *e)
{
    const double *alpha = c->coefficients.alpha + c->coefficients.ranges[j].first;
    double norm;
    *u = 0;
    for (size_t k = 0; k < c->experts.n; k++) {
        if (compute_l1_norm(c, j, k, n, &norm, e))
            return -1;
        *u += fabs(alpha[k]) * norm;
    }
    return 0;
}

int tensor_importance_allocate_chunks(const struct calibration *c, double budget, double kappa,
                                      size_t *chunks, struct error *e)
{
    size_t n = c->merged.n, *elements = mem_alloc(n, sizeof *elements);
    double *u = mem_alloc(n, sizeof *u);
    int failed = 0;
    for (size_t j = 0; j < n && !failed; j++) {
        elements[j] = tensor_elements(&c->header->tensors[c->merged.tensors[j].stream_index]);
        failed = compute_importance_of_tensor(c, j, elements[j], &u[j], e);
    }
    if (!failed)
        tensor_importance_compute_chunk_counts(n, u, elements, budget, kappa, chunks);
    free(u);
    free(elements);
    return failed;
}

/* Chunks that are not empty when n elements are divided into m. */
static size_t count_nonempty_chunks(size_t n, size_t m)
{
    size_t size = (n + m - 1) / m;
    return (n + size - 1) / size;
}

void tensor_importance_compute_chunk_counts(size_t tensors, const double *u, const size_t *elements,
                                            double budget, double kappa, size_t *chunks)
{
    double total = 0, powers = 0;
    for (size_t j = 0; j < tensors; j++)
        total += u[j];
    for (size_t j = 0; j < tensors && total > 0; j++)
        powers += pow(u[j] / total, kappa);
    for (size_t j = 0; j < tensors; j++) {
        chunks[j] = 0;
        if (powers <= 0)
            continue;
        double share = budget * (double)tensors * pow(u[j] / total, kappa) / powers;
        size_t m = share < (double)elements[j] ? (size_t)share : elements[j];
        chunks[j] = m ? count_nonempty_chunks(elements[j], m) : 0;
    }
}
