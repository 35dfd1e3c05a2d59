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
 * The response is everything after the first prompt_len tokens, including the end token.
 */
#include "filter.h"
#include "json_print.h"
#include "model_weights.h"
#include "parallel_for.h"
#include "response_scores.h"
#include "stdio_stages.h"
#include "samples.h"
#include "standard_output.h"
#include "text_print.h"

#include <stdlib.h>
#include <string.h>

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
    {"json", OPTION_FLAG, FIELD(json), NULL, .help = "print lines of JSON instead of a table"},
    {"config", OPTION_FILE, FIELD(config), "FILE",
     .help = "use this config.json instead of the model's own"},
    {0}};
#undef FIELD

struct run {
    struct model_weights *model;
    struct samples samples;
    struct response_sums *sums; /* [task] */
};

/* ---- printing -------------------------------------------------------------------------------- */

static void print_task_row(const char *task, int width, size_t samples,
                           const struct response_scores *r)
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
    struct response_scores mean = response_scores_mean(r->sums, n);
    int width = task_column_width(r);
    printf("%-*s  %8s  %10s  %14s  %11s  %10s\n", width, "task", "samples", "loss",
           "token_accuracy", "exact_match", "perplexity");
    for (size_t i = 0; i < n; i++) {
        struct response_scores one = response_scores_of_task(&r->sums[i]);
        print_task_row(r->samples.tasks[i], width, r->sums[i].samples, &one);
        samples += r->sums[i].samples;
    }
    if (n > 1)
        print_task_row("mean", width, samples, &mean);
}

static void print_task_as_json(const char *task, size_t samples, const struct response_scores *r)
{
    json_print_text("{\"task\": ", task);
    json_print_count(", \"samples\": ", samples);
    json_print_number(", \"loss\": ", r->loss);
    json_print_number(", \"token_accuracy\": ", r->token_accuracy);
    json_print_number(", \"exact_match\": ", r->exact_match);
    json_print_number(", \"perplexity\": ", exp(r->loss));
    puts("}");
}

static void print_json(const struct run *r)
{
    size_t n = r->samples.n_tasks, samples = 0;
    struct response_scores mean = response_scores_mean(r->sums, n);
    for (size_t i = 0; i < n; i++) {
        struct response_scores one = response_scores_of_task(&r->sums[i]);
        print_task_as_json(r->samples.tasks[i], r->sums[i].samples, &one);
        samples += r->sums[i].samples;
    }
    print_task_as_json(NULL, samples, &mean);
}

/* ---- opening and closing --------------------------------------------------------------------- */

static int open_score(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct run *r = s->data = mem_alloc(1, sizeof *r);
    s->stop_after_open = true;
    parallel_set_threads(s->common.threads);
    r->model =
        model_weights_open(s->operands.items[0], o->config, s->common.spool, s->filter->name, e);
    if (!r->model)
        return -1;
    const struct sample_requirements required = {.arch = model_weights_arch(r->model),
                                                 .prompt_required = true};
    for (size_t i = 0; i < o->samples.n; i++)
        if (samples_read(&r->samples, o->samples.items[i], &required, e))
            return -1;
    const struct response_scores_inputs in = {.arch = required.arch,
                                              .weights = model_weights_weight_source(r->model),
                                              .samples = &r->samples,
                                              .memory = s->common.memory,
                                              .spool = s->common.spool,
                                              .allow_nonfinite = s->common.allow_nonfinite};
    r->sums = mem_alloc(r->samples.n_tasks, sizeof *r->sums);
    return response_scores_sum(&in, r->sums, e);
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
    free(r);
    return ok ? standard_output_flush(e) : failed;
}

const struct filter filter_score = {
    .name = "score",
    .summary = "Measure loss and exact match of a language model on samples, by task",
    .step = STEP_MEASURE,
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
