#include "gram_join.h"

#include <stdlib.h>

int gram_join_begin(struct job *job, enum join_weights weights, struct error *e)
{
    const struct tensor *t = job->in;
    size_t n = t->n_vectors;
    if (join_use_weights(job, weights, e))
        return -1;
    if (!tensor_is_float(t))
        return PLAN_TRANSFORM;
    struct gram_join *g = job->state = arena_alloc(job->arena, 1, sizeof *g);
    g->n_vectors = n;
    g->dot_products = arena_alloc(job->arena, n * n, sizeof *g->dot_products);
    g->coefficients = arena_alloc(job->arena, n, sizeof *g->coefficients);
    g->coefficients[0] = 1;
    job->work_size = n * (n + 1) / 2 * sizeof(double);
    return PLAN_OBSERVE;
}

int gram_join_observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    float **x = join_list_vector_pointers(b);
    vector_math_gram(x, b->n_vectors, 0, b->n, work);
    free(x);
    return 0;
}

int gram_join_accumulate(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct gram_join *g = job->state;
    const double *dots = work;
    for (size_t j = 0; j < g->n_vectors; j++)
        for (size_t k = 0; k <= j; k++) {
            g->dot_products[j * g->n_vectors + k] += *dots++;
            g->dot_products[k * g->n_vectors + j] = g->dot_products[j * g->n_vectors + k];
        }
    return 0;
}

int gram_join_transform(const struct job *job, struct block *b, struct error *e)
{
    const struct gram_join *g = job->state;
    if (!g)
        return join_require_identical(job->in, b, e);
    float **x = join_list_vector_pointers(b);
    vector_math_weighted_sum(x, g->coefficients, g->n_vectors, 1, x[0], b->n);
    free(x);
    b->n_vectors = 1;
    return 0;
}

double gram_join_vector_norm(const struct gram_join *g, size_t k)
{
    return sqrt(g->dot_products[k * g->n_vectors + k]);
}

double gram_join_dot_with_sum(const struct gram_join *g, size_t k, const double *a)
{
    double sum = 0;
    for (size_t j = 0; j < g->n_vectors; j++)
        sum += a[j] * g->dot_products[k * g->n_vectors + j];
    return sum;
}

double gram_join_norm_of_sum(const struct gram_join *g, const double *a)
{
    double sum = 0;
    for (size_t k = 0; k < g->n_vectors; k++)
        sum += a[k] * gram_join_dot_with_sum(g, k, a);
    return sum > 0 ? sqrt(sum) : 0; /* rounding may leave less than 0 */
}

void gram_join_slerp_coefficients(double cosine, double t, double c[2])
{
    long double angle = acosl(cosine);
    c[0] = (double)(sinl((1 - t) * angle) / sinl(angle));
    c[1] = (double)(sinl(t * angle) / sinl(angle));
}
