/* score: how well a language model answers
 *
 *     loss            mean of -ln p(token | all before it) over the tokens of the responses
 *     token_accuracy  share of these tokens that are the likeliest
 *     exact_match     share of the samples all of whose tokens are: what greedy decoding gets right
 *     perplexity      exp(loss)
 *
 *     score merged --samples eval/rev.jsonl --samples eval/sort.jsonl
 *     score merged --samples eval.jsonl --json
 *
 * A line for each task. The response is what follows the first prompt_len tokens, the end token
 * included. One forward pass with the right answer as input decides about greedy decoding: up to
 * the first wrong token the model would have seen the same. Arithmetic is F32.
 */
#include "filter.h"
#include "model_weights.h"
#include "gemm.h"
#include "cross_entropy.h"
#include "standard_output.h"
#include "stdio_stages.h"
#include "samples.h"
#include "image_features.h"
#include "text_print.h"
#include "parallel_for.h"

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
     .help = "samples as JSON Lines with input_ids and prompt_len, or a folder of them with "
             "images; may be repeated",
     .required = true},
    {"json", OPTION_FLAG, FIELD(json), NULL, .help = "print JSON instead of a table"},
    {"config", OPTION_FILE, FIELD(config), "FILE",
     .help = "a config.json in place of the model's own"},
    {0}};
#undef FIELD

/* Sums over the samples of a task. */
struct sums {
    size_t samples, exact, tokens, right;
    double loss;
};

struct run {
    struct model_weights *model;
    struct samples samples;
    struct sums *sums; /* [task] */
    bool allow_nonfinite;
};

/* A token that the model should say, and the state that it says it from. */
struct answer {
    size_t sample, position; /* in the pack, of the state */
    uint32_t token;
};

/* ---- one block of answers -------------------------------------------------------------------- */

/* The likeliest token; of several the first. */
static uint32_t likeliest(const float *z, size_t V)
{
    size_t best = 0;
    for (size_t v = 1; v < V; v++)
        if (z[v] > z[best])
            best = v;
    return (uint32_t)best;
}

/* Buffers for a block of n answers. */
struct buffers {
    float *h, *z; /* (n, d), (n, V) */
    uint32_t *tokens;
    double *loss;
};

struct judging {
    const struct buffers *buffers;
    size_t V;
    bool *right;
};

static void judge_one(void *context, size_t i, size_t member)
{
    const struct judging *j = context;
    j->right[i] = likeliest(j->buffers->z + i * j->V, j->V) == j->buffers->tokens[i];
}

static int judge(struct run *r, struct lm *lm, const float *x, const struct answer *answers,
                 size_t n, const struct buffers *b, bool *wrong, struct error *e)
{
    size_t d = model_weights_arch(r->model)->hidden, V = model_weights_arch(r->model)->vocab;
    for (size_t i = 0; i < n; i++) {
        memcpy(b->h + i * d, x + answers[i].position * d, d * sizeof *x);
        b->tokens[i] = answers[i].token;
    }
    if (lm_logits(lm, b->h, n, b->z, e))
        return -1;
    bool *right = mem_alloc(n, sizeof *right);
    parallel_for(n, V, judge_one, &(struct judging){b, V, right});
    cross_entropy_forward(b->z, b->tokens, n, V, b->loss);
    int failed = 0;
    for (size_t i = 0; i < n && !failed; i++) {
        const struct sample *s = &r->samples.samples[answers[i].sample];
        struct sums *sums = &r->sums[s->task];
        sums->tokens++;
        sums->right += right[i];
        sums->loss += b->loss[i];
        wrong[answers[i].sample] |= !right[i];
        if (!isfinite(b->loss[i]) && !r->allow_nonfinite)
            failed = sample_error(s, e, "the loss is not finite");
    }
    free(right);
    return failed;
}

/* ---- one group of samples -------------------------------------------------------------------- */

/* All that samples first .. first + n - 1 should say; `count` of them. */
static struct answer *list_answers(const struct run *r, size_t first, size_t n, size_t *count)
{
    size_t total = 0, start = 0;
    for (size_t s = first; s < first + n; s++)
        total += r->samples.samples[s].n - r->samples.samples[s].prompt_tokens;
    struct answer *answers = mem_alloc(total, sizeof *answers);
    *count = 0;
    for (size_t s = first; s < first + n; s++) {
        const struct sample *sample = &r->samples.samples[s];
        for (size_t t = sample->prompt_tokens; t < sample->n; t++)
            answers[(*count)++] = (struct answer){s, start + t - 1, sample->ids[t]};
        start += sample->n;
    }
    return answers;
}

static int judge_all(struct run *r, struct lm *lm, const float *x, size_t first, size_t n,
                     bool *wrong, struct error *e)
{
    const struct arch *a = model_weights_arch(r->model);
    size_t count, block = lm_logits_block_tokens(a);
    struct answer *answers = list_answers(r, first, n, &count);
    struct buffers b = {mem_alloc_aligned(block * a->hidden * sizeof(float)),
                        mem_alloc_aligned(block * a->vocab * sizeof(float)),
                        mem_alloc(block, sizeof(uint32_t)), mem_alloc(block, sizeof(double))};
    int failed = 0;
    for (size_t at = 0; at < count && !failed; at += block)
        failed =
            judge(r, lm, x, answers + at, count - at < block ? count - at : block, &b, wrong, e);
    free(answers);
    free(b.h);
    free(b.z);
    free(b.tokens);
    free(b.loss);
    return failed;
}

static int score_all(struct stage *stage, struct error *e)
{
    struct run *r = stage->data;
    const struct arch *a = model_weights_arch(r->model);
    size_t n = r->samples.n;
    struct sequence *all = mem_alloc(n, sizeof *all);
    struct token_batch p;
    for (size_t s = 0; s < n; s++)
        all[s] = samples_sequence(&r->samples, s);
    token_batch_build(&p, a, all, n);
    free(all);
    size_t room = token_batch_tokens(&p) < ROOM ? token_batch_tokens(&p) : ROOM;
    struct lm *lm = lm_new(a, model_weights_weight_source(r->model), room, token_batch_longest(&p));
    struct image_features *sights = image_features_compute(
        a, model_weights_weight_source(r->model), r->samples.images.images, r->samples.images.n,
        NULL, stage->common.memory, stage->common.spool, e);
    lm_set_image_features(lm, sights);
    bool *wrong = mem_alloc(n, sizeof *wrong);
    int failed = sights ? 0 : -1;
    for (size_t s = 0; s < n && !failed;) {
        struct token_batch part = token_batch_slice(&p, a, s, GROUP);
        float *x = mem_alloc_aligned(token_batch_tokens(&part) * a->hidden * sizeof *x);
        failed =
            lm_forward(lm, &part, x, NULL, e) || judge_all(r, lm, x, s, part.samples, wrong, e);
        free(x);
        s += part.samples;
    }
    for (size_t s = 0; s < n; s++) {
        r->sums[r->samples.samples[s].task].samples++;
        r->sums[r->samples.samples[s].task].exact += !wrong[s];
    }
    free(wrong);
    lm_free(lm);
    image_features_free(sights);
    token_batch_free(&p);
    return failed ? -1 : 0;
}

/* ---- printing -------------------------------------------------------------------------------- */

struct result {
    double loss, token_accuracy, exact_match;
};

static struct result result_of(const struct sums *s)
{
    return (struct result){s->loss / (double)s->tokens, (double)s->right / (double)s->tokens,
                           (double)s->exact / (double)s->samples};
}

static void put_line(const char *task, int width, size_t samples, const struct result *r)
{
    text_print_name(stdout, task, width);
    printf("  %8zu  %10.5f  %13.2f%%  %10.2f%%  %10.4g\n", samples, r->loss,
           100 * r->token_accuracy, 100 * r->exact_match, exp(r->loss));
}

static void put_table(const struct run *r)
{
    size_t n = r->samples.n_tasks, samples = 0;
    struct result mean = {0};
    int width = 4;
    for (size_t i = 0; i < n; i++)
        if (text_print_name_width(r->samples.tasks[i]) > width)
            width = text_print_name_width(r->samples.tasks[i]);
    printf("%-*s  %8s  %10s  %14s  %11s  %10s\n", width, "task", "samples", "loss",
           "token_accuracy", "exact_match", "perplexity");
    for (size_t i = 0; i < n; i++) {
        struct result one = result_of(&r->sums[i]);
        put_line(r->samples.tasks[i], width, r->sums[i].samples, &one);
        samples += r->sums[i].samples;
        mean.loss += one.loss / (double)n;
        mean.token_accuracy += one.token_accuracy / (double)n;
        mean.exact_match += one.exact_match / (double)n;
    }
    if (n > 1)
        put_line("mean", width, samples, &mean);
}

static void put_number(const char *before, double x)
{
    char text[32];
    printf("%s%s", before, isfinite(x) ? number_format(x, text) : "null");
}

static void put_json(const struct run *r)
{
    for (size_t i = 0; i < r->samples.n_tasks; i++) {
        struct result one = result_of(&r->sums[i]);
        fputs(i ? ",\n " : "{", stdout);
        text_print_quoted(stdout, r->samples.tasks[i]);
        put_number(": {\"loss\": ", one.loss);
        put_number(", \"token_accuracy\": ", one.token_accuracy);
        put_number(", \"exact_match\": ", one.exact_match);
        put_number(", \"perplexity\": ", exp(one.loss));
        putchar('}');
    }
    puts("}");
}

/* ---- the filter's life ----------------------------------------------------------------------- */

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
    const struct sample_requirements limits = {.arch = model_weights_arch(r->model),
                                               .prompt_required = true};
    for (size_t i = 0; i < o->samples.n; i++)
        if (samples_read(&r->samples, o->samples.items[i], &limits, e))
            return -1;
    r->sums = mem_alloc(r->samples.n_tasks, sizeof *r->sums);
    return score_all(s, e);
}

static int close_score(struct stage *s, bool ok, struct error *e)
{
    struct run *r = s->data;
    if (ok && ((struct options *)s->options)->json)
        put_json(r);
    else if (ok)
        put_table(r);
    samples_free(&r->samples);
    model_weights_close(r->model);
    free(r->sums);
    free(r);
    return ok ? standard_output_flush(e) : 0;
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
