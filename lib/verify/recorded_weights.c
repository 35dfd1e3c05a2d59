#include "recorded_weights.h"

#include "coefficient_table.h"
#include "pipeline_builder.h"
#include "spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int set_format_error(struct error *e)
{
    return error_set(e, "the weights that the model carries are not those of a calibration");
}

/* Of joins of a single vector: the weights of the first join. */
static const json_t *weights_of_first_join(const json_t *weights)
{
    const json_t *inner = NULL;
    do {
        inner = json_object_size(weights) == 1
                    ? json_object_get(json_object_iter_value(json_object_iter((json_t *)weights)),
                                      "weights")
                    : NULL;
        weights = inner ? inner : weights;
    } while (inner);
    return weights;
}

/* ---- the same weights for all tensors -------------------------------------------------------- */

/* Adds a rule MODEL=WEIGHT for each model. */
static int add_rules(const json_t *weights, struct pipeline_command *weigh, struct arena *a,
                     struct error *e)
{
    const char *model;
    json_t *weight;
    json_object_foreach((json_t *)weights, model, weight)
    {
        if (!json_is_number(weight))
            return set_format_error(e);
        const char *glob = pipeline_builder_escape_glob(arena_copy_text(a, model), a);
        pipeline_add_operand(weigh, arena_printf(a, "%s=%.17g", glob, json_number_value(weight)),
                             a);
    }
    return 0;
}

/* ---- weights by tensor ----------------------------------------------------------------------- */

static int print_row(FILE *rows, const char *tensor, const char *model, size_t chunk,
                     const json_t *weight)
{
    if (!json_is_number(weight) || strpbrk(tensor, "\t\n\r") || strpbrk(model, "\t\n\r"))
        return -1;
    fprintf(rows, "%s\t%s\t%zu\t%.17g\n", tensor, model, chunk, json_number_value(weight));
    return 0;
}

static int print_rows_of_tensor(FILE *rows, const char *tensor, const json_t *weights)
{
    const char *model;
    json_t *weight;
    int failed = json_is_object(weights) ? 0 : -1;
    json_object_foreach((json_t *)weights_of_first_join(weights), model, weight)
    {
        for (size_t i = 0; !failed && i < json_array_size(weight); i++)
            failed = print_row(rows, tensor, model, i, json_array_get(weight, i));
        if (!failed && !json_is_array(weight))
            failed = print_row(rows, tensor, model, 0, weight);
    }
    return failed;
}

/* Prints a table of coefficients. */
static int print_table(FILE *out, const json_t *tensors, struct error *e)
{
    const char *tensor;
    json_t *weights;
    struct bytes rows = {0};
    FILE *to = bytes_open_stream(&rows);
    int failed = 0;
    json_object_foreach((json_t *)tensors, tensor, weights)
    {
        if (!failed)
            failed = print_rows_of_tensor(to, tensor, weights);
    }
    fclose(to);
    if (!failed)
        coefficient_table_print(out, &rows);
    bytes_free(&rows);
    return failed ? set_format_error(e) : 0;
}

/* Adds --table with a file without a name. Its descriptor is not closed. */
static int add_table(const json_t *tensors, struct pipeline_command *weigh, const char *spool,
                     struct arena *a, struct error *e)
{
    int fd = spool_open_temporary_file(spool, e), own = fd < 0 ? -1 : dup(fd);
    FILE *out = own < 0 ? NULL : fdopen(own, "w");
    if (fd < 0)
        return -1;
    if (!out)
        return error_set(e, "cannot write a temporary file: %s", strerror(errno));
    int failed = print_table(out, tensors, e), unwritten = ferror(out);
    if ((fclose(out) || unwritten) && !failed)
        failed = error_set(e, "cannot write a temporary file");
    pipeline_add_word(weigh, arena_printf(a, "--table=/dev/fd/%d", fd), a);
    return failed;
}

int recorded_weights_add_commands(const json_t *weights, struct pipeline *to, const char *spool,
                                  struct arena *a, struct error *e)
{
    const json_t *common = json_object_get(weights, "weights");
    const json_t *tensors = json_object_get(weights, "tensors");
    if (!json_is_object(common) && !json_is_object(tensors))
        return set_format_error(e);
    pipeline_add_word(pipeline_add_command(to, "weigh", a), "1", a);
    struct pipeline_command *weigh = pipeline_add_command(to, "weigh", a);
    return common ? add_rules(weights_of_first_join(common), weigh, a, e)
                  : add_table(tensors, weigh, spool, a, e);
}
