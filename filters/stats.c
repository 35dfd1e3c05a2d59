/* stats: what is in the vectors, and how they stand to one another
 *
 *     L1 = sum |x|,  L2 = sqrt(sum x^2),  zero = share of elements that are 0
 *     cos(a, b) = <a, b> / (L2(a) L2(b))
 *     opp(a, b) = share of elements with opposite signs among those where neither is 0
 *
 *     tv-extract base math code chat | stats
 *     tv-extract base math code chat | trim --density 0.2 | stats --summary
 *
 * opp is what sign election resolves (TIES, arXiv 2306.01708, section 3): trimming lowers it, and
 * where it is high a plain average cancels what the experts learned. A line for each tensor and
 * vector, at the end the same over all tensors; cos and opp stand in the line of the later of two
 * models. Numbers that are not finite are left out and counted. F64 is looked at as F32; vectors
 * that are not floating have a line without numbers.
 */
#include "filter.h"
#include "operand_source.h"
#include "standard_output.h"
#include "vector_stats.h"
#include "text_scanner.h"

#include <stdlib.h>

struct options {
    bool json, summary;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"json", OPTION_FLAG, FIELD(json), NULL, .help = "print lines of JSON instead of a table"},
    {"summary", OPTION_FLAG, FIELD(summary), NULL,
     .help = "print only what is true of all tensors"},
    {0}};
#undef FIELD

/* ---- printing ------------------------------------------------------------------------------ */

/* The widths of the table's columns, and which models have vectors. */
struct table {
    int name, model;
    size_t n;       /* models with vectors */
    size_t *models; /* their indexes */
    size_t *place;  /* [model]: its position among them */
    struct joint_stats all;
    void *memory; /* of `all` */
};

static const char TOTAL[] = "all tensors";

static void put_number(double x, int width)
{
    if (isfinite(x))
        printf("  %*.4g", width, x);
    else
        printf("  %*s", width, "-");
}

static int pair_width(const struct header *h, const struct table *table, size_t i)
{
    int width = text_print_width(h->models[table->models[i]].name) + 4;
    return width > 7 ? width : 7;
}

static void put_titles(const struct header *h, const struct table *table)
{
    static const char *const titles[] = {"L1", "L2", "mean", "max|x|", "min", "max"};
    printf("%-*s  %-*s  %12s  %7s", table->name, "tensor", table->model, "model", "elements",
           "zero");
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        printf("  %10s", titles[i]);
    for (size_t i = 0; i + 1 < table->n; i++) {
        int width = pair_width(h, table, i),
            rest = width - text_print_width(h->models[table->models[i]].name);
        printf("  %*s", rest, "cos:");
        text_print_name(stdout, h->models[table->models[i]].name, 0);
        printf("  %*s", rest, "opp:");
        text_print_name(stdout, h->models[table->models[i]].name, 0);
    }
    puts("");
}

/* A vector's line; `models` are those of the tallies. */
static void put_line(const struct header *h, const struct table *table, const char *name,
                     const struct joint_stats *t, const size_t *models, size_t k)
{
    const struct vector_stats *one = &t->vectors[k];
    bool empty = one->finite == 0;
    text_print_name(stdout, name, table->name);
    fputs("  ", stdout);
    text_print_name(stdout, h->models[models[k]].name, table->model);
    printf("  %12llu", (unsigned long long)one->elements);
    put_number(vector_stats_zero_share(one), 7);
    put_number(empty ? NAN : one->l1, 10);
    put_number(empty ? NAN : sqrt(one->squares), 10);
    put_number(empty ? NAN : one->sum / (double)one->finite, 10);
    put_number(vector_stats_max_abs(one), 10);
    put_number(empty ? NAN : one->min, 10);
    put_number(empty ? NAN : one->max, 10);
    size_t j = 0;
    for (size_t i = 0; i + 1 < table->n; i++) {
        bool there = j < k && models[j] == table->models[i];
        put_number(there ? joint_stats_cosine(t, k, j) : NAN, pair_width(h, table, i));
        put_number(there ? joint_stats_opposite_sign_share(t, k, j) : NAN, pair_width(h, table, i));
        j += there;
    }
    if (one->floating > one->finite)
        printf("  %llu not finite", (unsigned long long)(one->floating - one->finite));
    puts("");
}

static void put_json_number(const char *key, double x)
{
    char text[32];
    printf(", \"%s\": %s", key, isfinite(x) ? number_format(x, text) : "null");
}

static void put_json_name(const char *before, const char *name)
{
    fputs(before, stdout);
    text_print_quoted(stdout, name);
}

static void put_json(const struct header *h, const char *name, const struct joint_stats *t,
                     const size_t *models)
{
    if (name)
        put_json_name("{\"tensor\": ", name);
    fputs(name ? ", \"vectors\": [" : "{\"tensor\": null, \"vectors\": [", stdout);
    for (size_t k = 0; k < t->n; k++) {
        const struct vector_stats *one = &t->vectors[k];
        bool empty = one->finite == 0;
        put_json_name(k ? ", {\"model\": " : "{\"model\": ", h->models[models[k]].name);
        printf(", \"elements\": %llu, \"nonfinite\": %llu", (unsigned long long)one->elements,
               (unsigned long long)(one->floating - one->finite));
        put_json_number("zero", vector_stats_zero_share(one));
        put_json_number("l1", empty ? NAN : one->l1);
        put_json_number("l2", empty ? NAN : sqrt(one->squares));
        put_json_number("mean", empty ? NAN : one->sum / (double)one->finite);
        put_json_number("max_abs", vector_stats_max_abs(one));
        put_json_number("min", one->min);
        put_json_number("max", one->max);
        putchar('}');
    }
    fputs("], \"pairs\": [", stdout);
    for (size_t k = 0; k < t->n; k++)
        for (size_t j = 0; j < k; j++) {
            put_json_name(k > 1 ? ", {\"models\": [" : "{\"models\": [", h->models[models[j]].name);
            put_json_name(", ", h->models[models[k]].name);
            putchar(']');
            put_json_number("cosine", joint_stats_cosine(t, k, j));
            put_json_number("opposite", joint_stats_opposite_sign_share(t, k, j));
            putchar('}');
        }
    puts("]}");
}

static void put_all(const struct stage *s, const char *name, const struct joint_stats *t,
                    const size_t *models)
{
    const struct options *o = s->options;
    if (o->json)
        put_json(s->in, name, t, models);
    for (size_t k = 0; k < t->n && !o->json; k++)
        put_line(s->in, s->data, name ? name : TOTAL, t, models, k);
}

/* ---- the filter's life --------------------------------------------------------------------- */

static void list_models(struct table *table, const struct header *h)
{
    bool *used = mem_alloc(h->n_models, sizeof *used);
    for (size_t i = 0; i < h->n_tensors; i++)
        for (size_t k = 0; k < h->tensors[i].n_vectors; k++)
            used[h->tensors[i].vectors[k].model] = true;
    for (size_t i = 0; i < h->n_models; i++)
        if (used[i]) {
            table->model = text_print_max_width(table->model, h->models[i].name);
            table->place[i] = table->n;
            table->models[table->n++] = i;
        }
    free(used);
}

static int open(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct table *table = s->data = mem_alloc(1, sizeof *table);
    table->models = mem_alloc(s->in->n_models, sizeof *table->models);
    table->place = mem_alloc(s->in->n_models, sizeof *table->place);
    table->name = text_print_width(TOTAL);
    table->model = 5;
    for (size_t i = 0; i < s->in->n_tensors && !o->summary; i++)
        table->name = text_print_max_width(table->name, s->in->tensors[i].name);
    list_models(table, s->in);
    table->memory = mem_alloc(joint_stats_size(table->n), 1);
    table->all = joint_stats_init(table->memory, table->n);
    if (!o->json)
        put_titles(s->in, table);
    return 0;
}

static int begin(struct job *job, struct error *e)
{
    size_t K = job->in->n_vectors;
    job->state = arena_alloc(job->arena, joint_stats_size(K), 1);
    joint_stats_init(job->state, K);
    job->work_size = joint_stats_size(K) + K * VECTOR_MATH_TILE * sizeof(float);
    return PLAN_REDUCE;
}

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
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

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct joint_stats sum = joint_stats_view(job->state, b->n_vectors);
    struct joint_stats found = joint_stats_view(work, b->n_vectors);
    for (size_t k = 0; k < sum.n; k++) {
        vector_stats_merge(&found.vectors[k], &sum.vectors[k]);
        for (size_t j = 0; j < k; j++)
            pair_stats_merge(joint_stats_pair(&found, k, j), joint_stats_pair(&sum, k, j));
    }
    return 0;
}

static int end(struct job *job, bool ok, struct error *e)
{
    const struct options *o = job->stage->options;
    struct table *table = job->stage->data;
    size_t K = job->in->n_vectors;
    struct joint_stats t = joint_stats_view(job->state, K);
    size_t *models = arena_alloc(job->arena, K, sizeof *models);
    for (size_t k = 0; k < K; k++)
        models[k] = job->in->vectors[k].model;
    for (size_t k = 0; ok && k < K; k++) {
        size_t place = table->place[models[k]];
        vector_stats_merge(&t.vectors[k], &table->all.vectors[place]);
        for (size_t j = 0; j < k; j++)
            pair_stats_merge(joint_stats_pair(&t, k, j),
                             joint_stats_pair(&table->all, place, table->place[models[j]]));
    }
    if (ok && !o->summary)
        put_all(job->stage, job->in->name, &t, models);
    return ok && ferror(stdout) ? standard_output_flush(e) : 0;
}

static int close(struct stage *s, bool ok, struct error *e)
{
    const struct options *o = s->options;
    struct table *table = s->data;
    if (ok && !o->json && !o->summary)
        puts("");
    if (ok)
        put_all(s, NULL, &table->all, table->models);
    free(table->memory);
    free(table->models);
    free(table->place);
    free(table);
    return ok ? standard_output_flush(e) : 0;
}

const struct filter filter_stats = {
    .name = "stats",
    .summary = "Print norms, sparsity, cosines and sign conflicts of vectors",
    .operands = "[FILE|MODEL]",
    .notes = "Reads standard input without an operand. zero is the share of elements that are 0;\n"
             "cos and opp are cosine and share of opposite signs with an earlier model.\n"
             "Example: tv-extract base math code | trim --density 0.2 | stats --summary",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = 1,
    .role = ROLE_SINK,
    .sink.source_for_operand = operand_source_filter,
    .accepts_nonfinite = true,
    .open = open,
    .begin = begin,
    .observe = observe,
    .accumulate = merge,
    .end = end,
    .close = close,
};
