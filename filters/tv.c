/* tv: runs the filters, one by one or many in one process
 *
 *     tv trim --density 0.2 < in.tv > out.tv      any filter; `tv diff` is tv-diff
 *     tv run 'tv-extract base math code | combine | pack --base base merged/'
 *     tv merge config.yml merged/                 a merge configuration; tv from-yaml prints it
 *     tv pipeline ties base math code merged      a script of pipelines/
 *     eval "$(tv env)"                            the filters on PATH, under their own names
 *
 * `tv run` gives the same bytes as the shell would: neighbours among our filters become one chain
 * in one process; any other command, and each <( ... ), becomes a process between pipes.
 */
#include "merge_plan.h"
#include "tv_from_yaml.h"
#include "tv_merge.h"
#include "standard_output.h"
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

static const struct pipeline_options all = {.filters = filter_all,
                                            .monitor = {.show_progress = true}};

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "tv: %s: %s\n", what, why);
    return 1;
}

/* ---- run ------------------------------------------------------------------------------------- */

static const char run_usage[] =
    "Usage: tv run [OPTION...] LINE\n"
    "Run a pipeline in one process: the bytes are those that the shell's pipes give.\n\n"
    "  LINE is filters with | between them, with the shell's quotes and <( ... ).\n"
    "  Any other command is run between pipes.\n"
    "  --threads=N     work on N blocks at once (default: the number of processors)\n"
    "  --quiet         show no progress on a terminal\n"
    "  --report=FILE   write what the run cost (time, bytes, memory, by stage) to FILE, as JSON\n\n"
    "  tv run 'tv-extract base math code | combine | pack --base base merged/'\n";

static int print(const char *usage)
{
    fputs(usage, stdout);
    return 0;
}

static int wrong_usage(const char *usage)
{
    fputs(usage, stderr);
    return 2;
}

static int read_threads(const char *text, uint64_t *threads)
{
    char *end;
    *threads = strtoull(text, &end, 10);
    if (*text >= '1' && *text <= '9' && !*end && *threads <= 1024)
        return 0;
    fputs("tv: run: --threads takes a number from 1 to 1024\n", stderr);
    return -1;
}

static int run(int argc, char **argv)
{
    char name[] = "tv: run"; /* as getopt_long calls us */
    static const struct option options[] = {{"help", no_argument, NULL, 'h'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"report", required_argument, NULL, 'r'},
                                            {0}};
    struct arena a = {0};
    struct error e;
    struct pipeline_options own = all;
    const char *report = NULL;
    argv[0] = name;
    for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        if (option == 'h')
            return print(run_usage);
        if (option == '?')
            return wrong_usage(run_usage);
        if (option == 't' && read_threads(optarg, &own.threads))
            return 2;
        own.monitor.show_progress &= option != 'q';
        report = option == 'r' ? optarg : report;
    }
    if (argc - optind != 1)
        return wrong_usage(run_usage);
    struct pipeline *l = pipeline_parse(argv[optind], &a, &e);
    if (!l) {
        fprintf(stderr, "tv: run: %s\n", e.text);
        return 2;
    }
    int status = pipeline_run_start_report(&own, report);
    if (status == 0)
        status = pipeline_run_end_report(&own, report, pipeline_run(&own, l, &a));
    arena_free(&a);
    return status;
}

/* ---- finish ---------------------------------------------------------------------------------- */

static const char finish_usage[] =
    "Usage: tv finish [--force] OUT\n"
    "Publish a merge that was made in parts (tv merge --part, pack --part): the parts are "
    "checked,\n"
    "index and model card are written, and OUT is put in place in one go.\n\n"
    "  --force         replace OUT if it is there\n";

static int finish(int argc, char **argv)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'}, {"force", no_argument, NULL, 'f'}, {0}};
    char name[] = "tv: finish"; /* as getopt_long calls us */
    struct error e;
    bool force = false;
    argv[0] = name;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'h')
            return print(finish_usage);
        if (option == '?')
            return wrong_usage(finish_usage);
        force = true;
    }
    if (argc - optind != 1)
        return wrong_usage(finish_usage);
    struct partial_checkpoint *p =
        partial_checkpoint_open(argv[optind], force, PARTIAL_CHECKPOINT_PUBLISH_ONLY, &e);
    int failed = !p || merge_plan_publish(p, &e);
    partial_checkpoint_close(p);
    return failed ? fail("finish", e.text) : 0;
}

/* ---- env, pipeline, help --------------------------------------------------------------------- */

/* A folder beside tv's own, as it is installed or as it is built; NULL if there is none. */
static char *find_folder(const char *installed, const char *built)
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
    return access(path, X_OK) == 0 ? realpath(path, NULL) : NULL;
}

static int print_env(void)
{
    char *folder = find_folder("../libexec/tvtools", "../bin"), *filter = NULL;
    if (!folder || asprintf(&filter, "%s/%s", folder, filter_all[0]->name) < 0 ||
        access(filter, X_OK) != 0)
        return fail("env", "the filters are not where tv is; was it installed without them?");
    printf("export PATH='");
    for (const char *c = folder; *c; c++)
        *c == '\'' ? (void)fputs("'\\''", stdout) : (void)putchar(*c);
    printf("':\"$PATH\"\n");
    free(folder);
    free(filter);
    return 0;
}

static int run_pipeline(int argc, char **argv)
{
    char *folder = find_folder("../libexec/tvtools/pipelines", "../../pipelines"), *script = NULL;
    if (argc < 2 || strchr(argv[1], '/')) {
        fputs("Usage: tv pipeline NAME [OPTION...] BASE EXPERT... OUT\n", stderr);
        return 2;
    }
    if (!folder || asprintf(&script, "%s/%s", folder, argv[1]) < 0)
        return fail("pipeline", "the pipelines are not where tv is");
    argv[1] = script;
    execv(script, argv + 1);
    return fail(script, strerror(errno));
}

static void print_usage(FILE *f)
{
    fputs(
        "Usage: tv FILTER [OPTION...]     run one filter (tv help FILTER says more)\n"
        "       tv run 'LINE'             run a pipeline in one process (tv run --help)\n"
        "       tv merge CONFIG.yml OUT   run a merge configuration (tv merge --help)\n"
        "       tv finish OUT             publish a merge that was made in parts\n"
        "       tv from-yaml CONFIG.yml   print it as a pipeline\n"
        "       tv pipeline NAME ...      run one of the scripts of published methods: ties, ...\n"
        "       eval \"$(tv env)\"          put the filters on PATH\n\n"
        "  --help         print this\n"
        "  --version      print the version\n\n",
        f);
    for (size_t i = 0; filter_all[i]; i++)
        fprintf(f, "  %-14s %s\n", filter_all[i]->name, filter_all[i]->summary);
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

static int run_command(int argc, char **argv)
{
    const char *name = argv[0];
    if (strcmp(name, "run") == 0)
        return run(argc, argv);
    if (strcmp(name, "merge") == 0)
        return tv_merge_main(argc, argv, filter_all);
    if (strcmp(name, "finish") == 0)
        return finish(argc, argv);
    if (strcmp(name, "from-yaml") == 0)
        return tv_from_yaml_main(argc, argv);
    if (strcmp(name, "pipeline") == 0)
        return run_pipeline(argc, argv);
    if (strcmp(name, "env") == 0 && argc == 1)
        return print_env();
    const struct filter *f = pipeline_run_find_filter(&all, name);
    if (f)
        return filter_main(f, argc, argv);
    fprintf(stderr, "tv: %s is no filter; tv --help lists them\n", name);
    return 2;
}

int main(int argc, char **argv)
{
    char help[] = "--help";
    standard_output_flush_at_exit("tv");
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    if (is_one_of(argv[1], "--help", "-h", "help")) {
        if (argc == 3)
            return run_command(2, (char *[]){argv[2], help, NULL});
        print_usage(stdout);
        return 0;
    }
    if (is_one_of(argv[1], "--version", "-V", "version")) {
        puts("tvtools " TV_VERSION);
        return 0;
    }
    return run_command(argc - 1, argv + 1);
}
