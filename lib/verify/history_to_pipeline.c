#include "history_to_pipeline.h"

#include "history_json.h"
#include "layer_slice.h"
#include "model_name.h"
#include "openblas.h"
#include "recorded_weights.h"
#include "vocabulary_request.h"

#include <stdlib.h>
#include <string.h>

#define RUNS_MAX 4096 /* of steps, with those of all parents; each may need a process */

/* A model with a history of its own, which a later step may name again as its base. */
struct brought_model {
    const char *name;
    uint64_t fingerprint;
    struct pipeline *pipeline;
    size_t runs; /* of steps, each time it is used */
};

struct builder {
    struct verification_plan *plan;
    const struct recorded_merge *recorded;
    struct input_search *inputs;
    const char *spool;
    const struct filter *const *filters;
    size_t steps; /* read so far; the number of the current one */
    size_t runs;  /* of steps, so far */
    size_t n_brought, brought_capacity;
    struct brought_model *brought;
    struct name_index input_names, missing_names, results; /* results by their histories as JSON */
    struct arena *a;
    struct error *e;
};

static int set_invalid(const struct builder *b, const char *what)
{
    return error_set(b->e, "its history was not written by tvtools: step %zu: %s", b->steps, what);
}

static bool ends_with_pack(const struct history *h)
{
    return h->n > 0 && strcmp(h->steps[h->n - 1].tool, "pack") == 0;
}

static int count_runs(struct builder *b, size_t n)
{
    b->runs += n;
    return b->runs > RUNS_MAX ? error_set(b->e, "its history has more than %d steps", RUNS_MAX) : 0;
}

/* ---- operands -------------------------------------------------------------------------------- */

/* A model as an operand: NAME=PATH, or if that is not possible the path alone. NULL on error. */
static const char *format_operand(const struct builder *b, const char *name, const char *path,
                                  bool is_folder)
{
    if (layer_slice_find_range_suffix(path)) {
        if (!is_folder) {
            error_set(b->e, "%s ends like a range of layers; rename it", path);
            return NULL;
        }
        path = arena_printf(b->a, "%s/", path);
    }
    if (*name && !strpbrk(name, "=/"))
        return arena_printf(b->a, "%s=%s", name, path);
    char *default_name = model_name_from_path(path);
    bool same = strcmp(default_name, name) == 0;
    free(default_name);
    if (same)
        return *path == '/' ? path : arena_printf(b->a, "./%s", path);
    error_set(b->e,
              "the model %s was merged under the name %s, which is only possible for a file "
              "or folder of that name",
              path, name);
    return NULL;
}

static void list_input(struct builder *b, const char *name)
{
    size_t i = b->plan->inputs.n;
    if (name_index_add(&b->input_names, arena_copy_text(b->a, name), i, b->a) == i)
        string_list_append(&b->plan->inputs, b->a, name);
}

static const struct brought_model *find_brought(const struct builder *b,
                                                const struct recorded_input *wanted)
{
    for (size_t i = 0; i < b->n_brought && wanted->has_fingerprint; i++)
        if (b->brought[i].fingerprint == wanted->fingerprint &&
            strcmp(b->brought[i].name, wanted->name) == 0)
            return &b->brought[i];
    return NULL;
}

static struct pipeline *bring_model(struct builder *b, const struct history *history);

/* The pipeline that computes a model which has a history of its own, and is no file. *pipeline is
 * NULL if there is none. */
static int find_pipeline_of_model(struct builder *b, const struct recorded_input *wanted,
                                  const struct history *parent, struct pipeline **pipeline)
{
    const struct brought_model *known = find_brought(b, wanted);
    size_t before = b->runs;
    *pipeline = known ? known->pipeline : NULL;
    if (known)
        return count_runs(b, known->runs);
    if (!parent || parent->n == 0)
        return 0;
    *pipeline = bring_model(b, parent);
    if (!*pipeline)
        return -1;
    b->brought =
        arena_grow(b->a, b->brought, b->n_brought, &b->brought_capacity, sizeof *b->brought);
    b->brought[b->n_brought++] =
        (struct brought_model){wanted->name, wanted->fingerprint, *pipeline,
                               ends_with_pack(parent) ? 0 : b->runs - before};
    return 0;
}

static void note_other_fingerprint(struct builder *b, const struct recorded_input *wanted,
                                   const struct found_input *found)
{
    if (wanted->has_fingerprint && found->fingerprint != wanted->fingerprint)
        string_list_append(&b->plan->notes, b->a,
                           arena_printf(b->a,
                                        "input %s: %s has the fingerprint %016llx, the merged "
                                        "model has %016llx",
                                        wanted->name, found->path,
                                        (unsigned long long)found->fingerprint,
                                        (unsigned long long)wanted->fingerprint));
}

static void list_missing_model(struct builder *b, const struct recorded_input *wanted)
{
    const char *text = arena_printf(b->a, "%s (its fingerprint is not recorded)", wanted->name);
    if (wanted->has_fingerprint)
        text = arena_printf(b->a, "%s (fingerprint %016llx)", wanted->name,
                            (unsigned long long)wanted->fingerprint);
    if (name_index_add(&b->missing_names, text, b->plan->missing.n, b->a) < b->plan->missing.n)
        return;
    string_list_append(&b->plan->missing, b->a, text);
    if (!wanted->has_fingerprint && recorded_merge_was_piped(b->recorded, wanted->name))
        string_list_append(&b->plan->piped, b->a, wanted->name);
}

/* The word for a model of a step, NAME or NAME[from:to], after `before`. */
static int make_model_word(struct builder *b, const char *before, const char *operand,
                           const uint64_t *fingerprint, const struct history *parent,
                           struct pipeline_word *w)
{
    const char *range = layer_slice_find_range_suffix(operand);
    struct recorded_input wanted = {
        .name = range ? arena_copy_text_n(b->a, operand, (size_t)(range - operand)) : operand,
        .has_fingerprint = fingerprint != NULL,
        .fingerprint = fingerprint ? *fingerprint : 0};
    if (!fingerprint)
        wanted.has_fingerprint =
            recorded_merge_fingerprint(b->recorded, wanted.name, &wanted.fingerprint);
    struct found_input found;
    *w = (struct pipeline_word){.suffix = range ? range : ""};
    if (input_search_find_model(b->inputs, &wanted, &found, b->e) ||
        (!found.path && find_pipeline_of_model(b, &wanted, parent, &w->substitution)))
        return -1;
    if (w->substitution) {
        w->text = arena_printf(b->a, "%s%s=", before, wanted.name);
        return strpbrk(wanted.name, "=/") ? set_invalid(b, "unexpected name of a model") : 0;
    }
    const char *text = wanted.name;
    if (found.path && !(text = format_operand(b, wanted.name, found.path, found.is_folder)))
        return -1;
    if (!found.path)
        list_missing_model(b, &wanted);
    note_other_fingerprint(b, &wanted, &found);
    list_input(b, wanted.name);
    w->text = arena_printf(b->a, "%s%s%s", before, text, w->suffix);
    return 0;
}

/* ---- the commands of steps ------------------------------------------------------------------- */

/* NULL if it is not recorded. */
static const uint64_t *fingerprint_of_model(const struct history_step *from, size_t i)
{
    return i < from->n_fingerprints && from->fingerprints[i] ? &from->fingerprints[i] : NULL;
}

static int add_model_operands(struct builder *b, const struct recorded_step *s,
                              const struct history_step *from, struct pipeline_command *c)
{
    for (size_t i = 0; i < s->n_operands; i++) {
        struct pipeline_word w;
        const struct history *parent = i < from->n_parents ? &from->parents[i] : NULL;
        if (make_model_word(b, "", s->operands[i], fingerprint_of_model(from, i), parent, &w))
            return -1;
        *pipeline_add_operand(c, w.text, b->a) = w;
    }
    return 0;
}

static int add_steps(struct builder *b, const struct history *history, size_t n,
                     struct pipeline *to);

static int add_stream_operands(struct builder *b, const struct history_step *from,
                               struct pipeline_command *c)
{
    for (size_t i = 0; i < from->n_parents; i++) {
        struct pipeline *inner = arena_alloc(b->a, 1, sizeof *inner);
        if (add_steps(b, &from->parents[i], from->parents[i].n, inner))
            return -1;
        *pipeline_add_empty_word(c, b->a) =
            (struct pipeline_word){.text = "", .substitution = inner, .suffix = ""};
    }
    return 0;
}

/* An option with the file that has the recorded hash, which begins at `hash_text`. */
static void add_file_option(struct builder *b, const char *option, const char *hash_text,
                            const char *path, struct pipeline_command *c)
{
    if (path)
        option = arena_printf(b->a, "%.*s%s", (int)(hash_text - option), option, path);
    else
        string_list_append(&b->plan->missing, b->a,
                           arena_printf(b->a, "the file of %s %s", c->words[0].text, option));
    pipeline_add_word(c, option, b->a);
}

/* The path of a model that a vocabulary names; its name if it is not found. */
static int find_vocabulary_path(struct builder *b, const char *name, const char **path)
{
    struct recorded_input wanted = {.name = name};
    struct found_input found;
    wanted.has_fingerprint = recorded_merge_fingerprint(b->recorded, name, &wanted.fingerprint);
    if (input_search_find_model(b->inputs, &wanted, &found, b->e))
        return -1;
    *path = found.path ? found.path : name;
    if (!found.path)
        list_missing_model(b, &wanted);
    return 0;
}

static const char vocabulary_option[] = "--vocabulary=";

/* Puts the paths of models into the recorded option --vocabulary. */
static int set_vocabulary_paths(struct builder *b, const char **option)
{
    struct vocabulary_request r;
    if (vocabulary_request_parse(&r, *option + strlen(vocabulary_option), b->a, b->e))
        return -1;
    for (size_t i = 0; i < r.n_models; i++)
        if (find_vocabulary_path(b, r.models[i].name, &r.models[i].path))
            return -1;
    if (r.source_path && find_vocabulary_path(b, r.source, &r.source_path))
        return -1;
    *option =
        arena_printf(b->a, "%s%s", vocabulary_option, vocabulary_request_format(&r, true, b->a));
    return 0;
}

static bool is_vocabulary_option(const char *option)
{
    return strncmp(option, vocabulary_option, strlen(vocabulary_option)) == 0;
}

static int add_options(struct builder *b, const struct recorded_step *s, struct pipeline_command *c)
{
    for (size_t i = 0; i < s->n_options; i++) {
        if (is_vocabulary_option(s->options[i]) && set_vocabulary_paths(b, &s->options[i]))
            return -1;
        bool of_model;
        uint64_t hash;
        const char *found = recorded_step_option_hash(s, s->options[i], &of_model, &hash);
        if (found)
            add_file_option(b, s->options[i], found,
                            of_model ? input_search_find_statistics(b->inputs, hash)
                                     : input_search_find_file(b->inputs, hash),
                            c);
        else
            pipeline_add_word(c, s->options[i], b->a);
    }
    return 0;
}

/* Weights in place of a calibration. The model carries those that its own last join has used. */
static int add_calibration(struct builder *b, struct pipeline *to)
{
    struct verification_plan *p = b->plan;
    if (!b->recorded->weights || to != &p->merge.pipeline)
        return error_set(b->e,
                         "cannot be verified at step %zu: the model does not carry the "
                         "weights that calibrate has learned",
                         b->steps);
    p->carries_weights = true;
    return recorded_weights_add_commands(b->recorded->weights, to, b->spool, b->a, b->e);
}

/* Filters that change weights which were learned before: the model carries only the product. */
static int check_weights_are_kept(const struct builder *b, const struct recorded_step *s)
{
    static const char *const setters[] = {"weigh", "sce-weigh", "model-stock", "tv-rename"};
    for (size_t i = 0; i < sizeof setters / sizeof *setters && b->plan->carries_weights; i++)
        if (strcmp(s->filter->name, setters[i]) == 0)
            return error_set(b->e,
                             "cannot be verified at step %zu: %s follows calibrate, and the "
                             "model carries only the product of both weights",
                             b->steps, setters[i]);
    return 0;
}

static int add_command(struct builder *b, const struct recorded_step *s,
                       const struct history_step *from, struct pipeline *to)
{
    if (s->kind == RECORDED_STEP_CALIBRATION)
        return add_calibration(b, to);
    struct pipeline_command *c = pipeline_add_command(to, s->filter->name, b->a);
    if (add_options(b, s, c))
        return -1;
    if (s->kind == RECORDED_STEP_STREAMS)
        return add_stream_operands(b, from, c);
    if (s->kind != RECORDED_STEP_FILTER)
        return add_model_operands(b, s, from, c);
    for (size_t i = 0; i < s->n_operands; i++)
        pipeline_add_operand(c, s->operands[i], b->a);
    return 0;
}

/* ---- histories ------------------------------------------------------------------------------- */

static void note_other_version(struct builder *b, const struct history_step *from)
{
    if (b->plan->other_version || strcmp(from->version, TV_VERSION) == 0)
        return;
    b->plan->other_version =
        arena_printf(b->a, "step %zu (%s) was run by version %s of tvtools; this is version %s",
                     b->steps, from->tool, from->version, TV_VERSION);
}

/* Results of matrix kernels are the same bits only with the same library on the same processor. */
static void note_other_kernels(struct builder *b, const struct history_step *from)
{
    if (!from->blas || b->plan->has_other_kernels)
        return;
    const char *here = openblas_description();
    if (!here || strcmp(from->blas, here) == 0)
        return;
    b->plan->has_other_kernels = true;
    string_list_append(&b->plan->notes, b->a,
                       arena_printf(b->a, "step %zu (%s) was run with %s; this is %s", b->steps,
                                    from->tool, from->blas, here));
}

static int read_step(struct builder *b, const struct history_step *from, struct recorded_step *s)
{
    b->steps++;
    if (count_runs(b, 1) || recorded_step_read(s, from, b->steps, b->filters, b->a, b->e))
        return -1;
    note_other_version(b, from);
    note_other_kernels(b, from);
    return 0;
}

static int check_position(const struct builder *b, const struct recorded_step *s, bool is_first)
{
    bool is_source = s->kind == RECORDED_STEP_MODELS || s->kind == RECORDED_STEP_STREAMS;
    if (is_first && !is_source)
        return error_set(b->e,
                         "cannot be verified: its history begins with %s at step %zu, so the "
                         "stream that was read there is unknown",
                         s->filter->name, b->steps);
    if (is_source && !is_first)
        return set_invalid(b, "a source follows another step");
    return s->kind == RECORDED_STEP_PACK ? set_invalid(b, "pack is not the last step") : 0;
}

/* Adds the first n steps. */
static int add_steps(struct builder *b, const struct history *history, size_t n,
                     struct pipeline *to)
{
    struct recorded_step s;
    if (n == 0)
        return error_set(b->e, "cannot be verified: step %zu has an input without a history",
                         b->steps);
    for (size_t i = 0; i < n; i++)
        if (read_step(b, &history->steps[i], &s) || check_position(b, &s, i == 0) ||
            check_weights_are_kept(b, &s) || add_command(b, &s, &history->steps[i], to))
            return -1;
    return 0;
}

/* ---- models with histories of their own ------------------------------------------------------ */

/* The dtype of a result that was packed. No other option changes its tensors. */
static int read_pack_of_result(struct builder *b, const struct history_step *from,
                               enum dtype *dtype)
{
    static const char option[] = "--dtype=";
    struct recorded_step s;
    *dtype = DTYPE_NONE;
    if (read_step(b, from, &s))
        return -1;
    for (size_t i = 0; i < s.n_options; i++)
        if (strncmp(s.options[i], option, sizeof option - 1) == 0)
            *dtype = dtype_from_user_name(s.options[i] + sizeof option - 1);
    return s.base ? set_invalid(b, "the result of another document has a base") : 0;
}

/* A result in a file, which is computed once even if it is used several times. Its name comes from
 * here, because it becomes part of a path. */
static struct pipeline *bring_packed_result(struct builder *b, const struct history *history)
{
    struct translated_config *m = &b->plan->merge;
    char *json = history_json_print(history);
    const char *key = arena_copy_text(b->a, json);
    free(json);
    long known = name_index_find(&b->results, key);
    if (known >= 0)
        return &m->results[known]->pipeline;
    struct document_result *result = arena_alloc(b->a, 1, sizeof *result);
    if (add_steps(b, history, history->n - 1, &result->pipeline) ||
        read_pack_of_result(b, &history->steps[history->n - 1], &result->dtype))
        return NULL;
    result->name = arena_printf(b->a, "result-%zu", m->n_results + 1);
    name_index_add(&b->results, key, m->n_results, b->a);
    translated_config_add_result(m, result, b->a);
    return &result->pipeline;
}

static struct pipeline *bring_model(struct builder *b, const struct history *history)
{
    if (ends_with_pack(history))
        return bring_packed_result(b, history);
    struct pipeline *p = arena_alloc(b->a, 1, sizeof *p);
    return add_steps(b, history, history->n, p) ? NULL : p;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* The model that --like copies files from. The tensors do not depend on it: it may be missing, and
 * it is no input. */
static int make_like_word(struct builder *b, const char *before, const char *name,
                          const uint64_t *fingerprint, struct pipeline_word *w)
{
    struct recorded_input wanted = {.name = name,
                                    .has_fingerprint = fingerprint != NULL,
                                    .fingerprint = fingerprint ? *fingerprint : 0};
    struct found_input found;
    const char *text = name;
    if (input_search_find_model(b->inputs, &wanted, &found, b->e) ||
        (found.path && !(text = format_operand(b, name, found.path, found.is_folder))))
        return -1;
    struct error ignored; /* a saved stream has no files to copy */
    if (found.path && ckpt_is_checkpoint(found.path, &ignored) > 0)
        b->plan->like = found.path;
    w->text = arena_printf(b->a, "%s%s", before, text);
    return 0;
}

/* The option --base, --onto or --like of pack, with its model. */
static int add_pack(struct builder *b, const struct history_step *from)
{
    struct verification_plan *p = b->plan;
    struct recorded_step *s = &p->pack;
    if (read_step(b, from, s))
        return -1;
    for (size_t i = 0; i < s->n_options; i++)
        if (is_vocabulary_option(s->options[i]) && set_vocabulary_paths(b, &s->options[i]))
            return -1;
    if (!s->base)
        return 0;
    const char *before = arena_printf(b->a, "--%s=", s->base_option);
    const uint64_t *fingerprint = fingerprint_of_model(from, 0);
    return strcmp(s->base_option, "like") == 0
               ? make_like_word(b, before, s->base, fingerprint, &p->base)
               : make_model_word(b, before, s->base, fingerprint, NULL, &p->base);
}

int history_to_pipeline(struct verification_plan *p, const struct recorded_merge *m,
                        struct input_search *inputs, const char *spool,
                        const struct filter *const *filters, struct arena *a, struct error *e)
{
    struct builder b = {.plan = p,
                        .recorded = m,
                        .inputs = inputs,
                        .spool = spool,
                        .filters = filters,
                        .a = a,
                        .e = e};
    *p = (struct verification_plan){0};
    const struct history *h = &m->history;
    if (!ends_with_pack(h))
        return error_set(e,
                         "cannot be verified: its history does not end with pack, but with "
                         "%s",
                         h->steps[h->n - 1].tool);
    return add_steps(&b, h, h->n - 1, &p->merge.pipeline) || add_pack(&b, &h->steps[h->n - 1]) ? -1
                                                                                               : 0;
}
