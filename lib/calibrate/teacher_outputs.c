#include "teacher_outputs.h"

#include "mem.h"
#include "spool.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_TOKENS 2048 /* tokens that pass an expert's layers together */
#define LAYER_TOKENS 1024 /* tokens that are in a layer at once */

struct teacher_outputs {
    const struct arch *arch;
    const struct training_sample *samples;
    size_t n;
    long *stored_index; /* [h_0 .. h_L]: its index among the stored states; -1: not stored */
    size_t n_stored;    /* stored states per token */
    uint64_t *offset;   /* [sample]: of its states (n_stored, T, d) */
    struct spool *states;
    const struct weight_source **heads; /* [expert] */
    size_t head_of;                     /* the expert whose head computes logits */
    struct weight_source head_source;
    struct lm *lm; /* of heads only */
};

static const float *load_lm_head_rows_of_expert(void *context, enum weight_kind kind, size_t first,
                                                size_t n, float *to, struct error *e)
{
    const struct teacher_outputs *t = context;
    const struct weight_source *w = t->heads[t->head_of];
    return w->load_rows(w->context, kind, first, n, to, e);
}

struct teacher_outputs *teacher_outputs_new(const struct teacher_outputs_inputs *in)
{
    struct teacher_outputs *t = mem_alloc(1, sizeof *t);
    size_t L = in->arch->layers, row = in->arch->hidden * sizeof(float);
    t->arch = in->arch;
    t->samples = in->samples;
    t->n = in->n;
    t->stored_index = mem_alloc(L + 1, sizeof *t->stored_index);
    for (size_t l = 0; l <= L; l++)
        t->stored_index[l] = in->hidden_states[l] || l == L ? (long)t->n_stored++ : -1;
    t->offset = mem_alloc(t->n + 1, sizeof *t->offset);
    for (size_t i = 0; i < t->n; i++) {
        uint64_t rows = t->samples[i].on_other_rank ? 0 : (uint64_t)t->n_stored * t->samples[i].n;
        t->offset[i + 1] = t->offset[i] + rows * row;
    }
    t->states = spool_new(in->memory, in->spool);
    t->heads = mem_alloc(in->experts, sizeof *t->heads);
    t->head_source = (struct weight_source){t, NULL, load_lm_head_rows_of_expert};
    t->lm = lm_new(t->arch, &t->head_source, 1, 1);
    return t;
}

void teacher_outputs_free(struct teacher_outputs *t)
{
    if (!t)
        return;
    lm_free(t->lm);
    spool_free(t->states);
    free(t->stored_index);
    free(t->offset);
    free(t->heads);
    free(t);
}

uint64_t teacher_outputs_stored_bytes(const struct teacher_outputs *t)
{
    return t->offset[t->n];
}

/* ---- hidden states --------------------------------------------------------------------------- */

/* Samples that pass the expert's layers together. */
struct batch_of_samples {
    struct teacher_outputs *teachers;
    const size_t *indices; /* [sample of the batch]: its training sample */
    const struct token_batch *batch;
};

/* For struct state_hook. h_L is state L + 1 of lm.h, which follows the final norm; state L is no
 * hidden state. */
static int store_hidden_state(void *context, size_t state, const float *x, struct error *e)
{
    const struct batch_of_samples *b = context;
    const struct teacher_outputs *t = b->teachers;
    size_t L = t->arch->layers, d = t->arch->hidden;
    if (state == L)
        return 0;
    long index = t->stored_index[state > L ? L : state];
    for (size_t s = 0; index >= 0 && s < b->batch->samples; s++) {
        size_t first_token = b->batch->starts[s] - b->batch->starts[0], sample = b->indices[s];
        size_t bytes = t->samples[sample].n * d * sizeof *x;
        uint64_t at = t->offset[sample] + (uint64_t)index * bytes;
        if (spool_write_at(t->states, at, x + first_token * d, bytes, e))
            return -1;
    }
    return 0;
}

/* The samples of an expert that this process computes, into `batch`; `indices` [n] receives which
 * training samples they are. */
static size_t gather_own_samples_of_expert(const struct teacher_outputs *t, size_t expert,
                                           const struct arch *a, struct token_batch *batch,
                                           size_t *indices)
{
    size_t n = 0;
    struct sequence *sequences = mem_alloc(t->n, sizeof *sequences);
    for (size_t i = 0; i < t->n; i++)
        if (t->samples[i].expert == expert && !t->samples[i].on_other_rank) {
            sequences[n] = training_sample_sequence(&t->samples[i]);
            indices[n++] = i;
        }
    token_batch_build(batch, a, sequences, n);
    free(sequences);
    return n;
}

/* Runs some samples, and stores their states. */
static int run_batch_and_store_states(struct lm *lm, struct batch_of_samples *b, struct error *e)
{
    const struct state_hook hook = {b, store_hidden_state};
    float *x =
        mem_alloc_aligned(token_batch_tokens(b->batch) * b->teachers->arch->hidden * sizeof *x);
    int failed = lm_forward(lm, b->batch, x, &hook, e);
    free(x);
    return failed;
}

int teacher_outputs_run_expert(struct teacher_outputs *t, size_t expert, const struct arch *a,
                               const struct weight_source *w, const struct image_features *f,
                               struct error *e)
{
    struct token_batch all;
    size_t *indices = mem_alloc(t->n, sizeof *indices);
    size_t n = gather_own_samples_of_expert(t, expert, a, &all, indices),
           tokens = token_batch_tokens(&all);
    int failed = expert == 0 ? spool_reserve(t->states, t->offset[t->n], e) : 0;
    t->heads[expert] = w;
    struct lm *lm =
        lm_new(a, w, tokens < LAYER_TOKENS ? tokens : LAYER_TOKENS, token_batch_longest(&all));
    lm_set_image_features(lm, f);
    for (size_t s = 0; s < n && !failed;) {
        struct token_batch some = token_batch_slice(&all, a, s, BATCH_TOKENS);
        struct batch_of_samples b = {t, indices + s, &some};
        failed = run_batch_and_store_states(lm, &b, e);
        s += some.samples;
    }
    lm_free(lm);
    token_batch_free(&all);
    free(indices);
    return failed ? -1 : 0;
}

int teacher_outputs_read_states(const struct teacher_outputs *t, size_t sample, size_t state,
                                size_t from, size_t n, float *to, struct error *e)
{
    size_t row = t->arch->hidden * sizeof *to;
    uint64_t first = (uint64_t)t->stored_index[state] * t->samples[sample].n + from;
    return spool_read_at(t->states, t->offset[sample] + first * row, to, n * row, e);
}

int teacher_outputs_compute_logits(struct teacher_outputs *t, size_t expert, const float *h,
                                   size_t n, float *z, struct error *e)
{
    t->head_of = expert;
    return lm_logits(t->lm, h, n, z, e);
}
