#include "coefficients.h"

#include "mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double sigmoid(double r)
{
    return 1 / (1 + exp(-r));
}

static double logit(double x)
{
    return log(x / (1 - x));
}

void coefficients_new(struct coefficients *c, size_t tensors, size_t experts, const size_t *group,
                      const size_t *chunks, double max)
{
    *c = (struct coefficients){.tensors = tensors, .experts = experts, .max = max};
    c->ranges = mem_alloc(tensors, sizeof *c->ranges);
    for (int frozen = 0; frozen <= 1; frozen++) {
        for (size_t j = 0; j < tensors; j++) {
            struct coefficient_range *s = &c->ranges[j];
            if ((chunks[j] == 0) != frozen)
                continue;
            if (group[j] != j) {
                *s = c->ranges[group[j]];
                continue;
            }
            *s = (struct coefficient_range){c->n_all, frozen ? 1 : chunks[j], frozen};
            c->n_all += experts * s->chunks;
        }
        if (!frozen)
            c->n_learned = c->n_all;
    }
    c->r = mem_alloc(c->n_all, sizeof *c->r);
    c->alpha = mem_alloc(c->n_all, sizeof *c->alpha);
    c->centre = mem_alloc(c->n_all, sizeof *c->centre);
    c->gradient = mem_alloc(c->n_all, sizeof *c->gradient);
    for (size_t i = 0; i < c->n_all; i++)
        c->alpha[i] = c->centre[i] = max / 2;
}

void coefficients_free(struct coefficients *c)
{
    free(c->ranges);
    free(c->r);
    free(c->alpha);
    free(c->centre);
    free(c->gradient);
    *c = (struct coefficients){0};
}

void coefficients_set_alpha(struct coefficients *c, size_t i, double alpha)
{
    c->r[i] = logit(alpha / c->max);
    c->alpha[i] = c->max * sigmoid(c->r[i]);
}

/* alpha is what the sigmoid gives back, so the regulariser is exactly 0 there. */
void coefficients_set_centre(struct coefficients *c, size_t tensor, size_t expert)
{
    const struct coefficient_range *s = &c->ranges[tensor];
    size_t first = s->first + expert * s->chunks;
    memcpy(c->centre + first, c->alpha + first, s->chunks * sizeof *c->centre);
}

void coefficients_compute_alpha(struct coefficients *c)
{
    for (size_t i = 0; i < c->n_learned; i++)
        c->alpha[i] = c->max * sigmoid(c->r[i]);
}

double coefficients_regulariser(const struct coefficients *c, bool squared)
{
    double sum = 0;
    for (size_t i = 0; i < c->n_learned; i++) {
        double moved = fabs(c->alpha[i] - c->centre[i]);
        sum += squared ? moved * moved : moved;
    }
    return c->n_learned ? sum * (double)c->experts / (double)c->n_learned : 0;
}

double coefficients_regulariser_gradient(const struct coefficients *c, size_t i, bool squared)
{
    double moved = c->alpha[i] - c->centre[i];
    double slope = squared ? 2 * moved : (moved > 0) - (moved < 0);
    return slope * (double)c->experts / (double)c->n_learned;
}

double coefficients_sigmoid_derivative(const struct coefficients *c, size_t i)
{
    return c->alpha[i] * (1 - c->alpha[i] / c->max);
}

void importance_chunk_counts(size_t tensors, const double *u, const size_t *elements, double budget,
                             double kappa, size_t *chunks)
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
        if (m) {
            size_t size = (elements[j] + m - 1) / m;
            chunks[j] = (elements[j] + size - 1) / size;
        }
    }
}
