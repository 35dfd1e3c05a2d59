#include "gram_join.h"

#include <stdlib.h>

int gram_join_begin(struct job *job, enum join_weights weights, struct error *e)
{
    const struct tensor *t = job->in;
    size_t n = t->n_vectors;
    if (join_check_weights(job->stage, t, weights, e))
        return -1;
    if (!tensor_is_float(t))
        return PLAN_TRANSFORM;
    struct gram_join *g = job->state = arena_alloc(job->arena, 1, sizeof *g);
    g->n = n;
    g->dots = arena_alloc(job->arena, n * n, sizeof *g->dots);
    g->c = arena_alloc(job->arena, n, sizeof *g->c);
    g->c[0] = 1;
    job->work_size = n * n * sizeof(double);
    return PLAN_OBSERVE;
}

int gram_join_observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    double *dots = work;
    (void)job;
    (void)e;
    for (size_t j = 0; j < b->n_vectors; j++)
        for (size_t k = 0; k <= j; k++)
            dots[j * b->n_vectors + k] = kern_dot(block_x(b, j), block_x(b, k), b->n);
    return 0;
}

int gram_join_merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct gram_join *g = job->state;
    const double *dots = work;
    (void)b;
    (void)e;
    for (size_t j = 0; j < g->n; j++)
        for (size_t k = 0; k <= j; k++) {
            g->dots[j * g->n + k] += dots[j * g->n + k];
            g->dots[k * g->n + j] = g->dots[j * g->n + k];
        }
    return 0;
}

int gram_join_transform(const struct job *job, struct block *b, struct error *e)
{
    const struct gram_join *g = job->state;
    if (!g)
        return join_bytes(job->in, b, e);
    float **x = join_vectors(b);
    kern_weighted_sum(x, g->c, g->n, 1, x[0], b->n);
    free(x);
    b->n_vectors = 1;
    return 0;
}

double gram_join_norm(const struct gram_join *g, size_t k)
{
    return sqrt(g->dots[k * g->n + k]);
}

double gram_join_dot(const struct gram_join *g, size_t k, const double *a)
{
    double sum = 0;
    for (size_t j = 0; j < g->n; j++)
        sum += a[j] * g->dots[k * g->n + j];
    return sum;
}

double gram_join_length(const struct gram_join *g, const double *a)
{
    double sum = 0;
    for (size_t k = 0; k < g->n; k++)
        sum += a[k] * gram_join_dot(g, k, a);
    return sum > 0 ? sqrt(sum) : 0; /* rounding may leave less than 0 */
}

void gram_join_slerp(double cosine, double t, double c[2])
{
    long double angle = acosl(cosine);
    c[0] = (double)(sinl((1 - t) * angle) / sinl(angle));
    c[1] = (double)(sinl(t * angle) / sinl(angle));
}
