#include "translated_config.h"

#include <string.h>

void translated_config_add_coverage_check(struct translated_config *m,
                                          const struct coverage_check *c, struct arena *a)
{
    m->coverage_checks = arena_grow(a, m->coverage_checks, m->n_coverage_checks,
                                    &m->coverage_check_capacity, sizeof *c);
    m->coverage_checks[m->n_coverage_checks++] = *c;
}

void translated_config_add_mean_check(struct translated_config *m, const struct mean_check *c,
                                      struct arena *a)
{
    m->mean_checks =
        arena_grow(a, m->mean_checks, m->n_mean_checks, &m->mean_check_capacity, sizeof *c);
    m->mean_checks[m->n_mean_checks++] = *c;
}

void translated_config_add_result(struct translated_config *m, struct document_result *result,
                                  struct arena *a)
{
    m->results = arena_grow(a, m->results, m->n_results, &m->result_capacity, sizeof *m->results);
    m->results[m->n_results++] = result;
}

struct pipeline *translated_config_pipeline_to_file(const struct document_result *result,
                                                    const char *path, struct arena *a)
{
    struct pipeline *p = arena_alloc(a, 1, sizeof *p);
    p->n = result->pipeline.n;
    p->commands = arena_copy(a, result->pipeline.commands, p->n * sizeof *p->commands);
    struct pipeline_command *pack = pipeline_add_command(p, "pack", a);
    if (result->dtype != DTYPE_NONE)
        pipeline_add_word(pack, arena_printf(a, "--dtype=%s", dtype_torch_name(result->dtype)), a);
    pipeline_add_operand(pack, path, a);
    return p;
}

static void replace_result_in_pipeline(struct pipeline *p, const struct document_result *result,
                                       const char *path, struct arena *a)
{
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->commands[i].n; j++) {
            struct pipeline_word *w = &p->commands[i].words[j];
            if (w->substitution == &result->pipeline ||
                w->substitution == &result->rounded_pipeline)
                *w = (struct pipeline_word){
                    .text = arena_printf(a, "%s%s%s", w->text, path, w->suffix)};
            else if (w->substitution)
                replace_result_in_pipeline(w->substitution, result, path, a);
        }
}

void translated_config_replace_result(struct translated_config *m,
                                      const struct document_result *result, const char *path,
                                      struct arena *a)
{
    for (size_t i = 0; i < m->n_results; i++)
        if (m->results[i] != result)
            replace_result_in_pipeline(&m->results[i]->pipeline, result, path, a);
    replace_result_in_pipeline(&m->pipeline, result, path, a);
}
