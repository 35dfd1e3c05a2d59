#include "tuning_loss.h"

#include "calibrate_options.h"
#include "hash.h"
#include "image_features.h"
#include "objective.h"
#include "response_scores.h"
#include "training_samples.h"

#include <stdlib.h>
#include <string.h>

#define GROUP 8192 /* tokens that pass the model together */

struct tuning_loss {
    const struct tuning_loss_options *options;
    const struct common_options *common;
    const char *tool;
    struct base_and_experts models;
    struct samples samples;
    XXH3_state_t *key;

    /* With TUNING_EXPERTS: */
    struct training_samples selected;
    struct teacher_outputs *teachers;
    bool *hidden_states;  /* [h_0 .. h_L]: is it compared? */
    double *task_weights; /* [expert]: 1 */
};

static const struct arch *arch_of(const struct tuning_loss *t)
{
    return model_weights_arch(t->models.base);
}

/* ---- the key --------------------------------------------------------------------------------- */

static void add_to_key(struct tuning_loss *t, const void *bytes, size_t size)
{
    XXH3_64bits_update(t->key, bytes, size);
}

static void add_number_to_key(struct tuning_loss *t, uint64_t x)
{
    add_to_key(t, &x, sizeof x);
}

static void add_text_to_key(struct tuning_loss *t, const char *text)
{
    add_to_key(t, text, strlen(text) + 1);
}

static void add_model_to_key(struct tuning_loss *t, const struct model_weights *m)
{
    const struct model_source *source = model_weights_model_source(m);
    add_text_to_key(t, model_source_name(source));
    add_number_to_key(t, model_source_fingerprint(source));
    add_number_to_key(t, model_weights_config_hash(m));
}

static void add_options_to_key(struct tuning_loss *t)
{
    const struct tuning_loss_options *o = t->options;
    add_number_to_key(t, (uint64_t)o->target);
    add_number_to_key(t, o->per_task);
    add_number_to_key(t, (uint64_t)o->positions);
    add_text_to_key(t, o->hidden_layers);
    add_to_key(t, &o->hidden_weight, sizeof o->hidden_weight);
    add_to_key(t, &o->logit_weight, sizeof o->logit_weight);
    for (size_t i = 0; i < o->tasks.n; i++)
        add_text_to_key(t, o->tasks.items[i]);
    for (size_t k = 0; k < t->models.n; k++)
        add_model_to_key(t, t->models.files[k]);
    add_model_to_key(t, t->models.base);
}

uint64_t tuning_loss_key(const struct tuning_loss *t)
{
    return XXH3_64bits_digest(t->key);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int read_samples(struct tuning_loss *t, struct error *e)
{
    const struct string_list *files = &t->options->samples;
    const struct sample_requirements required = {
        .arch = arch_of(t), .prompt_required = t->options->target == TUNING_ANSWERS};
    for (size_t i = 0; i < files->n; i++) {
        if (samples_read(&t->samples, files->items[i], &required, e))
            return -1;
        add_number_to_key(t, t->samples.hash);
    }
    return 0;
}

static int select_samples(struct tuning_loss *t, struct error *e)
{
    const struct tuning_loss_options *o = t->options;
    size_t L = arch_of(t)->layers;
    const struct training_sample_selection selection = {.experts = &t->models,
                                                        .tasks = &o->tasks,
                                                        .per_task = o->per_task,
                                                        .response_only =
                                                            o->positions == POSITIONS_RESPONSE};
    t->hidden_states = mem_alloc(L + 1, sizeof *t->hidden_states);
    t->task_weights = mem_alloc(t->models.n, sizeof *t->task_weights);
    for (size_t k = 0; k < t->models.n; k++)
        t->task_weights[k] = 1;
    return calibrate_options_parse_hidden_layers(o->hidden_layers, L, t->hidden_states, e) ||
                   training_samples_select(&t->selected, &t->samples, &selection, e)
               ? -1
               : 0;
}

/* Keeps the first samples of each task. */
static void keep_first_samples(struct tuning_loss *t)
{
    struct samples *s = &t->samples;
    size_t *counts = mem_alloc(s->n_tasks, sizeof *counts), n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (counts[s->samples[i].task]++ < t->options->per_task)
            s->samples[n++] = s->samples[i];
    s->n = n;
    free(counts);
}

struct tuning_loss *tuning_loss_open(const struct tuning_loss_options *o,
                                     const struct base_and_experts_options *models,
                                     const struct common_options *common, const char *tool,
                                     struct error *e)
{
    struct tuning_loss *t = mem_alloc(1, sizeof *t);
    t->options = o;
    t->common = common;
    t->tool = tool;
    t->key = hash_new_state();
    if (base_and_experts_open_checkpoints(&t->models, models, common->spool, tool, e) ||
        read_samples(t, e) || (o->target == TUNING_EXPERTS && select_samples(t, e))) {
        tuning_loss_close(t);
        return NULL;
    }
    if (o->target == TUNING_ANSWERS)
        keep_first_samples(t);
    add_options_to_key(t);
    return t;
}

void tuning_loss_close(struct tuning_loss *t)
{
    if (!t)
        return;
    teacher_outputs_free(t->teachers);
    training_samples_free(&t->selected);
    samples_free(&t->samples);
    base_and_experts_close(&t->models);
    XXH3_freeState(t->key);
    free(t->hidden_states);
    free(t->task_weights);
    free(t);
}

uint64_t tuning_loss_model_bytes(const struct tuning_loss *t, enum dtype dtype)
{
    const struct model_source *m = model_weights_model_source(t->models.base);
    uint64_t bytes = 0;
    for (size_t i = 0; i < model_source_tensor_count(m); i++) {
        const struct ckpt_tensor *tensor = model_source_tensor(m, i);
        bool converted = dtype != DTYPE_NONE && dtype_is_float(tensor->dtype);
        bytes += dtype_bytes(converted ? dtype : tensor->dtype, tensor->elements);
    }
    return bytes;
}

/* ---- the teachers ---------------------------------------------------------------------------- */

/* Runs expert k on its samples, with the images that these have. */
static int run_teacher(struct tuning_loss *t, size_t k, struct error *e)
{
    struct model_weights *expert = t->models.files[k];
    const struct arch *a = model_weights_arch(expert);
    const struct weight_source *w = model_weights_weight_source(expert);
    const struct image_list *images = &t->samples.images;
    bool *wanted = mem_alloc(images->n, sizeof *wanted);
    for (size_t i = 0; i < t->selected.n; i++) {
        const struct training_sample *x = &t->selected.list[i];
        for (size_t j = 0; j < x->images.n; j++)
            wanted[x->images.indices[j]] |= x->expert == k;
    }
    struct image_features *f = image_features_compute(a, w, images->images, images->n, wanted,
                                                      t->common->memory / 2, t->common->spool, e);
    int failed = f ? teacher_outputs_run_expert(t->teachers, k, a, w, f, e) : -1;
    image_features_free(f);
    free(wanted);
    model_weights_release_layer(expert);
    return failed;
}

int tuning_loss_run_teachers(struct tuning_loss *t, struct error *e)
{
    const struct teacher_outputs_inputs in = {.arch = arch_of(t),
                                              .experts = t->models.n,
                                              .samples = t->selected.list,
                                              .n = t->selected.n,
                                              .hidden_states = t->hidden_states,
                                              .memory = t->common->memory / 2,
                                              .spool = t->common->spool};
    if (t->options->target == TUNING_ANSWERS)
        return 0;
    t->teachers = teacher_outputs_new(&in);
    for (size_t k = 0; k < t->models.n; k++)
        if (run_teacher(t, k, e))
            return -1;
    return 0;
}

/* ---- the distance to the experts ------------------------------------------------------------- */

static struct objective *create_objective(const struct tuning_loss *t,
                                          const struct weight_source *weights,
                                          const struct image_features *f)
{
    struct objective_settings settings = {.temperature = 1,
                                          .hidden_weight = t->options->hidden_weight,
                                          .logit_weight = t->options->logit_weight,
                                          .task_weights = t->task_weights,
                                          .hidden_states = t->hidden_states,
                                          .skip_first = 1};
    const struct objective_inputs in = {.arch = arch_of(t),
                                        .weights = weights,
                                        .teachers = t->teachers,
                                        .samples = t->selected.list,
                                        .image_features = f,
                                        .longest = t->selected.longest,
                                        .memory = t->common->memory / 2,
                                        .spool = t->common->spool};
    for (size_t l = 0; l <= in.arch->layers; l++)
        settings.n_hidden_states += t->hidden_states[l];
    return objective_new(&in, &settings);
}

/* How many samples from number `first` on pass the model together. */
static size_t count_group(const struct tuning_loss *t, size_t first)
{
    size_t n = 0, tokens = 0;
    while (first + n < t->selected.n && (n == 0 || tokens + t->selected.list[first + n].n <= GROUP))
        tokens += t->selected.list[first + n++].n;
    return n;
}

static int compute_sample_losses(const struct tuning_loss *t, struct objective *o,
                                 struct loss *losses, struct error *e)
{
    size_t n = t->selected.n, *indices = mem_alloc(n, sizeof *indices);
    int failed = 0;
    for (size_t i = 0; i < n; i++)
        indices[i] = i;
    for (size_t i = 0, count; i < n && !failed; i += count) {
        count = count_group(t, i);
        failed = objective_compute_losses(o, indices + i, count, false, losses + i, e);
    }
    free(indices);
    return failed;
}

/* The mean over the experts of the mean over their samples, which follow one another. */
static struct loss mean_over_experts(const struct tuning_loss *t, const struct loss *losses)
{
    struct loss mean = {0, 0};
    for (size_t i = 0, n; i < t->selected.n; i += n) {
        n = 1;
        while (i + n < t->selected.n &&
               t->selected.list[i + n].expert == t->selected.list[i].expert)
            n++;
        struct loss one = objective_mean_loss(losses + i, n);
        mean.hidden += one.hidden / (double)t->models.n;
        mean.logit += one.logit / (double)t->models.n;
    }
    return mean;
}

static int compute_distance(const struct tuning_loss *t, struct model_weights *m, double *values,
                            struct error *e)
{
    const struct image_list *images = &t->samples.images;
    const struct weight_source *w = model_weights_weight_source(m);
    struct image_features *f = image_features_compute(
        arch_of(t), w, images->images, images->n, NULL, t->common->memory / 2, t->common->spool, e);
    if (!f)
        return -1;
    struct objective *o = create_objective(t, w, f);
    struct loss *losses = mem_alloc(t->selected.n, sizeof *losses);
    int failed = compute_sample_losses(t, o, losses, e);
    struct loss mean = mean_over_experts(t, losses);
    values[0] = mean.hidden + mean.logit;
    values[1] = mean.hidden;
    values[2] = mean.logit;
    free(losses);
    objective_free(o);
    image_features_free(f);
    return failed;
}

/* ---- the loss of the answers ----------------------------------------------------------------- */

static int compute_answer_loss(const struct tuning_loss *t, struct model_weights *m, double *values,
                               struct error *e)
{
    const struct response_scores_inputs in = {.arch = arch_of(t),
                                              .weights = model_weights_weight_source(m),
                                              .samples = &t->samples,
                                              .memory = t->common->memory,
                                              .spool = t->common->spool,
                                              .allow_nonfinite = true};
    struct response_sums *sums = mem_alloc(t->samples.n_tasks, sizeof *sums);
    int failed = response_scores_sum(&in, sums, e);
    struct response_scores mean = response_scores_mean(sums, t->samples.n_tasks);
    values[0] = mean.loss;
    values[1] = mean.exact_match;
    free(sums);
    return failed;
}

/* ---- both ------------------------------------------------------------------------------------ */

size_t tuning_loss_columns(const struct tuning_loss *t, const char *names[TUNING_LOSS_COLUMNS])
{
    static const char *const experts[] = {"loss", "hidden", "logits"};
    static const char *const answers[] = {"loss", "exact_match"};
    bool has_experts = t->options->target == TUNING_EXPERTS;
    size_t n = has_experts ? 3 : 2;
    for (size_t i = 0; i < n && names; i++)
        names[i] = has_experts ? experts[i] : answers[i];
    return n;
}

int tuning_loss_compute(struct tuning_loss *t, const char *file, double values[TUNING_LOSS_COLUMNS],
                        struct error *e)
{
    struct model_weights *m =
        model_weights_open_like(file, t->models.base, t->common->spool, t->tool, e);
    if (!m)
        return -1;
    int failed = t->options->target == TUNING_EXPERTS ? compute_distance(t, m, values, e)
                                                      : compute_answer_loss(t, m, values, e);
    model_weights_close(m);
    return failed || experts_check_unchanged(&t->models, e) ? -1 : 0;
}
