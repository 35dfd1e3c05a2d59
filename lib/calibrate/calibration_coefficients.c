#include "calibration_coefficients.h"

#include "mpi.h"

#include <stdlib.h>

/* ---- initial values -------------------------------------------------------------------------- */

/* Do two learned tensors share their coefficients? */
static bool do_tensors_share_coefficients(const struct calibration *c, size_t i, size_t j)
{
    const struct learned_tensor *a = &c->merged.tensors[i], *b = &c->merged.tensors[j];
    bool in_layers = a->kind < WEIGHT_DECODER_LAYER_END && b->kind < WEIGHT_DECODER_LAYER_END;
    switch (c->options->granularity) {
    case COEFFICIENT_PER_MODEL:
        return true;
    case COEFFICIENT_PER_LAYER:
        return in_layers && a->layer == b->layer;
    default:
        return false;
    }
}

/* group[j]: the first learned tensor that shares coefficients with j. */
static void group_tensors_sharing_coefficients(const struct calibration *c, size_t *group)
{
    for (size_t j = 0; j < c->merged.n; j++) {
        group[j] = j;
        for (size_t i = 0; i < j && group[j] == j; i++)
            if (do_tensors_share_coefficients(c, i, j))
                group[j] = i;
    }
}

/* Initial values of learned tensor j for all experts. */
static int init_tensor_coefficients(struct calibration *c, size_t j, bool use_start_table,
                                    struct error *e)
{
    struct coefficient_init_target t = {
        .tensor = j, .stream_tensor = &c->header->tensors[c->merged.tensors[j].stream_index]};
    for (; t.expert < c->experts.n; t.expert++) {
        t.model = c->experts.names[t.expert];
        if (coefficient_init_set_coefficients(&c->init, &c->coefficients, &t, use_start_table, e))
            return -1;
    }
    return 0;
}

int calibration_coefficients_init(struct calibration *c, const size_t *chunks, bool use_start_table,
                                  struct error *e)
{
    struct coefficients *all = &c->coefficients;
    size_t n = c->merged.n, *group = mem_alloc(n, sizeof *group);
    int failed = 0;
    group_tensors_sharing_coefficients(c, group);
    coefficients_free(all);
    coefficients_new(all, n, c->experts.n, group, chunks, c->options->max);
    for (size_t j = 0; j < n; j++) {
        const struct learned_tensor *t = &c->merged.tensors[j];
        const struct coefficient_range *range = &all->ranges[j];
        if (group[j] == j && !failed)
            failed = init_tensor_coefficients(c, j, use_start_table, e);
        merged_model_set_coefficients(c->merged_model, t->kind, t->layer, range->chunks,
                                      all->alpha + range->first,
                                      range->frozen ? NULL : all->gradient + range->first);
    }
    free(group);
    return mpi_any_failed(failed, e);
}

/* ---- results --------------------------------------------------------------------------------- */

const double *calibration_coefficients_of_vector(const struct calibration *c, size_t tensor,
                                                 const struct vector *v, size_t *n)
{
    static const double zero = 0;
    long j = c->merged.index[tensor], k = task_vectors_expert_of_vector(c->task_vectors, v);
    *n = 1;
    if (j < 0 || k < 0)
        return &zero;
    const struct coefficient_range *range = &c->coefficients.ranges[j];
    *n = range->chunks;
    return c->coefficients.alpha + range->first + (size_t)k * range->chunks;
}

static void write_table_rows(const struct calibration *c, size_t tensor, const struct vector *v,
                             FILE *out)
{
    char number[32];
    size_t n;
    const double *w = calibration_coefficients_of_vector(c, tensor, v, &n);
    for (size_t chunk = 0; chunk < n; chunk++)
        fprintf(out, "%s\t%s\t%zu\t%s\n", c->header->tensors[tensor].name,
                c->header->models[v->model].name, chunk, number_format(w[chunk], number));
}

void calibration_coefficients_write_table(const struct calibration *c, FILE *out)
{
    struct bytes rows = {0};
    FILE *lines = bytes_open_stream(&rows);
    for (size_t i = 0; i < c->header->n_tensors; i++) {
        const struct tensor *t = &c->header->tensors[i];
        for (size_t v = 0; v < t->n_vectors && tensor_is_float(t); v++)
            write_table_rows(c, i, &t->vectors[v], lines);
    }
    fclose(lines);
    coefficient_table_print(out, &rows);
    bytes_free(&rows);
}
