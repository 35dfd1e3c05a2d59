#include "tv_verify.h"

#include "adapter_sink.h"
#include "command_line.h"
#include "comparison_answer.h"
#include "comparison_sink.h"
#include "fatal.h"
#include "history_to_pipeline.h"
#include "printable.h"
#include "stage.h"
#include "standard_output.h"
#include "shared_result.h"

#include <stdlib.h>
#include <string.h>

enum { EQUAL, DIFFERENT, TROUBLE };

#define MAX_LISTED 5 /* missing inputs */

struct options {
    bool print, json;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"print", OPTION_FLAG, FIELD(print), .help = "print the pipeline that would be run, and exit"},
    {"json", OPTION_FLAG, FIELD(json), .help = "print the answer as lines of JSON"},
    {0}};
#undef FIELD

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return o->print && o->json ? error_set(e, "--print and --json cannot be combined") : 0;
}

static const struct filter descriptor = {
    .name = "tv verify",
    .summary = "Compute a merge again, as the merged model records it, and compare the tensors",
    .operands = "MODEL [NAME=PATH | PATH]...",
    .notes = "A PATH is an input of the merge or a folder of inputs, which are recognized by their "
             "fingerprints; files that were options are recognized by their hashes. Nothing is "
             "written. Exit status: 0 equal, 1 different, 2 failure.\n\n"
             "  tv verify merged base math code",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .check_options = check_options,
};

struct command {
    struct stage *stage;
    const char *model;  /* the operand */
    const char *output; /* what --print names in its place */
    const struct filter *sink;
    struct recorded_merge recorded;
    struct verification_plan plan;
    struct input_search *inputs;
    struct arena a;
};

/* ---- reading --------------------------------------------------------------------------------- */

static int read_recorded_merge(struct command *c, struct error *e)
{
    struct ckpt *model = ckpt_open(c->model, c->stage->common.spool, NULL, e);
    int failed = model ? recorded_merge_read(&c->recorded, model, c->model, &c->a, e) : -1;
    c->sink = model && ckpt_is_adapter(model) ? &adapter_sink : &comparison_sink;
    c->output = model && ckpt_gguf_model(model) ? "OUT.gguf" : "OUT";
    ckpt_close(model);
    return failed;
}

/* Models in the local Hugging Face cache that the merged model names. */
static void offer_cached_models(struct command *c)
{
    const char *name;
    json_t *model;
    json_object_foreach(c->recorded.models, name, model)
    {
        const struct hub_model hub = {json_string_value(json_object_get(model, "hub")),
                                      json_string_value(json_object_get(model, "commit"))};
        input_search_add_cached(c->inputs, &hub);
    }
}

static int make_plan(struct command *c, const struct filter *const *filters, struct error *e)
{
    const struct stage *s = c->stage;
    struct error own;
    c->inputs = input_search_new(s->operands.n - 1, s->operands.items + 1, descriptor.name,
                                 s->common.spool, e);
    if (!c->inputs)
        return -1;
    offer_cached_models(c);
    if (history_to_pipeline(&c->plan, &c->recorded, c->inputs, s->common.spool, filters, &c->a,
                            &own) == 0)
        return 0;
    return error_set(e, "%.200s: %s", c->model, own.text);
}

/* An error that names the inputs that were not found. */
static int check_inputs_are_found(struct command *c, struct error *e)
{
    const struct string_list *missing = &c->plan.missing;
    const char *text = "", *unreadable = input_search_first_unreadable(c->inputs);
    if (c->plan.piped.n)
        return error_set(
            e,
            "%.100s: %.200s was read from standard input, so it cannot be found unless "
            "it is given as NAME=PATH",
            c->model, c->plan.piped.items[0]);
    for (size_t i = 0; i < missing->n && i < MAX_LISTED; i++)
        text = arena_printf(&c->a, "%s%s%.200s", text, i ? ", " : "", missing->items[i]);
    if (missing->n > MAX_LISTED)
        text = arena_printf(&c->a, "%s, ...", text);
    if (missing->n)
        return error_set(
            e, "%.100s: not found among the operands: %s; give NAME=PATH or a folder%s%s", c->model,
            text, unreadable ? "; cannot read " : "", unreadable ? unreadable : "");
    const char *unused = input_search_first_unused(c->inputs);
    return unused ? error_set(e, "%s: the merge of %s has no such input", unused, c->model) : 0;
}

/* ---- the end of the pipeline ----------------------------------------------------------------- */

/* Is it an option of pack that the sink has, because it changes tensors? */
static bool is_option_of_sink(const struct filter *sink, const char *option)
{
    size_t n = strcspn(option + 2, "=");
    for (const struct option_row *o = sink->options; o->name; o++)
        if (strlen(o->name) == n && strncmp(o->name, option + 2, n) == 0)
            return true;
    return false;
}

static void add_base_option(struct command *c, struct pipeline_command *to)
{
    if (c->plan.base.text)
        *pipeline_add_empty_word(to, &c->a) = c->plan.base;
}

static void add_pack(struct command *c)
{
    struct pipeline_command *to = pipeline_add_command(&c->plan.merge.pipeline, "pack", &c->a);
    for (size_t i = 0; i < c->plan.pack.n_options; i++)
        pipeline_add_word(to, c->plan.pack.options[i], &c->a);
    add_base_option(c, to);
    pipeline_add_operand(to, c->output, &c->a);
}

static void add_list(struct command *c, struct pipeline_command *to, const char *option,
                     const struct string_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        pipeline_add_word(to, arena_printf(&c->a, "--%s=%s", option, list->items[i]), &c->a);
}

static void add_sink(struct command *c)
{
    const struct options *o = c->stage->options;
    struct pipeline_command *to =
        pipeline_add_command(&c->plan.merge.pipeline, c->sink->name, &c->a);
    for (size_t i = 0; i < c->plan.pack.n_options; i++)
        if (is_option_of_sink(c->sink, c->plan.pack.options[i]))
            pipeline_add_word(to, c->plan.pack.options[i], &c->a);
    if (c->plan.pack.base_option && strcmp(c->plan.pack.base_option, "like") != 0)
        add_base_option(c, to);
    if (c->plan.like && c->sink == &comparison_sink)
        pipeline_add_word(to, arena_printf(&c->a, "--like=%s", c->plan.like), &c->a);
    if (o->json)
        pipeline_add_word(to, "--json", &c->a);
    if (c->plan.carries_weights)
        pipeline_add_word(to, "--carried-weights", &c->a);
    if (c->plan.has_other_kernels)
        pipeline_add_word(to, "--other-kernels", &c->a);
    add_list(c, to, "input", &c->plan.inputs);
    add_list(c, to, "note", &c->plan.notes);
    if (c->recorded.contradiction)
        pipeline_add_word(to, arena_printf(&c->a, "--note=%s", c->recorded.contradiction), &c->a);
    if (c->plan.other_version)
        pipeline_add_word(to, arena_printf(&c->a, "--other-version=%s", c->plan.other_version),
                          &c->a);
    pipeline_add_operand(to, c->model, &c->a);
}

/* ---- printing -------------------------------------------------------------------------------- */

/* Prints the pipelines of results, and then the one that uses them. */
static int print_pipelines(struct command *c, struct error *e)
{
    struct translated_config *m = &c->plan.merge;
    add_pack(c);
    for (size_t i = 0; i < m->n_results; i++) {
        const char *path = arena_printf(&c->a, "%s.safetensors", m->results[i]->name);
        pipeline_print(translated_config_pipeline_to_file(m->results[i], path, &c->a), 0, stdout);
        fputs(" &&\n", stdout);
        translated_config_replace_result(m, m->results[i], path, &c->a);
    }
    pipeline_print(&m->pipeline, 0, stdout);
    putchar('\n');
    return standard_output_flush(e);
}

/* ---- running --------------------------------------------------------------------------------- */

/* All filters and the sink, ended by NULL; in the arena. */
static const struct filter *const *
add_sink_to_filters(const struct command *c, const struct filter *const *filters, struct arena *a)
{
    size_t n = 0;
    while (filters[n])
        n++;
    const struct filter **all = arena_alloc(a, n + 2, sizeof *all);
    memcpy(all, filters, n * sizeof *all);
    all[n] = c->sink;
    return all;
}

static int run_pipelines(struct command *c, const struct filter *const *filters, struct error *e)
{
    const struct common_options *common = &c->stage->common;
    struct translated_config *m = &c->plan.merge;
    struct pipeline_options run = {
        .filters = add_sink_to_filters(c, filters, &c->a),
        .threads = common->threads,
        .memory = common->memory,
        .spool = common->spool,
        .only_filters = true,
        .monitor = {.show_progress = true, .report_progress = common->progress}};
    int status = 0;
    add_sink(c);
    e->printed = true; /* what fails from here on */
    for (size_t i = 0; i < m->n_results; i++)
        if (status == 0)
            status = shared_result_compute(m, m->results[i], &run, descriptor.name, &c->a);
    if (status)
        return TROUBLE;
    status = pipeline_run(&run, &m->pipeline, &c->a);
    return status == COMPARISON_DIFFERENT ? DIFFERENT : status ? TROUBLE : EQUAL;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int run_command(struct command *c, const struct filter *const *filters, struct error *e)
{
    const struct options *o = c->stage->options;
    if (read_recorded_merge(c, e) || make_plan(c, filters, e))
        return TROUBLE;
    bool names_only = o->print && c->stage->operands.n == 1;
    if (!names_only && check_inputs_are_found(c, e))
        return TROUBLE;
    if (o->print)
        return print_pipelines(c, e) ? TROUBLE : EQUAL;
    return run_pipelines(c, filters, e);
}

int tv_verify_main(int argc, char **argv, const struct filter *const *filters)
{
    struct error e = {0};
    fatal_set_program(descriptor.name, TROUBLE);
    struct command c = {.stage = command_line_parse(&descriptor, argc, argv)};
    c.model = c.stage->operands.items[0];
    int status = run_command(&c, filters, &e);
    if (status == TROUBLE && !e.printed)
        printable_message("%s: %s", descriptor.name, e.text);
    input_search_free(c.inputs);
    recorded_merge_free(&c.recorded);
    stage_free(c.stage);
    arena_free(&c.a);
    return status;
}
