/* tv-diff: compare two streams or models, tensor by tensor
 *
 *     an element a differs from b if |a - b| > T max|B|         T: --tolerance, B: b's tensor
 *     A and B are the same if at most a share F of all elements differs        F: --bad-frac
 *
 *     tv-diff merged expected --tolerance 1e-6
 *     tv-extract base math | tv-diff - deltas.tvs
 *
 * Vectors are matched by the names of tensor and model, or by the tensor's alone where it has one
 * vector on both sides. What cannot be matched differs: a tensor or vector on one side only,
 * another shape, weight or kind of stream. Another dtype is told; it counts only with --same-dtype,
 * and numbers are compared as numbers. Numbers that are not finite equal one another and nothing
 * else. A is read as a stream, B at random. Exit status: 0 same, 1 different, 2 trouble.
 */
#include "differ.h"
#include "filter.h"
#include "operand.h"
#include "output.h"
#include "reference.h"
#include "report.h"

#include <stdlib.h>
#include <string.h>

struct options {
    double tolerance, bad_frac;
    bool same_dtype, quiet, json;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"tolerance", OPTION_NUMBER, FIELD(tolerance), "T",
     .help = "let elements differ by T times the largest magnitude of B's tensor (default 0)",
     .range = {0, INFINITY}, .preset = "0"},
    {"bad-frac", OPTION_NUMBER, FIELD(bad_frac), "F",
     .help = "let a share F of all elements differ by more (default 0)", .range = {0, 1},
     .preset = "0"},
    {"same-dtype", OPTION_FLAG, FIELD(same_dtype), NULL,
     .help = "count another dtype as different"},
    {"quiet", OPTION_FLAG, FIELD(quiet), NULL, .help = "print nothing; the exit status says it"},
    {"json", OPTION_FLAG, FIELD(json), NULL,
     .help = "print a line of JSON for each vector, equal ones too"},
    {0}};
#undef FIELD

struct run {
    struct reference *b;
    struct report report;
};

/* One tensor, vector by vector of A. */
struct match {
    size_t place;       /* of the tensor in B */
    size_t *vectors;    /* their positions in B's tensor; NOWHERE */
    double *magnitudes; /* of B's */
    struct differ *sums;
};

#define NOWHERE SIZE_MAX

static const struct options *options_of(const struct stage *s)
{
    return s->options;
}

/* ---- findings ------------------------------------------------------------------------------- */

static void compare_weights(struct stage *s, const struct tensor *t, const struct vector *a,
                            const struct vector *b)
{
    struct report *r = &((struct run *)s->data)->report;
    const char *model = s->in->models[a->model].name;
    if (a->n_weights != b->n_weights) {
        report_finding(r, t->name, "%s has %zu weights in A, %zu in B", model, a->n_weights,
                       b->n_weights);
        return;
    }
    for (size_t i = 0; i < a->n_weights; i++)
        if (a->weights[i] != b->weights[i]) {
            report_finding(r, t->name, "%s has weight %.9g in A, %.9g in B%s", model, a->weights[i],
                           b->weights[i], a->n_weights > 1 ? ", to name the first" : "");
            return;
        }
}

static const char *shape_text(struct arena *a, const struct tensor *t)
{
    return tensor_shape_text(a, t->rank, t->shape);
}

/* What the manifests say already. */
static void compare_manifests(struct stage *s)
{
    struct run *run = s->data;
    struct report *r = &run->report;
    const struct header *b = reference_header(run->b);
    bool *found = mem_alloc(b->n_tensors, sizeof *found);
    if (s->in->kind != b->kind)
        report_finding(r, NULL, "A holds %s, B holds %s", kind_name(s->in->kind),
                       kind_name(b->kind));
    for (size_t i = 0; i < s->in->n_tensors; i++) {
        const struct tensor *t = &s->in->tensors[i];
        long place = reference_find(run->b, t->name);
        if (place < 0)
            report_finding(r, t->name, "only in A");
        else if (!tensor_same_shape(t, &b->tensors[place]))
            report_finding(r, t->name, "%s in A, %s in B", shape_text(&s->arena, t),
                           shape_text(&s->arena, &b->tensors[place]));
        if (place >= 0)
            found[place] = true;
    }
    for (size_t i = 0; i < b->n_tensors; i++)
        if (!found[i])
            report_finding(r, b->tensors[i].name, "only in B");
    free(found);
}

/* ---- the filter's life ---------------------------------------------------------------------- */

static int open(struct stage *s, struct header *h, struct error *e)
{
    struct run *run = s->data = mem_alloc(1, sizeof *run);
    bool twice = strcmp(s->operands.texts[0], "-") == 0 && strcmp(s->operands.texts[1], "-") == 0;
    (void)h;
    run->b =
        twice ? NULL : reference_open(s->operands.texts[1], s->common.spool, s->filter->name, e);
    if (!run->b)
        return twice ? error_set(e, "only one of the two can be standard input") : -1;
    run->report.quiet = options_of(s)->quiet;
    run->report.json = options_of(s)->json;
    report_measure(&run->report, s->in);
    compare_manifests(s);
    return 0;
}

/* The vector of B's tensor that belongs to vector k of A's. */
static size_t find_vector(const struct stage *s, const struct tensor *a, size_t k,
                          const struct header *hb, const struct tensor *b)
{
    if (a->n_vectors == 1 && b->n_vectors == 1)
        return 0;
    for (size_t j = 0; j < b->n_vectors; j++)
        if (strcmp(hb->models[b->vectors[j].model].name, s->in->models[a->vectors[k].model].name) ==
            0)
            return j;
    return NOWHERE;
}

/* Elements that go into one tile: all of a tensor that is not made of whole bytes has one block. */
static size_t tile_of(enum dtype d)
{
    return dtype_bits(d) % 8 ? DIFFER_TILE / 2 : DIFFER_TILE;
}

static double magnitude_of(const struct reference *r, size_t place, size_t k)
{
    const struct tensor *t = reference_tensor(r, place);
    enum dtype d = t->vectors[k].dtype;
    unsigned char bytes[DIFFER_TILE * 8];
    size_t all = tensor_elements(t), step = tile_of(d);
    double most = 0;
    for (size_t first = 0; first < all; first += step) {
        size_t n = all - first < step ? all - first : step;
        reference_read(r, place, k, first, n, bytes);
        most = differ_magnitude(d, bytes, n, most);
        reference_release_pages(r, place, first, n);
    }
    return most;
}

/* Do vectors k of A and j of B have elements to compare? */
static bool match_vector(struct stage *s, const struct tensor *a, size_t k, const struct tensor *b,
                         size_t j)
{
    struct report *r = &((struct run *)s->data)->report;
    const char *model = s->in->models[a->vectors[k].model].name;
    if (j == NOWHERE) {
        report_finding(r, a->name, "vector of %s only in A", model);
        return false;
    }
    enum dtype da = a->vectors[k].dtype, db = b->vectors[j].dtype;
    compare_weights(s, a, &a->vectors[k], &b->vectors[j]);
    if (!differ_comparable(da, db)) {
        report_finding(r, a->name, "%s is %s in A, %s in B, which cannot be compared", model,
                       dtype_name(da), dtype_name(db));
        return false;
    }
    if (da != db && options_of(s)->same_dtype)
        report_finding(r, a->name, "%s is %s in A, %s in B", model, dtype_name(da), dtype_name(db));
    return true;
}

static void report_unmatched(struct stage *s, const struct match *m, const struct tensor *a,
                             const struct header *hb, const struct tensor *b)
{
    struct report *r = &((struct run *)s->data)->report;
    for (size_t j = 0; j < b->n_vectors; j++) {
        bool found = false;
        for (size_t k = 0; k < a->n_vectors; k++)
            found |= m->vectors[k] == j;
        if (!found)
            report_finding(r, a->name, "vector of %s only in B",
                           hb->models[b->vectors[j].model].name);
    }
}

static int begin(struct job *job, struct error *e)
{
    struct stage *s = job->stage;
    struct run *run = s->data;
    const struct tensor *a = job->in;
    size_t K = a->n_vectors;
    long place = reference_find(run->b, a->name);
    (void)e;
    if (place < 0 || !tensor_same_shape(a, reference_tensor(run->b, (size_t)place)))
        return PLAN_PASS;
    const struct tensor *b = reference_tensor(run->b, (size_t)place);
    const struct header *hb = reference_header(run->b);
    struct match *m = job->state = arena_alloc(job->arena, 1, sizeof *m);
    m->place = (size_t)place;
    m->vectors = arena_alloc(job->arena, K, sizeof *m->vectors);
    m->magnitudes = arena_alloc(job->arena, K, sizeof *m->magnitudes);
    m->sums = arena_alloc(job->arena, K, sizeof *m->sums);
    memset(m->sums, 0, K * sizeof *m->sums);
    for (size_t k = 0; k < K; k++)
        m->vectors[k] = find_vector(s, a, k, hb, b);
    report_unmatched(s, m, a, hb, b);
    for (size_t k = 0; k < K; k++)
        if (!match_vector(s, a, k, b, m->vectors[k]))
            m->vectors[k] = NOWHERE;
        else
            m->magnitudes[k] = magnitude_of(run->b, m->place, m->vectors[k]);
    job->work_size = K * sizeof *m->sums;
    return PLAN_TALLY;
}

static void compare(const struct job *job, const struct block *b, size_t k, struct differ *sum)
{
    const struct run *run = job->stage->data;
    const struct match *m = job->state;
    const struct tensor *t = reference_tensor(run->b, m->place);
    enum dtype da = b->dtypes[k], db = t->vectors[m->vectors[k]].dtype;
    double allowed = options_of(job->stage)->tolerance * m->magnitudes[k];
    unsigned char bytes[DIFFER_TILE * 8];
    size_t step = tile_of(da);
    for (size_t done = 0; done < b->n; done += step) {
        size_t n = b->n - done < step ? b->n - done : step;
        reference_read(run->b, m->place, m->vectors[k], b->first + done, n, bytes);
        differ_look(sum, da, (const char *)b->data[k] + done * dtype_bits(da) / 8, db, bytes, n,
                    allowed);
    }
    reference_release_pages(run->b, m->place, b->first, b->n);
}

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct match *m = job->state;
    struct differ *sums = work;
    (void)e;
    memset(sums, 0, b->n_vectors * sizeof *sums);
    for (size_t k = 0; k < b->n_vectors; k++)
        if (m->vectors[k] != NOWHERE)
            compare(job, b, k, &sums[k]);
    return 0;
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct match *m = job->state;
    const struct differ *sums = work;
    (void)e;
    for (size_t k = 0; k < b->n_vectors; k++)
        differ_add(&sums[k], &m->sums[k]);
    return 0;
}

static int end(struct job *job, bool ok, struct error *e)
{
    struct run *run = job->stage->data;
    const struct match *m = job->state;
    const struct tensor *t = &job->stage->in->tensors[job->index];
    for (size_t k = 0; ok && m && k < t->n_vectors; k++) {
        const struct vector *a = &t->vectors[k];
        if (m->vectors[k] == NOWHERE)
            continue;
        const struct vector *b = &reference_tensor(run->b, m->place)->vectors[m->vectors[k]];
        report_vector(&run->report, t->name, job->stage->in->models[a->model].name, a->dtype,
                      b->dtype, &m->sums[k], m->magnitudes[k]);
    }
    run->report.tensors += m != NULL;
    return ok && ferror(stdout) ? output_finish(e) : 0;
}

static int close(struct stage *s, bool ok, struct error *e)
{
    struct run *run = s->data;
    const struct differ *all = &run->report.all;
    bool same = run->report.findings == 0 &&
                (double)all->beyond <= options_of(s)->bad_frac * (double)all->elements;
    if (ok)
        report_summary(&run->report, same);
    s->status = !same;
    reference_close(run->b);
    free(run);
    return ok ? output_finish(e) : 0;
}

const struct filter filter_tv_diff = {
    .name = "tv-diff",
    .summary = "Compare two streams or models, tensor by tensor",
    .operands = "A B",
    .notes =
        "- is a stream on standard input. Tolerances are relative to the largest magnitude of\n"
        "B's tensor. Exit status: 0 same, 1 different, 2 trouble.\n"
        "Example: tv-diff merged expected --tolerance 1e-6",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 2,
    .max_operands = 2,
    .role = ROLE_SINK,
    .operand_source = operand_source,
    .raw = true,
    .takes_nonfinite = true,
    .trouble_status = 2,
    .open = open,
    .begin = begin,
    .observe = observe,
    .merge = merge,
    .end = end,
    .close = close,
};
