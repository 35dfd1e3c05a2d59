#include "objective.h"

#include "mem.h"
#include "cross_entropy.h"
#include "residual.h"
#include "spool.h"

#include <stdlib.h>
#include <string.h>

#define ROOM 1024 /* tokens that are in a layer at once */

/* A position that counts: of sample `sample` of the group, `position` in it. */
struct row {
    size_t sample, position;
};

struct objective {
    const struct arch *arch;
    struct merged_model *merged;
    struct teachers *teachers;
    const struct example *examples;
    struct objective_settings settings;
    size_t longest;
    struct lm *lm;
    struct spool *tape; /* states x_0 .. x_L of the group, (L + 1, N, d) */
    uint64_t memory;    /* for it and for traces */

    /* The group at hand. */
    const size_t *which; /* [sample]: its example */
    struct token_batch pack;
    struct loss *loss; /* [sample] */
    float *state;      /* (N, d): the one asked for last, where the tape is in a file */
    float *other;      /* (longest, d): an expert's states */
    const float *last; /* where the state asked for last lies */
    bool gradient;
    struct error error; /* of tape_add */
    bool failed;
};

static const struct example *example_of(const struct objective *o, size_t sample)
{
    return &o->examples[o->which[sample]];
}

static size_t first_token(const struct objective *o, size_t sample)
{
    return o->pack.starts[sample] - o->pack.starts[0];
}

static double task_weight(const struct objective *o, size_t sample)
{
    return o->settings.task_weights[example_of(o, sample)->expert];
}

/* ---- H --------------------------------------------------------------------------------------- */

/* 1 / the mean square of an expert's state, or 1. */
static double token_scale(const struct objective *o, const float *h)
{
    double squares = 0;
    if (!o->settings.relative)
        return 1;
    for (size_t i = 0; i < o->arch->hidden; i++)
        squares += (double)h[i] * (double)h[i];
    return squares > 0 ? (double)o->arch->hidden / squares : 0;
}

/* The hidden loss of one sample in h_l, x (N, d); adds its gradient to dx (N, d) unless that is
 * NULL, else its value to the sample's loss. */
static int hidden_of_sample(struct objective *o, size_t sample, size_t l, const float *x, float *dx,
                            struct error *e)
{
    const struct example *ex = example_of(o, sample);
    size_t d = o->arch->hidden;
    size_t from = ex->first_position > o->settings.skip ? ex->first_position : o->settings.skip;
    if (from > ex->last_position)
        return 0;
    size_t P = ex->last_position - from + 1, at = (first_token(o, sample) + from) * d;
    double factor = task_weight(o, sample) * o->settings.hidden_weight /
                    ((double)o->settings.hidden_count * (double)P * (double)d);
    if (teachers_read_states(o->teachers, o->which[sample], l, from, P, o->other, e))
        return -1;
    for (size_t t = 0; t < P; t++) {
        const float *h = x + at + t * d, *expert = o->other + t * d;
        double scale = factor * token_scale(o, expert), sum = 0;
        for (size_t i = 0; i < d; i++) {
            double difference = (double)h[i] - (double)expert[i];
            sum += difference * difference;
            if (dx)
                dx[at + t * d + i] += (float)(2 * scale * difference);
        }
        if (!dx)
            o->loss[sample].hidden += scale * sum;
    }
    return 0;
}

static int hidden(struct objective *o, size_t l, const float *x, float *dx, struct error *e)
{
    for (size_t s = 0; s < o->pack.samples && o->settings.hidden[l]; s++)
        if (hidden_of_sample(o, s, l, x, dx, e))
            return -1;
    return 0;
}

/* ---- Z --------------------------------------------------------------------------------------- */

/* The positions that count, those of one expert together. */
static struct row *list_rows(const struct objective *o, size_t *count)
{
    size_t n = 0, experts = 0;
    for (size_t s = 0; s < o->pack.samples; s++) {
        const struct example *ex = example_of(o, s);
        n += ex->last_position - ex->first_position + 1;
        experts = ex->expert >= experts ? ex->expert + 1 : experts;
    }
    struct row *rows = mem_alloc(n, sizeof *rows);
    *count = 0;
    for (size_t k = 0; k < experts; k++)
        for (size_t s = 0; s < o->pack.samples; s++) {
            const struct example *ex = example_of(o, s);
            for (size_t t = ex->first_position; ex->expert == k && t <= ex->last_position; t++)
                rows[(*count)++] = (struct row){s, t};
        }
    return rows;
}

static size_t expert_of(const struct objective *o, const struct row *r)
{
    return example_of(o, r->sample)->expert;
}

/* Rows of one sample in a row: their number, at most n. */
static size_t run_of(const struct row *rows, size_t n)
{
    size_t count = 1;
    while (count < n && rows[count].sample == rows[0].sample)
        count++;
    return count;
}

/* Buffers for a block of n rows. */
struct buffers {
    float *h, *other, *z, *q; /* (n, d), (n, d), (n, V), (n, V) */
    double *loss;
};

static float *row_in(const struct objective *o, const float *x, const struct row *r)
{
    return (float *)x + (first_token(o, r->sample) + r->position) * o->arch->hidden;
}

/* States of the merged model and of the expert, and the logits that they give. */
static int both_logits(struct objective *o, const float *x, const struct row *rows, size_t n,
                       const struct buffers *b, struct error *e)
{
    size_t d = o->arch->hidden;
    for (size_t i = 0; i < n;) {
        size_t run = run_of(rows + i, n - i);
        memcpy(b->h + i * d, row_in(o, x, &rows[i]), run * d * sizeof *x);
        if (teachers_read_states(o->teachers, o->which[rows[i].sample], o->arch->layers,
                                 rows[i].position, run, b->other + i * d, e))
            return -1;
        i += run;
    }
    return lm_logits(o->lm, b->h, n, b->z, e) ||
                   teachers_compute_logits(o->teachers, expert_of(o, rows), b->other, n, b->q, e)
               ? -1
               : 0;
}

/* n rows of one expert; adds the gradient by x to dx unless that is NULL. */
static int logits_of_block(struct objective *o, const float *x, const struct row *rows, size_t n,
                           const struct buffers *b, float *dx, struct error *e)
{
    size_t d = o->arch->hidden, V = o->arch->vocab;
    double theta = o->settings.temperature;
    if (both_logits(o, x, rows, n, b, e))
        return -1;
    cross_entropy_soft_forward(b->z, b->q, (float)theta, n, V, b->loss);
    for (size_t i = 0; i < n;) {
        const struct example *ex = example_of(o, rows[i].sample);
        size_t run = run_of(rows + i, n - i);
        double factor = task_weight(o, rows[i].sample) * o->settings.logit_weight /
                        (double)(ex->last_position - ex->first_position + 1);
        for (size_t t = i; t < i + run; t++)
            o->loss[rows[i].sample].logit += factor * theta * theta * b->loss[t];
        if (dx)
            cross_entropy_soft_backward(b->z + i * V, b->q + i * V, run, V,
                                        (float)(factor * theta));
        i += run;
    }
    if (!dx)
        return 0;
    if (lm_logits_backward(o->lm, b->z, b->h, n, b->other, merged_model_gradient_sink(o->merged),
                           e))
        return -1;
    for (size_t i = 0; i < n; i++)
        residual_add(b->other + i * d, d, row_in(o, dx, &rows[i]));
    return 0;
}

static int logits(struct objective *o, const float *x, float *dx, struct error *e)
{
    size_t count, block = lm_logits_block_tokens(o->arch), d = o->arch->hidden, V = o->arch->vocab;
    if (o->settings.logit_weight == 0)
        return 0;
    struct row *rows = list_rows(o, &count);
    block = count < block ? count : block;
    struct buffers b = {
        mem_alloc_aligned(block * d * sizeof(float)), mem_alloc_aligned(block * d * sizeof(float)),
        mem_alloc_aligned(block * V * sizeof(float)), mem_alloc_aligned(block * V * sizeof(float)),
        mem_alloc(block, sizeof(double))};
    int failed = 0;
    for (size_t i = 0, n; i < count && !failed; i += n) {
        n = 1;
        while (n < block && i + n < count && expert_of(o, &rows[i + n]) == expert_of(o, &rows[i]))
            n++;
        failed = logits_of_block(o, x, rows + i, n, &b, dx, e);
    }
    free(rows);
    free(b.h);
    free(b.other);
    free(b.z);
    free(b.q);
    free(b.loss);
    return failed;
}

/* ---- forward and backward -------------------------------------------------------------------- */

static size_t state_bytes(const struct objective *o)
{
    return token_batch_tokens(&o->pack) * o->arch->hidden * sizeof(float);
}

/* On the way forward: x_l for the tape, and the value of H. */
static int keep(void *context, size_t state, const float *x, struct error *e)
{
    struct objective *o = context;
    size_t L = o->arch->layers, bytes = state_bytes(o);
    if (o->gradient && state <= L && spool_write(o->tape, (uint64_t)state * bytes, x, bytes, e))
        return -1;
    return state == L ? 0 : hidden(o, state > L ? L : state, x, NULL, e);
}

static const float *tape_state(void *context, size_t state, struct error *e)
{
    struct objective *o = context;
    size_t bytes = state_bytes(o);
    o->last = spool_memory_at(o->tape, (uint64_t)state * bytes, bytes);
    if (o->last)
        return o->last;
    if (!o->state)
        o->state = mem_alloc_aligned(bytes);
    o->last = o->state;
    return spool_read(o->tape, (uint64_t)state * bytes, o->state, bytes, e) ? NULL : o->state;
}

/* The layer behind has just asked for this state. */
static void tape_add(void *context, size_t state, float *dx)
{
    struct objective *o = context;
    if (!o->failed)
        o->failed = hidden(o, state, o->last, dx, &o->error) != 0;
}

static int backward(struct objective *o, const float *x, float *dx, struct error *e)
{
    const struct backward_hooks tape = {o, tape_state, tape_add};
    if (hidden(o, o->arch->layers, x, dx, e) ||
        lm_backward(o->lm, &o->pack, &tape, dx, merged_model_gradient_sink(o->merged), e))
        return -1;
    if (o->failed)
        *e = o->error;
    return o->failed || merged_model_check_gradients(o->merged, e) ? -1 : 0;
}

static int compute(struct objective *o, struct error *e)
{
    size_t bytes = state_bytes(o);
    const struct state_hook keeper = {o, keep};
    float *x = mem_alloc_aligned(bytes), *dx = NULL;
    uint64_t tape = (uint64_t)(o->arch->layers + 1) * bytes;
    int failed = 0;
    lm_set_activation_budget(o->lm, o->gradient && tape < o->memory ? o->memory - tape : 0);
    if (o->gradient) {
        dx = mem_alloc_aligned(bytes);
        memset(dx, 0, bytes);
        failed = spool_reserve(o->tape, tape, e);
    }
    failed = failed || lm_forward(o->lm, &o->pack, x, &keeper, e) || logits(o, x, dx, e) ||
             (o->gradient && backward(o, x, dx, e));
    free(x);
    free(dx);
    return failed ? -1 : 0;
}

int objective_compute_losses(struct objective *o, const size_t *examples, size_t n, bool gradient,
                             struct loss *loss, struct error *e)
{
    struct sequence *all = mem_alloc(n, sizeof *all);
    o->which = examples;
    o->loss = loss;
    o->gradient = gradient;
    for (size_t s = 0; s < n; s++) {
        loss[s] = (struct loss){0, 0};
        all[s] = example_sequence(example_of(o, s));
    }
    token_batch_build(&o->pack, o->arch, all, n);
    free(all);
    int failed = compute(o, e);
    token_batch_free(&o->pack);
    free(o->state);
    o->state = NULL;
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

/* ---- around it ------------------------------------------------------------------------------- */

struct objective *objective_new(const struct arch *a, struct merged_model *m, struct teachers *t,
                                const struct example *examples, const struct image_features *sights,
                                const struct objective_settings *settings, size_t longest,
                                uint64_t memory, const char *spool)
{
    struct objective *o = mem_alloc(1, sizeof *o);
    o->arch = a;
    o->merged = m;
    o->teachers = t;
    o->examples = examples;
    o->settings = *settings;
    o->longest = longest;
    o->lm = lm_new(a, merged_model_weight_source(m), longest > ROOM ? longest : ROOM, longest);
    lm_set_image_features(o->lm, sights);
    o->tape = spool_new(memory, spool);
    o->memory = memory;
    o->other = mem_alloc_aligned(longest * a->hidden * sizeof *o->other);
    return o;
}

void objective_free(struct objective *o)
{
    if (!o)
        return;
    lm_free(o->lm);
    spool_free(o->tape);
    free(o->other);
    free(o);
}
