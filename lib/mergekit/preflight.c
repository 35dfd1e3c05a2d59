#include "preflight.h"

#include "command_line.h"
#include "stage.h"
#include "stage_rules.h"
#include "tokenizer_files.h"
#include "model_source.h"
#include "runner.h"
#include "layer_slice.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* ---- headers without data -------------------------------------------------------------------- */

/* A sink that keeps the header and wants no payload. */
static int open_keeper(struct stage *s, struct header *h, struct error *e)
{
    s->data = header_copy(h);
    s->stop_after_open = true;
    return 0;
}

static const struct filter keeper = {
    .name = "tv merge",
    .kinds = KIND_WEIGHTS | KIND_TASK_VECTORS,
    .role = ROLE_SINK,
    .raw_payload = true,
    .no_history_step = true,
    .open = open_keeper,
};

static bool is_pipeline_of_files(const struct pipeline *l)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t j = 0; j < l->commands[i].n; j++)
            if (l->commands[i].words[j].substitution)
                return false;
    return true;
}

/* The header behind the first n commands, which the caller frees. */
static struct header *open_commands(const struct pipeline_options *run, const struct pipeline *l,
                                    size_t n, struct error *e)
{
    struct stage **stages = mem_alloc(n + 1, sizeof *stages);
    for (size_t i = 0; i < n; i++) {
        const struct pipeline_command *c = &l->commands[i];
        char **words = mem_alloc(c->n + 1, sizeof *words);
        for (size_t j = 0; j < c->n; j++)
            words[j] = (char *)c->words[j].text;
        stages[i] = command_line_parse(pipeline_run_find_filter(run, words[0]), (int)c->n, words);
        stages[i]->common.threads = 1;
        if (run->spool)
            stages[i]->common.spool = run->spool;
        free(words);
    }
    stages[n] = stage_new(&keeper);
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

/* ---- every merge ----------------------------------------------------------------------------- */

static bool covers(const struct coverage_check *g, const char *name)
{
    for (size_t i = 0; i < g->n_filters; i++)
        if (strstr(name, g->filters[i]))
            return true;
    return false;
}

static int check_gap(const struct merge_pipeline *r, const struct coverage_check *g,
                     const struct pipeline_options *run, struct error *e)
{
    if (!is_pipeline_of_files(g->pipeline))
        return error_set(e, "%.200s, line %zu: %s needs a value for all tensors", r->config_path,
                         g->line_number, g->parameter);
    struct header *h = open_commands(run, g->pipeline, 1, e);
    int failed = h ? 0 : -1;
    long model = h ? header_find_model(h, g->model) : -1;
    for (size_t i = 0; h && !failed && i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        for (size_t k = 0; !failed && k < t->n_vectors; k++) {
            const char *name = stage_rules_tensor_name(t, &t->vectors[k]);
            if ((long)t->vectors[k].model == model && !covers(g, name))
                failed = error_set(e, "%.200s, line %zu: %s has no value for tensor %s of %s",
                                   r->config_path, g->line_number, g->parameter, name, g->model);
        }
    }
    header_free(h);
    return failed;
}

/* Tokens that another model numbers otherwise: an error where the tokenizer was chosen, for then
 * rows would have to be moved; else it is said. */
static int check_tokens(const struct merge_pipeline *r, bool warn, const char *tool,
                        struct arena *a, struct error *e)
{
    const char *own = r->tokenizer_model ? r->tokenizer_model : r->metadata_model;
    struct token_difference d;
    for (size_t i = 0; (r->tokenizer_model || warn) && i < r->n_models; i++) {
        if (strcmp(r->models[i], own) == 0 ||
            !tokenizer_files_find_difference(own, r->models[i], &d, a))
            continue;
        const char *there = d.id_in_b < 0 ? "has none" : arena_printf(a, "has %ld", d.id_in_b);
        if (r->tokenizer_model)
            return error_set(e,
                             "%.200s, line %zu: token \"%.80s\" has number %ld in the tokenizer of "
                             "%.200s and %s in that of %.200s; moving rows of the embedding is not "
                             "supported (without tokenizer_source they are merged as they stand)",
                             r->config_path, r->config->tokenizer_line, d.token, d.id_in_a, own,
                             there, r->models[i]);
        fprintf(stderr,
                "%s: warning: token \"%.80s\" has number %ld in the tokenizer of %s and %s in that "
                "of %s; rows of the embedding are merged as they stand\n",
                tool, d.token, d.id_in_a, own, there, r->models[i]);
    }
    return 0;
}

int preflight_check_inputs(const struct merge_pipeline *r, const struct pipeline_options *run,
                           struct arena *a, struct error *e)
{
    for (size_t i = 0; i < r->n_coverage_checks; i++)
        if (check_gap(r, &r->coverage_checks[i], run, e))
            return -1;
    return check_tokens(r, false, NULL, a, e);
}

/* ---- the result ------------------------------------------------------------------------------ */

/* The tensors of the result, of slices some several times. */
struct found {
    const char *name;
    uint64_t bytes;
};

struct walk {
    const struct merge_pipeline *r;
    const struct pipeline_options *run;
    size_t n;
    struct found *found;
    struct preflight_totals *sum;
    struct arena *a;
    struct error *e;
};

static void add_found(struct walk *w, const char *name, enum dtype dtype, uint64_t elements)
{
    const struct merge_config *c = w->r->config;
    if (dtype_is_float(dtype) && c->out_dtype != DTYPE_NONE)
        dtype = c->out_dtype;
    w->found = mem_resize(w->found, w->n + 1, sizeof *w->found);
    w->found[w->n++] =
        (struct found){arena_copy_text_n(w->a, name, strlen(name)), dtype_bytes(dtype, elements)};
}

/* The operand of an option of pack; NULL. */
static const char *value_of(const struct pipeline *l, const char *option)
{
    const struct pipeline_command *c = &l->commands[l->n - 1];
    for (size_t i = 1; i + 1 < c->n; i++)
        if (c->words[i].text && strcmp(c->words[i].text, option) == 0)
            return c->words[i + 1].text;
    return NULL;
}

static bool has_word(const struct pipeline *l, const char *text)
{
    const struct pipeline_command *c = &l->commands[l->n - 1];
    for (size_t i = 1; i < c->n; i++)
        if (strcmp(c->words[i].text, text) == 0)
            return true;
    return false;
}

static bool is_taken(const struct header *h, const char *name, size_t *i)
{
    for (*i = 0; *i < h->n_tensors; ++*i) {
        const struct tensor *t = &h->tensors[*i];
        if (strcmp(t->base_name ? t->base_name : t->name, name) == 0)
            return true;
    }
    return false;
}

/* What pack --base adds of the base: dtypes, and the tensors that the stream lacks. */
static int add_with_base(struct walk *w, const struct header *h, const char *base, bool fills)
{
    struct layer_slice_options whole = {.first_layer = -1};
    struct model_source *in = layer_slice_open(base, &whole, w->run->spool, keeper.name, w->e);
    size_t i;
    if (!in)
        return -1;
    for (size_t j = 0; j < model_source_tensor_count(in); j++) {
        const struct ckpt_tensor *t = model_source_tensor(in, j);
        bool taken = is_taken(h, t->name, &i);
        bool rounded = h->input_rounding != DTYPE_NONE && dtype_is_float(t->dtype);
        enum dtype d = rounded ? h->input_rounding : t->dtype;
        if (taken || fills)
            add_found(w, taken ? h->tensors[i].name : t->name, d, t->elements);
    }
    model_source_close(in);
    return 0;
}

static int walk_line(struct walk *w, const struct pipeline *l);

/* A pipeline whose models are files: the headers of all its filters. */
static int walk_files(struct walk *w, const struct pipeline *l)
{
    bool packs = strcmp(l->commands[l->n - 1].words[0].text, "pack") == 0;
    const char *base = packs ? value_of(l, "--base") : NULL;
    struct header *h = open_commands(w->run, l, l->n - packs, w->e);
    int failed = h ? 0 : -1;
    if (h && base)
        failed = add_with_base(w, h, base, !has_word(l, "--no-fill"));
    for (size_t i = 0; h && !base && i < h->n_tensors; i++) {
        const struct vector *v = &h->tensors[i].vectors[0];
        enum dtype d = dtype_is_float(v->stored_dtype) ? v->stored_dtype : v->dtype;
        if (h->input_rounding != DTYPE_NONE && dtype_is_float(d))
            d = h->input_rounding;
        add_found(w, h->tensors[i].name, d, tensor_elements(&h->tensors[i]));
    }
    header_free(h);
    return failed;
}

static int walk_inner(struct walk *w, const struct pipeline *l)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t j = 0; j < l->commands[i].n; j++) {
            const struct pipeline *inner = l->commands[i].words[j].substitution;
            if (inner && walk_line(w, inner))
                return -1;
        }
    return 0;
}

static int walk_line(struct walk *w, const struct pipeline *l)
{
    if (is_pipeline_of_files(l))
        return walk_files(w, l);
    w->sum->size_unknown |= strcmp(l->commands[0].words[0].text, "stack") != 0;
    return walk_inner(w, l);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct found *)a)->name, ((const struct found *)b)->name);
}

/* Each name counts once. */
static void add_up(struct walk *w)
{
    if (w->n)
        qsort(w->found, w->n, sizeof *w->found, by_name);
    for (size_t i = 0; i < w->n; i++) {
        if (i && strcmp(w->found[i].name, w->found[i - 1].name) == 0)
            continue;
        w->sum->tensors++;
        w->sum->bytes += w->found[i].bytes;
    }
}

/* ---- the target ------------------------------------------------------------------------------ */

static int check_target(const char *out, bool force, struct preflight_totals *sum, struct arena *a,
                        struct error *e)
{
    struct statvfs disk;
    struct stat st;
    if (strcmp(out, "-") == 0)
        return 0;
    const char *folder = dirname(arena_copy_text_n(a, out, strlen(out)));
    if (!force && lstat(out, &st) == 0)
        return error_set(e, "%s exists already (--force replaces it)", out);
    if (statvfs(folder, &disk) < 0)
        return error_set(e, "cannot look at %s: %s", folder, strerror(errno));
    sum->free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (!sum->size_unknown && sum->bytes > sum->free_bytes)
        return error_set(e, "%s needs %llu bytes, but only %llu are free in %s", out,
                         (unsigned long long)sum->bytes, (unsigned long long)sum->free_bytes,
                         folder);
    return 0;
}

int preflight_dry_run(const struct merge_pipeline *r, const struct pipeline_options *run,
                      const char *out, bool force, struct preflight_totals *sum, const char *tool,
                      struct arena *a, struct error *e)
{
    struct walk w = {.r = r, .run = run, .sum = sum, .a = a, .e = e};
    *sum = (struct preflight_totals){0};
    int failed = check_tokens(r, true, tool, a, e) || walk_line(&w, &r->pipeline) ? -1 : 0;
    if (!failed)
        add_up(&w);
    free(w.found);
    return failed ? -1 : check_target(out, force, sum, a, e);
}
