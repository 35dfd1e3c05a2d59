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

/* The file that stands in for what a word substitutes; NULL if there is none. */
static const char *find_stand_in(const struct translated_config *m, const struct pipeline_word *w)
{
    for (size_t i = 0; i < m->n_results; i++)
        if (w->substitution == &m->results[i]->pipeline ||
            w->substitution == &m->results[i]->rounded_pipeline)
            return m->results[i]->stand_in;
    return NULL;
}

bool pipeline_output_header_is_available(const struct translated_config *m,
                                         const struct pipeline *p)
{
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->commands[i].n; j++) {
            const struct pipeline_word *w = &p->commands[i].words[j];
            if (w->substitution && !find_stand_in(m, w))
                return false;
        }
    return true;
}

struct stage *pipeline_output_header_parse(const struct translated_config *m,
                                           const struct pipeline_options *run,
                                           const struct pipeline_command *c, struct arena *a)
{
    char **words = arena_alloc(a, c->n + 1, sizeof *words);
    for (size_t j = 0; j < c->n; j++) {
        const struct pipeline_word *w = &c->words[j];
        const char *suffix = w->suffix ? w->suffix : "";
        words[j] = (char *)(w->substitution
                                ? arena_printf(a, "%s%s%s", w->text, find_stand_in(m, w), suffix)
                                : w->text);
    }
    struct stage *s = command_line_parse(pipeline_run_find_filter(run, words[0]), (int)c->n, words);
    s->common.threads = 1;
    if (run->spool)
        s->common.spool = run->spool;
    return s;
}

struct header *pipeline_output_header_read(const struct translated_config *m,
                                           const struct pipeline_options *run,
                                           const struct pipeline *p, size_t n, struct error *e)
{
    struct arena a = {0};
    struct stage **stages = mem_alloc(n + 1, sizeof *stages);
    for (size_t i = 0; i < n; i++)
        stages[i] = pipeline_output_header_parse(m, run, &p->commands[i], &a);
    stages[n] = stage_new(&header_sink);
    int failed = runner_run(stages, n + 1, &(struct run_monitor){0}, e);
    struct header *h = stages[n]->data;
    for (size_t i = 0; i <= n; i++)
        stage_free(stages[i]);
    free(stages);
    arena_free(&a);
    if (!failed)
        return h;
    header_free(h);
    return NULL;
}
