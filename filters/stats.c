/* stats: print norms, sparsity, cosines and sign conflicts of vectors
 *
 *     L1 = sum |x|,  L2 = sqrt(sum x^2),  zero = fraction of elements that are 0
 *     cos(a, b) = <a, b> / (L2(a) L2(b))
 *     opp(a, b) = fraction of elements with opposite signs among those nonzero in both vectors
 *
 *     tv-extract base math code chat | stats
 *     tv-extract base math code chat | trim --density 0.2 | stats --summary
 *
 * Sign election resolves the conflicts that opp measures (TIES, arXiv 2306.01708, section 3):
 * trimming lowers opp; a high opp means that a plain average cancels what the experts learned.
 * Prints one line per tensor and vector, then the same over all tensors; cos and opp are in the
 * line of the later of two models. Non-finite numbers are excluded and counted. F64 is converted to
 * F32; vectors of other dtypes have a line without statistics.
 */
#include "filter.h"
#include "operand_source.h"
#include "standard_output.h"
#include "vector_stats.h"
#include "text_print.h"

#include <stdlib.h>

struct options {
    bool json, summary;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"json", OPTION_FLAG, FIELD(json), NULL, .help = "print lines of JSON instead of a table"},
    {"summary", OPTION_FLAG, FIELD(summary), NULL,
     .help = "print only the statistics over all tensors"},
    {0}};
#undef FIELD

/* ---- printing ------------------------------------------------------------------------------ */

/* The columns of the table, and the statistics over all tensors. */
struct table {
    int name_width, model_width;
    size_t n;       /* models that have vectors */
    size_t *models; /* [n]: indexes of those models in the header */
    size_t *rank;   /* [model]: its position among those models */
    struct joint_stats all;
    void *memory; /* of `all` */
};

static const char ALL_TENSORS[] = "all tensors";

static void print_number(double x, int width)
{
    if (isfinite(x))
        printf("  %*.4g", width, x);
    else
        printf("  %*s", width, "-");
}

static int pair_column_width(const struct header *h, const struct table *table, size_t i)
{
    int width = text_print_name_width(h->models[table->models[i]].name) + 4;
    return width > 7 ? width : 7;
}

static void print_titles(const struct header *h, const struct table *table)
{
    static const char *const titles[] = {"L1", "L2", "mean", "max|x|", "min", "max"};
    printf("%-*s  %-*s  %12s  %7s", table->name_width, "tensor", table->model_width, "model",
           "elements", "zero");
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        printf("  %10s", titles[i]);
    for (size_t i = 0; i + 1 < table->n; i++) {
        const char *model = h->models[table->models[i]].name;
        int width =
            pair_column_width(h, table, i) - text_print_name_width(model); /* of the prefix */
        printf("  %*s", width, "cos:");
        text_print_name(stdout, model, 0);
        printf("  %*s", width, "opp:");
        text_print_name(stdout, model, 0);
    }
    puts("");
}

/* The statistics of a tensor, or of all tensors. */
struct result {
    const char *tensor; /* NULL: all tensors */
    const struct joint_stats *stats;
    const size_t *models; /* [vector]: index of its model in the header */
};

/* Prints the columns of vector k for the pairs with the models before its own. */
static void print_pair_columns(const struct header *h, const struct table *table,
                               const struct result *r, size_t k)
{
    size_t j = 0;
    for (size_t i = 0; i + 1 < table->n; i++) {
        bool has_pair = j < k && r->models[j] == table->models[i];
        int width = pair_column_width(h, table, i);
        print_number(has_pair ? joint_stats_cosine(r->stats, k, j) : NAN, width);
        print_number(has_pair ? joint_stats_opposite_sign_share(r->stats, k, j) : NAN, width);
        j += has_pair;
    }
}

/* Prints the line of vector k. */
static void print_vector_line(const struct header *h, const struct table *table,
                              const struct result *r, size_t k)
{
    const struct vector_stats *v = &r->stats->vectors[k];
    bool empty = v->finite == 0;
    text_print_name(stdout, r->tensor ? r->tensor : ALL_TENSORS, table->name_width);
    fputs("  ", stdout);
    text_print_name(stdout, h->models[r->models[k]].name, table->model_width);
    printf("  %12llu", (unsigned long long)v->elements);
    print_number(vector_stats_zero_share(v), 7);
    print_number(empty ? NAN : v->l1, 10);
    print_number(empty ? NAN : sqrt(v->squares), 10);
    print_number(empty ? NAN : v->sum / (double)v->finite, 10);
    print_number(vector_stats_max_abs(v), 10);
    print_number(empty ? NAN : v->min, 10);
    print_number(empty ? NAN : v->max, 10);
    print_pair_columns(h, table, r, k);
    if (v->floating > v->finite)
        printf("  %llu not finite", (unsigned long long)(v->floating - v->finite));
    puts("");
}

static void print_json_number(const char *key, double x)
{
    char text[32];
    printf(", \"%s\": %s", key, isfinite(x) ? number_format(x, text) : "null");
}

static void print_json_name(const char *before, const char *name)
{
    fputs(before, stdout);
    text_print_quoted(stdout, name);
}

static void print_json_vector(const struct vector_stats *v, const char *model)
{
    bool empty = v->finite == 0;
    print_json_name("{\"model\": ", model);
    printf(", \"elements\": %llu, \"nonfinite\": %llu", (unsigned long long)v->elements,
           (unsigned long long)(v->floating - v->finite));
    print_json_number("zero", vector_stats_zero_share(v));
    print_json_number("l1", empty ? NAN : v->l1);
    print_json_number("l2", empty ? NAN : sqrt(v->squares));
    print_json_number("mean", empty ? NAN : v->sum / (double)v->finite);
    print_json_number("max_abs", vector_stats_max_abs(v));
    print_json_number("min", v->min);
    print_json_number("max", v->max);
    putchar('}');
}

static void print_json(const struct header *h, const struct result *r)
{
    const struct joint_stats *t = r->stats;
    if (r->tensor)
        print_json_name("{\"tensor\": ", r->tensor);
    else
        fputs("{\"tensor\": null", stdout);
    fputs(", \"vectors\": [", stdout);
    for (size_t k = 0; k < t->n; k++) {
        fputs(k ? ", " : "", stdout);
        print_json_vector(&t->vectors[k], h->models[r->models[k]].name);
    }
    fputs("], \"pairs\": [", stdout);
    for (size_t k = 0; k < t->n; k++)
        for (size_t j = 0; j < k; j++) {
            const char *before = k > 1 ? ", {\"models\": [" : "{\"models\": [";
            print_json_name(before, h->models[r->models[j]].name);
            print_json_name(", ", h->models[r->models[k]].name);
            putchar(']');
            print_json_number("cosine", joint_stats_cosine(t, k, j));
            print_json_number("opposite", joint_stats_opposite_sign_share(t, k, j));
            putchar('}');
        }
    puts("]}");
}

static void print_tensor_stats(const struct stage *s, const struct result *r)
{
    const struct options *o = s->options;
    if (o->json)
        print_json(s->in, r);
    for (size_t k = 0; k < r->stats->n && !o->json; k++)
        print_vector_line(s->in, s->data, r, k);
}

/* ---- the functions of the descriptor ------------------------------------------------------- */

/* Lists the models that have vectors. */
static void list_models_with_vectors(struct table *table, const struct header *h)
{
    bool *has_vectors = mem_alloc(h->n_models, sizeof *has_vectors);
    for (size_t i = 0; i < h->n_tensors; i++)
        for (size_t k = 0; k < h->tensors[i].n_vectors; k++)
            has_vectors[h->tensors[i].vectors[k].model] = true;
    for (size_t i = 0; i < h->n_models; i++)
        if (has_vectors[i]) {
            table->model_width = text_print_max_name_width(table->model_width, h->models[i].name);
            table->rank[i] = table->n;
            table->models[table->n++] = i;
        }
    free(has_vectors);
}

static int open(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct table *table = s->data = mem_alloc(1, sizeof *table);
    table->models = mem_alloc(s->in->n_models, sizeof *table->models);
    table->rank = mem_alloc(s->in->n_models, sizeof *table->rank);
    table->name_width = text_print_name_width(ALL_TENSORS);
    table->model_width = 5;
    for (size_t i = 0; i < s->in->n_tensors && !o->summary; i++)
        table->name_width = text_print_max_name_width(table->name_width, s->in->tensors[i].name);
    list_models_with_vectors(table, s->in);
    table->memory = mem_alloc(joint_stats_size(table->n), 1);
    table->all = joint_stats_init(table->memory, table->n);
    if (!o->json)
        print_titles(s->in, table);
    return 0;
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
    const struct options *o = job->stage->options;
    struct table *table = job->stage->data;
    size_t K = job->in->n_vectors;
    struct joint_stats t = joint_stats_view_memory(job->state, K);
    size_t *models = arena_alloc(job->arena, K, sizeof *models);
    size_t *ranks = arena_alloc(job->arena, K, sizeof *ranks);
    for (size_t k = 0; k < K; k++) {
        models[k] = job->in->vectors[k].model;
        ranks[k] = table->rank[models[k]];
    }
    if (ok)
        joint_stats_accumulate(&t, &table->all, ranks);
    if (ok && !o->summary)
        print_tensor_stats(job->stage, &(struct result){job->in->name, &t, models});
    return ok && ferror(stdout) ? standard_output_flush(e) : 0;
}

static int close(struct stage *s, bool ok, struct error *e)
{
    const struct options *o = s->options;
    struct table *table = s->data;
    if (ok && !o->json && !o->summary)
        puts("");
    if (ok)
        print_tensor_stats(s, &(struct result){NULL, &table->all, table->models});
    free(table->memory);
    free(table->models);
    free(table->rank);
    free(table);
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
    .accepts_nonfinite = true,
    .open = open,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = accumulate_block,
    .end_tensor = end_tensor,
    .close = close,
};
