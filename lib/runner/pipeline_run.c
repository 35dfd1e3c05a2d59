#include "pipeline_run.h"

#include "atomic_file.h"
#include "command_line.h"
#include "descriptor_path.h"
#include "fatal.h"
#include "filter_main.h"
#include "printable.h"
#include "runner_state.h"
#include "stage_outputs.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int print_error(const char *subject, const char *text)
{
    printable_message("tv: %s: %s", subject, text);
    return 1;
}

const struct filter *pipeline_run_find_filter(const struct pipeline_options *o, const char *name)
{
    for (size_t i = 0; o->filters[i]; i++) {
        const char *full = o->filters[i]->name;
        if (strcmp(full, name) == 0 ||
            (strncmp(full, "tv-", 3) == 0 && strcmp(full + 3, name) == 0))
            return o->filters[i];
    }
    return NULL;
}

/* ---- processes and pipes --------------------------------------------------------------------- */

/* The processes that a pipeline has started. */
struct process_list {
    const struct pipeline_options *options;
    struct arena *a;
    size_t n;
    pid_t *children;
    pid_t last;           /* of these, the last command whose output no command reads; 0: none */
    bool is_substitution; /* a <( ... ) */
    size_t n_fds;
    int *fds; /* reading ends of the pipes of <( ... ), open until the pipeline has run */
};

static pid_t fork_child(struct process_list *l)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid > 0) {
        l->children = mem_resize(l->children, l->n + 1, sizeof *l->children);
        l->children[l->n++] = pid;
    }
    return pid;
}

/* Waits for a child: its exit status. That its reader has gone is no failure; the reader itself
 * reports why. The reader also reports that a child was killed, except for the last command. */
static int wait_for_child(pid_t pid, bool is_last)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE)
        return 0;
    if (WIFSIGNALED(status) && is_last)
        print_error("the last command", strsignal(WTERMSIG(status)));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Makes `to` a copy of descriptor `from`, which is closed. Nothing to do if `from` is -1. Ends the
 * process if that fails, with an error record to `output`, the stream that it was to write (-1:
 * none). */
static void move_fd(int from, int to, int output)
{
    if (from < 0 || from == to)
        return;
    while (dup2(from, to) < 0) {
        if (errno == EINTR)
            continue;
        const char *reason = strerror(errno);
        print_error("cannot connect a pipe", reason);
        if (output >= 0)
            filter_main_write_error_record(output, "tv", reason);
        exit(1);
    }
    close(from);
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* ---- the words of a command ------------------------------------------------------------------ */

static int run_pipeline(const struct pipeline_options *o, const struct pipeline *pipeline,
                        bool is_substitution, struct arena *a);

/* The text of a word. A <( ... ) in it starts a process and becomes the name of the pipe from it.
 * NULL on error (errno). */
static const char *start_substitution_and_expand_word(const struct pipeline_word *w,
                                                      struct process_list *l)
{
    int ends[2];
    if (!w->substitution)
        return w->text;
    if (pipe(ends) < 0)
        return NULL;
    pid_t pid = fork_child(l);
    if (pid == 0) {
        close(ends[0]);
        move_fd(ends[1], STDOUT_FILENO, ends[1]);
        exit(run_pipeline(l->options, w->substitution, true, l->a));
    }
    close(ends[1]);
    l->fds = mem_resize(l->fds, l->n_fds + 1, sizeof *l->fds);
    l->fds[l->n_fds++] = ends[0];
    const char *suffix = w->suffix ? w->suffix : "";
    return pid < 0 ? NULL : arena_printf(l->a, "%s/dev/fd/%d%s", w->text, ends[0], suffix);
}

/* argv of a command, ended by NULL. */
static char **expand_words(const struct pipeline_command *c, struct process_list *l)
{
    char **words = arena_alloc(l->a, c->n + 1, sizeof *words);
    for (size_t i = 0; i < c->n; i++)
        if (!(words[i] = (char *)start_substitution_and_expand_word(&c->words[i], l)))
            return NULL;
    return words;
}

/* ---- segments -------------------------------------------------------------------------------- */

/* Commands that run in one process: a chain of our filters, or one other program. */
struct segment {
    size_t n;
    struct stage **stages;
    char **program; /* argv; NULL: the stages */
};

/* Is it a source that nevertheless reads standard input: a text, or its operand "-"? */
static bool source_reads_stdin(const struct stage *s)
{
    bool reads = s->operands.n == 0;
    for (size_t i = 0; i < s->operands.n; i++)
        reads |= strcmp(s->operands.items[i], "-") == 0;
    return reads && filter_main_starts_chain(s);
}

/* Is it a sink that reads its operand instead of standard input? */
static bool sink_reads_operand(const struct stage *s)
{
    return s->filter->sink.source_for_operand && s->operands.n &&
           strcmp(s->operands.items[0], "-") != 0;
}

static int check_adjacent_stages(const struct stage *before, const struct stage *stage)
{
    if (filter_main_starts_chain(stage) || sink_reads_operand(stage))
        return print_error(stage->filter->name, "it reads no stream, so no command may precede it");
    if (filter_main_ends_chain(before))
        return print_error(before->filter->name,
                           "it writes no stream, so no command may follow it");
    return 0;
}

static uint64_t choose_thread_count(const struct pipeline_options *o)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (o->threads)
        return o->threads;
    return processors > 0 ? (uint64_t)processors : 1;
}

static void add_stage_to_segment(struct segment *s, struct stage *stage,
                                 const struct pipeline_options *o)
{
    if (stage->common.threads == 0)
        stage->common.threads = choose_thread_count(o);
    if (o->memory)
        stage->common.memory = o->memory;
    if (o->spool)
        stage->common.spool = o->spool;
    s->stages = mem_resize(s->stages, s->n + 1, sizeof *s->stages);
    s->stages[s->n++] = stage;
}

/* Is the stage better off with the stored result of the segment, because it reads all tensors more
 * than once and the segment would compute for long each time? */
static bool should_store_input(const struct stage *stage, const struct segment *s)
{
    bool slow = false;
    for (size_t i = 0; i < s->n; i++)
        slow |= s->stages[i]->filter->tensor_memory != NULL;
    return slow && runner_state_stage_scope(stage) == SCOPE_MODEL &&
           !(stage->filter->looks_at_source && stage->filter->looks_at_source(stage));
}

/* Fills in the segments of a pipeline, at most one per command; their number in *n. A new segment,
 * which reads from a pipe as in the shell, starts at a source that reads standard input, and at a
 * stage that should store its input. */
static int split_pipeline_into_segments(const struct pipeline *pipeline, struct segment *segments,
                                        size_t *n, struct process_list *l)
{
    const struct stage *before = NULL; /* the stage that the next may be chained to */
    for (size_t i = 0; i < pipeline->n; i++) {
        const struct pipeline_command *c = &pipeline->commands[i];
        char **words = expand_words(c, l);
        if (!words)
            return print_error("<( ... )", strerror(errno));
        const struct filter *f = pipeline_run_find_filter(l->options, words[0]);
        if (!f && l->options->only_filters)
            return print_error(words[0], "it is not a filter of tvtools");
        struct stage *stage = f ? command_line_parse(f, (int)c->n, words) : NULL;
        if (stage && source_reads_stdin(stage))
            before = NULL;
        if (stage && before && check_adjacent_stages(before, stage))
            return 1;
        if (stage && before && should_store_input(stage, &segments[*n - 1]))
            before = NULL;
        if (!stage || !before)
            segments[(*n)++] = (struct segment){.program = stage ? NULL : words};
        if (stage)
            add_stage_to_segment(&segments[*n - 1], stage, l->options);
        before = stage;
    }
    return 0;
}

/* Runs a segment in this process; an external program is executed and does not return. */
static int run_segment_in_this_process(const struct pipeline_options *o, struct segment *s,
                                       bool is_last)
{
    if (!s->program) {
        filter_main_set_parsed(s->stages[s->n - 1]->filter);
        return filter_main_run_chain(s->stages, s->n, &o->monitor);
    }
    execvp(s->program[0], s->program);
    int reason = errno;
    printable_message("tv: %s: %s", s->program[0], strerror(reason));
    if (!is_last)
        filter_main_write_error_record(STDOUT_FILENO, s->program[0], strerror(reason));
    _exit(127);
}

static void free_stages(struct segment *s)
{
    for (size_t i = 0; i < s->n; i++)
        stage_free(s->stages[i]);
    s->n = 0;
}

/* Starts a segment in a child that reads `input` (-1: standard input). Its output is standard
 * output if it is the last, else a pipe, whose reading end is in *output. */
static int start_segment(struct segment *s, bool is_last, int input, int *output,
                         struct process_list *l)
{
    int ends[2] = {-1, -1};
    pid_t pid = -1;
    if (is_last || pipe(ends) == 0)
        pid = fork_child(l);
    if (pid < 0) {
        print_error("cannot start a process", strerror(errno));
        close_fd(input); /* so that the commands before it end */
        close_fd(ends[0]);
        close_fd(ends[1]);
        return 1;
    }
    if (pid == 0) {
        move_fd(input, STDIN_FILENO, ends[1]);
        move_fd(ends[1], STDOUT_FILENO, ends[1]);
        close_fd(ends[0]);
        exit(run_segment_in_this_process(l->options, s, is_last));
    }
    if (is_last && !l->is_substitution)
        l->last = pid;
    free_stages(s);
    close_fd(input);
    close_fd(ends[1]);
    *output = ends[0];
    return 0;
}

/* Runs each segment in a child, but a last one of our filters in this process. */
static int run_segments(struct segment *segments, size_t n, struct process_list *l)
{
    int input = -1;
    for (size_t i = 0; i < n; i++) {
        bool is_last = i == n - 1;
        if (is_last && !segments[i].program) {
            move_fd(input, STDIN_FILENO, -1);
            return run_segment_in_this_process(l->options, &segments[i], true);
        }
        if (start_segment(&segments[i], is_last, input, &input, l))
            return 1;
    }
    return 0;
}

/* The exit status: that of the segments, or if it is 0 that of the first child that failed. */
static int wait_for_processes(struct process_list *l, int status)
{
    close(STDIN_FILENO); /* a command that still writes to it gets SIGPIPE */
    for (size_t i = 0; i < l->n_fds; i++)
        close(l->fds[i]);
    for (size_t i = 0; i < l->n; i++) {
        int child = wait_for_child(l->children[i], l->children[i] == l->last);
        status = status ? status : child;
    }
    free(l->children);
    free(l->fds);
    return status;
}

/* NULL if the last command is another program. */
static const struct filter *last_filter(const struct pipeline_options *o,
                                        const struct pipeline *pipeline)
{
    const struct pipeline_command *c = &pipeline->commands[pipeline->n - 1];
    return pipeline_run_find_filter(o, c->words[0].text);
}

/* Do the segments, and the report, write different files? Prints the error. */
static int check_outputs_distinct(const struct pipeline_options *o, const struct segment *segments,
                                  size_t n, struct arena *a)
{
    struct error e;
    size_t n_stages = 0;
    for (size_t i = 0; i < n; i++)
        n_stages += segments[i].n;
    const struct stage **stages = arena_alloc(a, n_stages + 1, sizeof *stages);
    n_stages = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < segments[i].n; j++)
            stages[n_stages++] = segments[i].stages[j];
    if (stage_outputs_check_distinct(stages, n_stages, o->report, &e) == 0)
        return 0;
    print_error("run", e.text);
    return 2;
}

/* Does the last segment write a stream or an archive to standard output? What another program
 * writes is not known. */
static bool stream_goes_to_stdout(const struct segment *last)
{
    return !last->program && stage_outputs_use_stdout(last->stages[last->n - 1]);
}

/* Is no side output written into a stream? `report` is NULL in a substitution. Prints the error. */
static int check_outputs_are_not_streams(const struct segment *segments, size_t n,
                                         const char *report)
{
    struct error e;
    bool to_stdout = stream_goes_to_stdout(&segments[n - 1]);
    if (to_stdout && report && stage_outputs_check_path_is_not_stdout("report", report, &e)) {
        print_error("run", e.text);
        return 2;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < segments[i].n; j++) {
            const struct stage *s = segments[i].stages[j];
            if ((i < n - 1 && stage_outputs_check_not_pipe(s, &e)) ||
                (to_stdout && stage_outputs_check_not_stdout(s, &e))) {
                printable_message("%s: %s", s->filter->name, e.text);
                return 2;
            }
        }
    return 0;
}

static int run_pipeline(const struct pipeline_options *o, const struct pipeline *pipeline,
                        bool is_substitution, struct arena *a)
{
    struct process_list l = {.options = o, .a = a, .is_substitution = is_substitution};
    const struct filter *last = last_filter(o, pipeline);
    filter_main_set_parsed(last);
    struct segment *segments = arena_alloc(a, pipeline->n, sizeof *segments);
    size_t n = 0;
    int status = split_pipeline_into_segments(pipeline, segments, &n, &l);
    if (status == 0)
        status = check_outputs_distinct(o, segments, n, a);
    if (status == 0)
        status = check_outputs_are_not_streams(segments, n, is_substitution ? NULL : o->report);
    filter_main_set_parsed(NULL);
    for (size_t i = 0; i < n && status; i++)
        free_stages(&segments[i]);
    if (status && last && last->role != ROLE_SINK)
        filter_main_write_error_record(STDOUT_FILENO, "tv", "the pipeline cannot be run");
    if (status == 0)
        status = run_segments(segments, n, &l);
    status = wait_for_processes(&l, status);
    for (size_t i = 0; i < n; i++)
        free(segments[i].stages);
    return status;
}

int pipeline_run(const struct pipeline_options *o, const struct pipeline *pipeline, struct arena *a)
{
    printable_share_messages();
    return run_pipeline(o, pipeline, false, a);
}

/* ---- the report ------------------------------------------------------------------------------ */

int pipeline_run_start_report(struct pipeline_options *o, const char *file)
{
    struct error e;
    o->report = file = file ? descriptor_path_to_write(file) : NULL;
    if (file && atomic_file_check(file, run_report_is_report, &e))
        return print_error("report", e.text);
    if ((file || o->reports_in_memory) && !(o->monitor.report = run_report_new()))
        return print_error("report", strerror(errno));
    return 0;
}

int pipeline_run_end_report(struct pipeline_options *o, int status)
{
    static const char subject[] = "tv: the output of the pipeline is complete, but not the report";
    struct error e;
    if (o->report && status == 0) {
        fatal_set_program(subject, 1);
        status = run_report_write_json(o->monitor.report, o->report, &e) ? 1 : 0;
        if (status)
            printable_message("%s: %s", subject, e.text);
    }
    run_report_free(o->monitor.report);
    o->monitor.report = NULL;
    return status;
}
