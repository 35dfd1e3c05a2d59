#include "filter_main.h"

#include "command_line.h"
#include "stage.h"
#include "standard_output.h"
#include "writer.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *running; /* the first stage's name, for a signal handler */

/* A mapped file that shrinks under our hands raises SIGBUS: say so instead of dumping core. */
static void on_bus_error(int signal)
{
    static const char text[] = ": a file was cut while it was being read\n";
    ssize_t ignored = write(STDERR_FILENO, running, strlen(running));
    ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(1);
}

bool stage_starts_chain(const struct stage *s)
{
    const struct filter *f = s->filter;
    return f->role == ROLE_SOURCE && (!f->source.only_with_operands || s->operands.n > 0);
}

bool stage_ends_chain(const struct stage *s)
{
    return s->filter->role == ROLE_SINK;
}

/* What stands before a first stage that is no source: standard input, or its first operand. */
static struct stage *new_reader(const struct stage *s, struct error *e)
{
    const struct filter *from = &stdio_stages_reader;
    const struct filter *f = s->filter;
    bool operand = f->sink.source_for_operand && (s->operands.n || f->max_operands == 0);
    if (operand &&
        !(from = f->sink.source_for_operand(s->operands.n ? s->operands.items[0] : NULL, e)))
        return NULL;
    struct stage *reader = stage_new(from);
    reader->name = f->name;
    reader->common = s->common;
    if (operand && s->operands.n)
        reader->operands = (struct string_list){1, s->operands.items};
    return reader;
}

static struct stage *new_writer(const struct stage *s)
{
    struct stage *writer = stage_new(&stdio_stages_writer);
    writer->name = s->filter->name;
    writer->common = s->common;
    return writer;
}

/* Prints why a run failed, unless the failed stage has done so. */
static int tell(const struct stage *last, const struct error *e)
{
    if (!e->printed)
        fprintf(stderr, "%s: %s\n", e->stage, e->text);
    return last->filter->failure_status ? last->filter->failure_status : 1;
}

int filter_main_run_chain(struct stage **stages, size_t n, const struct run_monitor *watch)
{
    struct stage **chain = mem_alloc(n + 2, sizeof *chain), *last = stages[n - 1];
    struct error e = {0};
    size_t length = 0;
    int status;
    running = stages[0]->filter->name;
    signal(SIGBUS, on_bus_error);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a failed write */
    bool reads = !stage_starts_chain(stages[0]), writes = !stage_ends_chain(last);
    if (reads)
        chain[length++] = new_reader(stages[0], &e);
    memcpy(chain + length, stages, n * sizeof *chain);
    length += n;
    if (writes)
        chain[length++] = new_writer(last);
    if (!chain[0]) {
        snprintf(e.stage, sizeof e.stage, "%s", stages[0]->filter->name);
        status = tell(last, &e);
    } else {
        struct run_monitor own = *watch;
        own.show_progress &= !writes;
        status = runner_run(chain, length, &own, &e) ? tell(last, &e) : last->exit_status;
    }
    for (size_t i = 0; i < length; i++)
        stage_free(chain[i]);
    free(chain);
    return status;
}

static bool parsing;

/* A wrong command line has been told to the user: the next stage is to know that it was. */
static void leave_record(int status, void *filter)
{
    struct error ignored;
    if (!parsing || status != 2 || isatty(STDOUT_FILENO))
        return;
    struct writer *w = writer_open(STDOUT_FILENO, "standard output");
    writer_write_error(w, ((const struct filter *)filter)->name, "its command line is wrong");
    if (writer_close(w, &ignored))
        return;
}

int filter_main(const struct filter *f, int argc, char **argv)
{
    if (f->filter_for_process)
        f = f->filter_for_process();
    standard_output_flush_at_exit(f->name);
    if (f->role != ROLE_SINK)
        on_exit(leave_record, (void *)f);
    parsing = true;
    struct stage *stage = command_line_parse(f, argc, argv);
    parsing = false;
    return filter_main_run_chain(&stage, 1, &(struct run_monitor){.show_progress = true});
}
