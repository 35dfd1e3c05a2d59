#include "tv_from_yaml.h"

#include "config_command.h"
#include "standard_output.h"

#include <string.h>

static const struct filter descriptor = {
    .name = "tv from-yaml",
    .summary = "Print a mergekit configuration as a pipeline of filters",
    .operands = "CONFIG.yml [OUT]",
    .notes = "The options are those of tv merge. The pipeline writes the same bytes as tv merge.",
    .options_size = sizeof(struct merge_options),
    .options = merge_options_rows,
    .min_operands = 1,
    .max_operands = 2,
};

static void print_pipeline(const struct pipeline *p)
{
    pipeline_print(p, 0, stdout);
    putchar('\n');
}

/* NAME [OPTION] FOLDER, quoted for the shell */
static void print_command(const char *name, const char *option, const char *folder, struct arena *a)
{
    struct pipeline p = {0};
    struct pipeline_command *c = pipeline_add_command(&p, name, a);
    if (option)
        pipeline_add_word(c, option, a);
    pipeline_add_word(c, folder, a);
    print_pipeline(&p);
}

/* Results that are used more than once are printed first, each as a separate pipeline that writes
 * it to a file in a temporary folder next to OUT. */
static void print_script(struct config_command *c)
{
    struct translated_config *m = &c->merge;
    const char *folder =
        arena_printf(&c->a, "%s.results", strcmp(c->out, "-") == 0 ? "merged" : c->out);
    bool any = false;
    for (size_t i = 0; i < m->n_results; i++) {
        const struct document_result *result = m->results[i];
        const char *path = arena_printf(&c->a, "%s/%s.safetensors", folder, result->name);
        if (result->uses <= 1)
            continue;
        if (!any)
            print_command("mkdir", NULL, folder, &c->a);
        any = true;
        print_pipeline(translated_config_pipeline_to_file(result, path, &c->a));
        translated_config_replace_result(m, result, path, &c->a);
    }
    print_pipeline(&m->pipeline);
    if (any)
        print_command("rm", "-r", folder, &c->a);
}

int tv_from_yaml_main(int argc, char **argv)
{
    struct config_command c;
    struct error e = {0};
    int status = config_command_parse_and_translate(&c, &descriptor, argc, argv, false);
    if (status)
        return config_command_free(&c, status);
    print_script(&c);
    if (standard_output_flush(&e))
        status = config_command_print_error(&c, &e, 1);
    return config_command_free(&c, status);
}
