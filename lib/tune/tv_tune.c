/* tv tune: choose the numbers of a pipeline by the loss of the merged model
 *
 *     x* = argmin loss(merge(x))      x: the placeholders, such as {density:0.1..1}
 *
 * The loss is the distance to the experts' outputs on unlabeled samples, as in Expert Merging
 * (arXiv 2509.25712), or that of reference responses; x is found by Bayesian optimization
 * (bayesian_search.h). The search over recipes is that of Akiba et al., "Evolutionary optimization
 * of model merging recipes", 2025, with a model that is never written:
 *
 *     once:             the experts run on their samples
 *     each evaluation:  the pipeline runs in a child process; its safetensors file is in memory
 *                       the forward pass reads it there
 */
#include "tv_tune.h"

#include "bayesian_search.h"
#include "calibrate_options.h"
#include "command_line.h"
#include "fatal.h"
#include "fs.h"
#include "hash.h"
#include "parallel_for.h"
#include "pipeline_result.h"
#include "printable.h"
#include "spool.h"
#include "stage.h"
#include "standard_output.h"
#include "tuned_pipeline.h"
#include "tuning_log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    struct tuning_loss_options loss;
    struct string_list experts;
    const char *config, *log;
    uint64_t budget, seed;
};

#define FIELD(f) offsetof(struct options, f)
#define FROM_0                                                                                     \
    {                                                                                              \
        0, INFINITY, .high_open = true                                                             \
    }
static const struct option_row rows[] = {
    {"samples", OPTION_STRINGS, FIELD(loss.samples), "FILE",
     .help = "samples of the experts' tasks: JSON Lines with input_ids, or a folder with images; "
             "may be repeated",
     .required = true},
    {"budget", OPTION_COUNT, FIELD(budget), "N", .help = "evaluations (default 40)",
     .default_value = "40"},
    {"seed", OPTION_COUNT, FIELD(seed), "S", .help = "start from other numbers (default 0)",
     .default_value = "0"},
    {"log", OPTION_FILE, FIELD(log), "FILE",
     .help = "write the table to FILE, and continue a run that was interrupted"},
    {"loss", OPTION_CHOICE, FIELD(loss.target), "experts|answers",
     .help = "minimize the distance to the experts' outputs, or the loss of the responses",
     .choices = "experts|answers", .default_value = "experts"},
    {"expert", OPTION_STRINGS, FIELD(experts), "[NAME=]MODEL",
     .help = "an expert (default: the models that the pipeline merges); may be repeated"},
    {"task", OPTION_STRINGS, FIELD(loss.tasks), "TASK=NAME",
     .help = "TASK is the task of expert NAME (default: the one of the same name); may be "
             "repeated"},
    {"per-task", OPTION_COUNT, FIELD(loss.per_task), "N",
     .help = "use the first N samples of each task (default 16)", .default_value = "16"},
    {"on", OPTION_CHOICE, FIELD(loss.positions), "response|all",
     .help = "positions to compare: those that predict the response, or all",
     .choices = "response|all", .default_value = "response"},
    {"hidden-layers", OPTION_STRING, FIELD(loss.hidden_layers), "LIST",
     .help = "hidden states to compare: numbers such as 0,4,8, middle, all or none (middle)",
     .default_value = "middle"},
    {"hidden-weight", OPTION_NUMBER, FIELD(loss.hidden_weight), "W",
     .help = "weight of the hidden states (1)", .range = FROM_0, .default_value = "1"},
    {"logit-weight", OPTION_NUMBER, FIELD(loss.logit_weight), "W",
     .help = "weight of the logits (1)", .range = FROM_0, .default_value = "1"},
    {"config", OPTION_FILE, FIELD(config), "FILE",
     .help = "use this config.json instead of that of pack's model"},
    {0}};
#undef FIELD

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return calibrate_options_check_hidden_layers(o->loss.hidden_layers, e);
}

static const struct filter descriptor = {
    .name = "tv tune",
    .summary = "Choose the numbers of a pipeline by the loss of the merged model",
    .operands = "'PIPELINE'",
    .notes =
        "PIPELINE is as for tv run, with placeholders: {NAME:LOW..HIGH}, {NAME:LOW..HIGH:log}, "
        "{NAME:LOW..HIGH:int}, and {NAME} for the same number again. Nothing is written.\n\n"
        "  tv tune 'tv-extract base math code | trim --density {density:0.1..1} |\n"
        "      combine | rescale {lambda:0.3..1.5} | pack --base base merged/' \\\n"
        "      --samples math.jsonl --samples code.jsonl",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 1,
    .check_options = check_options,
};

struct command {
    struct stage *stage;
    const struct options *options;
    struct pipeline_options run;
    struct tuned_pipeline pipeline;
    struct base_and_experts_options models;
    struct tuning_loss *loss;
    struct tuning_log log;
    struct evaluation_list evaluations;
    bool in_memory; /* the merged model */
    bool has_run;   /* the pipeline, in this process */
    struct arena a;
};

static size_t count_numbers(const struct command *c)
{
    return c->pipeline.template.n;
}

/* ---- progress and notes ---------------------------------------------------------------------- */

static bool shows_progress(const struct command *c)
{
    return !printable_is_quiet() && isatty(STDERR_FILENO);
}

static size_t find_best(const struct command *c)
{
    const struct evaluation_list *x = &c->evaluations;
    size_t best = 0;
    for (size_t i = 1; i < x->n; i++)
        best = x->items[i].values[0] < x->items[best].values[0] ? i : best;
    return best;
}

/* A line for a script, before each evaluation and after the last. */
static void report_progress(const struct command *c)
{
    const struct evaluation_list *x = &c->evaluations;
    char lowest[32] = "-";
    if (x->n)
        snprintf(lowest, sizeof lowest, "%.6g", x->items[find_best(c)].values[0]);
    if (c->stage->common.progress && !isatty(STDERR_FILENO))
        fprintf(stderr, "progress evaluations=%zu/%" PRIu64 " lowest=%s\n", x->n,
                c->options->budget, lowest);
}

static void show_progress(const struct command *c)
{
    const struct evaluation_list *x = &c->evaluations;
    report_progress(c);
    if (!shows_progress(c))
        return;
    fprintf(stderr, "\r\033[Kevaluation %zu of %" PRIu64, x->n + 1, c->options->budget);
    if (x->n)
        fprintf(stderr, ", lowest loss %.6g", x->items[find_best(c)].values[0]);
    fflush(stderr);
}

static void erase_progress(const struct command *c)
{
    if (shows_progress(c))
        fputs("\r\033[K", stderr);
}

static void print_notes(const struct command *c)
{
    const struct string_list *notes = &c->pipeline.notes;
    uint64_t bytes = tuning_loss_model_bytes(c->loss, c->pipeline.dtype);
    for (size_t i = 0; i < notes->n; i++)
        printable_note(descriptor.name, "%s", notes->items[i]);
    printable_note(descriptor.name,
                   "the merged model, about %.1f MB, is kept in %s%s and never written",
                   1e-6 * (double)bytes, c->in_memory ? "memory" : "an unlinked file in ",
                   c->in_memory ? "" : spool_folder_or_default(c->stage->common.spool));
}

/* ---- an evaluation --------------------------------------------------------------------------- */

static int check_is_finite(const struct command *c, const struct evaluation *x, struct error *e)
{
    const char *numbers = "";
    struct arena a = {0};
    if (isfinite(x->values[0]))
        return 0;
    for (size_t i = 0; i < count_numbers(c); i++)
        numbers = arena_printf(&a, "%s%s%s=%s", numbers, i ? ", " : "",
                               c->pipeline.template.numbers[i].name, x->numbers[i]);
    error_set(e, "the loss is not finite with %s; choose a smaller range", numbers);
    arena_free(&a);
    return -1;
}

static int run_pipeline(struct command *c, const struct evaluation *x, struct pipeline_result *r,
                        struct arena *a, struct error *e)
{
    const char *values[PIPELINE_TEMPLATE_MAX_NUMBERS];
    const struct pipeline_result_options o = {.tool = descriptor.name,
                                              .in_memory = c->in_memory,
                                              .spool = c->stage->common.spool,
                                              .is_repeated = c->has_run};
    for (size_t i = 0; i < count_numbers(c); i++)
        values[i] = x->numbers[i];
    const struct pipeline *p = tuned_pipeline_to_standard_output(&c->pipeline, values, a, e);
    if (!p)
        return -1;
    size_t threads = parallel_thread_count();
    parallel_set_threads(1); /* a child process has no other threads */
    int status = pipeline_result_compute(r, &o, &c->run, p, a);
    parallel_set_threads(threads);
    c->has_run = true;
    e->printed = status != 0;
    return status ? -1 : 0;
}

/* Sets the values of the evaluation from its numbers. */
static int evaluate(struct command *c, struct evaluation *x, struct error *e)
{
    struct pipeline_result r;
    struct arena a = {0};
    show_progress(c);
    int failed = run_pipeline(c, x, &r, &a, e);
    if (!failed) {
        const char *operand = arena_printf(&a, "merged=%s", r.path);
        failed = tuning_loss_compute(c->loss, operand, x->values, e);
        pipeline_result_close(&r);
    }
    arena_free(&a);
    erase_progress(c);
    return failed || check_is_finite(c, x, e) ? -1 : 0;
}

/* ---- the search ------------------------------------------------------------------------------ */

/* For struct bayesian_search: the point of the numbers as they are printed. */
static void round_point(void *context, double *x)
{
    const struct pipeline_template *t = context;
    char text[PIPELINE_TEMPLATE_NUMBER_SIZE];
    for (size_t i = 0; i < t->n; i++)
        template_number_parse(&t->numbers[i], template_number_format(&t->numbers[i], x[i], text),
                              &x[i]);
}

/* Chooses the numbers of the next evaluation from all so far; false if none are left. */
static bool choose_numbers(struct command *c, struct evaluation *next)
{
    struct pipeline_template *t = &c->pipeline.template;
    const struct evaluation_list *known = &c->evaluations;
    const struct bayesian_search search = {
        .d = t->n, .seed = c->options->seed, .round = round_point, .context = t};
    double *x = mem_alloc(known->n * t->n, sizeof *x), *y = mem_alloc(known->n, sizeof *y);
    double point[PIPELINE_TEMPLATE_MAX_NUMBERS];
    for (size_t i = 0; i < known->n; i++) {
        y[i] = known->items[i].values[0];
        for (size_t j = 0; j < t->n; j++)
            template_number_parse(&t->numbers[j], known->items[i].numbers[j], &x[i * t->n + j]);
    }
    bool found = bayesian_search_propose(&search, known->n, x, y, point);
    for (size_t j = 0; j < t->n && found; j++)
        template_number_format(&t->numbers[j], point[j], next->numbers[j]);
    free(x);
    free(y);
    return found;
}

static int run_search(struct command *c, struct error *e)
{
    struct evaluation next = {0};
    while (c->evaluations.n < c->options->budget && choose_numbers(c, &next))
        if (evaluate(c, &next, e) || tuning_log_add(&c->log, &c->evaluations, &next, e))
            return -1;
    return 0;
}

static int print_best(struct command *c, struct error *e)
{
    const struct evaluation *best = &c->evaluations.items[find_best(c)];
    const char *values[PIPELINE_TEMPLATE_MAX_NUMBERS];
    for (size_t i = 0; i < count_numbers(c); i++)
        values[i] = best->numbers[i];
    const struct pipeline *p = tuned_pipeline_with_numbers(&c->pipeline, values, &c->a, e);
    if (!p)
        return -1;
    printf("\nThe lowest loss:\n\n    ");
    pipeline_print(p, 4, stdout);
    putchar('\n');
    return standard_output_flush(e);
}

/* ---- the command ----------------------------------------------------------------------------- */

/* Is there room for the merged model? */
static int check_space(struct command *c, struct error *e)
{
    uint64_t bytes = tuning_loss_model_bytes(c->loss, c->pipeline.dtype);
    const char *spool = c->stage->common.spool;
    c->in_memory = bytes <= c->stage->common.memory;
    if (c->in_memory)
        return 0;
    int fd = spool_open_temporary_file(spool, e);
    if (fd < 0)
        return -1;
    uint64_t available = fs_available_bytes(fd);
    close(fd);
    return bytes <= available
               ? 0
               : error_set(e,
                           "the merged model needs %" PRIu64 " MiB, but %s has %" PRIu64
                           " MiB free (choose another folder with --spool, or a larger --memory)",
                           bytes >> 20, spool_folder_or_default(spool), available >> 20);
}

static uint64_t compute_key(const struct command *c)
{
    const uint64_t parts[] = {
        XXH3_64bits(c->pipeline.template.text, strlen(c->pipeline.template.text)), c->options->seed,
        tuning_loss_key(c->loss)};
    return XXH3_64bits(parts, sizeof parts);
}

static int open_inputs(struct command *c, struct error *e)
{
    const struct options *o = c->options;
    c->models.base = c->pipeline.base;
    c->models.config = o->config;
    if (o->loss.target == TUNING_EXPERTS)
        c->models.files = o->experts.n ? o->experts : c->pipeline.experts;
    if (o->loss.target == TUNING_EXPERTS && !c->models.files.n)
        return error_set(e,
                         "the pipeline has no tv-extract or unpack with models; name the experts "
                         "with --expert NAME=MODEL");
    parallel_set_threads(c->stage->common.threads);
    c->loss = tuning_loss_open(&o->loss, &c->models, &c->stage->common, descriptor.name, e);
    return c->loss ? check_space(c, e) : -1;
}

static int read_command_line(struct command *c, struct error *e)
{
    const struct options *o = c->options;
    if (o->budget == 0 || o->loss.per_task == 0)
        return error_set(e, "--%s must be at least 1", o->budget ? "per-task" : "budget");
    if (o->loss.target == TUNING_ANSWERS && o->experts.n)
        return error_set(e, "--expert has no meaning with --loss=answers, which needs no experts");
    return tuned_pipeline_read(&c->pipeline, c->stage->operands.items[0], &c->run, &c->a, e);
}

static int run_command(struct command *c, struct error *e)
{
    if (open_inputs(c, e))
        return -1;
    c->log = (struct tuning_log){
        .path = c->options->log, .key = compute_key(c), .template = &c->pipeline.template};
    c->log.n_values = tuning_loss_columns(c->loss, c->log.values);
    if (tuning_log_open(&c->log, &c->evaluations, e))
        return -1;
    print_notes(c);
    if (c->evaluations.n < c->options->budget && tuning_loss_run_teachers(c->loss, e))
        return -1;
    if (run_search(c, e) || tuning_log_close(&c->log, e))
        return -1;
    report_progress(c);
    return print_best(c, e);
}

int tv_tune_main(int argc, char **argv, const struct filter *const *filters)
{
    struct error e = {0}, ignored;
    fatal_set_program(descriptor.name, 1);
    struct command c = {.stage = command_line_parse(&descriptor, argc, argv)};
    const struct common_options *common = &c.stage->common;
    c.options = c.stage->options;
    c.run = (struct pipeline_options){.filters = filters,
                                      .threads = common->threads,
                                      .memory = common->memory,
                                      .spool = common->spool};
    int status = read_command_line(&c, &e) ? 2 : run_command(&c, &e) ? 1 : 0;
    if (status && !e.printed)
        printable_message("%s: %s", descriptor.name, e.text);
    tuning_log_close(&c.log, &ignored);
    tuning_loss_close(c.loss);
    free(c.evaluations.items);
    stage_free(c.stage);
    arena_free(&c.a);
    return status;
}
