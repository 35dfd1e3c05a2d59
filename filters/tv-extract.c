/* tv-extract: subtract the base from each expert
 *
 *     tau_k = theta_k - theta_base        Ilharco et al. 2023, arXiv 2212.04089, section 2
 *
 *     tv-extract base math code chat | combine | rescale 0.4 | pack --base base merged/
 *     unpack base math code | tv-extract | ...          (the first vector is subtracted)
 *
 * The difference is computed in F32, or in F64 and rounded to F32 if one of the two is stored in
 * F64. A LoRA adapter is an expert that is known by its task vector: s B A, computed without the
 * base's elements. Tensors that are not floating-point, and those that no expert can change because
 * all are adapters, are omitted; pack --base takes them from the base.
 */
#include "filter.h"
#include "model_set.h"
#include "quantization_note.h"

#include <stdlib.h>
#include <string.h>

struct options {
    struct model_set_options models;
    int wire;
};

enum { WIRE_F32, WIRE_BF16 };

static const struct option_row rows[] = {
    {"wire", OPTION_CHOICE, offsetof(struct options, wire), "f32|bf16",
     .help = "dtype of the task vectors in the stream: f32 (default), or bf16, which halves "
             "their size",
     .choices = "f32|bf16", .default_value = "f32"},
    MODEL_SET_OPTION_ROWS(options, models),
    {"unchanged", OPTION_FLAG, offsetof(struct options, models.unchanged), NULL,
     .help = "also write tensors that no adapter changes, as zeros (default: only those that one "
             "of them changes)"},
    {0}};

/* ---- from checkpoints ------------------------------------------------------------------------ */

/* A block of the base, read when it is first needed. */
struct base_block {
    bool must_be_read;  /* model_set_map_block cannot give it */
    const void *stored; /* mapped, once that was needed; else NULL */
    float *f32;         /* converted, once that was needed; else NULL */
};

static bool have_same_16_bit_dtype(const struct model_set *m, size_t index, size_t k)
{
    enum dtype d = model_set_dtype(m, index, MODEL_SET_BASE_VECTOR);
    return dtype_bits(d) == 16 && dtype_is_float(d) && model_set_dtype(m, index, k) == d;
}

/* Converts and subtracts mapped numbers in one loop. False if one of the files is not mapped, or
 * the base has been converted already. */
static bool subtract_mapped(struct model_set *m, size_t index, size_t k, const struct block *b,
                            struct base_block *base, float *tau)
{
    if (base->must_be_read || base->f32 || !have_same_16_bit_dtype(m, index, k))
        return false;
    if (!base->stored)
        base->stored = model_set_map_block(m, index, MODEL_SET_BASE_VECTOR, b);
    base->must_be_read = !base->stored;
    const void *stored = base->stored ? model_set_map_block(m, index, k, b) : NULL;
    if (stored)
        dtype_subtract_16_bit(model_set_dtype(m, index, k), stored, base->stored, tau, b->n);
    return stored;
}

static int subtract_in_f32(struct model_set *m, size_t index, size_t k, const struct block *b,
                           struct base_block *base, float *tau, struct error *e)
{
    if (!base->f32) {
        base->f32 = mem_alloc_aligned(b->n * sizeof *base->f32);
        if (base->stored)
            dtype_to_f32(model_set_dtype(m, index, MODEL_SET_BASE_VECTOR), base->stored, base->f32,
                         b->n);
        else if (model_set_read_block_f32(m, index, MODEL_SET_BASE_VECTOR, b, base->f32, e))
            return -1;
    }
    if (model_set_read_block_f32(m, index, k, b, tau, e))
        return -1;
    vector_math_subtract(tau, base->f32, tau, b->n);
    return 0;
}

static int subtract_in_f64(struct model_set *m, size_t index, size_t k, const struct block *b,
                           float *tau, struct error *e)
{
    double *x = mem_alloc_aligned(b->n * sizeof *x), *base = mem_alloc_aligned(b->n * sizeof *base);
    int failed = model_set_read_block_f64(m, index, MODEL_SET_BASE_VECTOR, b, base, e) ||
                 model_set_read_block_f64(m, index, k, b, x, e);
    for (size_t i = 0; !failed && i < b->n; i++)
        tau[i] = (float)(x[i] - base[i]);
    free(x);
    free(base);
    return failed ? -1 : 0;
}

/* tau = theta - theta_base for vector k. */
static int read_task_vector(struct model_set *m, size_t index, size_t k, const struct block *b,
                            struct base_block *base, float *tau, struct error *e)
{
    if (model_set_is_delta(m, index, k)) {
        model_set_read_delta(m, index, k, b, tau);
        return 0;
    }
    if (model_set_needs_f64(m, index, k))
        return subtract_in_f64(m, index, k, b, tau, e);
    return subtract_mapped(m, index, k, b, base, tau)
               ? 0
               : subtract_in_f32(m, index, k, b, base, tau, e);
}

static int fill_block(const struct job *job, struct block *b, struct error *e)
{
    struct model_set *m = job->stage->data;
    struct base_block base = {.must_be_read = model_set_is_one_pass(job->stage)};
    float *tau = mem_alloc_aligned(b->n * sizeof *tau);
    int failed = 0;
    for (size_t k = 0; !failed && k < b->n_vectors; k++) {
        bool in_place = b->dtypes[k] == DTYPE_F32;
        failed = read_task_vector(m, job->index, k, b, &base, in_place ? b->data[k] : tau, e);
        if (!failed && !in_place)
            dtype_from_f32(b->dtypes[k], tau, b->data[k], b->n);
    }
    free(base.f32);
    free(tau);
    return failed;
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    if (job->stage->data)
        model_set_end_tensor(job->stage->data, job->index, ok, job->stage);
    return 0;
}

/* ---- from a stream of weights ---------------------------------------------------------------- */

#define MODELS_MAX 1024 /* in a stream */

static int check_tensor_vectors(const struct header *h, const struct tensor *t, struct error *e)
{
    if (t->n_vectors > MODELS_MAX)
        return error_set(e, "tensor %s has %zu vectors; at most %d are supported", t->name,
                         t->n_vectors, MODELS_MAX);
    if (t->vectors[0].model != 0)
        return error_set(e, "tensor %s has no vector of %s, the model to subtract", t->name,
                         h->models[0].name);
    for (size_t k = 0; k < t->n_vectors; k++)
        if (t->vectors[k].dtype == DTYPE_F64)
            return error_set(e,
                             "tensor %s of %s is F64 in the stream, which would be rounded before "
                             "the subtraction; "
                             "give the models as operands, or use unpack --dtype float32",
                             t->name, h->models[t->vectors[k].model].name);
    return 0;
}

/* Removes the vector of the base; the others become F32. */
static void remove_base_vector(struct tensor *t)
{
    if (t->vectors[0].source && strcmp(t->vectors[0].source, t->name) != 0)
        t->base_name = t->vectors[0].source;
    t->vectors++;
    t->n_vectors--;
    for (size_t k = 0; k < t->n_vectors; k++)
        t->vectors[k].dtype = DTYPE_F32;
}

static int prepare_stream_header(const struct stage *s, struct header *h, struct error *e)
{
    if (h->n_models < 2)
        return error_set(e, "the stream has one model, but a base and experts are needed");
    bool *keep = mem_alloc(h->n_tensors, sizeof *keep);
    int failed = 0;
    for (size_t i = 0; i < h->n_tensors && !failed; i++) {
        struct tensor *t = &h->tensors[i];
        failed = check_tensor_vectors(h, t, e);
        keep[i] = tensor_is_float(t) && t->n_vectors > 1;
        remove_base_vector(t);
    }
    header_keep_tensors(h, keep);
    free(keep);
    h->kind = KIND_TASK_VECTORS;
    for (size_t m = 0; m < h->n_models; m++)
        h->models[m].role = m ? "expert" : "base";
    return failed;
}

static int begin_tensor(struct job *job, struct error *e)
{
    if (!job->in)
        return PLAN_TRANSFORM;
    if (vector_is_weighted(&job->in->vectors[0]))
        return error_set(
            e, "tensor %s of %s has a weight other than 1, which the subtraction would lose",
            job->in->name, job->stage->in->models[0].name);
    for (size_t k = 0; k < job->out->n_vectors; k++)
        vector_set_attributes(&job->out->vectors[k], NAN, NAN);
    return PLAN_TRANSFORM;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    size_t which[MODELS_MAX];
    for (size_t k = 1; k < b->n_vectors; k++) {
        vector_math_subtract(block_floats(b, k), block_floats(b, 0), block_floats(b, k), b->n);
        which[k - 1] = k;
    }
    block_keep_vectors(b, b->n_vectors - 1, which);
    return 0;
}

/* ---- both ------------------------------------------------------------------------------------ */

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    if (s->operands.n == 1)
        return error_set(e, "missing operand EXPERT after the BASE %.200s", s->operands.items[0]);
    for (size_t i = 1; !s->operands.n && rows[i].name; i++) /* --wire applies to streams too */
        if (s->given[i])
            return error_set(e, "--%s needs the operands BASE EXPERT...", rows[i].name);
    return model_set_check_options(s, &o->models, e);
}

static int open_extract(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    if (!s->operands.n && prepare_stream_header(s, h, e))
        return -1;
    if (s->operands.n && !(s->data = model_set_open(s, &o->models, true, h, e)))
        return -1;
    for (size_t i = 0; i < h->n_tensors; i++)
        for (size_t k = 0; k < h->tensors[i].n_vectors && o->wire == WIRE_BF16; k++)
            h->tensors[i].vectors[k].dtype = DTYPE_BF16;
    quantization_note_print(s->name, "task vectors", h, NULL);
    return 0;
}

static int close_extract(struct stage *s, bool ok, struct error *e)
{
    int failed = ok && s->data ? model_set_report_hashes(s->data, s, e) : 0;
    model_set_close(s->data);
    return failed;
}

const struct filter filter_tv_extract = {
    .name = "tv-extract",
    .summary = "Subtract the base from each expert",
    .step = STEP_READ,
    .operands = "[BASE EXPERT...]",
    .notes =
        "BASE and EXPERT are folders, .safetensors or .bin files, archives of folders, names of "
        "models in the local Hugging Face cache, or saved streams; one may be -, a model on "
        "standard input; name=EXPERT renames one. An EXPERT may be the folder of a LoRA adapter of "
        "BASE. Without operands, tv-extract reads a stream of weights and subtracts the vectors of "
        "its first model from the others.\n\n"
        "  tv-extract base math code | combine | rescale 0.4 | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = SIZE_MAX,
    .kinds = KIND_WEIGHTS,
    .role = ROLE_SOURCE,
    .source.only_with_operands = true,
    .operands_are_files = true,
    .check_options = check_options,
    .open = open_extract,
    .begin_tensor = begin_tensor,
    .source.hash_block = model_set_hash_block,
    .source.fill_block = fill_block,
    .source.rewind = model_set_rewind,
    .source.is_one_pass = model_set_is_one_pass,
    .transform_block = transform_block,
    .end_tensor = end_tensor,
    .close = close_extract,
};
