/* add-base: add a base model to task vectors
 *
 *     theta_k = theta_base + tau_k
 *
 *     tv-extract base math code | dare-drop --density 0.5 --seed 1 | add-base base |
 *         slerp --t 0.5 | pack --like base merged/
 *     stack <(tv-extract base[0:2] math[0:2] | rescale 0.5 | add-base base[0:2]) \
 *         <(unpack --first-layer 2 code[2:4]) | pack --like base merged/
 *
 * The sum is computed in F32 and rounded once: to --dtype, else to the --dtype of the sources, else
 * to the base's stored dtype. Tensors of the base that the stream lacks are not added to it; `pack
 * --base` adds them. Weights other than 1 are an error; `combine` applies them.
 */
#include "base_model.h"
#include "filter.h"
#include "layer_slice.h"
#include "stage.h"
#include "vocabulary_option.h"

#include <math.h>
#include <stdlib.h>

#define TILE 2048 /* elements of the base read at a time */

struct options {
    enum dtype dtype;
    bool onto;
    const char *vocabulary;
};

static const struct option_row rows[] = {
    {"dtype", OPTION_DTYPE, offsetof(struct options, dtype), "DTYPE",
     .help = "dtype of the sums in the stream (default: the sources' --dtype, else the base's)"},
    {"onto", OPTION_FLAG, offsetof(struct options, onto), NULL,
     .help = "accept BASE although the task vectors were extracted against another model"},
    VOCABULARY_OPTION_ROW(options, vocabulary,
                          "move the rows of BASE's embedding and LM head to this vocabulary, that "
                          "of tv-extract"),
    {0}};

struct add {
    struct base_model *base;
    struct vocabulary *vocabulary; /* NULL: rows stay where they are */
};

/* ---- the method ------------------------------------------------------------------------------ */

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct add *own = job->stage->data;
    const struct base_model *base = own->base;
    float x[TILE];
    for (size_t done = 0; done < b->n; done += TILE) {
        size_t n = b->n - done < TILE ? b->n - done : TILE;
        base_model_read_f32(base, job->index, b->first + done, n, x);
        for (size_t k = 0; k < b->n_vectors; k++)
            vector_math_add(block_floats(b, k) + done, x, block_floats(b, k) + done, n);
    }
    base_model_release_pages(base, job->index, b->first, b->n);
    return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

static enum dtype choose_sum_dtype(const struct options *o, const struct header *h,
                                   const struct ckpt_tensor *base)
{
    if (o->dtype != DTYPE_NONE)
        return o->dtype;
    return h->input_rounding != DTYPE_NONE ? h->input_rounding : base->file_dtype;
}

static int open_add(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct add *own = s->data = mem_alloc(1, sizeof *own);
    if (vocabulary_option_open(s, o->vocabulary, &own->vocabulary, e) ||
        (!o->vocabulary && vocabulary_option_check_not_needed(s, e)))
        return -1;
    const struct base_model *base = own->base =
        base_model_open(s, s->operands.items[0], o->onto, own->vocabulary, h, e);
    if (!base)
        return -1;
    h->kind = KIND_WEIGHTS;
    for (size_t i = 0; i < h->n_tensors; i++) {
        struct tensor *t = &h->tensors[i];
        enum dtype dtype = choose_sum_dtype(o, h, base_model_matching_tensor(base, i));
        for (size_t k = 0; k < t->n_vectors; k++) {
            struct vector *v = &t->vectors[k];
            v->dtype = dtype;
            if (v->stored_dtype != DTYPE_NONE) /* the dtype of a file with these sums */
                v->stored_dtype = dtype;
        }
        t->base_name = NULL;
    }
    stage_record_fingerprint(s, model_source_fingerprint(base_model_source(base)));
    stage_record_operand(s, layer_slice_format_name_with_range(base_model_source(base),
                                                               s->operands.items[0], &s->arena));
    return 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    for (size_t k = 0; k < job->in->n_vectors; k++) {
        const struct vector *v = &job->in->vectors[k];
        if (vector_is_weighted(v))
            return error_set(e,
                             "tensor %s of %s has a weight other than 1; put combine before "
                             "add-base",
                             job->in->name, job->stage->in->models[v->model].name);
        vector_set_attributes(&job->out->vectors[k], NAN, NAN);
    }
    return PLAN_TRANSFORM;
}

static int close_add(struct stage *s, bool ok, struct error *e)
{
    struct add *own = s->data;
    int failed = ok ? model_source_check_unchanged(base_model_source(own->base), e) : 0;
    base_model_close(own->base);
    vocabulary_free(own->vocabulary);
    free(own);
    return failed;
}

const struct filter filter_add_base = {
    .name = "add-base",
    .summary = "Add a base model to task vectors",
    .step = STEP_WRITE,
    .operands = "BASE",
    .notes = "The sum is rounded once: to --dtype, else to the --dtype of the sources, else to the "
             "base's stored dtype (BF16 if it is quantized).",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 1,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .operands_are_files = true,
    .open = open_add,
    .begin_tensor = begin_tensor,
    .transform_block = transform_block,
    .close = close_add,
};
