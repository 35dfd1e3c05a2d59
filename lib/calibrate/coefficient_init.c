#include "coefficient_init.h"

#include <stdlib.h>
#include <string.h>

struct coefficient_init_weights {
    size_t n;
    double *weights;
};

int coefficient_init_parse(struct coefficient_init *s, const struct string_list *texts,
                           double otherwise, double max, struct error *e)
{
    const struct range range = {0, max, true, true};
    s->default_alpha = otherwise;
    s->max = max;
    if (!texts->n && otherwise >= max)
        return error_set(e, "--init must say where to start: %g is not below --range %g", otherwise,
                         max);
    for (size_t i = 0; i < texts->n; i++) {
        const char *text = texts->items[i];
        bool stream = strcmp(text, "stream") == 0, search = strcmp(text, "auto") == 0;
        if ((stream || search) && texts->n > 1)
            return error_set(e, "--init %s stands alone", text);
        if (stream || search)
            s->source = stream ? COEFFICIENT_INIT_STREAM : COEFFICIENT_INIT_SEARCH;
        else if (tensor_rules_add(&s->rules, text, "--init", &range, e))
            return -1;
    }
    return 0;
}

void coefficient_init_allocate(struct coefficient_init *s, size_t tensors, size_t experts)
{
    s->tensors = tensors;
    s->experts = experts;
    s->stream_weights = mem_alloc(tensors * experts, sizeof *s->stream_weights);
}

void coefficient_init_free(struct coefficient_init *s)
{
    for (size_t i = 0; s->stream_weights && i < s->tensors * s->experts; i++)
        free(s->stream_weights[i].weights);
    free(s->stream_weights);
    tensor_rules_free(&s->rules);
    coefficient_table_free(s->start_table);
    *s = (struct coefficient_init){0};
}

void coefficient_init_store_weights(struct coefficient_init *s, size_t tensor, size_t expert,
                                    const struct vector *v)
{
    struct coefficient_init_weights *w = &s->stream_weights[tensor * s->experts + expert];
    free(w->weights);
    w->n = v->n_weights;
    w->weights = mem_alloc(w->n, sizeof *w->weights);
    memcpy(w->weights, v->weights, w->n * sizeof *w->weights);
}

/* All chunks of a tensor and expert, from as many values or from one. */
static int put(const struct coefficient_init *s, struct coefficients *c, size_t j, size_t k,
               const char *tensor, const char *model, size_t n, const double *values,
               struct error *e)
{
    const struct coefficient_range *span = &c->ranges[j];
    if (n != 1 && n != span->chunks)
        return error_set(e, "tensor %s of %s starts at %zu weights, where %zu are learned", tensor,
                         model, n, span->chunks);
    for (size_t i = 0; i < span->chunks; i++) {
        double value = values[n > 1 ? i : 0];
        if (!(value > 0 && value < s->max))
            return error_set(e,
                             "tensor %s of %s would start at %g, which is not between 0 and %g "
                             "(--range)",
                             tensor, model, value, s->max);
        coefficients_set_alpha(c, span->first + k * span->chunks + i, value);
    }
    return 0;
}

int coefficient_init_apply(const struct coefficient_init *s, struct coefficients *c, size_t j,
                           size_t k, const struct tensor *t, const char *model, bool moved,
                           struct error *e)
{
    const struct coefficient_range *span = &c->ranges[j];
    const struct coefficient_init_weights *w = &s->stream_weights[j * s->experts + k];
    double value = s->default_alpha;
    const double *values = &value;
    size_t n = 1;
    tensor_rules_find_value(&s->rules, model, t->name, t->layer, t->layers, &value);
    if (s->source == COEFFICIENT_INIT_STREAM && w->n) {
        values = w->weights;
        n = w->n;
    }
    if (put(s, c, j, k, t->name, model, n, values, e))
        return -1;
    coefficients_set_centre(c, j, k);
    n = moved && s->start_table && !span->frozen
            ? coefficient_table_find(s->start_table, t->name, model, &values)
            : 0;
    return n ? put(s, c, j, k, t->name, model, n, values, e) : 0;
}
