#include "join.h"

#include "step_order.h"

#include <string.h>

/* ---- the manifest ---------------------------------------------------------------------------- */

static int check_dtypes_can_join(const struct header *h, const struct tensor *t, struct error *e)
{
    enum dtype first = t->vectors[0].dtype;
    bool is_float = tensor_is_float(t);
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        if (dtype_is_quantized(v->dtype))
            return error_set(
                e,
                "tensor %s of %s is %s; quantized weights cannot be merged: dequantize "
                "the models first",
                t->name, h->models[v->model].name, dtype_name(v->dtype));
        if (v->dtype != first && !is_float)
            return error_set(e, "tensor %s is %s in one model and %s in another", t->name,
                             dtype_name(first), dtype_name(v->dtype));
    }
    return 0;
}

static int check_vector_count(const struct tensor *t, size_t least, size_t most, struct error *e)
{
    if (t->n_vectors >= least && t->n_vectors <= most)
        return 0;
    return error_set(e, "tensor %s has %zu vector%s; expected %s %zu (use pick to select vectors)",
                     t->name, t->n_vectors, t->n_vectors == 1 ? "" : "s",
                     least == most          ? "exactly"
                     : t->n_vectors < least ? "at least"
                                            : "at most",
                     t->n_vectors < least ? least : most);
}

/* For joins in which the order of the vectors matters. */
static int check_models_same_in_every_tensor(const struct header *h, const struct tensor *t,
                                             struct error *e)
{
    const struct tensor *first = &h->tensors[0];
    for (size_t k = 0; k < t->n_vectors; k++)
        if (t->vectors[k].model != first->vectors[k].model)
            return error_set(e, "vector %zu of tensor %s is of %s; expected %s, as in tensor %s",
                             k + 1, t->name, h->models[t->vectors[k].model].name,
                             h->models[first->vectors[k].model].name, first->name);
    return 0;
}

static int check_tensor_can_be_joined(const struct header *h, const struct tensor *t, size_t least,
                                      size_t most, struct error *e)
{
    if (check_vector_count(t, least, most, e) || check_dtypes_can_join(h, t, e))
        return -1;
    return least == most ? check_models_same_in_every_tensor(h, t, e) : 0;
}

int join_declare_merged_model(struct header *h, const char *name, size_t least, size_t most,
                              struct error *e)
{
    if (header_find_model(h, name) >= 0)
        return error_set(e,
                         step_order_is_merged(h)
                             ? "the vectors are joined already, as model %s; leave one of the two "
                               "joins out, or name this result with --name"
                             : "the stream has a model %s already; choose another name with --name",
                         name);
    long merged = header_add_model(h, name, "merged", e);
    if (merged < 0)
        return -1;
    for (size_t i = 0; i < h->n_tensors; i++)
        if (check_tensor_can_be_joined(h, &h->tensors[i], least, most, e))
            return -1;
    for (size_t i = 0; i < h->n_tensors; i++) {
        struct tensor *t = &h->tensors[i];
        enum dtype d = tensor_is_float(t) ? DTYPE_F32 : t->vectors[0].dtype;
        t->vectors[0] = vector_with_defaults((size_t)merged, NULL, d, t->vectors[0].stored_dtype);
        t->n_vectors = 1;
    }
    return 0;
}

/* ---- weights --------------------------------------------------------------------------------- */

static int check_weights_supported(const struct stage *s, const struct tensor *t,
                                   enum join_weights weights, struct error *e)
{
    bool is_float = tensor_is_float(t);
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        const char *model = s->in->models[v->model].name;
        if (!vector_is_weighted(v))
            continue;
        if (!is_float)
            return error_set(e, "tensor %s is %s and cannot be weighted", t->name,
                             dtype_name(v->dtype));
        if (weights == JOIN_NO_WEIGHTS)
            return error_set(e, "tensor %s of %s has a weight, which this method does not support",
                             t->name, model);
        if (weights == JOIN_VECTOR_WEIGHTS && v->n_weights > 1)
            return error_set(e,
                             "tensor %s of %s has a weight for each of %zu chunks; this method "
                             "supports only one per tensor",
                             t->name, model, v->n_weights);
    }
    return 0;
}

/* The vectors that are merged and their weights, in the arena; NULL if all weights are and were 1.
 */
static struct joined_vector *list_joined_vectors(const struct job *job)
{
    const struct tensor *t = job->in;
    struct joined_vector *list = arena_alloc(job->arena, t->n_vectors, sizeof *list);
    bool weighted = false;
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        weighted |= vector_is_weighted(v) || v->n_joined;
        list[k] = (struct joined_vector){
            .name = job->stage->in->models[v->model].name,
            .n_weights = v->n_weights,
            .weights = v->weights,
            .n_joined = v->n_joined,
            .joined =
                joined_vectors_copy(job->arena, v->n_joined, v->joined, JOINED_LEVELS_MAX - 1),
        };
    }
    return weighted ? list : NULL;
}

int join_use_weights(struct job *job, enum join_weights weights, struct error *e)
{
    struct vector *merged = &job->out->vectors[0];
    if (check_weights_supported(job->stage, job->in, weights, e))
        return -1;
    merged->joined = list_joined_vectors(job);
    merged->n_joined = merged->joined ? job->in->n_vectors : 0;
    return 0;
}

int join_mean_divisor(enum stream_kind kind, double sum, const char *what, double *divisor,
                      struct error *e)
{
    *divisor = fabs(sum) < 1e-8 ? 1 : sum;
    if (fabs(sum) < 1e-8 && kind != KIND_TASK_VECTORS)
        return error_set(e, "the weights add up to %g; %s cannot divide by it", sum, what);
    return 0;
}

/* ---- payload --------------------------------------------------------------------------------- */

float **join_list_vector_pointers(const struct block *b)
{
    float **x = mem_alloc(b->n_vectors, sizeof *x);
    for (size_t k = 0; k < b->n_vectors; k++)
        x[k] = block_floats(b, k);
    return x;
}

int join_require_identical(const struct tensor *t, struct block *b, struct error *e)
{
    size_t size = b->n * dtype_bits(t->vectors[0].dtype) / 8;
    for (size_t k = 1; k < b->n_vectors; k++)
        if (memcmp(b->data[0], b->data[k], size) != 0)
            return error_set(e,
                             "tensor %s is %s and differs between the models; choose one model "
                             "with pick",
                             t->name, dtype_name(t->vectors[0].dtype));
    b->n_vectors = 1;
    return 0;
}
