#include "response_scores.h"

#include "cross_entropy.h"
#include "image_features.h"
#include "lm.h"
#include "mem.h"
#include "parallel_for.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GROUP 8192 /* tokens that pass the model together */
#define ROOM  1024 /* tokens that are in a layer at once */

struct run {
    const struct response_scores_inputs *in;
    struct lm *lm;
    struct response_sums *sums; /* [task] */
    bool *exact;                /* [sample]: so far, every token was ranked first */
};

/* A response token to predict. */
struct target {
    size_t sample;
    size_t position; /* in the batch, of the token before it, whose logits predict it */
    uint32_t token;
};

/* ---- a block of targets ---------------------------------------------------------------------- */

/* Memory for a block of n targets. */
struct target_block {
    float *h, *logits; /* (n, d), (n, V) */
    uint32_t *tokens;  /* (n) */
    double *loss;      /* (n) */
    bool *top1;        /* (n): the target is ranked first */
    size_t V;
};

static struct target_block target_block_new(const struct arch *a)
{
    size_t n = lm_logits_block_tokens(a);
    return (struct target_block){.h = mem_alloc_aligned(n * a->hidden * sizeof(float)),
                                 .logits = mem_alloc_aligned(n * a->vocab * sizeof(float)),
                                 .tokens = mem_alloc(n, sizeof(uint32_t)),
                                 .loss = mem_alloc(n, sizeof(double)),
                                 .top1 = mem_alloc(n, sizeof(bool)),
                                 .V = a->vocab};
}

static void target_block_free(struct target_block *b)
{
    free(b->h);
    free(b->logits);
    free(b->tokens);
    free(b->loss);
    free(b->top1);
}

/* The token with the largest logit; of equal ones the first. */
static uint32_t find_token_with_largest_logit(const float *logits, size_t V)
{
    size_t best = 0;
    for (size_t v = 1; v < V; v++)
        if (logits[v] > logits[best])
            best = v;
    return (uint32_t)best;
}

static void mark_top1_target(void *context, size_t i, size_t thread)
{
    const struct target_block *b = context;
    b->top1[i] = find_token_with_largest_logit(b->logits + i * b->V, b->V) == b->tokens[i];
}

static int add_scores_to_response_sums(struct run *r, const struct target *targets, size_t n,
                                       const struct target_block *b, struct error *e)
{
    for (size_t i = 0; i < n; i++) {
        const struct sample *s = &r->in->samples->samples[targets[i].sample];
        struct response_sums *sums = &r->sums[s->task];
        sums->tokens++;
        sums->top1_tokens += b->top1[i];
        sums->loss += b->loss[i];
        r->exact[targets[i].sample] &= b->top1[i];
        if (!isfinite(b->loss[i]) && !r->in->allow_nonfinite)
            return sample_error(s, e, "the loss is not finite");
    }
    return 0;
}

/* x (N, d): the batch's last hidden states. */
static int score_block_of_targets(struct run *r, const float *x, const struct target *targets,
                                  size_t n, struct target_block *b, struct error *e)
{
    size_t d = r->in->arch->hidden;
    for (size_t i = 0; i < n; i++) {
        memcpy(b->h + i * d, x + targets[i].position * d, d * sizeof *x);
        b->tokens[i] = targets[i].token;
    }
    if (lm_logits(r->lm, b->h, n, b->logits, e))
        return -1;
    parallel_for(n, b->V, mark_top1_target, b);
    cross_entropy_forward(b->logits, b->tokens, n, b->V, b->loss);
    return add_scores_to_response_sums(r, targets, n, b, e);
}

/* ---- a group of samples ---------------------------------------------------------------------- */

/* The response tokens of samples first .. first + n - 1; *count of them. */
static struct target *list_response_tokens(const struct run *r, size_t first, size_t n,
                                           size_t *count)
{
    size_t total = 0, start = 0;
    for (size_t s = first; s < first + n; s++)
        total += r->in->samples->samples[s].n - r->in->samples->samples[s].prompt_tokens;
    struct target *targets = mem_alloc(total, sizeof *targets);
    *count = 0;
    for (size_t s = first; s < first + n; s++) {
        const struct sample *sample = &r->in->samples->samples[s];
        for (size_t t = sample->prompt_tokens; t < sample->n; t++)
            targets[(*count)++] = (struct target){s, start + t - 1, sample->ids[t]};
        start += sample->n;
    }
    return targets;
}

static int score_targets(struct run *r, const float *x, size_t first, size_t n, struct error *e)
{
    size_t count, block = lm_logits_block_tokens(r->in->arch);
    struct target *targets = list_response_tokens(r, first, n, &count);
    struct target_block b = target_block_new(r->in->arch);
    int failed = 0;
    for (size_t at = 0; at < count && !failed; at += block)
        failed = score_block_of_targets(r, x, targets + at, count - at < block ? count - at : block,
                                        &b, e);
    free(targets);
    target_block_free(&b);
    return failed;
}

static int score_groups_of_samples(struct run *r, const struct token_batch *b, struct error *e)
{
    const struct arch *a = r->in->arch;
    int failed = 0;
    for (size_t s = 0; s < b->samples && !failed;) {
        struct token_batch group = token_batch_slice(b, a, s, GROUP);
        float *x = mem_alloc_aligned(token_batch_tokens(&group) * a->hidden * sizeof *x);
        failed = lm_forward(r->lm, &group, x, NULL, e) || score_targets(r, x, s, group.samples, e);
        free(x);
        s += group.samples;
    }
    return failed ? -1 : 0;
}

static void count_exact_samples(struct run *r)
{
    for (size_t s = 0; s < r->in->samples->n; s++) {
        struct response_sums *sums = &r->sums[r->in->samples->samples[s].task];
        sums->samples++;
        sums->exact_samples += r->exact[s];
    }
}

static int score_all_samples(struct run *r, struct error *e)
{
    const struct response_scores_inputs *in = r->in;
    struct token_batch b;
    samples_build_batch(in->samples, in->arch, &b);
    size_t room = token_batch_tokens(&b) < ROOM ? token_batch_tokens(&b) : ROOM;
    r->lm = lm_new(in->arch, in->weights, room, token_batch_longest(&b));
    struct image_features *features =
        image_features_compute(in->arch, in->weights, in->samples->images.images,
                               in->samples->images.n, NULL, in->memory, in->spool, e);
    lm_set_image_features(r->lm, features);
    int failed = features ? score_groups_of_samples(r, &b, e) : -1;
    lm_free(r->lm);
    image_features_free(features);
    token_batch_free(&b);
    return failed;
}

int response_scores_sum(const struct response_scores_inputs *in, struct response_sums *sums,
                        struct error *e)
{
    struct run r = {.in = in, .sums = sums, .exact = mem_alloc(in->samples->n, sizeof(bool))};
    memset(r.exact, true, in->samples->n * sizeof *r.exact);
    int failed = score_all_samples(&r, e);
    count_exact_samples(&r);
    free(r.exact);
    return failed;
}

/* ---- means ----------------------------------------------------------------------------------- */

struct response_scores response_scores_of_task(const struct response_sums *s)
{
    return (struct response_scores){s->loss / (double)s->tokens,
                                    (double)s->top1_tokens / (double)s->tokens,
                                    (double)s->exact_samples / (double)s->samples};
}

struct response_scores response_scores_mean(const struct response_sums *sums, size_t n)
{
    struct response_scores mean = {0};
    for (size_t i = 0; i < n; i++) {
        struct response_scores one = response_scores_of_task(&sums[i]);
        mean.loss += one.loss / (double)n;
        mean.token_accuracy += one.token_accuracy / (double)n;
        mean.exact_match += one.exact_match / (double)n;
    }
    return mean;
}
