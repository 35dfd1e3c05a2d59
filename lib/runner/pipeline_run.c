#include "pipeline_run.h"

#include "command_line.h"
#include "filter_main.h"
#include "stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "tv: %s: %s\n", what, why);
    return 1;
}

const struct filter *pipeline_run_find_filter(const struct pipeline_options *r, const char *name)
{
    for (size_t i = 0; r->filters[i]; i++) {
        const char *full = r->filters[i]->name;
        if (strcmp(full, name) == 0 ||
            (strncmp(full, "tv-", 3) == 0 && strcmp(full + 3, name) == 0))
            return r->filters[i];
    }
    return NULL;
}

/* What one line needs while it runs. */
struct job_table {
    const struct pipeline_options *run;
    size_t n, n_fds;
    pid_t *children;
    int *fds; /* of <( ... ): ours until the line has run */
    struct arena *a;
};

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
static const char *word_text(const struct pipeline_word *w, struct job_table *t)
{
    int ends[2];
    if (!w->substitution)
        return w->text;
    if (pipe(ends) < 0)
        return NULL;
    pid_t pid = start_child(t);
    if (pid == 0) {
        close(ends[0]);
        become(ends[1], STDOUT_FILENO);
        exit(pipeline_run(t->run, w->substitution, t->a));
    }
    close(ends[1]);
    t->fds = mem_resize(t->fds, t->n_fds + 1, sizeof *t->fds);
    t->fds[t->n_fds++] = ends[0];
    const char *after = w->suffix ? w->suffix : "";
    return pid < 0 ? NULL : arena_printf(t->a, "%s/dev/fd/%d%s", w->text, ends[0], after);
}

static char **command_words(const struct pipeline_command *c, struct job_table *t)
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

/* A source that takes standard input all the same: a text, or what its operand "-" names. */
static bool takes_input(const struct stage *s)
{
    bool takes = s->operands.n == 0;
    for (size_t i = 0; i < s->operands.n; i++)
        takes |= strcmp(s->operands.items[i], "-") == 0;
    return takes && stage_starts_chain(s);
}

/* A sink that looks at a file instead of standard input. */
static bool reads_operand(const struct stage *s)
{
    return s->filter->sink.source_for_operand && s->operands.n &&
           strcmp(s->operands.items[0], "-") != 0;
}

static int check_order(const struct stage *before, const struct stage *stage)
{
    if (stage_starts_chain(stage) || reads_operand(stage))
        return fail(stage->filter->name, "it reads no stream: nothing can stand before it");
    if (stage_ends_chain(before))
        return fail(before->filter->name, "it writes no stream: nothing can stand after it");
    return 0;
}

static void add_stage(struct segment *s, struct stage *stage, const struct job_table *t)
{
    const struct pipeline_options *r = t->run;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (stage->common.threads == 0)
        stage->common.threads = r->threads ? r->threads : processors > 0 ? (uint64_t)processors : 1;
    if (r->memory)
        stage->common.memory = r->memory;
    if (r->spool)
        stage->common.spool = r->spool;
    s->stages = mem_resize(s->stages, s->n + 1, sizeof *s->stages);
    s->stages[s->n++] = stage;
}

static int make_segments(const struct pipeline *l, struct segment *segments, size_t *n,
                         struct job_table *t)
{
    const struct stage *before = NULL;
    for (size_t i = 0; i < l->n; i++) {
        char **words = command_words(&l->commands[i], t);
        if (!words)
            return fail("<( ... )", strerror(errno));
        const struct filter *ours = pipeline_run_find_filter(t->run, words[0]);
        struct stage *stage = ours ? command_line_parse(ours, (int)l->commands[i].n, words) : NULL;
        if (stage && takes_input(stage))
            before = NULL; /* out of a pipe, as in the shell */
        if (stage && before && check_order(before, stage))
            return 1;
        if (!stage || !before)
            segments[(*n)++] = (struct segment){.foreign = stage ? NULL : words};
        if (stage)
            add_stage(&segments[*n - 1], stage, t);
        before = stage;
    }
    return 0;
}

static int run_segment(const struct pipeline_options *r, struct segment *s)
{
    if (!s->foreign)
        return filter_main_run_chain(s->stages, s->n, &r->monitor);
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
            return run_segment(t->run, &segments[i]);
        }
        pid_t pid = start_child(t);
        if (pid < 0)
            return fail("fork", strerror(errno));
        if (pid == 0) {
            become(in, STDIN_FILENO);
            become(ends[1], STDOUT_FILENO);
            if (ends[0] >= 0)
                close(ends[0]);
            exit(run_segment(t->run, &segments[i]));
        }
        for (size_t j = 0; j < segments[i].n; j++)
            stage_free(segments[i].stages[j]);
        if (in >= 0)
            close(in);
        if (ends[1] >= 0)
            close(ends[1]);
        in = ends[0];
    }
    return status;
}

int pipeline_run(const struct pipeline_options *r, const struct pipeline *l, struct arena *a)
{
    struct job_table t = {.run = r, .a = a};
    struct segment *segments = arena_alloc(a, l->n, sizeof *segments);
    size_t n = 0;
    int status = make_segments(l, segments, &n, &t);
    if (status == 0)
        status = run_segments(segments, n, &t);
    close(STDIN_FILENO); /* who still writes to it shall notice */
    for (size_t i = 0; i < t.n_fds; i++)
        close(t.fds[i]);
    for (size_t i = 0; i < t.n; i++) {
        int child = wait_for(t.children[i]);
        status = status ? status : child;
    }
    for (size_t i = 0; i < n; i++)
        free(segments[i].stages);
    free(t.children);
    free(t.fds);
    return status;
}

int pipeline_run_start_report(struct pipeline_options *r, const char *file)
{
    if (file && !(r->monitor.report = run_report_new()))
        return fail("report", strerror(errno));
    return 0;
}

int pipeline_run_end_report(struct pipeline_options *r, const char *file, int status)
{
    struct error e;
    if (r->monitor.report && status == 0 && run_report_write_json(r->monitor.report, file, &e))
        status = fail("report", e.text);
    run_report_free(r->monitor.report);
    r->monitor.report = NULL;
    return status;
}
