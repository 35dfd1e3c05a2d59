#include "tv_from_yaml.h"

#include "config_command.h"
#include "mixture_config.h"
#include "preflight.h"
#include "standard_output.h"
#include "tv_moe.h"

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
    .check_options = merge_options_check,
};

/* Each command runs only if the ones before it have succeeded. */
static void print_pipeline(const struct pipeline *p, bool is_last)
{
    pipeline_print(p, 0, stdout);
    fputs(is_last ? "\n" : " &&\n", stdout);
}

/* NAME PATH, quoted for the shell */
static void print_command(const char *name, const char *path, struct arena *a)
{
    struct pipeline p = {0};
    pipeline_add_operand(pipeline_add_command(&p, name, a), path, a);
    print_pipeline(&p, false);
}

/* The folder must be new; those above it are made if they are missing. */
static void print_mkdir(const char *folder, struct arena *a)
{
    const char *slash = strrchr(folder, '/');
    if (slash && slash > folder) {
        struct pipeline p = {0};
        struct pipeline_command *c = pipeline_add_command(&p, "mkdir", a);
        pipeline_add_word(c, "-p", a);
        pipeline_add_operand(c, arena_copy_text_n(a, folder, (size_t)(slash - folder)), a);
        print_pipeline(&p, false);
    }
    print_command("mkdir", folder, a);
}

/* What could not be removed from the folder has got a warning. */
static void print_rmdir(const char *folder, struct arena *a)
{
    struct pipeline p = {0};
    struct pipeline_command *c = pipeline_add_command(&p, "rmdir", a);
    pipeline_add_word(c, "--ignore-fail-on-non-empty", a);
    pipeline_add_operand(c, folder, a);
    print_pipeline(&p, true);
}

static const char *result_path(const char *folder, const struct document_result *result,
                               struct arena *a)
{
    return arena_printf(a, "%s/%s.safetensors", folder, result->name);
}

static bool print_results(struct config_command *c, const char *folder)
{
    struct translated_config *m = &c->merge;
    bool any = false;
    for (size_t i = 0; i < m->n_results; i++) {
        const struct document_result *result = m->results[i];
        const char *path = result_path(folder, result, &c->a);
        if (result->uses <= 1)
            continue;
        if (!any)
            print_mkdir(folder, &c->a);
        any = true;
        print_pipeline(translated_config_pipeline_to_file(result, path, &c->a), false);
        translated_config_replace_result(m, result, path, &c->a);
    }
    return any;
}

/* Results that are used more than once come first, each in a pipeline of its own that writes it to
 * a file in a temporary folder next to OUT. The script fails if there is such a folder, and removes
 * only its own files. */
static void print_script(struct config_command *c)
{
    const struct translated_config *m = &c->merge;
    const char *folder =
        arena_printf(&c->a, "%s.results", strcmp(c->out, "-") == 0 ? "merged" : c->out);
    bool any = print_results(c, folder);
    print_pipeline(&m->pipeline, !any);
    for (size_t i = 0; i < m->n_results; i++)
        if (m->results[i]->uses > 1)
            print_command("rm", result_path(folder, m->results[i], &c->a), &c->a);
    if (any)
        print_rmdir(folder, &c->a);
}

/* Is one of the words the path of a mergekit-moe configuration? */
static bool has_mixture_operand(int argc, char **argv)
{
    bool found = false;
    for (int i = 1; i < argc && !found; i++)
        found = argv[i][0] != '-' && mixture_config_is_mixture(argv[i]);
    return found;
}

int tv_from_yaml_main(int argc, char **argv, const struct filter *const *filters)
{
    if (has_mixture_operand(argc, argv))
        return tv_moe_print_main(argc, argv);
    struct config_command c;
    struct error e = {0};
    const struct pipeline_options run = {.filters = filters};
    int status = config_command_parse_and_translate(&c, &descriptor, argc, argv, false);
    if (status)
        return config_command_free(&c, status);
    if (preflight_check_parameters(&c.merge, &run, &c.a, &e))
        return config_command_free(&c, config_command_print_error(&c, &e, 1));
    print_script(&c);
    if (standard_output_flush(&e))
        status = config_command_print_error(&c, &e, 1);
    return config_command_free(&c, status);
}
