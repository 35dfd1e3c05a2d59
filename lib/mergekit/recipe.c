#include "recipe.h"

#include "tokenizer_files.h"
#include "document.h"
#include "result.h"

#include <string.h>

/* ---- the end of the pipeline ----------------------------------------------------------------- */

static const char *tokenizer_model(const struct pipeline_builder *b)
{
    const struct config *c = b->c;
    if (!c->tokenizer)
        return NULL;
    bool base = strcmp(c->tokenizer, "base") == 0;
    const struct merge_input *p =
        base && !c->base ? NULL : parties_get(&b->parties, base ? c->base : c->tokenizer, b->a);
    if (!p)
        return NULL;
    return p->result ? result_lender(b, p->result) : p->file;
}

/* Tokenizer and chat template, where they are others than the lender's. */
static int add_tokenizer(struct pipeline_builder *b, struct command *pack)
{
    const struct config *c = b->c;
    struct recipe *r = b->r;
    const char *template;
    r->tokenizer = tokenizer_model(b);
    if (c->tokenizer && !r->tokenizer)
        return pipeline_builder_refuse(b, c->tokenizer_line,
                                       "tokenizer_source is base, but there is no base_model");
    if (r->tokenizer && strcmp(r->tokenizer, r->lender) != 0)
        pipeline_builder_option(pack, "tokenizer", r->tokenizer, b->a);
    else if (!r->tokenizer && b->o->no_tokenizer)
        command_add(pack, "--no-tokenizer", b->a);
    if (!c->chat_template)
        return 0;
    if (!r->tokenizer && b->o->no_tokenizer) {
        pipeline_builder_warn(b, c->chat_line, "chat_template has no effect without a tokenizer");
        return 0;
    }
    if (tokenizer_files_chat_template(c->chat_template, r->n_models, r->models, &template, b->a,
                                      b->e)) {
        struct error why = *b->e;
        return pipeline_builder_refuse(b, c->chat_line, "chat_template: %s", why.text);
    }
    pipeline_builder_option(pack, "chat-template", template, b->a);
    return 0;
}

/* `base` is the one that task vectors still need; NULL. */
static int add_pack(struct pipeline_builder *b, const struct merge_input *base, const char *out)
{
    struct arena *a = b->a;
    if (b->o->n_only) {
        struct command *pick = pipeline_add(&b->r->line, "pick", a);
        for (size_t i = 0; i < b->o->n_only; i++)
            command_add(pick, arena_printf(a, "/%s", b->o->only[i]), a);
    }
    struct command *pack = pipeline_add(&b->r->line, "pack", a);
    command_add(pack, base ? "--base" : "--like", a);
    command_add(pack, base ? base->operand : b->r->lender, a);
    if (base && b->o->n_only)
        command_add(pack, "--no-fill", a);
    pipeline_builder_dtype(pack, b->c->out_dtype, a);
    if (b->o->shard_parameters) {
        enum dtype dtype = result_dtype(b, b->c);
        uint64_t bytes = dtype_bits(dtype == DTYPE_NONE ? DTYPE_F32 : dtype) / 8;
        bytes = b->o->shard_parameters > UINT64_MAX / bytes ? UINT64_MAX
                                                            : bytes * b->o->shard_parameters;
        pipeline_builder_option(pack, "shard-size",
                                arena_printf(a, "%llu", (unsigned long long)bytes), a);
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
static const struct config *final_document(const struct pipeline_builder *b)
{
    const struct config *found = NULL;
    for (size_t i = 0; i < b->file->n; i++) {
        const struct config *c = &b->file->documents[i];
        for (size_t j = 0; j < i && c->name; j++)
            if (b->file->documents[j].name && strcmp(b->file->documents[j].name, c->name) == 0) {
                pipeline_builder_refuse(b, c->line, "two documents are called %s", c->name);
                return NULL;
            }
        if (!c->name && found && !found->name && b->file->n > 1) {
            pipeline_builder_refuse(b, c->line, "two documents have no name");
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
    struct pipeline_builder b = {.file = f, .o = o, .tool = tool, .r = r, .a = a, .e = e};
    *r = (struct recipe){.path = f->path};
    r->config = final_document(&b);
    if (!r->config || document_start(&b, r->config))
        return -1;
    r->dtype = result_said_dtype(r->config);
    r->lender = result_lender(&b, r->config);
    if (!r->lender)
        return pipeline_builder_refuse(&b, r->config->line,
                                       "the documents use each other in a circle");
    const struct merge_input *base;
    return document_vectors(&b, &r->line, &base) || add_pack(&b, base, out) ? -1 : 0;
}

/* ---- results that are used more than once ---------------------------------------------------- */

struct pipeline *recipe_result_line(const struct recipe_result *own, const char *path,
                                    struct arena *a)
{
    struct pipeline *l = arena_alloc(a, 1, sizeof *l);
    l->n = own->line.n;
    l->commands = arena_copy(a, own->line.commands, l->n * sizeof *l->commands);
    struct command *pack = pipeline_add(l, "pack", a);
    pipeline_builder_dtype(pack, own->dtype, a);
    command_add(pack, path, a);
    return l;
}

/* Puts the path in the place of the result's pipeline. */
static void use_in(struct pipeline *l, const struct recipe_result *own, const char *path,
                   struct arena *a)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t j = 0; j < l->commands[i].n; j++) {
            struct word *w = &l->commands[i].words[j];
            if (w->inner == &own->line || w->inner == &own->rounded)
                *w = (struct word){.text = arena_printf(a, "%s%s%s", w->text, path, w->after)};
            else if (w->inner)
                use_in(w->inner, own, path, a);
        }
}

void recipe_use_file(struct recipe *r, const struct recipe_result *own, const char *path,
                     struct arena *a)
{
    for (size_t i = 0; i < r->n_results; i++)
        if (r->results[i] != own)
            use_in(&r->results[i]->line, own, path, a);
    use_in(&r->line, own, path, a);
}
