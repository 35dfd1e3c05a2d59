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
#include "parts_plan.h"
#include "printable.h"
#include "tv_extract_lora.h"
#include "tv_from_yaml.h"
#include "tv_merge.h"
#include "tv_moe.h"
#include "tv_tune.h"
#include "tv_verify.h"
#include "process_start.h"
#include "filter_main.h"
#include "pipeline_run.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* All filters, ended by NULL; the Makefile makes the list. */
extern const struct filter *const filter_all[];

static const struct pipeline_options all_filters = {.filters = filter_all,
                                                    .monitor = {.show_progress = true}};

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
    "  <( ... ). Commands that are not filters run as separate processes.\n"
    "  --threads=N     work on N blocks at once (default: one per CPU)\n"
    "  --quiet         show no progress on a terminal\n"
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
    static const struct option options[] = {{"help", no_argument, NULL, 'h'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"report", required_argument, NULL, 'r'},
                                            {0}};
    for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        if (option == 'h')
            return print_help(run_usage);
        if (option == '?')
            return 2;
        if (option == 't' && parse_threads(optarg, &o->pipeline.threads))
            return 2;
        o->pipeline.monitor.show_progress &= option != 'q';
        o->report = option == 'r' ? optarg : o->report;
    }
    if (argc - optind == 1)
        return -1;
    return usage_error("run", argc == optind ? "missing operand PIPELINE"
                                             : "expected PIPELINE as one argument");
}

static int run_run_command(int argc, char **argv)
{
    char name[] = "tv: run"; /* for the messages of getopt_long */
    struct run_options o = {.pipeline = all_filters};
    struct arena a = {0};
    struct error e;
    argv[0] = name;
    int status = parse_run_options(argc, argv, &o);
    if (status >= 0)
        return status;
    struct pipeline *pipeline = pipeline_parse(argv[optind], &a, &e);
    if (!pipeline) {
        print_error("run", e.text);
        return 2;
    }
    status = pipeline_run_start_report(&o.pipeline, o.report);
    if (status == 0)
        status =
            pipeline_run_end_report(&o.pipeline, o.report, pipeline_run(&o.pipeline, pipeline, &a));
    arena_free(&a);
    return status;
}

/* ---- finish ---------------------------------------------------------------------------------- */

static const char finish_usage[] =
    "Usage: tv finish [--force] OUT\n"
    "Publish a checkpoint that was computed in parts (tv merge --part, pack --part): check the\n"
    "parts, write the index and the model card, and move OUT into place.\n\n"
    "  --force         replace OUT if it exists\n";

static int run_finish_command(int argc, char **argv)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'}, {"force", no_argument, NULL, 'f'}, {0}};
    char name[] = "tv: finish"; /* for the messages of getopt_long */
    struct error e;
    bool force = false;
    argv[0] = name;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
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

/* ---- env, pipeline, help --------------------------------------------------------------------- */

/* A folder given by its path from the folder of tv, in an installation or in a build tree; NULL if
 * there is none. */
static char *find_installed_or_built_folder(const char *installed, const char *built)
{
    char own[PATH_MAX / 2], path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n < 0)
        return NULL;
    own[n] = '\0';
    *strrchr(own, '/') = '\0';
    snprintf(path, sizeof path, "%s/%s", own, installed);
    if (access(path, X_OK) != 0)
        snprintf(path, sizeof path, "%s/%s", own, built);
    return access(path, X_OK) == 0 ? mem_real_path(path) : NULL;
}

static int run_env_command(void)
{
    char *folder = find_installed_or_built_folder("../libexec/tvtools", "../bin");
    char *filter = folder ? mem_printf("%s/%s", folder, filter_all[0]->name) : NULL;
    if (!filter || access(filter, X_OK) != 0)
        return print_error("env", "the filters are not installed next to tv");
    printf("export PATH=");
    printable_print_shell_word(stdout, folder);
    printf(":\"$PATH\"\n");
    free(folder);
    free(filter);
    return 0;
}

static int run_pipeline_script_command(int argc, char **argv)
{
    char *folder =
        find_installed_or_built_folder("../libexec/tvtools/pipelines", "../../pipelines");
    if (argc < 2 || strchr(argv[1], '/')) {
        fputs("Usage: tv pipeline NAME [OPTION...] BASE EXPERT... OUT\n", stderr);
        return 2;
    }
    if (!folder)
        return print_error("pipeline", "the pipelines are not installed next to tv");
    char *script = argv[1] = mem_printf("%s/%s", folder, argv[1]);
    execv(script, argv + 1);
    return print_error(script, strerror(errno));
}

static void print_usage(FILE *f)
{
    fputs("Usage: tv FILTER [OPTION...]     run one filter (tv help FILTER shows its options)\n"
          "       tv run 'PIPELINE'         run a pipeline in one process (tv run --help)\n"
          "       tv merge CONFIG.yml OUT   run a mergekit configuration (tv merge --help)\n"
          "       tv moe CONFIG.yml OUT     make a mixture of experts (mergekit-moe)\n"
          "       tv finish OUT             publish a checkpoint that was computed in parts\n"
          "       tv extract-lora BASE EXPERT OUT   write a fine-tuned model as a LoRA adapter\n"
          "       tv verify MODEL INPUT...  recompute the merge of MODEL and compare the "
          "tensors\n"
          "       tv tune 'PIPELINE'        choose numbers of a pipeline by the loss on samples\n"
          "       tv from-yaml CONFIG.yml   print a mergekit configuration as a pipeline\n"
          "       tv pipeline NAME ...      run the script of a published method (ties, ...)\n"
          "       eval \"$(tv env)\"          put the filters on PATH\n\n"
          "  --help         print this\n"
          "  --version      print the version\n\n",
          f);
    for (size_t i = 0; filter_all[i]; i++)
        fprintf(f, "  %-14s %s\n", filter_all[i]->name, filter_all[i]->summary);
}

/* ---- main ------------------------------------------------------------------------------------ */

static bool is_one_of_three_words(const char *word, const char *a, const char *b, const char *c)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

/* Runs the command or filter that argv[0] names. */
static int run_command_or_filter(int argc, char **argv)
{
    const char *name = argv[0];
    if (strcmp(name, "run") == 0)
        return run_run_command(argc, argv);
    if (strcmp(name, "merge") == 0)
        return tv_merge_main(argc, argv, filter_all);
    if (strcmp(name, "moe") == 0)
        return tv_moe_main(argc, argv, filter_all);
    if (strcmp(name, "finish") == 0)
        return run_finish_command(argc, argv);
    if (strcmp(name, "extract-lora") == 0)
        return tv_extract_lora_main(argc, argv, filter_all);
    if (strcmp(name, "verify") == 0)
        return tv_verify_main(argc, argv, filter_all);
    if (strcmp(name, "tune") == 0)
        return tv_tune_main(argc, argv, filter_all);
    if (strcmp(name, "from-yaml") == 0)
        return tv_from_yaml_main(argc, argv, filter_all);
    if (strcmp(name, "pipeline") == 0)
        return run_pipeline_script_command(argc, argv);
    if (strcmp(name, "env") == 0 && argc == 1)
        return run_env_command();
    const struct filter *f = pipeline_run_find_filter(&all_filters, name);
    if (f)
        return filter_main(f, argc, argv);
    printable_message("tv: unknown filter or command %s (tv --help lists them)", name);
    return 2;
}

int main(int argc, char **argv)
{
    char help[] = "--help";
    process_start("tv");
    filter_main_set_signals();
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    if (is_one_of_three_words(argv[1], "--help", "-h", "help")) {
        if (argc == 3)
            return run_command_or_filter(2, (char *[]){argv[2], help, NULL});
        print_usage(stdout);
        return 0;
    }
    if (is_one_of_three_words(argv[1], "--version", "-V", "version")) {
        puts("tvtools " TV_VERSION);
        return 0;
    }
    return run_command_or_filter(argc - 1, argv + 1);
}
