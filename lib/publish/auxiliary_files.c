#include "auxiliary_files.h"

#include "chat_template.h"
#include "config_update.h"
#include "glob_pattern.h"
#include "model_config.h"
#include "model_folder_names.h"
#include "printable.h"
#include "tokenizer_edit.h"
#include "tokenizer_files.h"
#include "used_weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the files go. */
struct output {
    auxiliary_file_writer *write;
    void *to;
};

static int write_file(const struct output *out, const char *name, const void *bytes, size_t size,
                      struct error *e)
{
    return out->write(out->to, name, bytes, size, e);
}

/* ---- config.json ----------------------------------------------------------------------------- */

/* 1: read; the caller frees *text. 0: the model has none, and *text is NULL; -1: error. */
static int read_config(const struct model_source *source, char **text, size_t *size,
                       struct error *e)
{
    const struct ckpt *c = source ? model_source_checkpoint(source) : NULL;
    *text = NULL;
    return c ? ckpt_read_auxiliary_file(c, "config.json", text, size, e) : 0;
}

int auxiliary_files_read_model_type(const struct model_source *source, const char **type,
                                    struct arena *a, struct error *e)
{
    size_t size;
    char *text;
    bool has_duplicates;
    int found = read_config(source, &text, &size, e);
    json_t *config = found > 0 ? model_config_parse(text, size, &has_duplicates) : NULL;
    const char *own = json_string_value(json_object_get(config, "model_type"));
    *type = own ? arena_copy_text(a, own) : NULL;
    json_decref(config);
    free(text);
    return found < 0 ? -1 : 0;
}

int auxiliary_files_is_of_diffusers(const struct model_source *source, struct error *e)
{
    size_t size;
    char *text;
    bool has_duplicates;
    int found = read_config(source, &text, &size, e);
    json_t *config = found > 0 ? model_config_parse(text, size, &has_duplicates) : NULL;
    bool is_of_diffusers = json_object_get(config, "_class_name") != NULL;
    json_decref(config);
    free(text);
    return found < 0 ? -1 : is_of_diffusers;
}

/* The config.json of the model whose tokenizer the new vocabulary starts with, {} if it has none;
 * *config is NULL without a new vocabulary. The caller drops the reference. */
static int read_config_of_tokenizer(const struct auxiliary_files *a, json_t **config,
                                    struct error *e)
{
    size_t size;
    char *text;
    bool has_duplicates;
    *config = NULL;
    if (!a->vocabulary)
        return 0;
    if (ckpt_read_model_file(a->vocabulary->start.path, "config.json", &text, &size, e) < 0)
        return -1;
    *config = text ? model_config_parse(text, size, &has_duplicates) : NULL;
    *config = *config ? *config : mem_check(json_object());
    free(text);
    return 0;
}

static int update_and_copy_config(const struct auxiliary_files *a, const struct output *out,
                                  struct error *e)
{
    size_t size;
    char *config;
    int found = read_config(a->source, &config, &size, e);
    if (found <= 0)
        return found;
    struct config_update update = {.source = a->source,
                                   .result = a->result,
                                   .has_own_head = a->has_own_head,
                                   .layers = a->layers,
                                   .moe = a->moe,
                                   .tool = a->tool};
    if (read_config_of_tokenizer(a, &update.tokenizer, e)) {
        free(config);
        return -1;
    }
    char *text = config_update_json(config, size, &update);
    int failed =
        write_file(out, "config.json", text ? text : config, text ? strlen(text) : size, e);
    json_decref(update.tokenizer);
    free(text);
    free(config);
    return failed;
}

/* ---- copying --------------------------------------------------------------------------------- */

/* Writes a tokenizer file, with the chat template that was asked for. */
static int write_with_chat_template(const struct auxiliary_files *a, const char *name,
                                    const char *text, size_t size, const struct output *out,
                                    struct error *e)
{
    const char *template = a->chat_template;
    if (template && strcmp(name, "chat_template.jinja") == 0)
        return write_file(out, name, template, strlen(template), e);
    if (!template || strcmp(name, "tokenizer_config.json") != 0)
        return write_file(out, name, text, size, e);
    char *config = chat_template_insert(text, size, template, e);
    int failed = config ? write_file(out, name, config, strlen(config), e) : -1;
    free(config);
    return failed;
}

/* Does the file describe the tokenizer in a way that is not brought up to a new vocabulary? */
static bool goes_stale(const char *name)
{
    static const char *const patterns[] = {"tokenizer.json", "tokenizer_config.json",
                                           "chat_template*", "tokenization_*"};
    bool edited = false;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        edited |= glob_pattern_matches(patterns[i], name);
    return !edited;
}

/* Writes a tokenizer file, with the vocabulary that was asked for. */
static int write_tokenizer_file(const struct auxiliary_files *a, const char *name, const char *text,
                                size_t size, const struct output *out, struct error *e)
{
    char *edited = NULL;
    bool is_json = strcmp(name, "tokenizer.json") == 0,
         is_config = strcmp(name, "tokenizer_config.json") == 0;
    if (a->vocabulary && goes_stale(name))
        return 0;
    if (!a->vocabulary || (!is_json && !is_config))
        return write_with_chat_template(a, name, text, size, out, e);
    edited = is_json ? tokenizer_edit_json(a->vocabulary, text, size, e)
                     : tokenizer_edit_config(a->vocabulary, text, size, e);
    int failed = edited ? write_with_chat_template(a, name, edited, strlen(edited), out, e) : -1;
    free(edited);
    return failed;
}

/* Writes generation_config.json, with the ids of the start's special tokens. */
static int write_generation_config(const struct auxiliary_files *a, const char *text, size_t size,
                                   const struct output *out, struct error *e)
{
    json_t *tokenizer;
    if (read_config_of_tokenizer(a, &tokenizer, e))
        return -1;
    char *updated = config_update_token_ids(text, size, tokenizer);
    json_decref(tokenizer);
    int failed = write_file(out, "generation_config.json", updated ? updated : text,
                            updated ? strlen(updated) : size, e);
    free(updated);
    return failed;
}

/* Is it a file that belongs to a model of any kind? */
static bool is_copied_model_file(const char *name)
{
    static const char *const patterns[] = {"*.json",   "*.jinja", "*.py",
                                           "LICENSE*", "NOTICE*", "USE_POLICY*"};
    bool copied = false;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        copied |= glob_pattern_matches(patterns[i], name);
    /* hf_quant_config.json describes a quantization that the new checkpoint does not have. */
    return copied && strcmp(name, "config.json") != 0 && strcmp(name, USED_WEIGHTS_FILE) != 0 &&
           strcmp(name, "hf_quant_config.json") != 0;
}

void auxiliary_files_add_names(const struct model_source *source)
{
    const struct ckpt *c = model_source_checkpoint(source);
    for (size_t i = 0; c && i < ckpt_auxiliary_file_count(c); i++)
        if (is_copied_model_file(ckpt_auxiliary_file_name(c, i)))
            model_folder_names_add(ckpt_auxiliary_file_name(c, i));
}

static int copy_file(const struct auxiliary_files *a, const struct ckpt *c, const char *name,
                     const struct output *out, struct error *e)
{
    size_t size;
    char *text;
    if (ckpt_read_auxiliary_file(c, name, &text, &size, e) < 0)
        return -1;
    int failed = tokenizer_files_is_tokenizer_file(name)
                     ? write_tokenizer_file(a, name, text, size, out, e)
                 : a->vocabulary && strcmp(name, "generation_config.json") == 0
                     ? write_generation_config(a, text, size, out, e)
                     : write_file(out, name, text, size, e);
    free(text);
    return failed ? -1 : 0;
}

/* Copies a model's tokenizer files, or all others. */
static int copy_files(const struct auxiliary_files *a, const struct ckpt *c, bool tokenizer,
                      const struct output *out, struct error *e)
{
    for (size_t i = 0; c && i < ckpt_auxiliary_file_count(c); i++) {
        const char *name = ckpt_auxiliary_file_name(c, i);
        if (tokenizer_files_is_tokenizer_file(name) != tokenizer ||
            (!tokenizer && !is_copied_model_file(name)))
            continue;
        if (copy_file(a, c, name, out, e))
            return -1;
    }
    return 0;
}

/* ---- the tokenizer --------------------------------------------------------------------------- */

/* Writes the chat template to a file of its own, if the tokenizer has no file for it. */
static int write_chat_template_if_missing(const struct auxiliary_files *a, const struct ckpt *c,
                                          const struct output *out, struct error *e)
{
    for (size_t i = 0; c && i < ckpt_auxiliary_file_count(c); i++)
        if (strcmp(ckpt_auxiliary_file_name(c, i), "tokenizer_config.json") == 0 ||
            strcmp(ckpt_auxiliary_file_name(c, i), "chat_template.jinja") == 0)
            return 0;
    return write_file(out, "chat_template.jinja", a->chat_template, strlen(a->chat_template), e);
}

static bool has_tokenizer_files(const struct ckpt *c)
{
    for (size_t i = 0; i < ckpt_auxiliary_file_count(c); i++)
        if (tokenizer_files_is_tokenizer_file(ckpt_auxiliary_file_name(c, i)))
            return true;
    return false;
}

/* The metadata of a GGUF model have a tokenizer in another form. */
static bool is_gguf_without_tokenizer_files(const struct ckpt *c)
{
    return c && ckpt_gguf_model(c) && !has_tokenizer_files(c);
}

static int copy_tokenizer(const struct auxiliary_files *a, const struct output *out,
                          struct error *e)
{
    struct ckpt *other = NULL;
    if (a->no_tokenizer)
        return 0;
    if (a->tokenizer && !(other = ckpt_open_auxiliary_files(a->tokenizer, a->spool, e)))
        return -1;
    const struct ckpt *c = other ? other : model_source_checkpoint(a->source);
    int failed = other && !has_tokenizer_files(other)
                     ? error_set(e, "--tokenizer: %s is a %smodel without tokenizer files",
                                 a->tokenizer, ckpt_gguf_model(other) ? "GGUF " : "")
                     : 0;
    failed = failed || copy_files(a, c, true, out, e) ||
                     (a->chat_template && write_chat_template_if_missing(a, c, out, e))
                 ? -1
                 : 0;
    ckpt_close(other);
    return failed;
}

/* Prints the names of the source's files that are never copied. */
static void note_omitted_files(const struct auxiliary_files *a)
{
    const struct ckpt *c = model_source_checkpoint(a->source);
    const char *names = c ? ckpt_omitted_files(c) : NULL;
    if (names)
        printable_note(a->tool, "%s: hidden files and sub-folders are not copied: %s",
                       model_source_name(a->source), names);
}

int auxiliary_files_copy(const struct auxiliary_files *a, auxiliary_file_writer *write, void *to,
                         struct error *e)
{
    const struct output out = {write, to};
    note_omitted_files(a);
    if (copy_files(a, model_source_checkpoint(a->source), false, &out, e) ||
        copy_tokenizer(a, &out, e) || update_and_copy_config(a, &out, e))
        return -1;
    if (!a->tokenizer && !a->no_tokenizer &&
        is_gguf_without_tokenizer_files(model_source_checkpoint(a->source)))
        printable_note(a->tool,
                       "%s has no tokenizer files; those of another model can be "
                       "copied with --tokenizer",
                       model_source_name(a->source));
    return 0;
}
