/* tv: the command that runs all others
 *
 *     tv trim --density 0.2 < in.tvs > out.tvs    a filter; `tv diff` is tv-diff
 *     tv run 'tv-extract base math code | combine | pack --base base merged/'
 *     tv merge config.yml merged/                 a mergekit config (tv from-yaml prints it)
 *     tv moe config.yml merged/                   a mergekit-moe config
 *     tv verify merged base math code             computes the merge again and compares
 *     tv tune 'PIPELINE with {density:0.1..1}'    chooses numbers by the loss on samples
 *     tv pipeline ties base math code merged      a script of pipelines/
 *     eval "$(tv env)"                            the filters on PATH, under their own names
 *
 * `tv run` writes the same bytes as the shell's pipes: neighboring filters become one chain in one
 * process; any other command, and each <( ... ), runs as a separate process, connected by pipes.
 */
#include "filter_main.h"
#include "hf_cache.h"
#include "installed_folder.h"
#include "parts_plan.h"
#include "pipeline_run.h"
#include "pipeline_scripts.h"
#include "printable.h"
#include "process_start.h"
#include "spelling_suggestion.h"
#include "standard_output.h"
#include "text_print.h"
#include "tv_extract_lora.h"
#include "tv_from_yaml.h"
#include "tv_merge.h"
#include "tv_moe.h"
#include "tv_tune.h"
#include "tv_verify.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* All filters, ended by NULL; the Makefile makes the list. */
extern const struct filter *const filter_all[];

static const struct pipeline_options all_filters = {
    .filters = filter_all, .monitor = {.show_progress = true, .warn_of_order = true}};

static int print_error(const char *command, const char *text)
{
    printable_message("tv: %s: %s", command, text);
    return 1;
}

static int print_help(const char *usage)
{
    fputs(usage, stdout);
    return 0;
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

/* A line of a list; on a terminal in as many lines as it needs. */
static void print_entry(FILE *f, int indent, int width, const char *name, const char *summary)
{
    fprintf(f, "%*s%-*s", indent, "", width, name);
    text_print_wrapped(f, summary, indent + width, f == stdout ? standard_output_columns() : 0);
    putc('\n', f);
}

static int usage_error(const char *command, const char *what)
{
    printable_message("tv: %s: %s (tv %s --help shows the usage)", command, what, command);
    return 2;
}

/* ---- run ------------------------------------------------------------------------------------- */

static const char run_usage[] =
    "Usage: tv run [OPTION...] PIPELINE\n"
    "Run a pipeline of filters in one process. It writes the same bytes as the shell's pipes.\n\n"
    "  PIPELINE is one argument: commands separated by |, with the shell's quotes and\n"
    "  <( ... ); - reads it from standard input. Commands that are not filters run as separate\n"
    "  processes.\n"
    "  --threads=N     work on N blocks at once (default: one per CPU)\n"
    "  --quiet         print no notes and show no progress\n"
    "  --progress      print a line of progress per second on standard error, for scripts\n"
    "  --report=FILE   write time, bytes and memory of the run, per stage, to FILE as JSON\n\n"
    "  tv run 'tv-extract base math code | combine | pack --base base merged/'\n"
    "  tv run 'combine | pack --base base merged/' < saved.tvs\n";

/* The options of tv run. */
struct run_options {
    struct pipeline_options pipeline;
    const char *report; /* NULL: none */
};

static int parse_threads(const char *text, uint64_t *threads)
{
    char *end;
    *threads = strtoull(text, &end, 10);
    if (*text >= '1' && *text <= '9' && !*end && *threads <= 1024)
        return 0;
    printable_message("tv: run: --threads=%s: expected a number from 1 to 1024", text);
    return -1;
}

/* -1 if the pipeline can be run, else the exit status. */
static int parse_run_options(int argc, char **argv, struct run_options *o)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'},         {"threads", required_argument, NULL, 't'},
        {"quiet", no_argument, NULL, 'q'},        {"progress", no_argument, NULL, 'p'},
        {"report", required_argument, NULL, 'r'}, {0}};
    for (int option; (option = getopt_long(argc, argv, "+h", options, NULL)) != -1;) {
        if (option == 'h')
            return print_help(run_usage);
        if (option == '?')
            return 2;
        if (option == 't' && parse_threads(optarg, &o->pipeline.threads))
            return 2;
        o->pipeline.monitor.report_progress |= option == 'p';
        if (option == 'q')
            printable_set_quiet();
        o->report = option == 'r' ? optarg : o->report;
    }
    if (argc - optind == 1)
        return -1;
    return usage_error("run", argc == optind ? "missing operand PIPELINE"
                                             : "expected PIPELINE as one argument");
}

/* All of standard input, as text. */
static const char *read_standard_input(struct arena *a)
{
    char *text = NULL;
    size_t capacity = 0;
    ssize_t n = getdelim(&text, &capacity, '\0', stdin);
    const char *copy = arena_copy_text(a, n < 0 ? "" : text);
    free(text);
    return copy;
}

static int run_run_command(int argc, char **argv, const struct filter *const *filters)
{
    char name[] = "tv: run"; /* for the messages of getopt_long */
    struct run_options o = {.pipeline = all_filters};
    struct arena a = {0};
    struct error e;
    argv[0] = name;
    int status = parse_run_options(argc, argv, &o);
    if (status >= 0)
        return status;
    struct pipeline *pipeline = pipeline_parse(
        strcmp(argv[optind], "-") == 0 ? read_standard_input(&a) : argv[optind], &a, &e);
    if (!pipeline) {
        print_error("run", e.text);
        status = 2;
    } else {
        status = pipeline_run_start_report(&o.pipeline, o.report);
        if (status == 0)
            status = pipeline_run_end_report(&o.pipeline, pipeline_run(&o.pipeline, pipeline, &a));
    }
    arena_free(&a);
    return status;
}

/* ---- finish ---------------------------------------------------------------------------------- */

static const char finish_usage[] =
    "Usage: tv finish [--force] OUT\n"
    "Publish a checkpoint that was computed in parts (tv merge --part, pack --part): check the\n"
    "parts, write the index and the model card, and move OUT into place.\n\n"
    "  --force         replace OUT if it exists\n";

static int run_finish_command(int argc, char **argv, const struct filter *const *filters)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'}, {"force", no_argument, NULL, 'f'}, {0}};
    char name[] = "tv: finish"; /* for the messages of getopt_long */
    struct error e;
    bool force = false;
    argv[0] = name;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'h')
            return print_help(finish_usage);
        if (option == '?')
            return 2;
        force = true;
    }
    if (argc - optind != 1)
        return usage_error("finish",
                           argc == optind ? "missing operand OUT" : "expected one operand OUT");
    struct partial_checkpoint *p =
        partial_checkpoint_open(argv[optind], force, NULL, PARTIAL_CHECKPOINT_PUBLISH_ONLY, &e);
    int failed = !p || parts_plan_publish(p, &e);
    partial_checkpoint_close(p);
    return failed ? print_error("finish", e.text) : 0;
}

/* ---- env and pipeline ------------------------------------------------------------------------ */

/* For commands without options: -1 if there are no words, else the exit status. */
static int parse_only_help(int argc, char **argv, const char *usage)
{
    if (argc < 2)
        return -1;
    return is_one_of(argv[1], "--help", "-h", "help") ? print_help(usage)
                                                      : usage_error(argv[0], "unexpected operand");
}

static const char env_usage[] =
    "Usage: eval \"$(tv env)\"\n"
    "Print the line for the shell that puts the filters on PATH, under their own names.\n";

static int run_env_command(int argc, char **argv, const struct filter *const *filters)
{
    int status = parse_only_help(argc, argv, env_usage);
    if (status >= 0)
        return status;
    char *folder = installed_folder_find("../libexec/tvtools", "../bin");
    char *filter = folder ? mem_printf("%s/%s", folder, filters[0]->name) : NULL;
    if (!filter || access(filter, X_OK) != 0)
        return print_error("env", "the filters are not installed next to tv");
    printf("export PATH=");
    printable_print_shell_word(stdout, folder);
    printf(":\"$PATH\"\n");
    free(folder);
    free(filter);
    return 0;
}

static const char pipeline_usage[] =
    "Usage: tv pipeline NAME [OPTION...] OPERAND...\n"
    "Run the script of a published method; tv pipeline NAME --help shows its options.\n\n"
    "  tv pipeline ties --density 0.2 base math code merged/\n\n";

static int list_pipeline_scripts(const struct pipeline_script *scripts, size_t n)
{
    fputs(pipeline_usage, stdout);
    for (size_t i = 0; i < n; i++)
        print_entry(stdout, 2, 22, scripts[i].name, scripts[i].summary);
    return 0;
}

/* The script of that name; NULL if there is none. */
static const struct pipeline_script *find_pipeline_script(const struct pipeline_script *scripts,
                                                          size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(scripts[i].name, name) == 0)
            return &scripts[i];
    return NULL;
}

static int unknown_script_error(const struct pipeline_script *scripts, size_t n, const char *name,
                                struct arena *a)
{
    const char **names = arena_alloc(a, n, sizeof *names);
    for (size_t i = 0; i < n; i++)
        names[i] = scripts[i].name;
    const char *suggestion =
        spelling_suggestion_phrase(spelling_suggestion_find(name, n, names), a);
    printable_message("tv: pipeline: no script %s%s; tv pipeline lists them", name, suggestion);
    return 2;
}

static int run_pipeline_command(int argc, char **argv, const struct filter *const *filters)
{
    struct arena a = {0};
    struct pipeline_script *scripts;
    size_t n = pipeline_scripts_list(&scripts, &a);
    int status;
    if (n == 0) {
        status = print_error("pipeline", "the pipelines are not installed next to tv");
    } else if (argc < 2 || is_one_of(argv[1], "--help", "-h", "help")) {
        status = list_pipeline_scripts(scripts, n);
    } else {
        const struct pipeline_script *script = find_pipeline_script(scripts, n, argv[1]);
        if (script)
            execv(script->path, argv + 1);
        status = script ? print_error(script->path, strerror(errno))
                        : unknown_script_error(scripts, n, argv[1], &a);
    }
    arena_free(&a);
    return status;
}

/* ---- models ---------------------------------------------------------------------------------- */

static const char models_usage[] =
    "Usage: tv models\n"
    "List the models in the local Hugging Face cache, which MODEL can name: ORG/NAME.\n"
    "hf download ORG/NAME fetches one.\n"
    "The cache is $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub.\n";

static int run_models_command(int argc, char **argv, const struct filter *const *filters)
{
    struct arena a = {0};
    const char **names;
    int status = parse_only_help(argc, argv, models_usage);
    if (status >= 0)
        return status;
    size_t n = hf_cache_list_models(&names, &a);
    for (size_t i = 0; i < n; i++)
        puts(names[i]);
    if (n == 0)
        printable_note("tv models",
                       "the local Hugging Face cache has no models (see tv models --help)");
    arena_free(&a);
    return 0;
}

/* ---- all commands ---------------------------------------------------------------------------- */

static int run_help_command(int argc, char **argv, const struct filter *const *filters);

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv, const struct filter *const *filters);
    const char *summary;
} commands[] = {
    {"merge", tv_merge_main, "Run a mergekit configuration: tv merge CONFIG.yml OUT"},
    {"pipeline", run_pipeline_command,
     "Run the script of a published method (ties, dare_ties, ...)"},
    {"run", run_run_command, "Run a pipeline of filters in one process"},
    {"from-yaml", tv_from_yaml_main, "Print a mergekit configuration as a pipeline"},
    {"moe", tv_moe_main, "Make a mixture of experts from dense models (mergekit-moe)"},
    {"extract-lora", tv_extract_lora_main, "Write a fine-tuned model as a LoRA adapter"},
    {"tune", tv_tune_main, "Choose the numbers of a pipeline by the loss on samples"},
    {"verify", tv_verify_main, "Recompute the merge that a model records, and compare"},
    {"finish", run_finish_command, "Publish a checkpoint that was computed in parts"},
    {"models", run_models_command, "List the models in the local Hugging Face cache"},
    {"env", run_env_command, "Print the line that puts the filters on PATH"},
    {"help", run_help_command, "Show the help of a command, filter or method"},
};

#define N_COMMANDS (sizeof commands / sizeof *commands)

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* The sentence for a name that is neither a command nor a filter. */
static int unknown_name_error(const char *name)
{
    struct arena a = {0};
    struct pipeline_script *scripts;
    size_t n_scripts = pipeline_scripts_list(&scripts, &a), n = 0, n_filters = 0;
    while (filter_all[n_filters])
        n_filters++;
    const char **names = arena_alloc(&a, N_COMMANDS + n_filters + n_scripts, sizeof *names);
    for (size_t i = 0; i < N_COMMANDS; i++)
        names[n++] = commands[i].name;
    for (size_t i = 0; i < n_filters; i++)
        names[n++] = filter_all[i]->name;
    for (size_t i = 0; i < n_scripts; i++)
        names[n++] = scripts[i].name;
    if (find_pipeline_script(scripts, n_scripts, name))
        printable_message(
            "tv: %s is a pipeline; tv pipeline %s runs it (tv help %s shows its options)", name,
            name, name);
    else
        printable_message("tv: unknown filter or command %s%s; tv help lists them", name,
                          spelling_suggestion_phrase(spelling_suggestion_find(name, n, names), &a));
    arena_free(&a);
    return 2;
}

/* Runs the command or filter that argv[0] names. */
static int run_command_or_filter(int argc, char **argv)
{
    const struct command *c = find_command(argv[0]);
    if (c)
        return c->run(argc, argv, filter_all);
    const struct filter *f = pipeline_run_find_filter(&all_filters, argv[0]);
    return f ? filter_main(f, argc, argv) : unknown_name_error(argv[0]);
}

/* ---- help ------------------------------------------------------------------------------------ */

static const char usage[] =
    "Usage: tv COMMAND [OPTION...] [OPERAND...]\n"
    "       tv FILTER [OPTION...] [OPERAND...]\n"
    "Merge models, or take one step of a merge.\n\n"
    "  tv merge config.yml merged/                 what mergekit-yaml would write\n"
    "  tv pipeline ties base math code merged/     TIES\n"
    "  tv extract base math code | tv stats        how much the experts disagree\n"
    "  tv run 'tv-extract base math code | trim --density 0.2 | elect-sign |\n"
    "      combine --normalize=agreeing | pack --base base merged/'\n"
    "  tv help trim                                a filter's formula, options and example\n\n"
    "  --help         print this\n"
    "  --version      print the version\n";

static const char *const step_titles[] = {
    [STEP_READ] = "read models",
    [STEP_SPARSIFY] = "sparsify task vectors",
    [STEP_WEIGH] = "weigh the experts",
    [STEP_RESOLVE] = "resolve interference",
    [STEP_JOIN] = "join the vectors into one",
    [STEP_SCALE] = "scale",
    [STEP_WRITE] = "write a model",
    [STEP_STREAMS] = "rearrange streams",
    [STEP_LOOK] = "look at streams and models",
    [STEP_MEASURE] = "run models and measure",
};

static void print_usage(FILE *f)
{
    fputs(usage, f);
    fputs("\nCommands:\n", f);
    for (size_t i = 0; i < N_COMMANDS; i++)
        print_entry(f, 2, 16, commands[i].name, commands[i].summary);
    fputs("\nFilters, by the step of a merge:\n", f);
    for (size_t step = STEP_READ; step <= STEP_MEASURE; step++) {
        fprintf(f, "  %s\n", step_titles[step]);
        for (size_t i = 0; filter_all[i]; i++)
            if (filter_all[i]->step == step)
                print_entry(f, 4, 14, filter_all[i]->name, filter_all[i]->summary);
    }
}

static int run_help_command(int argc, char **argv, const struct filter *const *filters)
{
    char help[] = "--help", pipeline[] = "pipeline";
    struct arena a = {0};
    struct pipeline_script *scripts;
    if (argc < 2 || argv[1][0] == '-') {
        print_usage(stdout);
        return 0;
    }
    size_t n = pipeline_scripts_list(&scripts, &a);
    bool is_filter = find_command(argv[1]) || pipeline_run_find_filter(&all_filters, argv[1]);
    int status = !is_filter && find_pipeline_script(scripts, n, argv[1])
                     ? run_pipeline_command(3, (char *[]){pipeline, argv[1], help, NULL}, filters)
                     : run_command_or_filter(2, (char *[]){argv[1], help, NULL});
    arena_free(&a);
    return status;
}

int main(int argc, char **argv)
{
    char help[] = "help";
    process_start("tv");
    filter_main_set_signals();
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    if (is_one_of(argv[1], "--help", "-h", "help"))
        argv[1] = help;
    if (is_one_of(argv[1], "--version", "-V", "version")) {
        puts("tvtools " TV_VERSION);
        return 0;
    }
    return run_command_or_filter(argc - 1, argv + 1);
}
