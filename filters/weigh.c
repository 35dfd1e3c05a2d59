/* weigh: set the weight of each vector
 *
 *     w_k: a later join multiplies tau_k by it
 *
 *     tv-extract base math code | weigh math=0.6 code=0.4 | combine | pack --base base merged/
 *     ... | weigh 'math=[0.2,0.8]' '/model.norm*=0' | ...    a layer gradient; no final norm
 *
 * The last rule that matches a vector wins; a vector that none matches keeps its weight. --table
 * reads what calibrate writes (lines of tensor, model, chunk and value, separated by tabs); rules
 * take precedence over it. The payload is not changed.
 */
#include "filter.h"
#include "coefficient_table.h"
#include "stage.h"
#include "stage_rules.h"

#include <stdlib.h>

struct options {
    bool multiply;
    const char *table;
    struct tensor_rules rules;
};

static const struct option_row rows[] = {
    {"multiply", OPTION_FLAG, offsetof(struct options, multiply),
     .help = "multiply the earlier weights instead of replacing them"},
    {"table", OPTION_FILE, offsetof(struct options, table), "FILE",
     .help = "read weights by tensor, model and chunk, as calibrate writes them"},
    {0}};
static const struct option_row rule_row = {
    .name = "RULE", .kind = OPTION_RULES, .offset = offsetof(struct options, rules)};

/* Sets m weights, or multiplies the earlier n by them; m and n are equal, or one of them is 1. */
static int set_or_multiply_weights(struct job *job, struct vector *v, size_t m, const double *w,
                                   struct error *e)
{
    const struct options *o = job->stage->options;
    size_t n = o->multiply ? v->n_weights : 1;
    if (n > 1 && m > 1 && n != m)
        return error_set(e, "tensor %s has %zu weights, which cannot be multiplied by %zu",
                         job->in->name, n, m);
    size_t count = n > m ? n : m;
    double *all = mem_alloc(count, sizeof *all);
    for (size_t i = 0; i < count; i++)
        all[i] = w[m > 1 ? i : 0] * (o->multiply ? v->weights[n > 1 ? i : 0] : 1);
    vector_set_weights(v, job->arena, count, all);
    free(all);
    return 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct coefficient_table *table = job->stage->data;
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        const char *model = job->stage->in->models[job->in->vectors[k].model].name;
        double rule =
            stage_rules_vector_value(job->stage, &o->rules, job->in, &job->in->vectors[k], NAN);
        const double *w = &rule;
        size_t m = 1;
        if (isnan(rule))
            m = table ? coefficient_table_find_values(table, job->in->name, model, &w) : 0;
        if (m && set_or_multiply_weights(job, v, m, w, e))
            return -1;
    }
    return PLAN_PASS_THROUGH;
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return s->operands.n || o->table ? 0 : error_set(e, "expected a RULE or --table");
}

static int open_weigh(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    if (o->table && (!(s->data = coefficient_table_read(o->table, e)) ||
                     coefficient_table_check_against_stream(s->data, h, e)))
        return -1;
    if (o->table)
        stage_record_file(s, "table", coefficient_table_hash(s->data));
    return 0;
}

static int close_weigh(struct stage *s, bool ok, struct error *e)
{
    coefficient_table_free(s->data);
    return 0;
}

const struct filter filter_weigh = {
    .name = "weigh",
    .summary = "Set the weight of each vector",
    .step = STEP_WEIGH,
    .operands = "[RULE...]",
    .notes =
        "RULE is 0.3, math=0.3, math/*mlp*=0.5, /*norm*=0 (any model), [0.2,0.8] in place of a "
        "number (a layer gradient), or @FILE with one rule per line; the last match wins.\n\n"
        "  tv-extract base math code | weigh math=0.6 code=0.4 | combine |\n"
        "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = SIZE_MAX,
    .operand_row = &rule_row,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .check_options = check_options,
    .open = open_weigh,
    .begin_tensor = begin_tensor,
    .close = close_weigh,
};
