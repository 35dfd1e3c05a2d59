#include "config_command.h"

#include "command_line.h"
#include "config_to_pipeline.h"
#include "mergekit_options.h"
#include "parts_folder.h"
#include "printable.h"
#include "stage.h"

#include <stdlib.h>
#include <string.h>

int config_command_print_error(const struct config_command *c, const struct error *e, int status)
{
    const char *own = c->stage->filter->name;
    const char *stage = e->stage[0] && strcmp(e->stage, own) != 0 ? e->stage : "";
    if (!e->printed)
        printable_message("%s: %s%s%s", own, stage, *stage ? ": " : "", e->text);
    return status;
}

const char *config_command_format_size(uint64_t bytes, struct arena *a)
{
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
    double x = (double)bytes;
    size_t u = 0;
    while (x >= 1000 && u < 4) {
        x /= 1000;
        u++;
    }
    return u ? arena_printf(a, "%.1f %s", x, units[u])
             : arena_printf(a, "%llu bytes", (unsigned long long)bytes);
}

static bool has_word(const struct pipeline_command *c, const char *word)
{
    bool found = false;
    for (size_t i = 0; i < c->n; i++)
        found |= c->words[i].text == word;
    return found;
}

/* Adds --allow-nonfinite to all commands. A pipeline may be the substitution of several words; it
 * is changed once. */
static void add_allow_nonfinite_to_all_commands(struct pipeline *p, struct arena *a)
{
    static const char option[] = "--allow-nonfinite";
    if (has_word(&p->commands[0], option))
        return;
    for (size_t i = 0; i < p->n; i++) {
        for (size_t j = 0; j < p->commands[i].n; j++)
            if (p->commands[i].words[j].substitution)
                add_allow_nonfinite_to_all_commands(p->commands[i].words[j].substitution, a);
        pipeline_insert_option(&p->commands[i], option, a);
    }
}

static void add_shard_options_to_pack(struct config_command *c)
{
    const struct merge_options *o = c->options;
    struct pipeline *p = &c->merge.pipeline;
    struct pipeline_command *pack = &p->commands[p->n - 1];
    if (o->shards)
        pipeline_insert_option(
            pack, arena_printf(&c->a, "--shards=%llu", (unsigned long long)o->shards), &c->a);
    if (o->part)
        pipeline_insert_option(pack, arena_printf(&c->a, "--part=%s", o->part), &c->a);
    if (o->resume)
        pipeline_insert_option(pack, "--resume", &c->a);
}

/* An adapter is made from task vectors and their base. */
static int add_lora_options_to_pack(struct config_command *c, struct error *e)
{
    const struct string_list *ranks = &c->options->lora;
    struct pipeline *p = &c->merge.pipeline;
    struct pipeline_command *pack = &p->commands[p->n - 1];
    bool has_base = false;
    for (size_t i = 0; i < pack->n; i++)
        has_base |= pack->words[i].text && strcmp(pack->words[i].text, "--base") == 0;
    if (ranks->n && !has_base)
        return error_set(e, "--lora needs a method with task vectors, a base_model that is a model "
                            "on disk, and no slices");
    for (size_t i = 0; i < ranks->n; i++)
        pipeline_insert_option(pack, arena_printf(&c->a, "--lora=%s", ranks->items[i]), &c->a);
    return 0;
}

/* The operand OUT or --out-path, else a default. */
static int choose_output_path(struct config_command *c, bool required, struct error *e)
{
    const struct string_list *operands = &c->stage->operands;
    if (operands->n == 2 && c->options->out)
        return error_set(e, "OUT and --out-path cannot be combined");
    c->out = operands->n == 2 ? operands->items[1] : c->options->out;
    if (!c->out && required)
        return error_set(e, "missing operand OUT");
    if (!c->out)
        c->out = c->options->only.n ? "merged.safetensors" : "merged";
    if (c->options->like && output_target_form_of_name(c->out) != OUTPUT_GGUF)
        return error_set(e, "--like requires a .gguf file as OUT, found %s", c->out);
    if (c->options->only.n && output_target_form_of_name(c->out) != OUTPUT_SAFETENSORS)
        return error_set(e, "--only requires a .safetensors file as OUT, found %s", c->out);
    return output_target_check_name(c->out, e) || ((c->options->part || c->options->resume) &&
                                                   parts_folder_check_target(c->out, e))
               ? -1
               : 0;
}

static int read_and_translate_config(struct config_command *c, struct error *e)
{
    const char *tool = c->stage->filter->name;
    struct merge_config_file file;
    struct translation_options options;
    mergekit_options_use_cache(c->options->cache);
    if (merge_options_to_translation_options(c->options, &options, &c->a, e) ||
        merge_config_read(&file, c->stage->operands.items[0], tool, &c->a, e) ||
        config_to_pipeline(&c->merge, &file, c->out, &options, tool, &c->a, e))
        return -1;
    if (c->stage->common.allow_nonfinite)
        add_allow_nonfinite_to_all_commands(&c->merge.pipeline, &c->a);
    add_shard_options_to_pack(c);
    return add_lora_options_to_pack(c, e);
}

int config_command_parse_and_translate(struct config_command *c, const struct filter *descriptor,
                                       int argc, char **argv, bool out_is_required)
{
    struct error e = {0};
    *c = (struct config_command){0};
    char **words = merge_options_expand_short(&argc, argv);
    c->stage = command_line_parse(descriptor, argc, words);
    c->options = c->stage->options;
    free(words);
    merge_options_print_ignored(c->stage);
    if (choose_output_path(c, out_is_required, &e))
        return config_command_print_error(c, &e, 2);
    return read_and_translate_config(c, &e) ? config_command_print_error(c, &e, 1) : 0;
}

int config_command_free(struct config_command *c, int status)
{
    stage_free(c->stage);
    arena_free(&c->a);
    return status;
}
