/* tv: runs the filters, one by one or many in one process
 *
 *     tv trim --density 0.2 < in.tv > out.tv      any filter; `tv diff` is tv-diff
 *     tv run 'tv-extract base math code | combine | pack --base base merged/'
 *     eval "$(tv env)"                            the filters on PATH, under their own names
 *
 * `tv run` gives the same bytes as the shell would: neighbours among our filters become one chain
 * in one process; any other command, and each <( ... ), becomes a process between pipes.
 */
#include "line.h"
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* All filters, ended by NULL; the Makefile makes the list. */
extern const struct filter *const filter_all[];

static const struct filter *find_filter(const char *name)
{
    for (size_t i = 0; filter_all[i]; i++) {
        const char *full = filter_all[i]->name;
        if (strcmp(full, name) == 0 || (strncmp(full, "tv-", 3) == 0 && strcmp(full + 3, name) == 0))
            return filter_all[i];
    }
    return NULL;
}

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "tv: %s: %s\n", what, why);
    return 1;
}

/* ---- run ------------------------------------------------------------------------------------- */

/* What one line needs while it runs. */
struct job_table {
    size_t n, n_fds;
    pid_t *children;
    int *fds; /* of <( ... ): ours until the line has run */
    uint64_t threads;
    struct arena *a;
};

static int run_line(const struct line *l, struct job_table *parent);

static pid_t start_child(struct job_table *t)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid > 0) {
        t->children = mem_resize(t->children, t->n + 1, sizeof *t->children);
        t->children[t->n++] = pid;
    }
    return pid;
}

/* Moves a descriptor to where a program looks for it; -1 leaves that one alone. */
static void become(int from, int to)
{
    if (from < 0 || from == to)
        return;
    dup2(from, to);
    close(from);
}

/* A word of a command: <( ... ) becomes the name of a pipe from a process of its own. */
static const char *word_text(const struct word *w, struct job_table *t)
{
    int ends[2];
    if (!w->inner)
        return w->text;
    if (pipe(ends) < 0)
        return NULL;
    pid_t pid = start_child(t);
    if (pid == 0) {
        close(ends[0]);
        become(ends[1], STDOUT_FILENO);
        struct job_table own = {.threads = t->threads, .a = t->a};
        exit(run_line(w->inner, &own));
    }
    close(ends[1]);
    t->fds = mem_resize(t->fds, t->n_fds + 1, sizeof *t->fds);
    t->fds[t->n_fds++] = ends[0];
    return pid < 0 ? NULL : arena_printf(t->a, "%s/dev/fd/%d", w->text, ends[0]);
}

static char **command_words(const struct command *c, struct job_table *t)
{
    char **words = arena_alloc(t->a, c->n + 1, sizeof *words);
    for (size_t i = 0; i < c->n; i++)
        if (!(words[i] = (char *)word_text(&c->words[i], t)))
            return NULL;
    return words;
}

/* Commands that run in one process: a chain of our filters, or one foreign program. */
struct segment {
    size_t n;
    struct stage **stages;
    char **foreign;
};

static int add_stage(struct segment *s, const struct command *c, char **words, bool joins,
                     struct job_table *t)
{
    struct stage *stage = stage_parse(find_filter(words[0]), (int)c->n, words);
    if (joins && (program_starts(stage) || program_ends(s->stages[s->n - 1]))) {
        bool starts = program_starts(stage);
        const struct stage *wrong = starts ? stage : s->stages[s->n - 1];
        return fail(wrong->filter->name,
                    starts ? "it reads no stream: nothing can stand before it"
                           : "it writes no stream: nothing can stand after it");
    }
    if (stage->common.threads == 0)
        stage->common.threads = t->threads;
    s->stages = mem_resize(s->stages, s->n + 1, sizeof *s->stages);
    s->stages[s->n++] = stage;
    return 0;
}

static int make_segments(const struct line *l, struct segment *segments, size_t *n,
                         struct job_table *t)
{
    bool ours_before = false;
    for (size_t i = 0; i < l->n; i++) {
        const struct command *c = &l->commands[i];
        char **words = command_words(c, t);
        bool ours = words && find_filter(words[0]);
        if (!words)
            return fail("<( ... )", strerror(errno));
        if (!ours || !ours_before)
            segments[(*n)++] = (struct segment){0};
        struct segment *s = &segments[*n - 1];
        if (ours && add_stage(s, c, words, ours_before, t))
            return 1;
        if (!ours)
            s->foreign = words;
        ours_before = ours;
    }
    return 0;
}

static int run_segment(struct segment *s)
{
    if (!s->foreign)
        return program_run(s->stages, s->n);
    execvp(s->foreign[0], s->foreign);
    fprintf(stderr, "tv: %s: %s\n", s->foreign[0], strerror(errno));
    _exit(127);
}

static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE)
        return 0; /* its reader has said why it went */
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Each segment but the last in a child; the last one here if it is ours, for its exit status. */
static int run_segments(struct segment *segments, size_t n, struct job_table *t)
{
    int in = -1, status = 0;
    for (size_t i = 0; i < n; i++) {
        bool last = i == n - 1;
        int ends[2] = {-1, -1};
        if (!last && pipe(ends) < 0)
            return fail("pipe", strerror(errno));
        if (last && !segments[i].foreign) {
            become(in, STDIN_FILENO);
            return run_segment(&segments[i]);
        }
        pid_t pid = start_child(t);
        if (pid < 0)
            return fail("fork", strerror(errno));
        if (pid == 0) {
            become(in, STDIN_FILENO);
            become(ends[1], STDOUT_FILENO);
            if (ends[0] >= 0)
                close(ends[0]);
            exit(run_segment(&segments[i]));
        }
        if (in >= 0)
            close(in);
        if (ends[1] >= 0)
            close(ends[1]);
        in = ends[0];
    }
    return status;
}

static int run_line(const struct line *l, struct job_table *t)
{
    struct segment *segments = arena_alloc(t->a, l->n, sizeof *segments);
    size_t n = 0;
    int status = make_segments(l, segments, &n, t);
    if (status == 0)
        status = run_segments(segments, n, t);
    close(STDIN_FILENO); /* who still writes to it shall notice */
    for (size_t i = 0; i < t->n_fds; i++)
        close(t->fds[i]);
    for (size_t i = 0; i < t->n; i++) {
        int child = wait_for(t->children[i]);
        status = status ? status : child;
    }
    for (size_t i = 0; i < n; i++)
        free(segments[i].stages);
    free(t->children);
    free(t->fds);
    return status;
}

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
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct job_table t = {.threads = processors > 0 ? (uint64_t)processors : 1, .a = &a};
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(run_usage, stdout) < 0;
    char *end;
    if (argc == 3 && strncmp(argv[1], "--threads=", 10) == 0) {
        t.threads = strtoull(argv[1] + 10, &end, 10);
        if (argv[1][10] < '1' || argv[1][10] > '9' || *end || t.threads > 1024) {
            fputs("tv: run: --threads takes a number from 1 to 1024\n", stderr);
            return 2;
        }
        argc--, argv++;
    }
    if (argc != 2) {
        fputs(run_usage, stderr);
        return 2;
    }
    struct line *l = line_parse(argv[1], &a, &e);
    if (!l) {
        fprintf(stderr, "tv: run: %s\n", e.text);
        return 2;
    }
    int status = run_line(l, &t);
    arena_free(&a);
    return status;
}

/* ---- env, list, help ---------------------------------------------------------------------------- */

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
    if (strcmp(argv[1], "env") == 0)
        return print_env();
    const struct filter *f = find_filter(argv[1]);
    if (f)
        return program_main(f, argc - 1, argv + 1);
    fprintf(stderr, "tv: %s is no filter; tv --help lists them\n", argv[1]);
    return 2;
}
