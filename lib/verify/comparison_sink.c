#include "comparison_sink.h"

#include "checkpoint_tensors.h"
#include "comparison_answer.h"
#include "gguf_comparison.h"
#include "rounding_difference.h"
#include "stage.h"
#include "stored_form.h"
#include "vocabulary_option.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *base, *onto, *like, *vocabulary;
    enum dtype dtype;
    bool no_fill;
    struct comparison_answer answer;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"base", OPTION_STRING, FIELD(base), "BASE", .help = "as for pack"},
    {"onto", OPTION_STRING, FIELD(onto), "MODEL", .help = "as for pack"},
    {"like", OPTION_STRING, FIELD(like), "MODEL", .help = "as for pack"},
    VOCABULARY_OPTION_ROW(options, vocabulary, "as for pack"),
    {"dtype", OPTION_DTYPE, FIELD(dtype), "DTYPE", .help = "as for pack",
     .choices = GGUF_ENCODING_CHOICES, .not_a_choice = GGUF_ENCODING_NOT_A_CHOICE},
    {"no-fill", OPTION_FLAG, FIELD(no_fill), NULL, .help = "as for pack"},
    COMPARISON_ANSWER_OPTION_ROWS(options, answer),
    {0}};
#undef FIELD

/* A tensor of the result, and the one of the model that it is compared with. */
struct comparison {
    long tensor; /* index in the model; -1: it is not compared */
    _Atomic uint64_t different;
    _Atomic uint64_t first;              /* element that differs; UINT64_MAX: none */
    struct rounding_difference rounding; /* if other kernels were used */
};

struct sink {
    bool allows_rounding;
    struct ckpt *model;
    struct recorded_merge recorded;
    struct base_model *base;
    struct vocabulary *vocabulary; /* of the base; NULL */
    struct ckpt *like;
    struct checkpoint_contents contents;
    struct stored_form form;           /* of the model */
    struct checkpoint_tensors tensors; /* of `contents`, received by compare_elements */
    struct comparison *comparisons;    /* [tensor of the result] */
    struct comparison_report report;
};

/* ---- tensors --------------------------------------------------------------------------------- */

static const char *format_shapes(struct arena *a, const struct tensor *t,
                                 const struct ckpt_tensor *own)
{
    return arena_printf(a, "%s, recomputed %s", tensor_format_shape(a, own->rank, own->shape),
                        tensor_format_shape(a, t->rank, t->shape));
}

/* Finds tensor i of the result in the model. */
static void match_tensor(struct sink *s, size_t i)
{
    struct comparison_report *r = &s->report;
    const struct tensor *t = &s->contents.header->tensors[i];
    const char *stored, *recomputed;
    long found = ckpt_find_tensor(s->model, t->name);
    s->comparisons[i] = (struct comparison){.tensor = -1, .first = UINT64_MAX};
    if (found < 0) {
        comparison_report_add(r, MISSING, t->name, NULL);
        return;
    }
    const struct ckpt_tensor *own = ckpt_tensor(s->model, (size_t)found);
    bool same_shape =
        own->rank == t->rank && memcmp(own->shape, t->shape, t->rank * sizeof *t->shape) == 0;
    if (!same_shape)
        comparison_report_add(r, DIFFERENT_SHAPE, t->name, format_shapes(&r->arena, t, own));
    else if (!stored_form_has_dtype(&s->form, s->model, (size_t)found, t->vectors[0].dtype, &stored,
                                    &recomputed))
        comparison_report_add(r, DIFFERENT_DTYPE, t->name,
                              arena_printf(&r->arena, "%s, recomputed %s", stored, recomputed));
    else
        s->comparisons[i].tensor = found;
}

static int match_tensors(struct sink *s)
{
    const struct header *h = s->contents.header;
    struct arena a = {0};
    struct name_index names = {0};
    s->comparisons = mem_alloc(h->n_tensors, sizeof *s->comparisons);
    s->report.tensors = h->n_tensors;
    for (size_t i = 0; i < h->n_tensors; i++) {
        match_tensor(s, i);
        name_index_add(&names, h->tensors[i].name, i, &a);
    }
    for (size_t i = 0; i < ckpt_tensor_count(s->model); i++)
        if (name_index_find(&names, ckpt_tensor(s->model, i)->name) < 0)
            comparison_report_add(&s->report, EXTRA, ckpt_tensor(s->model, i)->name, NULL);
    arena_free(&a);
    return 0;
}

/* Counts the elements of `size` bytes that differ; *first is the index of the first one. Elements
 * of less than a byte are counted by bytes. */
static uint64_t count_different(const unsigned char *a, const unsigned char *b, size_t size,
                                size_t width, uint64_t *first)
{
    uint64_t n = 0;
    for (size_t i = 0; i < size; i += width)
        if (memcmp(a + i, b + i, width) != 0 && n++ == 0)
            *first = i / width;
    return n;
}

static void record_different(struct comparison *c, uint64_t n, uint64_t first)
{
    uint64_t known = c->first;
    c->different += n;
    while (first < known && !atomic_compare_exchange_weak(&c->first, &known, first))
        ;
}

/* Compares n elements, converted to the model's form, with those of the model. */
static void compare_with_stored(const struct sink *s, struct comparison *c, size_t first, size_t n,
                                const void *x)
{
    size_t model_tensor = (size_t)c->tensor;
    const struct ckpt_tensor *own = ckpt_tensor(s->model, model_tensor);
    size_t size = dtype_bytes(own->dtype, n), bits = dtype_bits(own->dtype);
    size_t width = bits >= 8 ? bits / 8 : 1;
    uint64_t at = 0;
    void *read = own->data ? NULL : mem_alloc_aligned(size);
    if (read)
        ckpt_read_elements(s->model, model_tensor, first, n, read);
    const void *stored = read ? read : own->data + dtype_bytes(own->dtype, first);
    if (memcmp(x, stored, size) != 0) {
        uint64_t different = count_different(x, stored, size, width, &at);
        record_different(c, different, first + at);
    }
    if (s->allows_rounding)
        rounding_difference_add(&c->rounding, own->dtype, x, stored, n);
    free(read);
    ckpt_release_pages(s->model, model_tensor, first, n);
}

/* For struct checkpoint_tensors. */
static int compare_elements(void *sink, size_t index, size_t first, size_t n, const void *x,
                            struct error *e)
{
    struct sink *s = sink;
    struct comparison *c = &s->comparisons[index];
    void *owned;
    if (c->tensor < 0 || n == 0)
        return 0;
    const void *converted =
        stored_form_convert(&s->form, s->model, (size_t)c->tensor, first, n, x, &owned, e);
    if (converted)
        compare_with_stored(s, c, first, n, converted);
    free(owned);
    return converted ? 0 : -1;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int open_base(struct stage *s, struct sink *own, const struct header *h, struct error *e)
{
    const struct options *o = s->options;
    const char *base = o->base ? o->base : o->onto;
    if ((h->kind == KIND_TASK_VECTORS) != (base != NULL))
        return error_set(e, "the history was not written by tvtools: pack has %s base for %s",
                         base ? "a" : "no", stream_kind_name(h->kind));
    if (!base)
        return 0;
    if (vocabulary_option_open(s, o->vocabulary, &own->vocabulary, e) ||
        !(own->base = base_model_open(s, base, o->onto != NULL, own->vocabulary, h, e)))
        return -1;
    return 0;
}

/* The GGUF file that the model is like; NULL if it is unknown, or is no GGUF file. */
static const struct gguf_model *find_gguf_like(const struct sink *own)
{
    const struct ckpt *c =
        own->base ? model_source_checkpoint(base_model_source(own->base)) : own->like;
    return c ? ckpt_gguf_model(c) : NULL;
}

/* Compares what a GGUF file takes over from the one that it is like. */
static int compare_taken_over(struct sink *own, struct error *e)
{
    const struct gguf_model *model = ckpt_gguf_model(own->model), *like = find_gguf_like(own);
    if (!model)
        return 0;
    own->report.lacks_metadata = !like;
    return like ? gguf_comparison_run(&own->report, model, like, own->form.encoding.type, e) : 0;
}

/* Describes the result, and the form that it is compared in. */
static int init_contents(struct sink *own, const struct header *h, const char *file,
                         const struct options *o, struct error *e)
{
    bool is_gguf = ckpt_gguf_model(own->model) != NULL;
    const struct checkpoint_contents_options options = {.dtype = is_gguf ? DTYPE_F32 : o->dtype,
                                                        .fill = !o->no_fill};
    if (!is_gguf && o->dtype == GGUF_ENCODING_Q8_0)
        return error_set(
            e, "the history of %s has a pack with --dtype=q8_0, but it is not a GGUF file", file);
    if (checkpoint_contents_init(&own->contents, header_copy(h), own->base, &options, e))
        return -1;
    enum dtype dtype = o->dtype != DTYPE_NONE ? o->dtype : own->contents.header->input_rounding;
    return stored_form_init(&own->form, own->model, find_gguf_like(own), file, dtype, e);
}

static int open_sink(struct stage *s, struct header *h, struct error *e)
{
    struct sink *own = s->data = mem_alloc(1, sizeof *own);
    const char *file = s->operands.items[0];
    const struct options *o = s->options;
    own->allows_rounding = o->answer.other_kernels;
    own->model = ckpt_open(file, s->common.spool, NULL, e);
    if (!own->model || (o->like && !(own->like = ckpt_open(o->like, s->common.spool, NULL, e))) ||
        recorded_merge_read(&own->recorded, own->model, file, &s->arena, e) ||
        checkpoint_tensors_check_vectors(h, e) || open_base(s, own, h, e) ||
        init_contents(own, h, file, o, e) || compare_taken_over(own, e))
        return -1;
    own->tensors = (struct checkpoint_tensors){.contents = &own->contents,
                                               .base = own->base,
                                               .allow_nonfinite = true,
                                               .receive = compare_elements,
                                               .receiver = own};
    return match_tensors(own);
}

/* ---- the other functions of the descriptor --------------------------------------------------- */

static int begin_tensor(struct job *job, struct error *e)
{
    return checkpoint_tensors_check_weight(job->in, e) ? -1 : PLAN_TRANSFORM;
}

static int consume_block(struct job *job, const struct block *b, struct error *e)
{
    const struct sink *s = job->stage->data;
    return checkpoint_tensors_convert_block(&s->tensors, job->index, b, e);
}

static int compare_tensors_of_base(const struct sink *s, struct error *e)
{
    for (size_t i = s->contents.n_stream; i < s->contents.header->n_tensors; i++)
        if (checkpoint_tensors_copy_base_tensor(&s->tensors, i, NULL, e))
            return -1;
    return 0;
}

static int check_files_unchanged(const struct sink *s, struct error *e)
{
    return ckpt_check_unchanged(s->model, e) || (s->like && ckpt_check_unchanged(s->like, e)) ||
           (s->base && model_source_check_unchanged(base_model_source(s->base), e));
}

static void report_different_elements(struct sink *s)
{
    struct comparison_report *r = &s->report;
    for (size_t i = 0; i < s->contents.header->n_tensors; i++) {
        const struct tensor *t = &s->contents.header->tensors[i];
        const struct comparison *c = &s->comparisons[i];
        if (c->different && s->allows_rounding && rounding_difference_is_small(&c->rounding))
            r->rounded++;
        else if (c->different)
            comparison_report_add(r, DIFFERENT_ELEMENTS, t->name,
                                  arena_printf(&r->arena,
                                               "%llu of %zu, the first at flat index %llu",
                                               (unsigned long long)c->different, tensor_elements(t),
                                               (unsigned long long)c->first));
    }
}

static int print_answer(struct stage *s, struct error *e)
{
    struct options *o = s->options;
    struct sink *own = s->data;
    report_different_elements(own);
    return comparison_answer_print(s, &o->answer, &own->report, &own->recorded, e);
}

static int close_sink(struct stage *s, bool ok, struct error *e)
{
    struct sink *own = s->data;
    int failed = ok && (compare_tensors_of_base(own, e) || check_files_unchanged(own, e) ||
                        print_answer(s, e));
    base_model_close(own->base);
    vocabulary_free(own->vocabulary);
    recorded_merge_free(&own->recorded);
    ckpt_close(own->model);
    ckpt_close(own->like);
    stored_form_free(&own->form);
    checkpoint_contents_free(&own->contents);
    arena_free(&own->report.arena);
    free(own->comparisons);
    free(own);
    return failed ? -1 : 0;
}

const struct filter comparison_sink = {
    .name = "tv verify",
    .summary = "Compare a merge with the model that it has made",
    .operands = "MODEL",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 1,
    .kinds = KIND_WEIGHTS | KIND_TASK_VECTORS,
    .role = ROLE_SINK,
    .no_history_step = true,
    .raw_payload = true,
    .accepts_nonfinite = true,
    .failure_status = 2,
    .sink.consume_in_any_order = true,
    .open = open_sink,
    .begin_tensor = begin_tensor,
    .sink.consume_block = consume_block,
    .close = close_sink,
};
