#include "config_to_pipeline.h"

#include "chat_template.h"
#include "document_pipeline.h"
#include "result_metadata.h"

#include <string.h>

/* ---- the end of the pipeline ----------------------------------------------------------------- */

static const char *tokenizer_model(const struct pipeline_builder *b)
{
    const struct merge_config *c = b->config;
    if (!c->tokenizer)
        return NULL;
    bool base = strcmp(c->tokenizer, "base") == 0;
    const struct merge_input *p =
        base && !c->base ? NULL : merge_input_find(&b->inputs, base ? c->base : c->tokenizer, b->a);
    if (!p)
        return NULL;
    return p->document ? result_metadata_model(b, p->document) : p->plain_operand;
}

/* Tokenizer and chat template, where they are others than the lender's. */
static int add_tokenizer(struct pipeline_builder *b, struct pipeline_command *pack)
{
    const struct merge_config *c = b->config;
    struct merge_pipeline *r = b->merge;
    const char *template;
    r->tokenizer_model = tokenizer_model(b);
    if (c->tokenizer && !r->tokenizer_model)
        return pipeline_builder_error(b, c->tokenizer_line,
                                      "tokenizer_source is base, but there is no base_model");
    if (r->tokenizer_model && strcmp(r->tokenizer_model, r->metadata_model) != 0)
        pipeline_builder_add_option(pack, "tokenizer", r->tokenizer_model, b->a);
    else if (!r->tokenizer_model && b->options->no_tokenizer)
        pipeline_add_word(pack, "--no-tokenizer", b->a);
    if (!c->chat_template)
        return 0;
    if (!r->tokenizer_model && b->options->no_tokenizer) {
        pipeline_builder_warn(b, c->chat_line, "chat_template has no effect without a tokenizer");
        return 0;
    }
    if (chat_template_choose(c->chat_template, r->n_models, r->models, &template, b->a, b->e)) {
        struct error why = *b->e;
        return pipeline_builder_error(b, c->chat_line, "chat_template: %s", why.text);
    }
    pipeline_builder_add_option(pack, "chat-template", template, b->a);
    return 0;
}

/* `base` is the one that task vectors still need; NULL. */
static int add_pack(struct pipeline_builder *b, const struct merge_input *base, const char *out)
{
    struct arena *a = b->a;
    if (b->options->n_only) {
        struct pipeline_command *pick = pipeline_add_command(&b->merge->pipeline, "pick", a);
        for (size_t i = 0; i < b->options->n_only; i++)
            pipeline_add_word(pick, arena_printf(a, "/%s", b->options->only[i]), a);
    }
    struct pipeline_command *pack = pipeline_add_command(&b->merge->pipeline, "pack", a);
    pipeline_add_word(pack, base ? "--base" : "--like", a);
    pipeline_add_word(pack, base ? base->operand : b->merge->metadata_model, a);
    if (base && b->options->n_only)
        pipeline_add_word(pack, "--no-fill", a);
    pipeline_builder_add_dtype(pack, b->config->out_dtype, a);
    if (b->options->shard_parameters) {
        enum dtype dtype = result_metadata_dtype(b, b->config);
        uint64_t bytes = dtype_bits(dtype == DTYPE_NONE ? DTYPE_F32 : dtype) / 8;
        bytes = b->options->shard_parameters > UINT64_MAX / bytes
                    ? UINT64_MAX
                    : bytes * b->options->shard_parameters;
        pipeline_builder_add_option(pack, "shard-size",
                                    arena_printf(a, "%llu", (unsigned long long)bytes), a);
    }
    if (b->options->force)
        pipeline_add_word(pack, "--force", a);
    if (add_tokenizer(b, pack))
        return -1;
    if (*out == '-' && out[1])
        out = arena_printf(a, "./%s", out);
    pipeline_add_word(pack, out, a);
    return 0;
}

/* The document whose result is wanted: the one without a name, or else the last. */
static const struct merge_config *final_document(const struct pipeline_builder *b)
{
    const struct merge_config *found = NULL;
    for (size_t i = 0; i < b->file->n_documents; i++) {
        const struct merge_config *c = &b->file->documents[i];
        for (size_t j = 0; j < i && c->name; j++)
            if (b->file->documents[j].name && strcmp(b->file->documents[j].name, c->name) == 0) {
                pipeline_builder_error(b, c->line, "two documents are called %s", c->name);
                return NULL;
            }
        if (!c->name && found && !found->name && b->file->n_documents > 1) {
            pipeline_builder_error(b, c->line, "two documents have no name");
            return NULL;
        }
        if (!found || found->name)
            found = c;
    }
    return found;
}

int config_to_pipeline(struct merge_pipeline *r, const struct merge_config_file *f, const char *out,
                       const struct merge_pipeline_options *o, const char *tool, struct arena *a,
                       struct error *e)
{
    struct pipeline_builder b = {.file = f, .options = o, .tool = tool, .merge = r, .a = a, .e = e};
    *r = (struct merge_pipeline){.config_path = f->path};
    r->config = final_document(&b);
    if (!r->config || document_pipeline_prepare(&b, r->config))
        return -1;
    r->dtype = result_metadata_configured_dtype(r->config);
    r->metadata_model = result_metadata_model(&b, r->config);
    if (!r->metadata_model)
        return pipeline_builder_error(&b, r->config->line,
                                      "the documents use each other in a circle");
    const struct merge_input *base;
    return document_pipeline_build(&b, &r->pipeline, &base) || add_pack(&b, base, out) ? -1 : 0;
}

/* ---- results that are used more than once ---------------------------------------------------- */

struct pipeline *merge_pipeline_save_result(const struct document_result *own, const char *path,
                                            struct arena *a)
{
    struct pipeline *l = arena_alloc(a, 1, sizeof *l);
    l->n = own->pipeline.n;
    l->commands = arena_copy(a, own->pipeline.commands, l->n * sizeof *l->commands);
    struct pipeline_command *pack = pipeline_add_command(l, "pack", a);
    pipeline_builder_add_dtype(pack, own->dtype, a);
    pipeline_add_word(pack, path, a);
    return l;
}

/* Puts the path in the place of the result's pipeline. */
static void use_in(struct pipeline *l, const struct document_result *own, const char *path,
                   struct arena *a)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t j = 0; j < l->commands[i].n; j++) {
            struct pipeline_word *w = &l->commands[i].words[j];
            if (w->substitution == &own->pipeline || w->substitution == &own->rounded_pipeline)
                *w = (struct pipeline_word){
                    .text = arena_printf(a, "%s%s%s", w->text, path, w->suffix)};
            else if (w->substitution)
                use_in(w->substitution, own, path, a);
        }
}

void merge_pipeline_replace_result(struct merge_pipeline *r, const struct document_result *own,
                                   const char *path, struct arena *a)
{
    for (size_t i = 0; i < r->n_results; i++)
        if (r->results[i] != own)
            use_in(&r->results[i]->pipeline, own, path, a);
    use_in(&r->pipeline, own, path, a);
}
