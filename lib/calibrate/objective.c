#include "objective.h"

#include "mem.h"
#include "cross_entropy.h"
#include "residual.h"
#include "spool.h"
#include "vector_math.h"

#include <stdlib.h>
#include <string.h>

#define LAYER_TOKENS 1024 /* tokens that are in a layer at once */

struct objective {
    struct objective_inputs in;
    struct objective_settings settings;
    struct lm *lm;
    struct spool *states;  /* residual states x_0 .. x_L of the batch, (L + 1, N, d) */
    float *teacher_states; /* (longest, d) */

    /* The present batch. */
    const size_t *indices; /* [sample of the batch]: its training sample */
    struct token_batch batch;
    struct loss *losses; /* [sample of the batch] */
    bool gradient;
    const float *loaded_state; /* (N, d): the state that the backward pass loaded last */
    float *state_memory;       /* (N, d): holds it where the states are in a file */
    struct error error;        /* of add_hidden_loss_gradient */
    bool failed;
};

static const struct training_sample *get_training_sample(const struct objective *o, size_t s)
{
    return &o->in.samples[o->indices[s]];
}

static size_t first_token_of_sample(const struct objective *o, size_t s)
{
    return o->batch.starts[s] - o->batch.starts[0];
}

static double get_task_weight(const struct objective *o, size_t s)
{
    return o->settings.task_weights[get_training_sample(o, s)->expert];
}

/* ---- H: hidden states ------------------------------------------------------------------------ */

/* The states of one sample that are compared: P rows of h_l from row `first` of the batch on, and
 * the expert's in o->teacher_states. */
struct compared_states {
    size_t first, P;
    double factor; /* beta w_h / (|S| P d) */
};

/* Reads the expert's states of sample s. P is 0 if no position is compared. */
static int read_compared_teacher_states(struct objective *o, size_t s, size_t l,
                                        struct compared_states *c, struct error *e)
{
    const struct training_sample *x = get_training_sample(o, s);
    size_t skip = o->settings.skip_first, d = o->in.arch->hidden;
    size_t from = x->first_position > skip ? x->first_position : skip;
    *c = (struct compared_states){0};
    if (from > x->last_position)
        return 0;
    c->first = first_token_of_sample(o, s) + from;
    c->P = x->last_position - from + 1;
    c->factor = get_task_weight(o, s) * o->settings.hidden_weight /
                ((double)o->settings.n_hidden_states * (double)c->P * (double)d);
    return teacher_outputs_read_states(o->in.teachers, o->indices[s], l, from, c->P,
                                       o->teacher_states, e);
}

/* 1 / the mean square of an expert's state, or 1. */
static double compute_token_loss_scale(const struct objective *o, const float *h_expert)
{
    double squares = 0;
    if (!o->settings.relative)
        return 1;
    for (size_t i = 0; i < o->in.arch->hidden; i++)
        squares += (double)h_expert[i] * (double)h_expert[i];
    return squares > 0 ? (double)o->in.arch->hidden / squares : 0;
}

/* Adds beta w_h H of state l, x (N, d), to the losses. */
static int hidden_loss_forward(struct objective *o, size_t l, const float *x, struct error *e)
{
    size_t d = o->in.arch->hidden;
    for (size_t s = 0; s < o->batch.samples && o->settings.hidden_states[l]; s++) {
        struct compared_states c;
        if (read_compared_teacher_states(o, s, l, &c, e))
            return -1;
        for (size_t t = 0; t < c.P; t++) {
            const float *h = x + (c.first + t) * d, *h_expert = o->teacher_states + t * d;
            double sum = 0;
            for (size_t i = 0; i < d; i++) {
                double difference = (double)h[i] - (double)h_expert[i];
                sum += difference * difference;
            }
            o->losses[s].hidden += c.factor * compute_token_loss_scale(o, h_expert) * sum;
        }
    }
    return 0;
}

/* dx += d (beta w_h H) / d h_l = 2 factor (h_l - h_l^expert);  x, dx (N, d) */
static int hidden_loss_backward(struct objective *o, size_t l, const float *x, float *dx,
                                struct error *e)
{
    size_t d = o->in.arch->hidden;
    for (size_t s = 0; s < o->batch.samples && o->settings.hidden_states[l]; s++) {
        struct compared_states c;
        if (read_compared_teacher_states(o, s, l, &c, e))
            return -1;
        for (size_t t = 0; t < c.P; t++) {
            const float *h = x + (c.first + t) * d, *h_expert = o->teacher_states + t * d;
            double scale = c.factor * compute_token_loss_scale(o, h_expert);
            for (size_t i = 0; i < d; i++) {
                double difference = (double)h[i] - (double)h_expert[i];
                dx[(c.first + t) * d + i] += (float)(2 * scale * difference);
            }
        }
    }
    return 0;
}

/* ---- Z: logits ------------------------------------------------------------------------------- */

/* A position that is compared. */
struct logit_row {
    size_t sample, position; /* sample of the batch */
};

/* All compared positions, ordered by expert: a block of logits is one expert's. */
static struct logit_row *list_logit_rows(const struct objective *o, size_t *count)
{
    size_t n = 0, experts = 0;
    for (size_t s = 0; s < o->batch.samples; s++) {
        const struct training_sample *x = get_training_sample(o, s);
        n += x->last_position - x->first_position + 1;
        experts = x->expert >= experts ? x->expert + 1 : experts;
    }
    struct logit_row *rows = mem_alloc(n, sizeof *rows);
    *count = 0;
    for (size_t k = 0; k < experts; k++)
        for (size_t s = 0; s < o->batch.samples; s++) {
            const struct training_sample *x = get_training_sample(o, s);
            for (size_t t = x->first_position; x->expert == k && t <= x->last_position; t++)
                rows[(*count)++] = (struct logit_row){s, t};
        }
    return rows;
}

static size_t find_expert_of_row(const struct objective *o, const struct logit_row *r)
{
    return get_training_sample(o, r->sample)->expert;
}

/* How many of the n rows from rows[0] on belong to the same sample without a gap. */
static size_t count_rows_of_same_sample(const struct logit_row *rows, size_t n)
{
    size_t count = 1;
    while (count < n && rows[count].sample == rows[0].sample)
        count++;
    return count;
}

/* How many of the n rows from rows[0] on belong to the same expert. */
static size_t count_rows_of_same_expert(const struct objective *o, const struct logit_row *rows,
                                        size_t n)
{
    size_t count = 1;
    while (count < n && find_expert_of_row(o, &rows[count]) == find_expert_of_row(o, &rows[0]))
        count++;
    return count;
}

/* The row of a position in states x (N, d). */
static size_t offset_of_row_in_state(const struct objective *o, const struct logit_row *r)
{
    return (first_token_of_sample(o, r->sample) + r->position) * o->in.arch->hidden;
}

/* Memory for a block of n rows. */
struct logit_buffers {
    float *h, *h_expert; /* (n, d) */
    float *z, *z_expert; /* (n, V) */
    double *loss;        /* (n) */
};

static struct logit_buffers logit_buffers_new(const struct arch *a, size_t n)
{
    size_t d = a->hidden, V = a->vocab;
    return (struct logit_buffers){.h = mem_alloc_aligned(n * d * sizeof(float)),
                                  .h_expert = mem_alloc_aligned(n * d * sizeof(float)),
                                  .z = mem_alloc_aligned(n * V * sizeof(float)),
                                  .z_expert = mem_alloc_aligned(n * V * sizeof(float)),
                                  .loss = mem_alloc(n, sizeof(double))};
}

static void logit_buffers_free(struct logit_buffers *b)
{
    free(b->h);
    free(b->h_expert);
    free(b->z);
    free(b->z_expert);
    free(b->loss);
}

/* The expert's h_L and logits. */
static int compute_expert_logits(struct objective *o, const struct logit_row *rows, size_t n,
                                 const struct logit_buffers *b, struct error *e)
{
    size_t L = o->in.arch->layers, d = o->in.arch->hidden;
    for (size_t i = 0, count; i < n; i += count) {
        const struct logit_row *r = &rows[i];
        count = count_rows_of_same_sample(r, n - i);
        if (teacher_outputs_read_states(o->in.teachers, o->indices[r->sample], L, r->position,
                                        count, b->h_expert + i * d, e))
            return -1;
    }
    return teacher_outputs_compute_logits(o->in.teachers, find_expert_of_row(o, rows), b->h_expert,
                                          n, b->z_expert, e);
}

/* h_L and logits of the merged model, and the logits that it is compared with. */
static int compute_both_logits(struct objective *o, const float *x, const struct logit_row *rows,
                               size_t n, const struct logit_buffers *b, struct error *e)
{
    size_t d = o->in.arch->hidden;
    for (size_t i = 0; i < n; i++)
        memcpy(b->h + i * d, x + offset_of_row_in_state(o, &rows[i]), d * sizeof *x);
    if (lm_logits(o->lm, b->h, n, b->z, e))
        return -1;
    if (!o->settings.entropy)
        return compute_expert_logits(o, rows, n, b, e);
    memcpy(b->z_expert, b->z, n * o->in.arch->vocab * sizeof *b->z);
    return 0;
}

/* Adds beta w_z Z of the block's rows to the losses. With `gradient` b->z becomes its gradient with
 * respect to z, beta w_z Theta (p - q) / P, or -beta w_z Theta p (ln p + entropy) / P. */
static void logit_losses_from_logits(struct objective *o, const struct logit_row *rows, size_t n,
                                     const struct logit_buffers *b, bool gradient)
{
    size_t V = o->in.arch->vocab;
    double theta = o->settings.temperature;
    cross_entropy_soft_forward(b->z, b->z_expert, (float)theta, n, V, b->loss);
    for (size_t i = 0, count; i < n; i += count) {
        size_t s = rows[i].sample;
        const struct training_sample *x = get_training_sample(o, s);
        double factor = get_task_weight(o, s) * o->settings.logit_weight /
                        (double)(x->last_position - x->first_position + 1);
        count = count_rows_of_same_sample(rows + i, n - i);
        for (size_t t = i; t < i + count; t++)
            o->losses[s].logit += factor * theta * theta * b->loss[t];
        if (gradient && o->settings.entropy)
            cross_entropy_own_backward(b->z + i * V, b->loss + i, count, V,
                                       (float)(factor * theta));
        else if (gradient)
            cross_entropy_soft_backward(b->z + i * V, b->z_expert + i * V, count, V,
                                        (float)(factor * theta));
    }
}

/* n rows of one expert; x (N, d) is h_L. Adds the gradient with respect to x to dx (N, d) unless
 * that is NULL. */
static int logit_block_forward_backward(struct objective *o, const float *x,
                                        const struct logit_row *rows, size_t n,
                                        const struct logit_buffers *b, float *dx, struct error *e)
{
    size_t d = o->in.arch->hidden;
    float *dh = b->h_expert; /* no longer needed for the expert's states */
    if (compute_both_logits(o, x, rows, n, b, e))
        return -1;
    logit_losses_from_logits(o, rows, n, b, dx != NULL);
    if (!dx)
        return 0;
    if (lm_logits_backward(o->lm, b->z, b->h, n, dh, merged_model_gradient_sink(o->in.merged_model),
                           e))
        return -1;
    for (size_t i = 0; i < n; i++) {
        float *row = dx + offset_of_row_in_state(o, &rows[i]);
        vector_math_add(row, dh + i * d, row, d);
    }
    return 0;
}

/* Z of all samples, forward, and backward unless dx is NULL; x is h_L. */
static int logit_forward_backward(struct objective *o, const float *x, float *dx, struct error *e)
{
    size_t count, block = lm_logits_block_tokens(o->in.arch);
    if (o->settings.logit_weight == 0)
        return 0;
    struct logit_row *rows = list_logit_rows(o, &count);
    block = count < block ? count : block;
    struct logit_buffers b = logit_buffers_new(o->in.arch, block);
    int failed = 0;
    for (size_t i = 0, n; i < count && !failed; i += n) {
        n = count_rows_of_same_expert(o, rows + i, count - i < block ? count - i : block);
        failed = logit_block_forward_backward(o, x, rows + i, n, &b, dx, e);
    }
    free(rows);
    logit_buffers_free(&b);
    return failed;
}

/* ---- forward and backward -------------------------------------------------------------------- */

static size_t bytes_per_hidden_state(const struct objective *o)
{
    return token_batch_tokens(&o->batch) * o->in.arch->hidden * sizeof(float);
}

/* For struct state_hook: stores x_l for the backward pass, and adds H of h_l. x_L, the input of the
 * final norm, is no hidden state; h_L is state L + 1. */
static int store_state_and_add_hidden_loss(void *context, size_t state, const float *x,
                                           struct error *e)
{
    struct objective *o = context;
    size_t L = o->in.arch->layers, bytes = bytes_per_hidden_state(o);
    if (o->gradient && state <= L &&
        spool_write_at(o->states, (uint64_t)state * bytes, x, bytes, e))
        return -1;
    return state == L ? 0 : hidden_loss_forward(o, state > L ? L : state, x, e);
}

/* For struct backward_hooks. */
static const float *load_stored_hidden_state(void *context, size_t state, struct error *e)
{
    struct objective *o = context;
    size_t bytes = bytes_per_hidden_state(o);
    o->loaded_state = spool_memory_at(o->states, (uint64_t)state * bytes, bytes);
    if (o->loaded_state)
        return o->loaded_state;
    if (!o->state_memory)
        o->state_memory = mem_alloc_aligned(bytes);
    o->loaded_state = o->state_memory;
    return spool_read_at(o->states, (uint64_t)state * bytes, o->state_memory, bytes, e)
               ? NULL
               : o->loaded_state;
}

/* For struct backward_hooks, which calls it after load_stored_hidden_state of the same state. */
static void add_hidden_loss_gradient(void *context, size_t state, float *dx)
{
    struct objective *o = context;
    if (!o->failed)
        o->failed = hidden_loss_backward(o, state, o->loaded_state, dx, &o->error) != 0;
}

/* x is h_L, dx the gradient of Z with respect to it. */
static int run_backward_pass(struct objective *o, const float *x, float *dx, struct error *e)
{
    const struct backward_hooks hooks = {o, load_stored_hidden_state, add_hidden_loss_gradient};
    if (hidden_loss_backward(o, o->in.arch->layers, x, dx, e) ||
        lm_backward(o->lm, &o->batch, &hooks, dx, merged_model_gradient_sink(o->in.merged_model),
                    e))
        return -1;
    if (o->failed)
        *e = o->error;
    return o->failed || merged_model_report_gradient_error(o->in.merged_model, e) ? -1 : 0;
}

static int run_forward_and_backward(struct objective *o, struct error *e)
{
    size_t bytes = bytes_per_hidden_state(o);
    const struct state_hook hook = {o, store_state_and_add_hidden_loss};
    float *x = mem_alloc_aligned(bytes), *dx = NULL;
    uint64_t all_states = (uint64_t)(o->in.arch->layers + 1) * bytes, memory = o->in.memory;
    int failed = 0;
    lm_set_activation_budget(o->lm, o->gradient && all_states < memory ? memory - all_states : 0);
    if (o->gradient) {
        dx = mem_alloc_aligned(bytes);
        memset(dx, 0, bytes);
        failed = spool_reserve(o->states, all_states, e);
    }
    failed = failed || lm_forward(o->lm, &o->batch, x, &hook, e) ||
             logit_forward_backward(o, x, dx, e) || (o->gradient && run_backward_pass(o, x, dx, e));
    free(x);
    free(dx);
    return failed ? -1 : 0;
}

int objective_compute_losses(struct objective *o, const size_t *indices, size_t n, bool gradient,
                             struct loss *losses, struct error *e)
{
    struct sequence *sequences = mem_alloc(n, sizeof *sequences);
    o->indices = indices;
    o->losses = losses;
    o->gradient = gradient;
    for (size_t s = 0; s < n; s++) {
        losses[s] = (struct loss){0, 0};
        sequences[s] = training_sample_sequence(get_training_sample(o, s));
    }
    token_batch_build(&o->batch, o->in.arch, sequences, n);
    free(sequences);
    int failed = run_forward_and_backward(o, e);
    token_batch_free(&o->batch);
    free(o->state_memory);
    o->state_memory = NULL;
    return failed;
}

struct loss objective_mean_loss(const struct loss *losses, size_t n)
{
    struct loss mean = {0, 0};
    for (size_t i = 0; i < n; i++) {
        mean.hidden += losses[i].hidden / (double)n;
        mean.logit += losses[i].logit / (double)n;
    }
    return mean;
}

/* ---- new and free ---------------------------------------------------------------------------- */

struct objective *objective_new(const struct objective_inputs *in,
                                const struct objective_settings *settings)
{
    struct objective *o = mem_alloc(1, sizeof *o);
    size_t longest = in->longest;
    o->in = *in;
    o->settings = *settings;
    o->lm = lm_new(in->arch, in->weights, longest > LAYER_TOKENS ? longest : LAYER_TOKENS, longest);
    lm_set_image_features(o->lm, in->image_features);
    o->states = spool_new(in->memory, in->spool);
    o->teacher_states = mem_alloc_aligned(longest * in->arch->hidden * sizeof(float));
    return o;
}

void objective_free(struct objective *o)
{
    if (!o)
        return;
    lm_free(o->lm);
    spool_free(o->states);
    free(o->teacher_states);
    free(o);
}
