#include "pipeline_output_header.h"

#include "command_line.h"
#include "stage.h"

#include <stdlib.h>

/* A sink that copies the header and stops the run before any payload. */
static int copy_header_and_stop(struct stage *s, struct header *h, struct error *e)
{
    s->data = header_copy(h);
    s->stop_after_open = true;
    return 0;
}

static const struct filter header_sink = {
    .name = PIPELINE_HEADER_TOOL,
    .kinds = KIND_WEIGHTS | KIND_TASK_VECTORS,
    .role = ROLE_SINK,
    .raw_payload = true,
    .no_history_step = true,
    .open = copy_header_and_stop,
};

bool pipeline_output_header_is_available(const struct pipeline *p)
{
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->commands[i].n; j++)
            if (p->commands[i].words[j].substitution)
                return false;
    return true;
}

struct stage *pipeline_output_header_parse(const struct pipeline_options *run,
                                           const struct pipeline_command *c)
{
    char **words = mem_alloc(c->n + 1, sizeof *words);
    for (size_t j = 0; j < c->n; j++)
        words[j] = (char *)c->words[j].text;
    struct stage *s = command_line_parse(pipeline_run_find_filter(run, words[0]), (int)c->n, words);
    s->common.threads = 1;
    if (run->spool)
        s->common.spool = run->spool;
    free(words);
    return s;
}

struct header *pipeline_output_header_read(const struct pipeline_options *run,
                                           const struct pipeline *p, size_t n, struct error *e)
{
    struct stage **stages = mem_alloc(n + 1, sizeof *stages);
    for (size_t i = 0; i < n; i++)
        stages[i] = pipeline_output_header_parse(run, &p->commands[i]);
    stages[n] = stage_new(&header_sink);
    int failed = runner_run(stages, n + 1, &(struct run_monitor){0}, e);
    struct header *h = stages[n]->data;
    for (size_t i = 0; i <= n; i++)
        stage_free(stages[i]);
    free(stages);
    if (!failed)
        return h;
    header_free(h);
    return NULL;
}
