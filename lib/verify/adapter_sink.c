#include "adapter_sink.h"

#include "comparison_answer.h"
#include "lora_output.h"
#include "rounding_difference.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Of the norm of a product of factors. Factors in F32 differ by 1e-6, in BF16 by 4e-3. */
#define TOLERANCE_F32 1e-5
#define TOLERANCE_16  1e-2

struct options {
    const char *base, *onto;
    enum dtype dtype;
    struct lora_output_options lora;
    struct comparison_answer answer;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"base", OPTION_STRING, FIELD(base), "BASE", .help = "as for pack"},
    {"onto", OPTION_STRING, FIELD(onto), "MODEL", .help = "as for pack"},
    {"dtype", OPTION_DTYPE, FIELD(dtype), "DTYPE", .help = "as for pack"},
    LORA_OUTPUT_OPTION_ROWS(options, lora),
    COMPARISON_ANSWER_OPTION_ROWS(options, answer),
    {0}};
#undef FIELD

struct sink {
    const struct header *header;
    struct ckpt *model;
    struct recorded_merge recorded;
    struct base_model *base;
    struct lora_output *lora; /* recomputed */
    bool *compared;           /* [tensor of the model] */
    struct comparison_report report;
};

/* ---- tensors --------------------------------------------------------------------------------- */

/* The tensor of the model with the name, shape and dtype of the part; -1 if there is none. */
static long find_stored(struct sink *s, const struct lora_output_part *p)
{
    struct comparison_report *r = &s->report;
    long found = ckpt_find_tensor(s->model, p->name);
    if (found < 0) {
        comparison_report_add(r, MISSING, p->name, NULL);
        return -1;
    }
    s->compared[found] = true;
    const struct ckpt_tensor *own = ckpt_tensor(s->model, (size_t)found);
    if (own->rank != p->rank || memcmp(own->shape, p->shape, p->rank * sizeof *p->shape) != 0)
        comparison_report_add(r, DIFFERENT_SHAPE, p->name,
                              arena_printf(&r->arena, "%s, recomputed %s",
                                           tensor_format_shape(&r->arena, own->rank, own->shape),
                                           tensor_format_shape(&r->arena, p->rank, p->shape)));
    else if (own->dtype != p->dtype)
        comparison_report_add(r, DIFFERENT_DTYPE, p->name,
                              arena_printf(&r->arena, "%s, recomputed %s", dtype_name(own->dtype),
                                           dtype_name(p->dtype)));
    else
        return found;
    return -1;
}

/* The elements of a stored tensor, which the caller frees. */
static void *read_stored(const struct sink *s, long tensor)
{
    const struct ckpt_tensor *t = ckpt_tensor(s->model, (size_t)tensor);
    void *bytes = mem_alloc_aligned(dtype_bytes(t->dtype, t->elements) + 1);
    ckpt_read_elements(s->model, (size_t)tensor, 0, t->elements, bytes);
    return bytes;
}

static size_t count_elements(const struct lora_output_part *p)
{
    size_t n = 1;
    for (size_t i = 0; i < p->rank; i++)
        n *= p->shape[i];
    return n;
}

static bool has_bytes(const struct lora_output_part *p, const void *stored)
{
    return memcmp(p->bytes, stored, dtype_bytes(p->dtype, count_elements(p))) == 0;
}

/* Factors of a matrix in double: A (k, n), B (m, k). */
struct factors {
    size_t k, m, n;
    double *A, *B;
};

static struct factors factors_new(const struct lora_output_part parts[2], const void *A,
                                  const void *B)
{
    struct factors f = {parts[0].shape[0], parts[1].shape[0], parts[0].shape[1], NULL, NULL};
    f.A = mem_alloc(f.k * f.n, sizeof *f.A);
    f.B = mem_alloc(f.m * f.k, sizeof *f.B);
    dtype_to_f64(parts[0].dtype, A, f.A, f.k * f.n);
    dtype_to_f64(parts[1].dtype, B, f.B, f.m * f.k);
    return f;
}

static void factors_free(struct factors *f)
{
    free(f->A);
    free(f->B);
}

/* <x.B x.A, y.B y.A> = sum over i, j of (x.B' y.B)_ij (x.A y.A')_ij, without the matrices */
static double inner_product(const struct factors *x, const struct factors *y)
{
    double sum = 0;
    for (size_t i = 0; i < x->k; i++)
        for (size_t j = 0; j < y->k; j++) {
            double b = 0, a = 0;
            for (size_t r = 0; r < x->m; r++)
                b += x->B[r * x->k + i] * y->B[r * y->k + j];
            for (size_t c = 0; c < x->n; c++)
                a += x->A[i * x->n + c] * y->A[j * y->n + c];
            sum += b * a;
        }
    return sum;
}

/* Is the product of the stored factors A and B that of the recomputed ones, up to rounding? */
static bool has_same_product(const struct lora_output_part parts[2], const void *A, const void *B)
{
    struct factors x = factors_new(parts, parts[0].bytes, parts[1].bytes);
    struct factors y = factors_new(parts, A, B);
    double square = inner_product(&x, &x);
    double apart = square - 2 * inner_product(&x, &y) + inner_product(&y, &y);
    double tolerance = dtype_bits(parts[0].dtype) >= 32 ? TOLERANCE_F32 : TOLERANCE_16;
    factors_free(&x);
    factors_free(&y);
    return apart <= tolerance * tolerance * square;
}

static bool differs_by_rounding(const struct lora_output_part *p, const void *stored)
{
    struct rounding_difference d = {0};
    rounding_difference_add(&d, p->dtype, p->bytes, stored, count_elements(p));
    return rounding_difference_is_small(&d);
}

/* Compares the n parts that one tensor of the task vector has become with the stored ones. */
static void compare_elements(struct sink *s, const struct lora_output_part *parts, size_t n,
                             const long *stored, bool allows_rounding)
{
    void *bytes[2] = {NULL, NULL};
    bool equal[2] = {true, true}, all = true;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = read_stored(s, stored[i]);
        equal[i] = has_bytes(&parts[i], bytes[i]);
        all &= equal[i];
    }
    if (!all && allows_rounding &&
        (n == 2 ? has_same_product(parts, bytes[0], bytes[1])
                : differs_by_rounding(parts, bytes[0]))) {
        s->report.rounded += n;
        all = true;
    }
    for (size_t i = 0; i < n; i++) {
        if (!all && !equal[i])
            comparison_report_add(&s->report, DIFFERENT_ELEMENTS, parts[i].name, NULL);
        free(bytes[i]);
    }
}

static void compare_tensors(struct sink *s, bool allows_rounding)
{
    struct lora_output_part parts[2];
    for (size_t i = 0; i < s->header->n_tensors; i++) {
        size_t n = lora_output_parts(s->lora, i, parts);
        long stored[2];
        bool found = true;
        for (size_t k = 0; k < n; k++) {
            stored[k] = find_stored(s, &parts[k]);
            found &= stored[k] >= 0;
        }
        s->report.tensors += n;
        if (found)
            compare_elements(s, parts, n, stored, allows_rounding);
    }
    for (size_t i = 0; i < ckpt_tensor_count(s->model); i++)
        if (!s->compared[i])
            comparison_report_add(&s->report, EXTRA, ckpt_tensor(s->model, i)->name, NULL);
}

/* ---- settings -------------------------------------------------------------------------------- */

static void compare_setting(struct sink *s, const char *key, json_t *stored, json_t *recomputed)
{
    if (!json_equal(stored, recomputed))
        comparison_report_add(&s->report, DIFFERENT_METADATA,
                              arena_copy_text(&s->report.arena, key), NULL);
}

/* Compares adapter_config.json, but for the name of the base, which is where it was. */
static int compare_settings(struct sink *s, struct error *e)
{
    size_t size;
    char *text, *own = lora_output_config(s->lora);
    int found = ckpt_read_auxiliary_file(s->model, "adapter_config.json", &text, &size, e);
    json_t *stored = found > 0 ? json_loadb(text, size, 0, NULL) : NULL;
    json_t *recomputed = json_loads(own, 0, NULL), *value;
    const char *key;
    json_object_del(stored, "base_model_name_or_path");
    json_object_del(recomputed, "base_model_name_or_path");
    json_object_foreach(recomputed, key, value)
        compare_setting(s, key, json_object_get(stored, key), value);
    json_object_foreach(stored, key, value) if (!json_object_get(recomputed, key))
        compare_setting(s, key, value, NULL);
    json_decref(stored);
    json_decref(recomputed);
    free(text);
    free(own);
    return found < 0 ? -1 : 0;
}

/* ---- the functions of the descriptor --------------------------------------------------------- */

static int open_sink(struct stage *s, struct header *h, struct error *e)
{
    struct sink *own = s->data = mem_alloc(1, sizeof *own);
    const char *file = s->operands.items[0];
    struct options *o = s->options;
    const char *base = o->base ? o->base : o->onto;
    own->header = h;
    own->model = ckpt_open(file, s->common.spool, NULL, e);
    if (!own->model || recorded_merge_read(&own->recorded, own->model, file, &s->arena, e))
        return -1;
    if (!base || h->kind != KIND_TASK_VECTORS)
        return error_set(e, "the history was not written by tvtools: an adapter is made from task "
                            "vectors and their base");
    o->lora.dtype = o->dtype;
    own->compared = mem_alloc(ckpt_tensor_count(own->model) + 1, sizeof *own->compared);
    own->base = base_model_open(s, base, o->onto != NULL, NULL, h, e);
    own->lora = own->base ? lora_output_new(h, own->base, &o->lora, e) : NULL;
    return own->lora ? 0 : -1;
}

static int begin_tensor(struct job *job, struct error *e)
{
    job->state = mem_alloc_aligned(tensor_elements(job->in) * sizeof(float) + 1);
    return PLAN_TRANSFORM;
}

static int consume_block(struct job *job, const struct block *b, struct error *e)
{
    dtype_to_f32(b->dtypes[0], b->data[0], (float *)job->state + b->first, b->n);
    return 0;
}

static bool wants_tensor(const struct stage *s, size_t index)
{
    const struct sink *own = s->data;
    return index != SIZE_MAX && lora_output_wants_tensor(own->lora, index);
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    struct sink *own = job->stage->data;
    int failed = ok ? lora_output_add_tensor(own->lora, job->index, job->state, e) : 0;
    free(job->state);
    return failed;
}

static int compare_and_print(struct stage *s, struct error *e)
{
    struct sink *own = s->data;
    struct options *o = s->options;
    compare_tensors(own, o->answer.other_kernels);
    return compare_settings(own, e) || ckpt_check_unchanged(own->model, e) ||
                   model_source_check_unchanged(base_model_source(own->base), e) ||
                   comparison_answer_print(s, &o->answer, &own->report, &own->recorded, e)
               ? -1
               : 0;
}

static int close_sink(struct stage *s, bool ok, struct error *e)
{
    struct sink *own = s->data;
    int failed = ok ? compare_and_print(s, e) : 0;
    lora_output_free(own->lora);
    base_model_close(own->base);
    recorded_merge_free(&own->recorded);
    ckpt_close(own->model);
    arena_free(&own->report.arena);
    free(own->compared);
    free(own);
    return failed;
}

const struct filter adapter_sink = {
    .name = "tv verify",
    .summary = "Compare a merge with the adapter that it has made",
    .operands = "ADAPTER",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 1,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_SINK,
    .no_history_step = true,
    .raw_payload = true,
    .failure_status = 2,
    .sink.consume_in_any_order = true,
    .open = open_sink,
    .begin_tensor = begin_tensor,
    .sink.consume_block = consume_block,
    .sink.wants_tensor = wants_tensor,
    .end_tensor = end_tensor,
    .close = close_sink,
};
