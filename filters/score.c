/* score: measure how well a language model predicts the responses of samples, by task
 *
 *     loss            mean of -ln p(token | all tokens before it) over the tokens of the responses
 *     token_accuracy  fraction of these tokens that the model ranks first (top-1)
 *     exact_match     fraction of samples with every response token ranked first
 *     perplexity      exp(loss)
 *
 *     score merged --samples eval/rev.jsonl --samples eval/sort.jsonl
 *     score merged --samples eval.jsonl --json
 *
 * The response is everything after the first prompt_len tokens, including the end token. One
 * forward pass over prompt and reference response (teacher forcing) shows what greedy decoding
 * generates: up to the first wrong token, the model sees the same input in both. Arithmetic is in
 * F32.
 */
#include "cross_entropy.h"
#include "filter.h"
#include "gemm.h"
#include "image_features.h"
#include "lm.h"
#include "model_weights.h"
#include "parallel_for.h"
#include "stdio_stages.h"
#include "samples.h"
#include "standard_output.h"
#include "text_print.h"

#include <stdlib.h>
#include <string.h>

#define GROUP 8192 /* tokens that pass the model together */
#define ROOM  1024 /* tokens that are in a layer at once */

struct options {
    struct string_list samples;
    const char *config;
    bool json;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"samples", OPTION_STRINGS, FIELD(samples), "FILE",
     .help = "samples: JSON Lines with input_ids and prompt_len, or a folder of samples with "
             "images; may be repeated",
     .required = true},
    {"json", OPTION_FLAG, FIELD(json), NULL, .help = "print JSON instead of a table"},
    {"config", OPTION_FILE, FIELD(config), "FILE",
     .help = "use this config.json instead of the model's own"},
    {0}};
#undef FIELD

/* Sums over the samples of a task. */
struct task_sums {
    size_t samples, exact_samples;
    size_t tokens, top1_tokens; /* of responses */
    double loss;
};

struct run {
    struct model_weights *model;
    struct lm *lm;
    struct samples samples;
    struct task_sums *sums; /* [task] */
    bool *exact;            /* [sample]: so far, every token was ranked first */
    bool allow_nonfinite;
};

/* A response token to predict. */
struct target {
    size_t sample;
    size_t position; /* in the batch, of the token before it, whose logits predict it */
    uint32_t token;
};

static const struct arch *arch_of(const struct run *r)
{
    return model_weights_arch(r->model);
}

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

static int add_scores_to_task_sums(struct run *r, const struct target *targets, size_t n,
                                   const struct target_block *b, struct error *e)
{
    for (size_t i = 0; i < n; i++) {
        const struct sample *s = &r->samples.samples[targets[i].sample];
        struct task_sums *sums = &r->sums[s->task];
        sums->tokens++;
        sums->top1_tokens += b->top1[i];
        sums->loss += b->loss[i];
        r->exact[targets[i].sample] &= b->top1[i];
        if (!isfinite(b->loss[i]) && !r->allow_nonfinite)
            return sample_error(s, e, "the loss is not finite");
    }
    return 0;
}

/* x (N, d): the batch's last hidden states. */
static int score_block_of_targets(struct run *r, const float *x, const struct target *targets,
                                  size_t n, struct target_block *b, struct error *e)
{
    size_t d = arch_of(r)->hidden;
    for (size_t i = 0; i < n; i++) {
        memcpy(b->h + i * d, x + targets[i].position * d, d * sizeof *x);
        b->tokens[i] = targets[i].token;
    }
    if (lm_logits(r->lm, b->h, n, b->logits, e))
        return -1;
    parallel_for(n, b->V, mark_top1_target, b);
    cross_entropy_forward(b->logits, b->tokens, n, b->V, b->loss);
    return add_scores_to_task_sums(r, targets, n, b, e);
}

/* ---- a group of samples ---------------------------------------------------------------------- */

/* The response tokens of samples first .. first + n - 1; *count of them. */
static struct target *list_response_tokens(const struct run *r, size_t first, size_t n,
                                           size_t *count)
{
    size_t total = 0, start = 0;
    for (size_t s = first; s < first + n; s++)
        total += r->samples.samples[s].n - r->samples.samples[s].prompt_tokens;
    struct target *targets = mem_alloc(total, sizeof *targets);
    *count = 0;
    for (size_t s = first; s < first + n; s++) {
        const struct sample *sample = &r->samples.samples[s];
        for (size_t t = sample->prompt_tokens; t < sample->n; t++)
            targets[(*count)++] = (struct target){s, start + t - 1, sample->ids[t]};
        start += sample->n;
    }
    return targets;
}

static int score_targets(struct run *r, const float *x, size_t first, size_t n, struct error *e)
{
    size_t count, block = lm_logits_block_tokens(arch_of(r));
    struct target *targets = list_response_tokens(r, first, n, &count);
    struct target_block b = target_block_new(arch_of(r));
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
    const struct arch *a = arch_of(r);
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
    for (size_t s = 0; s < r->samples.n; s++) {
        struct task_sums *sums = &r->sums[r->samples.samples[s].task];
        sums->samples++;
        sums->exact_samples += r->exact[s];
    }
}

static int score_all_samples(struct stage *stage, struct error *e)
{
    struct run *r = stage->data;
    const struct arch *a = arch_of(r);
    const struct weight_source *weights = model_weights_weight_source(r->model);
    struct token_batch b;
    samples_build_batch(&r->samples, a, &b);
    size_t room = token_batch_tokens(&b) < ROOM ? token_batch_tokens(&b) : ROOM;
    r->lm = lm_new(a, weights, room, token_batch_longest(&b));
    struct image_features *features =
        image_features_compute(a, weights, r->samples.images.images, r->samples.images.n, NULL,
                               stage->common.memory, stage->common.spool, e);
    lm_set_image_features(r->lm, features);
    int failed = features ? score_groups_of_samples(r, &b, e) : -1;
    count_exact_samples(r);
    lm_free(r->lm);
    image_features_free(features);
    token_batch_free(&b);
    return failed;
}

/* ---- printing -------------------------------------------------------------------------------- */

struct result {
    double loss, token_accuracy, exact_match;
};

static struct result compute_task_scores(const struct task_sums *s)
{
    return (struct result){s->loss / (double)s->tokens, (double)s->top1_tokens / (double)s->tokens,
                           (double)s->exact_samples / (double)s->samples};
}

static void print_task_row(const char *task, int width, size_t samples, const struct result *r)
{
    text_print_name(stdout, task, width);
    printf("  %8zu  %10.5f  %13.2f%%  %10.2f%%  %10.4g\n", samples, r->loss,
           100 * r->token_accuracy, 100 * r->exact_match, exp(r->loss));
}

static int task_column_width(const struct run *r)
{
    int width = 4;
    for (size_t i = 0; i < r->samples.n_tasks; i++)
        if (text_print_name_width(r->samples.tasks[i]) > width)
            width = text_print_name_width(r->samples.tasks[i]);
    return width;
}

static void print_table(const struct run *r)
{
    size_t n = r->samples.n_tasks, samples = 0;
    struct result mean = {0};
    int width = task_column_width(r);
    printf("%-*s  %8s  %10s  %14s  %11s  %10s\n", width, "task", "samples", "loss",
           "token_accuracy", "exact_match", "perplexity");
    for (size_t i = 0; i < n; i++) {
        struct result one = compute_task_scores(&r->sums[i]);
        print_task_row(r->samples.tasks[i], width, r->sums[i].samples, &one);
        samples += r->sums[i].samples;
        mean.loss += one.loss / (double)n;
        mean.token_accuracy += one.token_accuracy / (double)n;
        mean.exact_match += one.exact_match / (double)n;
    }
    if (n > 1)
        print_task_row("mean", width, samples, &mean);
}

static void print_json_number(const char *before, double x)
{
    char text[32];
    printf("%s%s", before, isfinite(x) ? number_format(x, text) : "null");
}

static void print_json(const struct run *r)
{
    for (size_t i = 0; i < r->samples.n_tasks; i++) {
        struct result one = compute_task_scores(&r->sums[i]);
        fputs(i ? ",\n " : "{", stdout);
        text_print_quoted(stdout, r->samples.tasks[i]);
        print_json_number(": {\"loss\": ", one.loss);
        print_json_number(", \"token_accuracy\": ", one.token_accuracy);
        print_json_number(", \"exact_match\": ", one.exact_match);
        print_json_number(", \"perplexity\": ", exp(one.loss));
        putchar('}');
    }
    puts("}");
}

/* ---- opening and closing --------------------------------------------------------------------- */

static int open_score(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct run *r = s->data = mem_alloc(1, sizeof *r);
    r->allow_nonfinite = s->common.allow_nonfinite;
    s->stop_after_open = true;
    if (gemm_init(s->common.threads, e))
        return -1;
    r->model =
        model_weights_open(s->operands.items[0], o->config, s->common.spool, s->filter->name, e);
    if (!r->model)
        return -1;
    const struct sample_requirements required = {.arch = arch_of(r), .prompt_required = true};
    for (size_t i = 0; i < o->samples.n; i++)
        if (samples_read(&r->samples, o->samples.items[i], &required, e))
            return -1;
    r->sums = mem_alloc(r->samples.n_tasks, sizeof *r->sums);
    r->exact = mem_alloc(r->samples.n, sizeof *r->exact);
    memset(r->exact, true, r->samples.n * sizeof *r->exact);
    return score_all_samples(s, e);
}

static int close_score(struct stage *s, bool ok, struct error *e)
{
    struct run *r = s->data;
    const struct model_source *m = r->model ? model_weights_model_source(r->model) : NULL;
    int failed = ok ? model_source_check_unchanged(m, e) : 0;
    ok = ok && !failed;
    if (ok && ((struct options *)s->options)->json)
        print_json(r);
    else if (ok)
        print_table(r);
    samples_free(&r->samples);
    model_weights_close(r->model);
    free(r->sums);
    free(r->exact);
    free(r);
    return ok ? standard_output_flush(e) : failed;
}

const struct filter filter_score = {
    .name = "score",
    .summary = "Measure loss and exact match of a language model on samples, by task",
    .operands = "MODEL",
    .notes = "Example: score merged --samples eval/rev.jsonl --samples eval/sort.jsonl",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 1,
    .role = ROLE_SINK,
    .sink.source_for_operand = stdio_stages_empty_source, /* it opens its model itself */
    .open = open_score,
    .close = close_score,
};
