#include "document_pipeline.h"

#include "expert_merging.h"
#include "result_metadata.h"
#include "method_steps.h"

#include <string.h>

/* ---- names that nobody knows ----------------------------------------------------------------- */

static int check_settings(const struct pipeline_builder *b, const struct settings *s, bool of_model)
{
    if (b->method->weights == WEIGHTS_LEARNED)
        return expert_merging_check_parameters(b, s, of_model);
    for (size_t i = 0; i < s->n; i++) {
        const struct config_parameter *own = &s->items[i];
        const struct method_parameter *p = merge_method_find_parameter(b->method, own->name);
        const char *near = merge_method_suggest_parameter(own->name);
        if (!merge_method_is_known_parameter(own->name) && !expert_merging_is_parameter(own->name))
            return pipeline_builder_error(b, own->line, "no method has a parameter %s%s%s%s",
                                          own->name, near ? " (is " : "", near ? near : "",
                                          near ? " meant?)" : "");
        if (!p)
            pipeline_builder_warn(b, own->line, "%s is no parameter of %s and has no effect",
                                  own->name, b->method->name);
        else if (own->number_error)
            return error_set(b->e, "%s", own->number_error);
        else if (of_model && p->kind == GLOBAL)
            pipeline_builder_warn(
                b, own->line,
                "%s has no effect here: it belongs to the whole merge, not to a model", own->name);
    }
    return 0;
}

static int check_names(struct pipeline_builder *b)
{
    const struct merge_config *c = b->config;
    b->method = merge_method_find(c->method);
    if (!b->method) {
        const char *near = merge_method_suggest(c->method);
        return pipeline_builder_error(b, c->method_line, "no merge method is called %s%s%s%s",
                                      c->method, near ? " (is " : "", near ? near : "",
                                      near ? " meant?)" : "");
    }
    if (check_settings(b, &c->parameters, false) || check_settings(b, &c->module_parameters, false))
        return -1;
    for (size_t i = 0; i < c->n_slices; i++) {
        if (check_settings(b, &c->slices[i].parameters, false))
            return -1;
        for (size_t j = 0; j < c->slices[i].n_sources; j++)
            if (check_settings(b, &c->slices[i].sources[j].parameters, true))
                return -1;
    }
    return 0;
}

/* ---- the document ---------------------------------------------------------------------------- */

int document_pipeline_prepare(struct pipeline_builder *b, const struct merge_config *c)
{
    b->config = c;
    if (check_names(b) || merge_input_collect(&b->inputs, b->file, c, b->a, b->e))
        return -1;
    struct merge_pipeline *r = b->merge;
    const char **models = arena_alloc(b->a, r->n_models + b->inputs.n_inputs, sizeof *models);
    if (r->n_models)
        memcpy(models, r->models, r->n_models * sizeof *models);
    r->models = models;
    for (size_t i = 0; i < b->inputs.n_inputs; i++) {
        bool known = b->inputs.items[i].document != NULL;
        for (size_t j = 0; j < r->n_models; j++)
            known |= strcmp(models[j], b->inputs.items[i].plain_operand) == 0;
        if (!known)
            models[r->n_models++] = b->inputs.items[i].plain_operand;
    }
    return 0;
}

/* ---- who takes part -------------------------------------------------------------------------- */

static bool is_listed(const struct slice_context *p, const struct merge_input *party)
{
    for (size_t i = 0; i < p->n_models; i++)
        if (p->models[i].input == party)
            return true;
    return false;
}

/* The models of a slice, each once, and the base apart from them where the method says so. */
static int find_members(struct slice_context *p)
{
    struct pipeline_builder *b = p->builder;
    const char *base = p->slice->base ? p->slice->base : b->config->base;
    const struct merge_input *origin = base ? merge_input_find(&b->inputs, base, b->a) : NULL;
    bool apart = b->method->base == BASE_OPTIONAL || b->method->base == BASE_REQUIRED;
    p->models = arena_alloc(b->a, p->slice->n_sources + 1, sizeof *p->models);
    for (size_t i = 0; i < p->slice->n_sources; i++) {
        const struct config_source *s = &p->slice->sources[i];
        const struct merge_input *party = merge_input_find(&b->inputs, s->model, b->a);
        if (party == origin && !p->base_source)
            p->base_source = s;
        if (is_listed(p, party) || (apart && party == origin))
            continue;
        p->models[p->n_models++] = (struct slice_model){party, s};
    }
    p->base = apart ? origin : NULL;
    if (b->method->base == BASE_REQUIRED && !origin)
        return pipeline_builder_error(b, b->config->line, "%s needs a base_model", b->method->name);
    if (b->method->base == BASE_REJECTED && origin)
        return pipeline_builder_error(b, b->config->base_line, "%s takes no base_model",
                                      b->method->name);
    if (apart && origin && b->config->has_slices && !p->base_source)
        return pipeline_builder_error(b, p->slice->line,
                                      "the base %s must be among the sources of every slice",
                                      origin->name);
    if (b->method->base == BASE_IS_A_MODEL && origin && !b->config->has_slices &&
        !is_listed(p, origin))
        p->models[p->n_models++] = (struct slice_model){origin, NULL};
    return 0;
}

static int check_count(const struct slice_context *p)
{
    const struct merge_method *m = p->builder->method;
    if (p->n_models >= m->min_models && p->n_models <= m->max_models)
        return 0;
    return pipeline_builder_error(
        p->builder, p->slice->line, "%s takes %s%zu model%s%s, but there %s %zu", m->name,
        m->min_models == m->max_models ? "exactly "
        : p->n_models < m->min_models  ? "at least "
                                       : "at most ",
        p->n_models < m->min_models ? m->min_models : m->max_models,
        (p->n_models < m->min_models ? m->min_models : m->max_models) == 1 ? "" : "s",
        p->base ? " besides the base" : "", p->n_models == 1 ? "is" : "are", p->n_models);
}

/* ---- results of other documents -------------------------------------------------------------- */

static int add_weights(struct pipeline_builder *b, struct pipeline *line);

static struct document_result *find(const struct merge_pipeline *r, const struct merge_config *c)
{
    for (size_t i = 0; i < r->n_results; i++)
        if (r->results[i]->config == c)
            return r->results[i];
    return NULL;
}

static struct document_result *make(const struct pipeline_builder *outer,
                                    const struct merge_input *party)
{
    struct pipeline_builder b = *outer;
    struct merge_pipeline *r = b.merge;
    struct document_result *own = arena_alloc(b.a, 1, sizeof *own);
    *own = (struct document_result){.config = party->document, .name = party->name};
    b.outer = outer;
    own->dtype = result_metadata_dtype(&b, party->document);
    if (document_pipeline_prepare(&b, party->document) || add_weights(&b, &own->pipeline))
        return NULL;
    struct document_result **all = arena_alloc(b.a, r->n_results + 1, sizeof *all);
    if (r->n_results)
        memcpy(all, r->results, r->n_results * sizeof *all);
    all[r->n_results++] = own;
    r->results = all;
    return own;
}

/* The stream as its file would be: rounded. */
static struct pipeline *rounded(struct document_result *own, struct arena *a)
{
    if (own->rounded_pipeline.n > 0)
        return &own->rounded_pipeline;
    struct pipeline_command *c = pipeline_add_command(&own->rounded_pipeline, "unpack", a);
    pipeline_builder_add_dtype(c, own->dtype, a);
    struct pipeline_word *w = pipeline_add_empty_word(c, a);
    w->text = arena_printf(a, "%s=", own->name);
    w->substitution = &own->pipeline;
    return &own->rounded_pipeline;
}

/* A stream of the weights that a document makes, as its file would be unless whoever reads it
 * rounds it; NULL on error. */
static struct pipeline *result_line(const struct pipeline_builder *outer,
                                    const struct merge_input *party)
{
    for (const struct pipeline_builder *b = outer; b; b = b->outer)
        if (b->config == party->document) {
            pipeline_builder_error(outer, b->config->line,
                                   "the documents use each other in a circle");
            return NULL;
        }
    struct document_result *own = find(outer->merge, party->document);
    if (!own && !(own = make(outer, party)))
        return NULL;
    own->uses++;
    bool as_it_comes =
        own->dtype == DTYPE_NONE || own->dtype == DTYPE_F32 || own->dtype == outer->config->dtype;
    return as_it_comes ? &own->pipeline : rounded(own, outer->a);
}

/* ---- operands -------------------------------------------------------------------------------- */

/* A model as an operand: what is on disk, or the pipeline of the document that makes it. */
static int add_operand(struct pipeline_builder *b, struct pipeline_command *to,
                       const struct merge_input *party, const struct config_source *range)
{
    const char *after =
        range && range->has_range ? arena_printf(b->a, "[%ld:%ld]", range->from, range->to) : "";
    struct pipeline_word *w = pipeline_add_empty_word(to, b->a);
    w->text = party->operand;
    if (!party->document) {
        w->text = arena_printf(b->a, "%s%s", party->operand, after);
        return 0;
    }
    w->suffix = after;
    w->substitution = result_line(b, party);
    return w->substitution ? 0 : -1;
}

/* Is there nothing to join, for one model is all that is there? */
static bool is_alone(const struct slice_context *p)
{
    bool one = p->n_models == 1 && strcmp(p->builder->method->name, "multislerp") == 0;
    return (p->base && p->n_models == 0) || one;
}

/* Does the source put out task vectors? */
static bool is_vectors(const struct slice_context *p)
{
    return p->builder->method->uses_task_vectors && p->base && !is_alone(p);
}

static int add_source(struct slice_context *p)
{
    struct pipeline_builder *b = p->builder;
    struct pipeline_command *c =
        pipeline_add_command(p->pipeline, is_vectors(p) ? "tv-extract" : "unpack", b->a);
    pipeline_builder_add_dtype(c, b->config->dtype, b->a);
    pipeline_builder_add_option(c, "missing", b->options->missing, b->a);
    pipeline_builder_add_option(c, "embed", b->options->embed, b->a);
    pipeline_builder_add_option(c, "mismatch", b->options->mismatch, b->a);
    if (p->first_layer >= 0)
        pipeline_builder_add_option(c, "first-layer", arena_printf(b->a, "%ld", p->first_layer),
                                    b->a);
    pipeline_builder_add_option(c, "outside", p->outside, b->a);
    bool base_last = p->n_models == 1 && is_alone(p);
    if (p->base && !base_last && add_operand(b, c, p->base, p->base_source))
        return -1;
    for (size_t i = 0; i < p->n_models; i++)
        if (add_operand(b, c, p->models[i].input, p->models[i].source))
            return -1;
    if (!p->base || !base_last)
        return 0;
    if (add_operand(b, c, p->base, p->base_source)) /* says whether there is a head */
        return -1;
    pipeline_add_word(pipeline_add_command(p->pipeline, "pick", b->a),
                      pipeline_builder_escape_glob(p->models[0].input->name, b->a), b->a);
    return 0;
}

/* From the models to their merge: task vectors that still need their base, or weights. */
static int add_section(struct slice_context *p)
{
    if (find_members(p) || check_count(p) || add_source(p))
        return -1;
    return is_alone(p) ? 0 : method_steps_add(p);
}

static int finish_vectors(const struct slice_context *p)
{
    if (!is_vectors(p))
        return 0;
    struct pipeline_command *c = pipeline_add_command(p->pipeline, "add-base", p->builder->a);
    pipeline_builder_add_dtype(c, p->builder->config->out_dtype, p->builder->a);
    return add_operand(p->builder, c, p->base, p->base_source);
}

static struct slice_context new_section(struct pipeline_builder *b, size_t i, struct pipeline *line)
{
    struct slice_context p = {
        .builder = b, .slice = &b->config->slices[i], .pipeline = line, .first_layer = -1};
    if (!b->config->has_slices)
        return p;
    p.first_layer = 0;
    if (b->config->n_slices > 1)
        p.outside = i == 0 ? "first" : i + 1 < b->config->n_slices ? "none" : "last";
    for (size_t j = 0; j < i; j++)
        p.first_layer += b->config->slices[j].sources[0].to - b->config->slices[j].sources[0].from;
    return p;
}

/* All slices of a document as one stream of weights. */
static int add_weights(struct pipeline_builder *b, struct pipeline *line)
{
    struct slice_context p = new_section(b, 0, line);
    if (b->config->n_slices == 1)
        return add_section(&p) || finish_vectors(&p) ? -1 : 0;
    struct pipeline_command *c = pipeline_add_command(line, "stack", b->a);
    for (size_t i = 0; i < b->config->n_slices; i++) {
        struct pipeline_word *w = pipeline_add_empty_word(c, b->a);
        w->text = "";
        w->substitution = arena_alloc(b->a, 1, sizeof *w->substitution);
        p = new_section(b, i, w->substitution);
        if (add_section(&p) || finish_vectors(&p))
            return -1;
    }
    return 0;
}

int document_pipeline_build(struct pipeline_builder *b, struct pipeline *line,
                            const struct merge_input **base)
{
    struct slice_context p = new_section(b, 0, line);
    *base = NULL;
    if (b->config->has_slices)
        return add_weights(b, line);
    if (add_section(&p))
        return -1;
    if (p.base && p.base->document)
        return finish_vectors(&p);
    *base = is_vectors(&p) ? p.base : NULL;
    return 0;
}
