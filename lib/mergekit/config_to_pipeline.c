#include "config_to_pipeline.h"

#include "config_vocabulary.h"
#include "document_to_pipeline.h"
#include "mergekit_options.h"
#include "result_config_and_dtype.h"
#include "chat_template.h"
#include "gguf_encoding.h"
#include "output_target.h"
#include "slice_context.h"

#include <stdio.h>
#include <string.h>

/* ---- tokenizer and chat template ------------------------------------------------------------- */

static void add_tokenizer_options(const struct pipeline_builder *b, struct pipeline_command *pack)
{
    const char *model = config_vocabulary_find_tokenizer_model(b);
    b->merge->tokenizer_model = model;
    if (b->vocabulary)
        pipeline_builder_add_option(pack, "vocabulary", b->vocabulary, b->a);
    else if (model && strcmp(model, b->merge->metadata_model) != 0)
        pipeline_builder_add_option(pack, "tokenizer", model, b->a);
    else if (!model && b->options->no_tokenizer)
        pipeline_add_word(pack, "--no-tokenizer", b->a);
}

static int add_chat_template_option(struct pipeline_builder *b, struct pipeline_command *pack)
{
    const struct merge_config *c = b->config;
    const struct translated_config *m = b->merge;
    const char *template;
    if (!c->chat_template)
        return 0;
    if (!m->tokenizer_model && b->options->no_tokenizer) {
        pipeline_builder_warn(b, c->chat_line, "chat_template is ignored without a tokenizer");
        return 0;
    }
    if (chat_template_choose(c->chat_template, m->n_models, m->models, &template, b->a, b->e)) {
        struct error why = *b->e;
        return pipeline_builder_error(b, c->chat_line, "chat_template: %s", why.text);
    }
    pipeline_builder_add_option(pack, "chat-template", template, b->a);
    return 0;
}

/* ---- pack ------------------------------------------------------------------------------------ */

static bool is_single_file(const char *out)
{
    return output_form_is_single_file(output_target_form_of_name(out));
}

/* --shard-size in bytes, from a number of parameters. */
static void add_shard_size_option(const struct pipeline_builder *b, struct pipeline_command *pack)
{
    if (!b->options->shard_parameters)
        return;
    enum dtype dtype = result_config_and_dtype_find_dtype(b, b->config);
    pipeline_builder_add_option(
        pack, "shard-size", mergekit_options_shard_bytes(b->options->shard_parameters, dtype, b->a),
        b->a);
}

static void add_pick_command(const struct pipeline_builder *b)
{
    if (!b->options->n_only)
        return;
    struct pipeline_command *pick = pipeline_add_command(&b->merge->pipeline, "pick", b->a);
    for (size_t i = 0; i < b->options->n_only; i++)
        pipeline_add_word(pick, arena_printf(b->a, "/%s", b->options->only[i]), b->a);
}

/* The merged task vector becomes weights, which are not rounded before pack. */
static void add_base_command(const struct pipeline_builder *b, const struct input_model *base)
{
    struct pipeline_command *add = pipeline_add_command(&b->merge->pipeline, "add-base", b->a);
    pipeline_builder_add_dtype(add, DTYPE_F32, b->a);
    pipeline_builder_add_option(add, "vocabulary", b->vocabulary, b->a);
    pipeline_add_word(add, base->operand, b->a);
}

static void add_dtype_option(const struct pipeline_builder *b, struct pipeline_command *pack)
{
    enum dtype dtype = b->options->dtype;
    if (dtype == GGUF_ENCODING_Q8_0)
        pipeline_builder_add_option(pack, "dtype", GGUF_ENCODING_CHOICES, b->a);
    else
        pipeline_builder_add_dtype(pack, dtype != DTYPE_NONE ? dtype : b->config->out_dtype, b->a);
}

#define RANGE_SIZE 48 /* of ",FROM:TO" */

/* The whole model, or its text decoder; NULL if that is not in the configuration. */
static const struct config_module *find_text_module(const struct pipeline_builder *b)
{
    const struct merge_config *c = b->config;
    for (size_t i = 0; i < c->n_modules; i++)
        if (!c->modules[i].name || strcmp(c->modules[i].name, "text_decoder") == 0)
            return &c->modules[i];
    return NULL;
}

/* The layers of slices, of their bases or first sources. */
static void add_layers_option(const struct pipeline_builder *b, struct pipeline_command *pack,
                              const char *out)
{
    const struct config_module *m = find_text_module(b);
    if (!m || !m->has_slices || is_single_file(out))
        return;
    size_t size = m->n_slices * RANGE_SIZE, n = 0;
    char *layers = arena_alloc(b->a, size, 1);
    for (size_t i = 0; i < m->n_slices; i++) {
        const struct config_model_entry *source = slice_context_layers_source(&m->slices[i]);
        n += (size_t)snprintf(layers + n, size - n, "%s%ld:%ld", i ? "," : "", source->from,
                              source->to);
    }
    pipeline_builder_add_option(pack, "layers", layers, b->a);
}

/* `base`: the model that the merged task vector is added to; NULL: the stream has weights. */
static int add_pack_command(struct pipeline_builder *b, const struct input_model *base,
                            const char *out)
{
    struct arena *a = b->a;
    const char *like = b->options->like;
    add_pick_command(b);
    if (base && like)
        add_base_command(b, base);
    struct pipeline_command *pack = pipeline_add_command(&b->merge->pipeline, "pack", a);
    pipeline_add_word(pack, base && !like ? "--base" : "--like", a);
    pipeline_add_word(pack, like ? like : base ? base->operand : b->merge->metadata_model, a);
    if (base && !like && b->options->n_only)
        pipeline_add_word(pack, "--no-fill", a);
    add_dtype_option(b, pack);
    add_layers_option(b, pack, out);
    add_shard_size_option(b, pack);
    if (b->options->force)
        pipeline_add_word(pack, "--force", a);
    add_tokenizer_options(b, pack);
    if (add_chat_template_option(b, pack))
        return -1;
    if (!b->file->is_standard_input && !is_single_file(out))
        pipeline_builder_add_option(pack, "mergekit-config", b->file->path, a);
    pipeline_add_word(pack, *out == '-' && out[1] ? arena_printf(a, "./%s", out) : out, a);
    return 0;
}

/* ---- documents ------------------------------------------------------------------------------- */

static int check_document_names_are_unique(const struct pipeline_builder *b)
{
    const struct merge_config *documents = b->file->documents, *unnamed = NULL;
    for (size_t i = 0; i < b->file->n_documents; i++) {
        const struct merge_config *c = &documents[i];
        for (size_t j = 0; j < i && c->name; j++)
            if (documents[j].name && strcmp(documents[j].name, c->name) == 0)
                return pipeline_builder_error(b, c->line, "two documents have the name %s",
                                              c->name);
        if (!c->name && unnamed)
            return pipeline_builder_error(
                b, c->line, "two documents have no name; only the final one may omit it");
        unnamed = c->name ? unnamed : c;
    }
    return 0;
}

/* The document without a name, or the last one. */
static const struct merge_config *find_final_document(const struct merge_config_file *f)
{
    for (size_t i = 0; i < f->n_documents; i++)
        if (!f->documents[i].name)
            return &f->documents[i];
    return &f->documents[f->n_documents - 1];
}

int config_to_pipeline(struct translated_config *m, const struct merge_config_file *f,
                       const char *out, const struct translation_options *o, const char *tool,
                       struct arena *a, struct error *e)
{
    struct pipeline_builder b = {.file = f, .options = o, .tool = tool, .merge = m, .a = a, .e = e};
    *m = (struct translated_config){.config_path = f->path};
    if (check_document_names_are_unique(&b))
        return -1;
    m->config = find_final_document(f);
    if (document_to_pipeline_start(&b, m->config))
        return -1;
    m->metadata_model = result_config_and_dtype_find_model(&b, m->config);
    if (!m->metadata_model)
        return pipeline_builder_error(&b, m->config->line,
                                      "the documents refer to each other in a cycle");
    const struct input_model *base;
    return document_to_pipeline_add_commands(&b, &m->pipeline, &base) ||
                   add_pack_command(&b, base, out)
               ? -1
               : 0;
}
