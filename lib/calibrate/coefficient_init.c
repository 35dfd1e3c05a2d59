#include "coefficient_init.h"

#include <stdlib.h>
#include <string.h>

/* The weights of one vector of the stream. */
struct coefficient_init_weights {
    size_t n; /* 0: none were stored */
    double *weights;
};

/* Parses text i. */
static int parse_text(struct coefficient_init *s, const struct string_list *texts, size_t i,
                      double max, struct error *e)
{
    const struct range range = {0, max, true, true};
    const char *text = texts->items[i];
    bool stream = strcmp(text, "stream") == 0, search = strcmp(text, "auto") == 0;
    if (!stream && !search)
        return tensor_rules_parse_and_add(&s->rules, text, "--init", &range, e);
    if (texts->n > 1)
        return error_set(e, "--init %s cannot be combined with other --init values", text);
    s->source = stream ? COEFFICIENT_INIT_STREAM : COEFFICIENT_INIT_SEARCH;
    return 0;
}

int coefficient_init_check(const struct string_list *texts, double max, struct error *e)
{
    struct coefficient_init parsed = {0};
    int failed = 0;
    for (size_t i = 0; i < texts->n && !failed; i++)
        failed = *texts->items[i] == '@' ? 0 : parse_text(&parsed, texts, i, max, e);
    coefficient_init_free(&parsed);
    return failed;
}

int coefficient_init_parse(struct coefficient_init *s, const struct string_list *texts,
                           double default_alpha, double max, struct error *e)
{
    s->default_alpha = default_alpha;
    s->max = max;
    if (!texts->n && default_alpha >= max)
        return error_set(e,
                         "the default --init %g is not below --range %g; give an --init between 0 "
                         "and --range",
                         default_alpha, max);
    int failed = 0;
    for (size_t i = 0; i < texts->n && !failed; i++)
        failed = parse_text(s, texts, i, max, e);
    return failed;
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

/* Sets all chunks of a tensor and expert, from one value per chunk or from one for all. */
static int set_chunk_coefficients(const struct coefficient_init *s, struct coefficients *c,
                                  const struct coefficient_init_target *t, size_t n,
                                  const double *values, struct error *e)
{
    const struct coefficient_range *range = &c->ranges[t->tensor];
    const char *tensor = t->stream_tensor->name;
    if (n != 1 && n != range->chunks)
        return error_set(e, "tensor %s of %s has %zu initial coefficients; expected 1 or %zu",
                         tensor, t->model, n, range->chunks);
    for (size_t i = 0; i < range->chunks; i++) {
        double value = values[n > 1 ? i : 0];
        if (!(value > 0 && value < s->max))
            return error_set(e,
                             "tensor %s of %s: the initial coefficient %g is not between 0 and %g "
                             "(--range)",
                             tensor, t->model, value, s->max);
        coefficients_set_alpha(c, range->first + t->expert * range->chunks + i, value);
    }
    return 0;
}

int coefficient_init_set_coefficients(const struct coefficient_init *s, struct coefficients *c,
                                      const struct coefficient_init_target *t, bool use_start_table,
                                      struct error *e)
{
    const struct tensor *tensor = t->stream_tensor;
    const struct coefficient_init_weights *w =
        &s->stream_weights[t->tensor * s->experts + t->expert];
    double value = s->default_alpha;
    const double *values = &value;
    size_t n = 1;
    tensor_rules_find_value(&s->rules, t->model, tensor->name, tensor->layer, tensor->layers,
                            &value);
    if (s->source == COEFFICIENT_INIT_STREAM && w->n) {
        values = w->weights;
        n = w->n;
    }
    if (set_chunk_coefficients(s, c, t, n, values, e))
        return -1;
    coefficients_set_regularizer_center(c, t->tensor, t->expert);
    if (!use_start_table || !s->start_table || c->ranges[t->tensor].frozen)
        return 0;
    n = coefficient_table_find_values(s->start_table, tensor->name, t->model, &values);
    return n ? set_chunk_coefficients(s, c, t, n, values, e) : 0;
}
