/* tv-diff: compare two streams or models, tensor by tensor
 *
 *     elements a and b differ if |a - b| > T max|B|              T: --tolerance, B: b's tensor
 *     A and B are the same if at most a fraction F of all elements differs     F: --bad-frac
 *
 *     tv-diff merged expected --tolerance 1e-6
 *     tv-extract base math | tv-diff - deltas.tvs
 *
 * Vectors are matched by the names of tensor and model, or only by the name of the tensor if it has
 * one vector on both sides. A tensor or vector that only one side has, and another shape, weight or
 * kind of stream are differences. A different dtype is reported; it is a difference only with
 * --same-dtype. Equal infinities are equal, and so are two NaNs. A is read as a stream, B by random
 * access. Exit status: 0 same, 1 different, 2 failure.
 */
#include "diff_report.h"
#include "element_diff.h"
#include "filter.h"
#include "operand_source.h"
#include "diff_reference.h"
#include "quantization_note.h"
#include "standard_output.h"

#include <stdlib.h>
#include <string.h>

struct options {
    double tolerance, bad_frac;
    bool same_dtype, json;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"tolerance", OPTION_NUMBER, FIELD(tolerance), "T",
     .help = "allow elements to differ by T times the largest magnitude of B's tensor (default 0)",
     .range = {.low = 0, .high = INFINITY}, .default_value = "0"},
    {"bad-frac", OPTION_NUMBER, FIELD(bad_frac), "F",
     .help = "allow a fraction F of all elements to differ by more (default 0)",
     .range = {.low = 0, .high = 1}, .default_value = "0"},
    {"same-dtype", OPTION_FLAG, FIELD(same_dtype), NULL,
     .help = "count a different dtype as a difference"},
    {"json", OPTION_FLAG, FIELD(json), NULL,
     .help = "print a line of JSON for each vector, including equal ones"},
    {0}};
#undef FIELD

struct run {
    struct diff_reference *b;
    struct diff_report report;
};

/* A tensor that is in A and B; for each of its vectors in A: */
struct match {
    size_t tensor;      /* index of the tensor in B */
    size_t *vectors;    /* index of the vector in B's tensor; NO_VECTOR: not compared */
    double *magnitudes; /* the largest of B's vector */
    struct element_diff *diffs;
};

#define NO_VECTOR SIZE_MAX

static const struct options *options_of(const struct stage *s)
{
    return s->options;
}

/* ---- findings ------------------------------------------------------------------------------- */

static void compare_weights(struct stage *s, const struct tensor *t, const struct vector *a,
                            const struct vector *b)
{
    struct diff_report *r = &((struct run *)s->data)->report;
    const char *model = s->in->models[a->model].name;
    if (a->n_weights != b->n_weights) {
        diff_report_add_finding(r, t->name, "%s has %zu weights in A, %zu in B", model,
                                a->n_weights, b->n_weights);
        return;
    }
    for (size_t i = 0; i < a->n_weights; i++)
        if (a->weights[i] != b->weights[i]) {
            diff_report_add_finding(r, t->name, "%s has weight %.9g in A, %.9g in B%s", model,
                                    a->weights[i], b->weights[i],
                                    a->n_weights > 1 ? " (first difference)" : "");
            return;
        }
}

static const char *format_shape(struct arena *a, const struct tensor *t)
{
    return tensor_format_shape(a, t->rank, t->shape);
}

/* Reports differences of the kinds and the manifests. */
static void compare_tensor_lists(struct stage *s)
{
    struct run *run = s->data;
    struct diff_report *r = &run->report;
    const struct header *b = diff_reference_header(run->b);
    bool *found = mem_alloc(b->n_tensors, sizeof *found);
    if (s->in->kind != b->kind)
        diff_report_add_finding(r, NULL, "A contains %s, B contains %s",
                                stream_kind_name(s->in->kind), stream_kind_name(b->kind));
    for (size_t i = 0; i < s->in->n_tensors; i++) {
        const struct tensor *t = &s->in->tensors[i];
        long j = diff_reference_find_tensor(run->b, t->name);
        if (j < 0)
            diff_report_add_finding(r, t->name, "only in A");
        else if (!tensor_same_shape(t, &b->tensors[j]))
            diff_report_add_finding(r, t->name, "%s in A, %s in B", format_shape(&s->arena, t),
                                    format_shape(&s->arena, &b->tensors[j]));
        if (j >= 0)
            found[j] = true;
    }
    for (size_t i = 0; i < b->n_tensors; i++)
        if (!found[i])
            diff_report_add_finding(r, b->tensors[i].name, "only in B");
    free(found);
}

/* ---- the functions of the descriptor -------------------------------------------------------- */

static int open(struct stage *s, struct header *h, struct error *e)
{
    struct run *run = s->data = mem_alloc(1, sizeof *run);
    bool both_stdin =
        strcmp(s->operands.items[0], "-") == 0 && strcmp(s->operands.items[1], "-") == 0;
    run->b = both_stdin
                 ? NULL
                 : diff_reference_open(s->operands.items[1], s->common.spool, s->filter->name, e);
    if (!run->b)
        return both_stdin ? error_set(e, "A and B cannot both be standard input") : -1;
    run->report.quiet = s->common.quiet;
    run->report.json = options_of(s)->json;
    diff_report_set_column_widths(&run->report, s->in);
    compare_tensor_lists(s);
    if (s->in->kind != KIND_ACTIVATIONS)
        quantization_note_print(s->name, "differences", s->in, diff_reference_header(run->b));
    return 0;
}

/* Index of the vector of B's tensor that matches vector k of A's. */
static size_t find_matching_vector(const struct stage *s, const struct tensor *a, size_t k,
                                   const struct header *hb, const struct tensor *b)
{
    if (a->n_vectors == 1 && b->n_vectors == 1)
        return 0;
    for (size_t j = 0; j < b->n_vectors; j++)
        if (strcmp(hb->models[b->vectors[j].model].name, s->in->models[a->vectors[k].model].name) ==
            0)
            return j;
    return NO_VECTOR;
}

/* Elements per tile. */
static size_t tile_elements(enum dtype d)
{
    return dtype_bits(d) % 8 ? ELEMENT_DIFF_TILE / 2 : ELEMENT_DIFF_TILE;
}

/* The largest magnitude of a vector of B. */
static double find_max_magnitude(const struct diff_reference *r, size_t tensor, size_t k)
{
    const struct tensor *t = diff_reference_tensor(r, tensor);
    enum dtype d = t->vectors[k].dtype;
    _Alignas(8) unsigned char bytes[ELEMENT_DIFF_TILE * 8];
    size_t all = tensor_elements(t), step = tile_elements(d);
    double most = 0;
    for (size_t first = 0; first < all; first += step) {
        size_t n = all - first < step ? all - first : step;
        diff_reference_read_elements(r, tensor, k, first, n, bytes);
        most = element_diff_max_magnitude(d, bytes, n, most);
        diff_reference_release_pages(r, tensor, first, n);
    }
    return most;
}

/* Reports differences of weights and dtypes of vectors k of A and j of B. Returns true if their
 * elements can be compared. */
static bool compare_vector_attributes(struct stage *s, const struct tensor *a, size_t k,
                                      const struct tensor *b, size_t j)
{
    struct diff_report *r = &((struct run *)s->data)->report;
    const char *model = s->in->models[a->vectors[k].model].name;
    if (j == NO_VECTOR) {
        diff_report_add_finding(r, a->name, "vector of %s only in A", model);
        return false;
    }
    enum dtype da = a->vectors[k].dtype, db = b->vectors[j].dtype;
    compare_weights(s, a, &a->vectors[k], &b->vectors[j]);
    if (!element_diff_can_compare(da, db)) {
        diff_report_add_finding(r, a->name,
                                "%s is %s in A and %s in B; these dtypes cannot be compared", model,
                                dtype_name(da), dtype_name(db));
        return false;
    }
    if (da != db && options_of(s)->same_dtype)
        diff_report_add_finding(r, a->name, "%s is %s in A, %s in B", model, dtype_name(da),
                                dtype_name(db));
    return true;
}

/* Reports the vectors of B's tensor that A does not have. */
static void report_vectors_only_in_b(struct stage *s, const struct match *m, const struct tensor *a,
                                     const struct header *hb, const struct tensor *b)
{
    struct diff_report *r = &((struct run *)s->data)->report;
    for (size_t j = 0; j < b->n_vectors; j++) {
        bool found = false;
        for (size_t k = 0; k < a->n_vectors; k++)
            found |= m->vectors[k] == j;
        if (!found)
            diff_report_add_finding(r, a->name, "vector of %s only in B",
                                    hb->models[b->vectors[j].model].name);
    }
}

/* Matches the vectors of A's tensor with those of tensor `index` of B. */
static struct match *match_vectors_of_tensor(struct job *job, size_t index)
{
    struct stage *s = job->stage;
    const struct run *run = s->data;
    const struct tensor *a = job->in, *b = diff_reference_tensor(run->b, index);
    const struct header *hb = diff_reference_header(run->b);
    size_t K = a->n_vectors;
    struct match *m = arena_alloc(job->arena, 1, sizeof *m);
    m->tensor = index;
    m->vectors = arena_alloc(job->arena, K, sizeof *m->vectors);
    m->magnitudes = arena_alloc(job->arena, K, sizeof *m->magnitudes);
    m->diffs = arena_alloc(job->arena, K, sizeof *m->diffs);
    for (size_t k = 0; k < K; k++)
        m->vectors[k] = find_matching_vector(s, a, k, hb, b);
    report_vectors_only_in_b(s, m, a, hb, b);
    for (size_t k = 0; k < K; k++)
        if (compare_vector_attributes(s, a, k, b, m->vectors[k]))
            m->magnitudes[k] = find_max_magnitude(run->b, index, m->vectors[k]);
        else
            m->vectors[k] = NO_VECTOR;
    return m;
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct run *run = job->stage->data;
    const struct tensor *a = job->in;
    long index = diff_reference_find_tensor(run->b, a->name);
    if (index < 0 || !tensor_same_shape(a, diff_reference_tensor(run->b, (size_t)index)))
        return PLAN_PASS_THROUGH;
    job->state = match_vectors_of_tensor(job, (size_t)index);
    job->work_size = a->n_vectors * sizeof(struct element_diff);
    return PLAN_REDUCE;
}

/* Compares vector k of a block with its vector in B. */
static void compare_block_elements(const struct job *job, const struct block *b, size_t k,
                                   struct element_diff *diff)
{
    const struct run *run = job->stage->data;
    const struct match *m = job->state;
    const struct tensor *t = diff_reference_tensor(run->b, m->tensor);
    enum dtype da = b->dtypes[k], db = t->vectors[m->vectors[k]].dtype;
    double allowed = options_of(job->stage)->tolerance * m->magnitudes[k];
    _Alignas(8) unsigned char bytes[ELEMENT_DIFF_TILE * 8];
    size_t step = tile_elements(da);
    for (size_t done = 0; done < b->n; done += step) {
        size_t n = b->n - done < step ? b->n - done : step;
        diff_reference_read_elements(run->b, m->tensor, m->vectors[k], b->first + done, n, bytes);
        element_diff_add_tile(diff, da, (const char *)b->data[k] + done * dtype_bits(da) / 8, db,
                              bytes, n, allowed);
    }
    diff_reference_release_pages(run->b, m->tensor, b->first, b->n);
}

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct match *m = job->state;
    struct element_diff *diffs = work;
    memset(diffs, 0, b->n_vectors * sizeof *diffs);
    for (size_t k = 0; k < b->n_vectors; k++)
        if (m->vectors[k] != NO_VECTOR)
            compare_block_elements(job, b, k, &diffs[k]);
    return 0;
}

static int accumulate_block(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct match *m = job->state;
    const struct element_diff *diffs = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        element_diff_accumulate(&diffs[k], &m->diffs[k]);
    return 0;
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    struct run *run = job->stage->data;
    const struct match *m = job->state;
    const struct tensor *t = &job->stage->in->tensors[job->index];
    for (size_t k = 0; ok && m && k < t->n_vectors; k++) {
        const struct vector *a = &t->vectors[k];
        if (m->vectors[k] == NO_VECTOR)
            continue;
        const struct vector *b = &diff_reference_tensor(run->b, m->tensor)->vectors[m->vectors[k]];
        diff_report_print_vector(&run->report, &(struct diff_report_vector){
                                                   .tensor = t->name,
                                                   .model = job->stage->in->models[a->model].name,
                                                   .dtype_a = a->dtype,
                                                   .dtype_b = b->dtype,
                                                   .diff = &m->diffs[k],
                                                   .magnitude = m->magnitudes[k]});
    }
    run->report.tensors += m != NULL;
    return ok && ferror(stdout) ? standard_output_flush(e) : 0;
}

static int close(struct stage *s, bool ok, struct error *e)
{
    struct run *run = s->data;
    const struct element_diff *all = &run->report.total;
    bool same = run->report.findings == 0 &&
                (double)all->beyond_tolerance <= options_of(s)->bad_frac * (double)all->elements;
    int failed = ok ? diff_reference_check_unchanged(run->b, e) : 0;
    if (ok && !failed)
        diff_report_print_summary(&run->report, same);
    s->exit_status = !same;
    diff_reference_close(run->b);
    free(run);
    return ok && !failed ? standard_output_flush(e) : failed;
}

const struct filter filter_tv_diff = {
    .name = "tv-diff",
    .summary = "Compare two streams or models, tensor by tensor",
    .step = STEP_LOOK,
    .operands = "A B",
    .notes =
        "- is a stream on standard input. Tolerances are relative to the largest magnitude of B's "
        "tensor. With --quiet, prints nothing. Exit status: 0 same, 1 different, 2 failure.\n\n"
        "  tv-diff merged expected --tolerance 1e-6",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 2,
    .max_operands = 2,
    .role = ROLE_SINK,
    .sink.source_for_operand = operand_source_choose_filter,
    .sink.prints_while_running = true,
    .raw_payload = true,
    .accepts_nonfinite = true,
    .failure_status = 2,
    .open = open,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = accumulate_block,
    .end_tensor = end_tensor,
    .close = close,
};
