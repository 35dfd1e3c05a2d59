#include "recipe.h"

#include "build.h"
#include "chat.h"
#include "filter.h"
#include "input.h"

#include <stdarg.h>
#include <string.h>

int build_refuse(const struct build *b, size_t line, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(b->e, "%.200s, line %zu: %s", b->file->path, line, text);
}

void build_warn(const struct build *b, size_t line, const char *format, ...)
{
    struct error text;
    char sentence[700];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    error_set(&text, "%s: warning: %.200s, line %zu: %s", b->tool, b->file->path, line, sentence);
    fprintf(stderr, "%s\n", text.text);
}

const char *build_glob(const char *name, struct arena *a)
{
    char *glob = arena_alloc(a, 2 * strlen(name) + 1, 1), *to = glob;
    for (const char *c = name; *c; c++) {
        if (strchr("*?[]\\", *c) || (c == name && strchr("-@/", *c)))
            *to++ = '\\';
        *to++ = *c;
    }
    return glob;
}

/* ---- who takes part -------------------------------------------------------------------------- */

static bool is_listed(const struct section *p, const struct party *party)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->members[i].party == party)
            return true;
    return false;
}

/* The models of a slice, each once, and the base apart from them where the method says so. */
static int find_members(struct section *p)
{
    struct build *b = p->b;
    const char *base = p->slice->base ? p->slice->base : b->c->base;
    const struct party *origin = base ? parties_get(&b->parties, base, b->a) : NULL;
    bool apart = b->method->base == BASE_ORIGIN || b->method->base == BASE_NEEDED;
    p->members = arena_alloc(b->a, p->slice->n + 1, sizeof *p->members);
    for (size_t i = 0; i < p->slice->n; i++) {
        const struct config_source *s = &p->slice->sources[i];
        const struct party *party = parties_get(&b->parties, s->model, b->a);
        if (party == origin && !p->base_source)
            p->base_source = s;
        if (is_listed(p, party) || (apart && party == origin))
            continue;
        p->members[p->n++] = (struct member){party, s};
    }
    p->base = apart ? origin : NULL;
    if (b->method->base == BASE_NEEDED && !origin)
        return build_refuse(b, b->c->line, "%s needs a base_model", b->method->name);
    if (b->method->base == BASE_NONE && origin)
        return build_refuse(b, b->c->base_line, "%s takes no base_model", b->method->name);
    if (apart && origin && b->c->has_slices && !p->base_source)
        return build_refuse(b, p->slice->line,
                            "the base %s must be among the sources of every slice", origin->name);
    if (b->method->base == BASE_MEMBER && origin && !b->c->has_slices && !is_listed(p, origin))
        p->members[p->n++] = (struct member){origin, NULL};
    return 0;
}

static int check_count(const struct section *p)
{
    const struct method *m = p->b->method;
    if (p->n >= m->min && p->n <= m->max)
        return 0;
    return build_refuse(p->b, p->slice->line, "%s takes %s%zu model%s%s, but there %s %zu", m->name,
                        m->min == m->max ? "exactly "
                        : p->n < m->min  ? "at least "
                                         : "at most ",
                        p->n < m->min ? m->min : m->max,
                        (p->n < m->min ? m->min : m->max) == 1 ? "" : "s",
                        p->base ? " besides the base" : "", p->n == 1 ? "is" : "are", p->n);
}

/* ---- operands -------------------------------------------------------------------------------- */

/* A model as an operand: what is on disk, or the pipeline of the document that makes it. */
static int add_operand(struct build *b, struct command *to, const struct party *party,
                       const struct config_source *range)
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

void build_option(struct command *to, const char *option, const char *value, struct arena *a)
{
    if (value)
        command_add(to, arena_printf(a, "--%s=%s", option, value), a);
}

void build_dtype(struct command *to, enum dtype dtype, struct arena *a)
{
    if (dtype != DTYPE_NONE)
        build_option(to, "dtype", dtype_torch_name(dtype), a);
}

/* Does the source put out task vectors? Not where nobody but the base takes part. */
static bool is_vectors(const struct section *p)
{
    return p->b->method->vectors && p->base && p->n > 0;
}

/* Is there nothing to join, for one model is all that is there? */
static bool is_alone(const struct section *p)
{
    bool one = p->n == 1 && strcmp(p->b->method->name, "multislerp") == 0;
    return (p->base && p->n == 0) || one;
}

static int add_source(struct section *p)
{
    struct build *b = p->b;
    bool vectors = is_vectors(p) && !is_alone(p);
    struct command *c = line_add(p->line, vectors ? "tv-extract" : "unpack", b->a);
    build_dtype(c, b->c->dtype, b->a);
    build_option(c, "missing", b->o->missing, b->a);
    build_option(c, "embed", b->o->embed, b->a);
    build_option(c, "mismatch", b->o->mismatch, b->a);
    if (p->first_layer >= 0)
        build_option(c, "first-layer", arena_printf(b->a, "%ld", p->first_layer), b->a);
    build_option(c, "outside", p->outside, b->a);
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
    command_add(line_add(p->line, "pick", b->a), build_glob(p->members[0].party->name, b->a), b->a);
    return 0;
}

/* From the models to their merge: task vectors that still need their base, or weights. */
static int add_section(struct section *p)
{
    if (find_members(p) || check_count(p) || add_source(p))
        return -1;
    return is_alone(p) ? 0 : steps_add(p);
}

static int finish_vectors(const struct section *p)
{
    if (!is_vectors(p) || is_alone(p))
        return 0;
    struct command *c = line_add(p->line, "add-base", p->b->a);
    build_dtype(c, p->b->c->out_dtype, p->b->a);
    return add_operand(p->b, c, p->base, p->base_source);
}

static struct section new_section(struct build *b, size_t i, struct line *line)
{
    struct section p = {.b = b, .slice = &b->c->slices[i], .line = line, .first_layer = -1};
    if (!b->c->has_slices)
        return p;
    p.first_layer = 0;
    if (b->c->n > 1)
        p.outside = i == 0 ? "first" : i + 1 < b->c->n ? "none" : "last";
    for (size_t j = 0; j < i; j++)
        p.first_layer += b->c->slices[j].sources[0].to - b->c->slices[j].sources[0].from;
    return p;
}

/* All slices as one stream of weights. */
int build_weights(struct build *b, struct line *line)
{
    struct section p = new_section(b, 0, line);
    if (b->c->n == 1)
        return add_section(&p) || finish_vectors(&p) ? -1 : 0;
    struct command *c = line_add(line, "stack", b->a);
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

/* ---- names that nobody knows ----------------------------------------------------------------- */

static int check_settings(const struct build *b, const struct settings *s, bool of_model)
{
    if (b->method->weights == WEIGHTS_LEARNED)
        return calibrated_check(b, s, of_model);
    for (size_t i = 0; i < s->n; i++) {
        const struct setting *own = &s->settings[i];
        const struct parameter *p = method_parameter(b->method, own->name);
        const char *near = method_nearest_parameter(own->name);
        if (!method_is_parameter(own->name) && !calibrated_is_parameter(own->name))
            return build_refuse(b, own->line, "no method has a parameter %s%s%s%s", own->name,
                                near ? " (is " : "", near ? near : "", near ? " meant?)" : "");
        if (!p)
            build_warn(b, own->line, "%s is no parameter of %s and has no effect", own->name,
                       b->method->name);
        else if (own->wrong)
            return error_set(b->e, "%s", own->wrong);
        else if (of_model && p->kind == GLOBAL)
            build_warn(b, own->line,
                       "%s has no effect here: it belongs to the whole merge, not to a model",
                       own->name);
    }
    return 0;
}

static int check_names(struct build *b)
{
    const struct config *c = b->c;
    b->method = method_find(c->method);
    if (!b->method) {
        const char *near = method_nearest(c->method);
        return build_refuse(b, c->method_line, "no merge method is called %s%s%s%s", c->method,
                            near ? " (is " : "", near ? near : "", near ? " meant?)" : "");
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

/* ---- documents ------------------------------------------------------------------------------- */

int build_start(struct build *b, const struct config *c)
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

/* ---- the end of the pipeline ----------------------------------------------------------------- */

static const char *tokenizer_model(const struct build *b)
{
    const struct config *c = b->c;
    if (!c->tokenizer)
        return NULL;
    bool base = strcmp(c->tokenizer, "base") == 0;
    const struct party *p =
        base && !c->base ? NULL : parties_get(&b->parties, base ? c->base : c->tokenizer, b->a);
    if (!p)
        return NULL;
    return p->result ? result_lender(b, p->result) : p->file;
}

/* Tokenizer and chat template, where they are others than the lender's. */
static int add_tokenizer(struct build *b, struct command *pack)
{
    const struct config *c = b->c;
    struct recipe *r = b->r;
    const char *template;
    r->tokenizer = tokenizer_model(b);
    if (c->tokenizer && !r->tokenizer)
        return build_refuse(b, c->tokenizer_line,
                            "tokenizer_source is base, but there is no base_model");
    if (r->tokenizer && strcmp(r->tokenizer, r->lender) != 0)
        build_option(pack, "tokenizer", r->tokenizer, b->a);
    else if (!r->tokenizer && b->o->no_tokenizer)
        command_add(pack, "--no-tokenizer", b->a);
    if (!c->chat_template)
        return 0;
    if (!r->tokenizer && b->o->no_tokenizer) {
        build_warn(b, c->chat_line, "chat_template has no effect without a tokenizer");
        return 0;
    }
    if (chat_find(c->chat_template, r->n_models, r->models, &template, b->a, b->e)) {
        struct error why = *b->e;
        return build_refuse(b, c->chat_line, "chat_template: %s", why.text);
    }
    build_option(pack, "chat-template", template, b->a);
    return 0;
}

static int add_pack(struct build *b, const struct section *alone, const char *out)
{
    struct arena *a = b->a;
    const struct party *base = alone && is_vectors(alone) && !is_alone(alone) ? alone->base : NULL;
    if (b->o->n_only) {
        struct command *pick = line_add(&b->r->line, "pick", a);
        for (size_t i = 0; i < b->o->n_only; i++)
            command_add(pick, arena_printf(a, "/%s", b->o->only[i]), a);
    }
    struct command *pack = line_add(&b->r->line, "pack", a);
    command_add(pack, base ? "--base" : "--like", a);
    command_add(pack, base ? base->operand : b->r->lender, a);
    if (base && b->o->n_only)
        command_add(pack, "--no-fill", a);
    build_dtype(pack, b->c->out_dtype, a);
    if (b->o->shard_parameters) {
        enum dtype dtype = result_dtype(b, b->c);
        uint64_t bytes = dtype_bits(dtype == DTYPE_NONE ? DTYPE_F32 : dtype) / 8;
        bytes = b->o->shard_parameters > UINT64_MAX / bytes ? UINT64_MAX
                                                            : bytes * b->o->shard_parameters;
        build_option(pack, "shard-size", arena_printf(a, "%llu", (unsigned long long)bytes), a);
    }
    if (b->o->force)
        command_add(pack, "--force", a);
    if (add_tokenizer(b, pack))
        return -1;
    if (*out == '-' && out[1])
        out = arena_printf(a, "./%s", out);
    command_add(pack, out, a);
    return 0;
}

/* The document whose result is wanted: the one without a name, or else the last. */
static const struct config *final_document(const struct build *b)
{
    const struct config *found = NULL;
    for (size_t i = 0; i < b->file->n; i++) {
        const struct config *c = &b->file->documents[i];
        for (size_t j = 0; j < i && c->name; j++)
            if (b->file->documents[j].name && strcmp(b->file->documents[j].name, c->name) == 0) {
                build_refuse(b, c->line, "two documents are called %s", c->name);
                return NULL;
            }
        if (!c->name && found && !found->name && b->file->n > 1) {
            build_refuse(b, c->line, "two documents have no name");
            return NULL;
        }
        if (!found || found->name)
            found = c;
    }
    return found;
}

int recipe_make(struct recipe *r, const struct config_file *f, const char *out,
                const struct recipe_options *o, const char *tool, struct arena *a, struct error *e)
{
    struct build b = {.file = f, .o = o, .tool = tool, .r = r, .a = a, .e = e};
    *r = (struct recipe){.path = f->path};
    r->config = final_document(&b);
    if (!r->config || build_start(&b, r->config))
        return -1;
    r->dtype = result_said_dtype(r->config);
    r->lender = result_lender(&b, r->config);
    if (!r->lender)
        return build_refuse(&b, r->config->line, "the documents use each other in a circle");
    struct section p = new_section(&b, 0, &r->line);
    if (r->config->has_slices)
        return build_weights(&b, &r->line) || add_pack(&b, NULL, out) ? -1 : 0;
    if (add_section(&p))
        return -1;
    bool base_on_disk = !p.base || !p.base->result;
    if (!base_on_disk && finish_vectors(&p))
        return -1;
    return add_pack(&b, base_on_disk ? &p : NULL, out);
}
