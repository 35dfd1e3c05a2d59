/* stats: print norms, sparsity, cosines and sign conflicts of vectors
 *
 *     L1 = sum |x|,  L2 = sqrt(sum x^2),  zero = fraction of elements that are 0
 *     cos(a, b) = <a, b> / (L2(a) L2(b))
 *     opp(a, b) = fraction of elements with opposite signs among those nonzero in both vectors
 *
 *     tv-extract base math code chat | stats
 *     tv-extract base math code chat | trim --density 0.2 | stats --summary
 *     tv-extract base math code chat | stats --by conflict --top 20
 *
 * Sign election resolves the conflicts that opp measures (TIES, arXiv 2306.01708, section 3):
 * trimming lowers opp; a high opp means that a plain average cancels what the experts learned.
 * Prints one line per tensor and vector, then the same over all tensors; cos and opp are in the
 * line of the later of two models. Non-finite numbers are excluded and counted. F64 is converted to
 * F32; vectors of other dtypes have a line without statistics. On a terminal the table is as wide
 * as that; elsewhere it has all columns.
 */
#include "filter.h"
#include "json_print.h"
#include "operand_source.h"
#include "stage.h"
#include "standard_output.h"
#include "stats_table.h"
#include "text_print.h"

#include <stdlib.h>
#include <string.h>

struct options {
    bool json, summary;
    const char *columns;
    uint64_t width, top;
    int by; /* an enum stats_key; -1: in the order of the stream */
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"by", OPTION_CHOICE, FIELD(by), STATS_KEYS,
     .help = "sort the tensors by this, the largest first", .choices = STATS_KEYS},
    {"top", OPTION_COUNT, FIELD(top), "N", .help = "print only the first N tensors of that order",
     .range = {.low = 1, .high = INFINITY}},
    {"columns", OPTION_STRING, FIELD(columns), "KEY,...",
     .help = "print these columns, in this order (the KEYs of --by; default: all)"},
    {"width", OPTION_COUNT, FIELD(width), "N",
     .help = "fit the table into N columns; 0: any width (default: the terminal's; elsewhere any)",
     .range = {.low = 0, .high = 10000}},
    {"json", OPTION_FLAG, FIELD(json), NULL, .help = "print lines of JSON instead of a table"},
    {"summary", OPTION_FLAG, FIELD(summary), NULL,
     .help = "print only the statistics over all tensors"},
    {0}};
#undef FIELD

/* The statistics of a tensor, or of all tensors. */
struct result {
    const char *tensor; /* NULL: all tensors */
    struct joint_stats stats;
    const size_t *models; /* [vector]: its model, an index of run->models */
    double sort_value;
    size_t index; /* in the order of the stream */
};

struct run {
    size_t n;                  /* models that have vectors */
    const char **models;       /* [n]: their names */
    size_t *all_models;        /* [n]: 0, 1, 2, ... */
    size_t *position;          /* [model of the header]: its index in `models` */
    struct result all;         /* over all tensors */
    void *memory;              /* of its statistics */
    struct stats_table *table; /* NULL: JSON */
    /* With --by: the tensors so far. */
    size_t n_results;
    struct result *results;
    struct arena arena; /* of their statistics */
};

static const char ALL_TENSORS[] = "all tensors";

static const struct options *options_of(const struct stage *s)
{
    return s->options;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static void print_json_vector(const struct joint_stats *t, size_t k, const char *model)
{
    static const char *const keys[] = {
        ", \"zero\": ",    ", \"l1\": ",  ", \"l2\": ", ", \"mean\": ",
        ", \"max_abs\": ", ", \"min\": ", ", \"max\": "};
    const struct vector_stats *v = &t->vectors[k];
    json_print_text("{\"model\": ", model);
    json_print_count(", \"elements\": ", v->elements);
    json_print_count(", \"nonfinite\": ", v->floating - v->finite);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        json_print_number(keys[i], stats_table_value(t, STATS_ZERO + (enum stats_key)i, k, 0));
    putchar('}');
}

static void print_json(const struct run *run, const struct result *r)
{
    const struct joint_stats *t = &r->stats;
    json_print_text("{\"tensor\": ", r->tensor);
    fputs(", \"vectors\": [", stdout);
    for (size_t k = 0; k < t->n; k++) {
        fputs(k ? ", " : "", stdout);
        print_json_vector(t, k, run->models[r->models[k]]);
    }
    fputs("], \"pairs\": [", stdout);
    for (size_t k = 0; k < t->n; k++)
        for (size_t j = 0; j < k; j++) {
            const char *models[] = {run->models[r->models[j]], run->models[r->models[k]]};
            json_print_texts(k > 1 ? ", {\"models\": " : "{\"models\": ", 2, models);
            json_print_number(", \"cosine\": ", joint_stats_cosine(t, k, j));
            json_print_number(", \"opposite\": ", joint_stats_opposite_sign_share(t, k, j));
            putchar('}');
        }
    puts("]}");
}

/* ---- results ------------------------------------------------------------------------------- */

static void print_result(const struct run *run, const struct result *r)
{
    if (run->table)
        stats_table_print_rows(run->table, r->tensor ? r->tensor : ALL_TENSORS, &r->stats,
                               r->models);
    else
        print_json(run, r);
}

/* Keeps a copy of the result of a tensor, to be sorted. */
static void hold_result(struct run *run, const struct result *r, enum stats_key key)
{
    size_t K = r->stats.n;
    run->results = mem_grow(run->results, run->n_results, sizeof *run->results);
    struct result *held = &run->results[run->n_results];
    void *memory = arena_alloc(&run->arena, joint_stats_size(K), 1);
    size_t *models = arena_alloc(&run->arena, K, sizeof *models);
    memcpy(memory, r->stats.vectors, joint_stats_size(K));
    memcpy(models, r->models, K * sizeof *models);
    *held = (struct result){r->tensor, joint_stats_view_memory(memory, K), models,
                            stats_table_sort_value(&r->stats, key), run->n_results++};
}

/* The largest first; undefined values last; then in the order of the stream. */
static int compare_results(const void *a, const void *b)
{
    const struct result *x = a, *y = b;
    if (isnan(x->sort_value) != isnan(y->sort_value))
        return isnan(x->sort_value) ? 1 : -1;
    if (x->sort_value != y->sort_value && !isnan(x->sort_value))
        return x->sort_value > y->sort_value ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static void print_sorted_results(struct run *run, uint64_t top)
{
    if (run->n_results)
        qsort(run->results, run->n_results, sizeof *run->results, compare_results);
    for (size_t i = 0; i < run->n_results && (top == 0 || i < top); i++)
        print_result(run, &run->results[i]);
}

/* ---- the functions of the descriptor ------------------------------------------------------- */

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = options_of(s);
    struct stats_columns columns;
    if (o->top && o->by < 0)
        return error_set(e, "--top requires --by");
    if (o->by >= 0 && o->summary)
        return error_set(e, "--by and --summary cannot be combined");
    if (o->json && (o->columns || stage_is_given(s, "width")))
        return error_set(e, "--json cannot be combined with --columns or --width");
    return o->columns ? stats_columns_parse(&columns, o->columns, "--columns", e) : 0;
}

/* Lists the models that have vectors. */
static void list_models_with_vectors(struct run *run, const struct header *h)
{
    bool *has_vectors = mem_alloc(h->n_models, sizeof *has_vectors);
    for (size_t i = 0; i < h->n_tensors; i++)
        for (size_t k = 0; k < h->tensors[i].n_vectors; k++)
            has_vectors[h->tensors[i].vectors[k].model] = true;
    for (size_t i = 0; i < h->n_models; i++)
        if (has_vectors[i]) {
            run->position[i] = run->all_models[run->n] = run->n;
            run->models[run->n++] = h->models[i].name;
        }
    free(has_vectors);
}

static int start_table(struct stage *s, struct run *run, struct error *e)
{
    const struct options *o = options_of(s);
    struct stats_columns columns = {0};
    int name_width = text_print_name_width(ALL_TENSORS);
    int width = stage_is_given(s, "width") ? (int)o->width : standard_output_columns();
    if (o->columns && stats_columns_parse(&columns, o->columns, "--columns", e))
        return -1;
    for (size_t i = 0; i < s->in->n_tensors && !o->summary; i++)
        name_width = text_print_max_name_width(name_width, s->in->tensors[i].name);
    run->table = stats_table_new(run->n, run->models, name_width, &columns, width, o->by);
    stats_table_print_titles(run->table);
    return 0;
}

static int open(struct stage *s, struct header *h, struct error *e)
{
    struct run *run = s->data = mem_alloc(1, sizeof *run);
    run->models = mem_alloc(s->in->n_models, sizeof *run->models);
    run->all_models = mem_alloc(s->in->n_models, sizeof *run->all_models);
    run->position = mem_alloc(s->in->n_models, sizeof *run->position);
    list_models_with_vectors(run, s->in);
    run->memory = mem_alloc(joint_stats_size(run->n), 1);
    run->all.stats = joint_stats_init(run->memory, run->n);
    run->all.models = run->all_models;
    return options_of(s)->json ? 0 : start_table(s, run, e);
}

static int begin_tensor(struct job *job, struct error *e)
{
    size_t K = job->in->n_vectors;
    job->state = arena_alloc(job->arena, joint_stats_size(K), 1);
    joint_stats_init(job->state, K);
    job->work_size = joint_stats_size(K) + K * VECTOR_MATH_TILE * sizeof(float);
    return PLAN_REDUCE;
}

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    size_t K = b->n_vectors;
    struct joint_stats t = joint_stats_init(work, K);
    for (size_t first = 0; first < b->n; first += VECTOR_MATH_TILE) {
        size_t n = b->n - first < VECTOR_MATH_TILE ? b->n - first : VECTOR_MATH_TILE;
        for (size_t k = 0; k < K; k++)
            joint_stats_add_tile(&t, k,
                                 b->dtypes[k] == DTYPE_F32 ? block_floats(b, k) + first : NULL, n,
                                 (float *)((char *)work + joint_stats_size(K)));
    }
    return 0;
}

static int accumulate_block(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct joint_stats sum = joint_stats_view_memory(job->state, b->n_vectors);
    struct joint_stats block = joint_stats_view_memory(work, b->n_vectors);
    joint_stats_accumulate(&block, &sum, NULL);
    return 0;
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    const struct options *o = options_of(job->stage);
    struct run *run = job->stage->data;
    size_t K = job->in->n_vectors;
    size_t *models = arena_alloc(job->arena, K, sizeof *models);
    for (size_t k = 0; k < K; k++)
        models[k] = run->position[job->in->vectors[k].model];
    /* The name of job->in ends with the tensor. */
    struct result result = {.tensor = job->stage->in->tensors[job->index].name,
                            .stats = joint_stats_view_memory(job->state, K),
                            .models = models};
    if (!ok)
        return 0;
    joint_stats_accumulate(&result.stats, &run->all.stats, models);
    if (o->by >= 0)
        hold_result(run, &result, (enum stats_key)o->by);
    else if (!o->summary)
        print_result(run, &result);
    return ferror(stdout) ? standard_output_flush(e) : 0;
}

static int close(struct stage *s, bool ok, struct error *e)
{
    const struct options *o = options_of(s);
    struct run *run = s->data;
    if (ok) {
        print_sorted_results(run, o->top);
        if (run->table && !o->summary)
            puts("");
        print_result(run, &run->all);
        if (run->table)
            stats_table_print_left_out(run->table);
    }
    stats_table_free(run->table);
    arena_free(&run->arena);
    free(run->results);
    free(run->memory);
    free(run->models);
    free(run->all_models);
    free(run->position);
    free(run);
    return ok ? standard_output_flush(e) : 0;
}

const struct filter filter_stats = {
    .name = "stats",
    .summary = "Print norms, sparsity, cosines and sign conflicts of vectors",
    .step = STEP_LOOK,
    .operands = "[FILE|MODEL]",
    .notes =
        "Without an operand, reads standard input. zero is the fraction of elements that are 0; "
        "cos and opp are the cosine and the fraction of opposite signs with an earlier model.\n\n"
        "  tv-extract base math code | trim --density 0.2 | stats --summary",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = 1,
    .role = ROLE_SINK,
    .sink.source_for_operand = operand_source_choose_filter,
    .sink.prints_while_running = true,
    .accepts_nonfinite = true,
    .check_options = check_options,
    .open = open,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = accumulate_block,
    .end_tensor = end_tensor,
    .close = close,
};
