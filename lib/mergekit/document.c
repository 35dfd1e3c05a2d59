#include "document.h"

#include "expert_merging.h"
#include "result.h"
#include "steps.h"

#include <string.h>

/* ---- names that nobody knows ----------------------------------------------------------------- */

static int check_settings(const struct pipeline_builder *b, const struct settings *s, bool of_model)
{
    if (b->method->weights == WEIGHTS_LEARNED)
        return expert_merging_check(b, s, of_model);
    for (size_t i = 0; i < s->n; i++) {
        const struct setting *own = &s->settings[i];
        const struct parameter *p = method_parameter(b->method, own->name);
        const char *near = method_nearest_parameter(own->name);
        if (!method_is_parameter(own->name) && !expert_merging_is_parameter(own->name))
            return pipeline_builder_refuse(b, own->line, "no method has a parameter %s%s%s%s",
                                           own->name, near ? " (is " : "", near ? near : "",
                                           near ? " meant?)" : "");
        if (!p)
            pipeline_builder_warn(b, own->line, "%s is no parameter of %s and has no effect",
                                  own->name, b->method->name);
        else if (own->wrong)
            return error_set(b->e, "%s", own->wrong);
        else if (of_model && p->kind == GLOBAL)
            pipeline_builder_warn(
                b, own->line,
                "%s has no effect here: it belongs to the whole merge, not to a model", own->name);
    }
    return 0;
}

static int check_names(struct pipeline_builder *b)
{
    const struct config *c = b->c;
    b->method = method_find(c->method);
    if (!b->method) {
        const char *near = method_nearest(c->method);
        return pipeline_builder_refuse(b, c->method_line, "no merge method is called %s%s%s%s",
                                       c->method, near ? " (is " : "", near ? near : "",
                                       near ? " meant?)" : "");
    }
    if (check_settings(b, &c->parameters, false) || check_settings(b, &c->module, false))
        return -1;
    for (size_t i = 0; i < c->n; i++) {
        if (check_settings(b, &c->slices[i].parameters, false))
            return -1;
        for (size_t j = 0; j < c->slices[i].n; j++)
            if (check_settings(b, &c->slices[i].sources[j].parameters, true))
                return -1;
    }
    return 0;
}

/* ---- the document ---------------------------------------------------------------------------- */

int document_start(struct pipeline_builder *b, const struct config *c)
{
    b->c = c;
    if (check_names(b) || parties_find(&b->parties, b->file, c, b->a, b->e))
        return -1;
    struct recipe *r = b->r;
    const char **models = arena_alloc(b->a, r->n_models + b->parties.n, sizeof *models);
    if (r->n_models)
        memcpy(models, r->models, r->n_models * sizeof *models);
    r->models = models;
    for (size_t i = 0; i < b->parties.n; i++) {
        bool known = b->parties.items[i].result != NULL;
        for (size_t j = 0; j < r->n_models; j++)
            known |= strcmp(models[j], b->parties.items[i].file) == 0;
        if (!known)
            models[r->n_models++] = b->parties.items[i].file;
    }
    return 0;
}

/* ---- who takes part -------------------------------------------------------------------------- */

static bool is_listed(const struct slice_context *p, const struct merge_input *party)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->members[i].party == party)
            return true;
    return false;
}

/* The models of a slice, each once, and the base apart from them where the method says so. */
static int find_members(struct slice_context *p)
{
    struct pipeline_builder *b = p->b;
    const char *base = p->slice->base ? p->slice->base : b->c->base;
    const struct merge_input *origin = base ? parties_get(&b->parties, base, b->a) : NULL;
    bool apart = b->method->base == BASE_ORIGIN || b->method->base == BASE_NEEDED;
    p->members = arena_alloc(b->a, p->slice->n + 1, sizeof *p->members);
    for (size_t i = 0; i < p->slice->n; i++) {
        const struct config_source *s = &p->slice->sources[i];
        const struct merge_input *party = parties_get(&b->parties, s->model, b->a);
        if (party == origin && !p->base_source)
            p->base_source = s;
        if (is_listed(p, party) || (apart && party == origin))
            continue;
        p->members[p->n++] = (struct member){party, s};
    }
    p->base = apart ? origin : NULL;
    if (b->method->base == BASE_NEEDED && !origin)
        return pipeline_builder_refuse(b, b->c->line, "%s needs a base_model", b->method->name);
    if (b->method->base == BASE_NONE && origin)
        return pipeline_builder_refuse(b, b->c->base_line, "%s takes no base_model",
                                       b->method->name);
    if (apart && origin && b->c->has_slices && !p->base_source)
        return pipeline_builder_refuse(b, p->slice->line,
                                       "the base %s must be among the sources of every slice",
                                       origin->name);
    if (b->method->base == BASE_MEMBER && origin && !b->c->has_slices && !is_listed(p, origin))
        p->members[p->n++] = (struct member){origin, NULL};
    return 0;
}

static int check_count(const struct slice_context *p)
{
    const struct method *m = p->b->method;
    if (p->n >= m->min && p->n <= m->max)
        return 0;
    return pipeline_builder_refuse(
        p->b, p->slice->line, "%s takes %s%zu model%s%s, but there %s %zu", m->name,
        m->min == m->max ? "exactly "
        : p->n < m->min  ? "at least "
                         : "at most ",
        p->n < m->min ? m->min : m->max, (p->n < m->min ? m->min : m->max) == 1 ? "" : "s",
        p->base ? " besides the base" : "", p->n == 1 ? "is" : "are", p->n);
}

/* ---- results of other documents -------------------------------------------------------------- */

static int add_weights(struct pipeline_builder *b, struct pipeline *line);

static struct recipe_result *find(const struct recipe *r, const struct config *c)
{
    for (size_t i = 0; i < r->n_results; i++)
        if (r->results[i]->config == c)
            return r->results[i];
    return NULL;
}

static struct recipe_result *make(const struct pipeline_builder *outer,
                                  const struct merge_input *party)
{
    struct pipeline_builder b = *outer;
    struct recipe *r = b.r;
    struct recipe_result *own = arena_alloc(b.a, 1, sizeof *own);
    *own = (struct recipe_result){.config = party->result, .name = party->name};
    b.outer = outer;
    own->dtype = result_dtype(&b, party->result);
    if (document_start(&b, party->result) || add_weights(&b, &own->line))
        return NULL;
    struct recipe_result **all = arena_alloc(b.a, r->n_results + 1, sizeof *all);
    if (r->n_results)
        memcpy(all, r->results, r->n_results * sizeof *all);
    all[r->n_results++] = own;
    r->results = all;
    return own;
}

/* The stream as its file would be: rounded. */
static struct pipeline *rounded(struct recipe_result *own, struct arena *a)
{
    if (own->rounded.n > 0)
        return &own->rounded;
    struct command *c = pipeline_add(&own->rounded, "unpack", a);
    pipeline_builder_dtype(c, own->dtype, a);
    struct word *w = command_add_word(c, a);
    w->text = arena_printf(a, "%s=", own->name);
    w->inner = &own->line;
    return &own->rounded;
}

/* A stream of the weights that a document makes, as its file would be unless whoever reads it
 * rounds it; NULL on error. */
static struct pipeline *result_line(const struct pipeline_builder *outer,
                                    const struct merge_input *party)
{
    for (const struct pipeline_builder *b = outer; b; b = b->outer)
        if (b->c == party->result) {
            pipeline_builder_refuse(outer, b->c->line, "the documents use each other in a circle");
            return NULL;
        }
    struct recipe_result *own = find(outer->r, party->result);
    if (!own && !(own = make(outer, party)))
        return NULL;
    own->uses++;
    bool as_it_comes =
        own->dtype == DTYPE_NONE || own->dtype == DTYPE_F32 || own->dtype == outer->c->dtype;
    return as_it_comes ? &own->line : rounded(own, outer->a);
}

/* ---- operands -------------------------------------------------------------------------------- */

/* A model as an operand: what is on disk, or the pipeline of the document that makes it. */
static int add_operand(struct pipeline_builder *b, struct command *to,
                       const struct merge_input *party, const struct config_source *range)
{
    const char *after =
        range && range->has_range ? arena_printf(b->a, "[%ld:%ld]", range->from, range->to) : "";
    struct word *w = command_add_word(to, b->a);
    w->text = party->operand;
    if (!party->result) {
        w->text = arena_printf(b->a, "%s%s", party->operand, after);
        return 0;
    }
    w->after = after;
    w->inner = result_line(b, party);
    return w->inner ? 0 : -1;
}

/* Is there nothing to join, for one model is all that is there? */
static bool is_alone(const struct slice_context *p)
{
    bool one = p->n == 1 && strcmp(p->b->method->name, "multislerp") == 0;
    return (p->base && p->n == 0) || one;
}

/* Does the source put out task vectors? */
static bool is_vectors(const struct slice_context *p)
{
    return p->b->method->vectors && p->base && !is_alone(p);
}

static int add_source(struct slice_context *p)
{
    struct pipeline_builder *b = p->b;
    struct command *c = pipeline_add(p->line, is_vectors(p) ? "tv-extract" : "unpack", b->a);
    pipeline_builder_dtype(c, b->c->dtype, b->a);
    pipeline_builder_option(c, "missing", b->o->missing, b->a);
    pipeline_builder_option(c, "embed", b->o->embed, b->a);
    pipeline_builder_option(c, "mismatch", b->o->mismatch, b->a);
    if (p->first_layer >= 0)
        pipeline_builder_option(c, "first-layer", arena_printf(b->a, "%ld", p->first_layer), b->a);
    pipeline_builder_option(c, "outside", p->outside, b->a);
    bool base_last = p->n == 1 && is_alone(p);
    if (p->base && !base_last && add_operand(b, c, p->base, p->base_source))
        return -1;
    for (size_t i = 0; i < p->n; i++)
        if (add_operand(b, c, p->members[i].party, p->members[i].source))
            return -1;
    if (!p->base || !base_last)
        return 0;
    if (add_operand(b, c, p->base, p->base_source)) /* says whether there is a head */
        return -1;
    command_add(pipeline_add(p->line, "pick", b->a),
                pipeline_builder_glob(p->members[0].party->name, b->a), b->a);
    return 0;
}

/* From the models to their merge: task vectors that still need their base, or weights. */
static int add_section(struct slice_context *p)
{
    if (find_members(p) || check_count(p) || add_source(p))
        return -1;
    return is_alone(p) ? 0 : steps_add(p);
}

static int finish_vectors(const struct slice_context *p)
{
    if (!is_vectors(p))
        return 0;
    struct command *c = pipeline_add(p->line, "add-base", p->b->a);
    pipeline_builder_dtype(c, p->b->c->out_dtype, p->b->a);
    return add_operand(p->b, c, p->base, p->base_source);
}

static struct slice_context new_section(struct pipeline_builder *b, size_t i, struct pipeline *line)
{
    struct slice_context p = {.b = b, .slice = &b->c->slices[i], .line = line, .first_layer = -1};
    if (!b->c->has_slices)
        return p;
    p.first_layer = 0;
    if (b->c->n > 1)
        p.outside = i == 0 ? "first" : i + 1 < b->c->n ? "none" : "last";
    for (size_t j = 0; j < i; j++)
        p.first_layer += b->c->slices[j].sources[0].to - b->c->slices[j].sources[0].from;
    return p;
}

/* All slices of a document as one stream of weights. */
static int add_weights(struct pipeline_builder *b, struct pipeline *line)
{
    struct slice_context p = new_section(b, 0, line);
    if (b->c->n == 1)
        return add_section(&p) || finish_vectors(&p) ? -1 : 0;
    struct command *c = pipeline_add(line, "stack", b->a);
    for (size_t i = 0; i < b->c->n; i++) {
        struct word *w = command_add_word(c, b->a);
        w->text = "";
        w->inner = arena_alloc(b->a, 1, sizeof *w->inner);
        p = new_section(b, i, w->inner);
        if (add_section(&p) || finish_vectors(&p))
            return -1;
    }
    return 0;
}

int document_vectors(struct pipeline_builder *b, struct pipeline *line,
                     const struct merge_input **base)
{
    struct slice_context p = new_section(b, 0, line);
    *base = NULL;
    if (b->c->has_slices)
        return add_weights(b, line);
    if (add_section(&p))
        return -1;
    if (p.base && p.base->result)
        return finish_vectors(&p);
    *base = is_vectors(&p) ? p.base : NULL;
    return 0;
}
