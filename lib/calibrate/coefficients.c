#include "coefficients.h"

#include "mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double sigmoid(double r)
{
    return 1 / (1 + exp(-r));
}

static double inverse_sigmoid(double x)
{
    return log(x / (1 - x));
}

/* Assigns indices to the coefficients of the tensors that are frozen, or of those that are not. */
static void assign_coefficient_indices(struct coefficients *c, const size_t *group,
                                       const size_t *chunks, bool frozen)
{
    for (size_t j = 0; j < c->tensors; j++) {
        struct coefficient_range *range = &c->ranges[j];
        if ((chunks[j] == 0) != frozen)
            continue;
        if (group[j] != j) {
            *range = c->ranges[group[j]];
            continue;
        }
        *range = (struct coefficient_range){c->n_all, frozen ? 1 : chunks[j], frozen};
        c->n_all += c->experts * range->chunks;
    }
}

void coefficients_new(struct coefficients *c, size_t tensors, size_t experts, const size_t *group,
                      const size_t *chunks, double max)
{
    *c = (struct coefficients){.tensors = tensors, .experts = experts, .max = max};
    c->ranges = mem_alloc(tensors, sizeof *c->ranges);
    assign_coefficient_indices(c, group, chunks, false);
    c->n_learned = c->n_all;
    assign_coefficient_indices(c, group, chunks, true);
    c->r = mem_alloc(c->n_all, sizeof *c->r);
    c->alpha = mem_alloc(c->n_all, sizeof *c->alpha);
    c->center = mem_alloc(c->n_all, sizeof *c->center);
    c->gradient = mem_alloc(c->n_all, sizeof *c->gradient);
    for (size_t i = 0; i < c->n_all; i++)
        c->alpha[i] = c->center[i] = max / 2;
}

void coefficients_free(struct coefficients *c)
{
    free(c->ranges);
    free(c->r);
    free(c->alpha);
    free(c->center);
    free(c->gradient);
    *c = (struct coefficients){0};
}

void coefficients_set_alpha(struct coefficients *c, size_t i, double alpha)
{
    c->r[i] = inverse_sigmoid(alpha / c->max);
    c->alpha[i] = c->max * sigmoid(c->r[i]);
}

/* coefficients_set_alpha has rounded alpha through the sigmoid, so R is exactly 0 at the center. */
void coefficients_set_regularizer_center(struct coefficients *c, size_t tensor, size_t expert)
{
    const struct coefficient_range *range = &c->ranges[tensor];
    size_t first = range->first + expert * range->chunks;
    memcpy(c->center + first, c->alpha + first, range->chunks * sizeof *c->center);
}

void coefficients_compute_alpha(struct coefficients *c)
{
    for (size_t i = 0; i < c->n_learned; i++)
        c->alpha[i] = c->max * sigmoid(c->r[i]);
}

double coefficients_regularizer(const struct coefficients *c, bool squared)
{
    double sum = 0;
    for (size_t i = 0; i < c->n_learned; i++) {
        double distance = fabs(c->alpha[i] - c->center[i]);
        sum += squared ? distance * distance : distance;
    }
    return c->n_learned ? sum * (double)c->experts / (double)c->n_learned : 0;
}

double coefficients_regularizer_gradient(const struct coefficients *c, size_t i, bool squared)
{
    double distance = c->alpha[i] - c->center[i];
    double derivative = squared ? 2 * distance : (distance > 0) - (distance < 0);
    return derivative * (double)c->experts / (double)c->n_learned;
}

double coefficients_sigmoid_derivative(const struct coefficients *c, size_t i)
{
    return c->alpha[i] * (1 - c->alpha[i] / c->max);
}
