#include "preflight.h"

#include "gguf_output.h"
#include "input_guard.h"
#include "join.h"
#include "layer_slice.h"
#include "model_path.h"
#include "output_target.h"
#include "pipeline_output_header.h"
#include "result_stand_in.h"
#include "stage.h"
#include "stage_rules.h"
#include "tokenizer_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* ---- required parameters --------------------------------------------------------------------- */

static bool matches_a_filter(const struct coverage_check *c, const char *tensor)
{
    for (size_t i = 0; i < c->n_filters; i++)
        if (strstr(tensor, c->filters[i]))
            return true;
    return false;
}

/* Does one tensor's vector of the model have a value, if there is one? */
static int check_tensor_has_value(const struct translated_config *m, const struct coverage_check *c,
                                  const struct tensor *t, long model, struct error *e)
{
    for (size_t k = 0; k < t->n_vectors; k++) {
        const char *name = stage_rules_name_to_match(t, &t->vectors[k]);
        if ((long)t->vectors[k].model == model && !matches_a_filter(c, name))
            return error_set(e, "%.200s, line %zu: %s has no value for tensor %s of %s",
                             m->config_path, c->line, c->parameter, name, c->model);
    }
    return 0;
}

static int check_filters_cover_all_tensors(const struct translated_config *m,
                                           const struct coverage_check *c,
                                           const struct pipeline_options *run, struct error *e)
{
    struct header *h = pipeline_output_header_read(m, run, c->pipeline, c->n_source_commands, e);
    int failed = h ? 0 : -1;
    long model = h ? header_find_model(h, c->model) : -1;
    for (size_t i = 0; h && !failed && i < h->n_tensors; i++)
        failed = check_tensor_has_value(m, c, &h->tensors[i], model, e);
    header_free(h);
    return failed;
}

/* ---- weighted means -------------------------------------------------------------------------- */

static const struct tensor_rules *find_normalize_rules(const struct stage *join)
{
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n = stage_list_options(join, options);
    for (size_t i = 0; i < n; i++)
        if (strcmp(options[i].row->name, "normalize") == 0)
            return options[i].field;
    return NULL;
}

/* Would `join` divide by a sum of weights that is 0? */
static int check_tensor_weights(const struct mean_check *c, const struct stage *weigh,
                                const struct stage *join, const struct tensor *t, struct error *e)
{
    const struct tensor_rules *weights = stage_operand_option(weigh).field;
    double sum = 0, divisor;
    if (!tensor_is_float(t) ||
        stage_rules_tensor_value(find_normalize_rules(join), t, c->divides_by_default) != 1)
        return 0;
    for (size_t k = 0; k < t->n_vectors; k++)
        sum += stage_rules_vector_value(weigh, weights, t, &t->vectors[k], 1);
    return join_mean_divisor(KIND_WEIGHTS, sum, "a mean", &divisor, e);
}

/* Messages name the configuration. */
static int check_mean(const struct translated_config *m, const struct mean_check *c,
                      const struct pipeline_options *run, struct error *e)
{
    const struct pipeline *p = c->pipeline;
    struct arena a = {0};
    const struct pipeline_command *after = p->commands + c->n_source_commands;
    struct header *h = pipeline_output_header_read(m, run, p, c->n_source_commands, e);
    struct stage *weigh = h ? pipeline_output_header_parse(m, run, &after[0], &a) : NULL;
    struct stage *join = h ? pipeline_output_header_parse(m, run, &after[1], &a) : NULL;
    struct error why;
    int failed = h ? 0 : -1;
    if (h)
        weigh->in = h;
    for (size_t i = 0; h && !failed && i < h->n_tensors; i++)
        if (check_tensor_weights(c, weigh, join, &h->tensors[i], &why))
            failed = error_set(e, "%.200s, line %zu: tensor %s: %s", m->config_path, c->line,
                               h->tensors[i].name, why.text);
    stage_free(weigh);
    stage_free(join);
    header_free(h);
    arena_free(&a);
    return failed;
}

/* Does a check concern a pipeline that uses the result of another document? */
static bool checks_need_results(const struct translated_config *m)
{
    bool need = false;
    for (size_t i = 0; i < m->n_coverage_checks; i++)
        need |= !pipeline_output_header_is_available(m, m->coverage_checks[i].pipeline);
    for (size_t i = 0; i < m->n_mean_checks; i++)
        need |= !pipeline_output_header_is_available(m, m->mean_checks[i].pipeline);
    return need;
}

int preflight_check_parameters(struct translated_config *m, const struct pipeline_options *run,
                               struct arena *a, struct error *e)
{
    if (checks_need_results(m) && result_stand_in_make_all(m, run, a, e))
        return -1;
    for (size_t i = 0; i < m->n_coverage_checks; i++)
        if (check_filters_cover_all_tensors(m, &m->coverage_checks[i], run, e))
            return -1;
    for (size_t i = 0; i < m->n_mean_checks; i++)
        if (check_mean(m, &m->mean_checks[i], run, e))
            return -1;
    return 0;
}

/* ---- tokenizers ------------------------------------------------------------------------------ */

/* "token "a" has id 0 in the tokenizer of M and 1 in that of N" */
static const char *format_token_difference(const struct token_difference *d, const char *own,
                                           const char *other, struct arena *a)
{
    const char *id = d->id_in_b < 0 ? "no id" : arena_printf(a, "id %ld", d->id_in_b);
    return arena_printf(a,
                        "token \"%.80s\" has id %ld in the tokenizer of %.200s and %s in that of "
                        "%.200s",
                        d->token, d->id_in_a, own, id, other);
}

/* Without a vocabulary in the configuration: adds a warning of each model in which a token of the
 * result's tokenizer has another id. */
static int compare_tokenizers_of_models(const struct translated_config *m,
                                        struct preflight_result *r, struct arena *a,
                                        struct error *e)
{
    const char *own = m->metadata_model;
    struct token_difference d;
    r->warnings = arena_alloc(a, m->n_models, sizeof *r->warnings);
    for (size_t i = 0; !m->tokenizer_model && i < m->n_models; i++) {
        if (strcmp(m->models[i], own) == 0)
            continue;
        int differs = tokenizer_files_find_difference(own, m->models[i], &d, a, e);
        if (differs < 0)
            return -1;
        if (differs)
            r->warnings[r->n_warnings++] = (struct preflight_warning){
                m->models[i],
                arena_printf(a,
                             "%s; rows of the embedding are merged unpermuted (tokenizer_source "
                             "moves them)",
                             format_token_difference(&d, own, m->models[i], a))};
    }
    return 0;
}

static int check_tokenizer_exists(const struct translated_config *m, struct error *e)
{
    struct error why;
    const char *key;
    char *found = NULL;
    int failed = 0;
    if (!m->tokenizer_model)
        return 0;
    char *path = model_path_copy_base(m->tokenizer_model, model_path_adapter(m->tokenizer_model));
    if (model_path_resolve(path, &found, &key, &why) <= 0)
        failed = error_set(e, "%.200s, line %zu: the tokenizer: %s", m->config_path,
                           m->config->tokenizer.line, why.text);
    free(found);
    free(path);
    return failed;
}

int preflight_check_inputs(struct translated_config *m, const struct pipeline_options *run,
                           struct arena *a, struct error *e)
{
    return preflight_check_parameters(m, run, a, e) || check_tokenizer_exists(m, e) ? -1 : 0;
}

/* ---- dry run --------------------------------------------------------------------------------- */

static const char *find_option_value(const struct stage *s, const char *name)
{
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n = stage_list_options(s, options);
    for (size_t i = 0; i < n; i++)
        if (s->given[i] && strcmp(options[i].row->name, name) == 0)
            return *(const char *const *)options[i].field;
    return NULL;
}

/* Is there another GGUF file whose metadata the new one has? */
static int check_gguf_model(const struct stage *pack, const struct pipeline_options *run,
                            struct error *e)
{
    const struct layer_slice_options whole = {.first_layer = -1};
    const char *base = find_option_value(pack, "base");
    const char *operand = base ? base : find_option_value(pack, "like");
    struct model_source *model =
        layer_slice_open(operand, &whole, run->spool, PIPELINE_HEADER_TOOL, e);
    const struct ckpt *c = model ? model_source_checkpoint(model) : NULL;
    int failed = model ? gguf_output_check_like(c ? ckpt_gguf_model(c) : NULL, e) : -1;
    model_source_close(model);
    return failed;
}

/* pack's usage errors end the process here, as in the merge. */
static int check_pack_command(const struct translated_config *m, const struct preflight_target *t,
                              const struct pipeline_options *run, struct error *e)
{
    struct arena a = {0};
    struct stage *pack =
        pipeline_output_header_parse(m, run, &m->pipeline.commands[m->pipeline.n - 1], &a);
    int failed =
        output_target_form_of_name(t->path) == OUTPUT_GGUF ? check_gguf_model(pack, run, e) : 0;
    stage_free(pack);
    arena_free(&a);
    return failed;
}

/* What pack would say about the target. *folder is a folder on its file system. */
static int check_target(const struct translated_config *m, const struct preflight_target *t,
                        const struct pipeline_options *run, const char **folder, struct arena *a,
                        struct error *e)
{
    struct output_target target;
    const char *const others[] = {m->metadata_model, m->tokenizer_model};
    for (size_t i = 0; i < m->n_models; i++)
        input_guard_add_model(m->models[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i])
            input_guard_add_model(others[i]);
    if ((t->force && input_guard_check_read_files(t->path, e)) || check_pack_command(m, t, run, e))
        return -1;
    int failed = output_target_open(&target, t->path, t->force, NULL, e) ||
                 output_target_check_parent(&target, folder, e);
    *folder = failed ? NULL : arena_copy_text(a, *folder);
    output_target_close(&target);
    return failed ? -1 : 0;
}

static int check_target_and_disk_space(const struct translated_config *m,
                                       const struct preflight_target *t,
                                       const struct pipeline_options *run,
                                       struct preflight_result *r, struct arena *a, struct error *e)
{
    struct statvfs disk;
    if (strcmp(t->path, "-") == 0)
        return 0;
    const char *folder;
    if (check_target(m, t, run, &folder, a, e))
        return -1;
    if (statvfs(folder, &disk) < 0)
        return error_set(e, "cannot access %s: %s", folder, strerror(errno));
    r->free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (r->output.bytes > r->free_bytes)
        return error_set(e, "%s needs %llu bytes, but only %llu are free in %s", t->path,
                         (unsigned long long)r->output.bytes, (unsigned long long)r->free_bytes,
                         folder);
    return 0;
}

/* The dtype of the result; q8_0 is counted as what it is made of. */
static enum dtype choose_dtype(const struct translated_config *m,
                               const struct preflight_target *target)
{
    bool given = target->dtype != DTYPE_NONE && target->dtype != GGUF_ENCODING_Q8_0;
    return given ? target->dtype : m->config->out_dtype;
}

int preflight_check_without_computing(struct translated_config *m,
                                      const struct pipeline_options *run,
                                      const struct preflight_target *target,
                                      struct preflight_result *result, struct arena *a,
                                      struct error *e)
{
    *result = (struct preflight_result){0};
    if (compare_tokenizers_of_models(m, result, a, e) || result_stand_in_make_all(m, run, a, e) ||
        predicted_output_compute(&result->output, m, &m->pipeline, choose_dtype(m, target), run, a,
                                 e))
        return -1;
    return check_target_and_disk_space(m, target, run, result, a, e);
}
