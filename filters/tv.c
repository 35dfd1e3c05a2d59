/* tv: runs the filters, one by one or many in one process
 *
 *     tv trim --density 0.2 < in.tv > out.tv      any filter; `tv diff` is tv-diff
 *     tv run 'tv-extract base math code | combine | pack --base base merged/'
 *     tv merge config.yml merged/                 a merge configuration; tv from-yaml prints it
 *     eval "$(tv env)"                            the filters on PATH, under their own names
 *
 * `tv run` gives the same bytes as the shell would: neighbours among our filters become one chain
 * in one process; any other command, and each <( ... ), becomes a process between pipes.
 */
#include "merge.h"
#include "program.h"
#include "run.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* All filters, ended by NULL; the Makefile makes the list. */
extern const struct filter *const filter_all[];

static const struct run all = {.filters = filter_all};

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "tv: %s: %s\n", what, why);
    return 1;
}

/* ---- run ------------------------------------------------------------------------------------- */

static const char run_usage[] =
    "Usage: tv run [--threads=N] LINE\n"
    "Run a pipeline in one process: the bytes are those that the shell's pipes give.\n\n"
    "  LINE is filters with | between them, with the shell's quotes and <( ... ).\n"
    "  Any other command is run between pipes.\n"
    "  --threads=N   work on N blocks at once (default: the number of processors)\n\n"
    "  tv run 'tv-extract base math code | combine | pack --base base merged/'\n";

static int run(int argc, char **argv)
{
    struct arena a = {0};
    struct error e;
    struct run own = all;
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(run_usage, stdout) < 0;
    char *end;
    if (argc == 3 && strncmp(argv[1], "--threads=", 10) == 0) {
        own.threads = strtoull(argv[1] + 10, &end, 10);
        if (argv[1][10] < '1' || argv[1][10] > '9' || *end || own.threads > 1024) {
            fputs("tv: run: --threads takes a number from 1 to 1024\n", stderr);
            return 2;
        }
        argc--, argv++;
    }
    if (argc != 2 || argv[1][0] == '-') {
        fputs(run_usage, stderr);
        return 2;
    }
    struct line *l = line_parse(argv[1], &a, &e);
    if (!l) {
        fprintf(stderr, "tv: run: %s\n", e.text);
        return 2;
    }
    int status = run_line(&own, l, &a);
    arena_free(&a);
    return status;
}

/* ---- env, list, help ----------------------------------------------------------------------------
 */

/* Where the filters are: ../libexec/tvtools beside an installed tv, else tv's own folder. */
static int print_env(void)
{
    char path[PATH_MAX - 32], installed[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n < 0)
        return fail("/proc/self/exe", strerror(errno));
    path[n] = '\0';
    *strrchr(path, '/') = '\0';
    snprintf(installed, sizeof installed, "%s/../libexec/tvtools", path);
    const char *folder = access(installed, X_OK) == 0 ? realpath(installed, NULL) : path;
    printf("export PATH='");
    for (const char *c = folder; c && *c; c++)
        *c == '\'' ? (void)fputs("'\\''", stdout) : (void)putchar(*c);
    printf("':\"$PATH\"\n");
    return 0;
}

static void print_usage(FILE *f)
{
    fputs("Usage: tv FILTER [OPTION...]     run one filter (tv FILTER --help says more)\n"
          "       tv run 'LINE'             run a pipeline in one process (see tv run --help)\n"
          "       tv merge CONFIG.yml OUT   run a merge configuration (see tv merge --help)\n"
          "       tv from-yaml CONFIG.yml   print it as a pipeline\n"
          "       eval \"$(tv env)\"          put the filters on PATH\n\n"
          "  --help         print this\n"
          "  --version      print the version\n\n",
          f);
    for (size_t i = 0; filter_all[i]; i++)
        fprintf(f, "  %-14s %s\n", filter_all[i]->name, filter_all[i]->summary);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("tvtools " TV_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "run") == 0)
        return run(argc - 1, argv + 1);
    if (strcmp(argv[1], "merge") == 0)
        return merge_main(argc - 1, argv + 1, filter_all);
    if (strcmp(argv[1], "from-yaml") == 0)
        return merge_print_main(argc - 1, argv + 1);
    if (strcmp(argv[1], "env") == 0)
        return print_env();
    const struct filter *f = run_find_filter(&all, argv[1]);
    if (f)
        return program_main(f, argc - 1, argv + 1);
    fprintf(stderr, "tv: %s is no filter; tv --help lists them\n", argv[1]);
    return 2;
}
