#include "filter_main.h"

#include "command_line.h"
#include "encode.h"
#include "fatal.h"
#include "printable.h"
#include "process_start.h"
#include "stage.h"
#include "stage_outputs.h"
#include "stdio_stages.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- signals --------------------------------------------------------------------------------- */

/* A mapped file that is truncated raises SIGBUS: say so instead of dumping core. */
static void exit_on_bus_error(int signal)
{
    fatal_exit("a file was truncated while it was being read");
}

void filter_main_set_signals(void)
{
    signal(SIGBUS, exit_on_bus_error);
    signal(SIGXFSZ, SIG_IGN); /* a file that reaches its size limit is a failed write */
}

/* ---- error records ----------------------------------------------------------------------------
 */

#define RECORD_ROOM 2048 /* bytes; a longer record is not written */

void filter_main_write_error_record(int fd, const char *stage, const char *sentence)
{
    static unsigned char room[2][RECORD_ROOM];
    struct bytes all = {.data = room[0], .capacity = RECORD_ROOM};
    struct bytes record = {.data = room[1], .capacity = RECORD_ROOM};
    if (isatty(fd) || strlen(stage) + strlen(sentence) > RECORD_ROOM / 2)
        return;
    encode_magic(&all);
    encode_error_record(&record, stage, sentence);
    encode_uint(&all, record.size);
    bytes_append(&all, record.data, record.size);
    ssize_t ignored = write(fd, all.data, all.size);
    (void)ignored;
}

static const struct filter *parsed; /* see filter_main_set_parsed */

/* A fatal_action. */
static void write_fatal_error_record(void *unused, const char *program, const char *sentence)
{
    if (parsed)
        filter_main_write_error_record(STDOUT_FILENO, program, sentence);
}

void filter_main_set_parsed(const struct filter *f)
{
    static struct fatal_action on_fatal = {.run = write_fatal_error_record};
    static bool is_registered;
    parsed = f && f->role != ROLE_SINK ? f : NULL;
    if (is_registered)
        return;
    fatal_add_action(&on_fatal);
    is_registered = true;
}

/* ---- a chain --------------------------------------------------------------------------------- */

bool filter_main_starts_chain(const struct stage *s)
{
    const struct filter *f = s->filter;
    return f->role == ROLE_SOURCE && (!f->source.only_with_operands || s->operands.n > 0);
}

bool filter_main_ends_chain(const struct stage *s)
{
    return s->filter->role == ROLE_SINK;
}

/* The source before a first stage that is not a source: it reads standard input, or the first
 * operand of a sink. NULL on error. */
static struct stage *new_reader_stage(const struct stage *s, struct error *e)
{
    const struct filter *source = &stdio_stages_reader;
    const struct filter *f = s->filter;
    bool reads_operand = f->sink.source_for_operand && (s->operands.n || f->max_operands == 0);
    if (reads_operand)
        source = f->sink.source_for_operand(s->operands.n ? s->operands.items[0] : NULL, e);
    if (!source)
        return NULL;
    struct stage *reader = stage_new(source);
    reader->name = f->name;
    reader->common = s->common;
    if (reads_operand && s->operands.n)
        reader->operands = (struct string_list){.n = 1, .items = s->operands.items};
    return reader;
}

/* The sink after a last stage that is none. */
static struct stage *new_writer_stage(const struct stage *s)
{
    struct stage *writer = stage_new(&stdio_stages_writer);
    writer->name = s->filter->name;
    writer->common = s->common;
    stdio_stages_prepare_writer(writer);
    return writer;
}

static int failure_status(const struct stage *last)
{
    return last->filter->failure_status ? last->filter->failure_status : 1;
}

/* Prints the error unless that was done; the exit status of a failed run. */
static int print_error_and_get_exit_status(const struct stage *last, const struct error *e)
{
    if (!e->printed)
        printable_message("%s: %s", e->stage, e->text);
    return failure_status(last);
}

/* Makes the chain of n stages, with a reader and a writer at the ends where those are missing; its
 * length. chain[0] is NULL on error. */
static size_t add_missing_reader_and_writer(struct stage **stages, size_t n, struct stage **chain,
                                            struct error *e)
{
    size_t length = 0;
    if (!filter_main_starts_chain(stages[0]))
        chain[length++] = new_reader_stage(stages[0], e);
    memcpy(chain + length, stages, n * sizeof *chain);
    length += n;
    if (!filter_main_ends_chain(stages[n - 1]))
        chain[length++] = new_writer_stage(stages[n - 1]);
    return length;
}

int filter_main_run_chain(struct stage **stages, size_t n, const struct run_monitor *monitor)
{
    struct stage **chain = mem_alloc(n + 2, sizeof *chain), *last = stages[n - 1];
    struct run_monitor own = *monitor;
    struct error e = {0};
    int status;
    filter_main_set_signals();
    fatal_set_program(stages[0]->filter->name, failure_status(last));
    if (!filter_main_ends_chain(last)) /* the program that reads the stream shows it */
        own.show_progress = own.report_progress = false;
    for (size_t i = 0; i < n; i++)
        own.report_progress |= stages[i]->common.progress;
    if (last->filter->sink.prints_while_running && isatty(STDOUT_FILENO) && isatty(STDERR_FILENO))
        own.show_progress = own.report_progress = false;
    size_t length = add_missing_reader_and_writer(stages, n, chain, &e);
    filter_main_set_parsed(NULL);
    if (!chain[0]) {
        snprintf(e.stage, sizeof e.stage, "%s", stages[0]->filter->name);
        status = print_error_and_get_exit_status(last, &e);
    } else {
        status = runner_run(chain, length, &own, &e) ? print_error_and_get_exit_status(last, &e)
                                                     : last->exit_status;
    }
    for (size_t i = 0; i < length; i++)
        stage_free(chain[i]);
    free(chain);
    return status;
}

/* ---- one filter ------------------------------------------------------------------------------ */

int filter_main(const struct filter *f, int argc, char **argv)
{
    if (f->filter_for_process)
        f = f->filter_for_process();
    process_start(f->name);
    fatal_set_program(f->name, f->failure_status ? f->failure_status : 1);
    filter_main_set_parsed(f);
    struct stage *stage = command_line_parse(f, argc, argv);
    struct error e;
    if (stage_outputs_use_stdout(stage) && stage_outputs_check_not_stdout(stage, &e)) {
        printable_message("%s: %s", f->name, e.text);
        stage_free(stage);
        return 2;
    }
    return filter_main_run_chain(
        &stage, 1, &(struct run_monitor){.show_progress = true, .warn_of_order = true});
}
