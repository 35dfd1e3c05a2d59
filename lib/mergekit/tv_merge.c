#include "tv_merge.h"

#include "config_command.h"
#include "json_print.h"
#include "merge_summary.h"
#include "preflight.h"
#include "printable.h"
#include "result_stand_in.h"
#include "shared_result.h"
#include "standard_output.h"

#include <math.h>
#include <unistd.h>

static const struct filter descriptor = {
    .name = "tv merge",
    .summary = "Merge models according to a mergekit configuration",
    .operands = "CONFIG.yml OUT",
    .notes =
        "OUT is a folder, a .safetensors or .gguf file, a .tar or .tar.zst archive, or - for "
        "an archive on standard output. If CONFIG.yml has several documents, OUT is the result "
        "of the one without a name, or of the last; it can use the others as models, by "
        "their names.",
    .options_size = sizeof(struct merge_options),
    .options = merge_options_rows,
    .min_operands = 1,
    .max_operands = 2,
    .check_options = merge_options_check,
};

/* ---- --check --------------------------------------------------------------------------------- */

static void print_dry_run(struct config_command *c, const struct preflight_result *r)
{
    size_t n = c->merge.n_models;
    for (size_t i = 0; i < r->n_warnings; i++)
        printable_warning(descriptor.name, "%s", r->warnings[i].sentence);
    printf("%s of %zu model%s: %s%zu tensors, %s", c->merge.config->method, n, n == 1 ? "" : "s",
           c->options->lora.n ? "at most " : "", r->output.n,
           config_command_format_size(r->output.bytes, &c->a));
    if (r->free_bytes)
        printf("; %s free", config_command_format_size(r->free_bytes, &c->a));
    putchar('\n');
}

/* The warnings are findings here. */
static void print_dry_run_as_json(const struct config_command *c, const struct preflight_result *r)
{
    for (size_t i = 0; i < r->n_warnings; i++) {
        json_print_text("{\"model\": ", r->warnings[i].model);
        json_print_text(", \"finding\": ", r->warnings[i].sentence);
        puts("}");
    }
    json_print_bool("{\"valid\": ", true);
    json_print_text(", \"method\": ", c->merge.config->method);
    json_print_texts(", \"models\": ", c->merge.n_models, c->merge.models);
    json_print_count(", \"tensors\": ", r->output.n);
    json_print_count(", \"bytes\": ", r->output.bytes);
    json_print_bool(", \"at_most\": ", c->options->lora.n > 0);
    json_print_number(", \"free_bytes\": ", r->free_bytes ? (double)r->free_bytes : NAN);
    json_print_count(", \"findings\": ", r->n_warnings);
    puts("}");
}

static int run_dry_run(struct config_command *c, const struct pipeline_options *run)
{
    struct preflight_result result;
    struct error e = {0};
    struct preflight_target target = {c->out, c->options->force, c->options->dtype};
    if (preflight_check_without_computing(&c->merge, run, &target, &result, &c->a, &e))
        return config_command_print_error(c, &e, 1);
    if (c->options->json)
        print_dry_run_as_json(c, &result);
    else
        print_dry_run(c, &result);
    return standard_output_flush(&e) ? config_command_print_error(c, &e, 1) : 0;
}

/* ---- merge ----------------------------------------------------------------------------------- */

static bool shows_summary(const struct config_command *c)
{
    return !printable_is_quiet() && isatty(STDERR_FILENO);
}

static int run_merge(struct config_command *c, struct pipeline_options *run)
{
    struct translated_config *m = &c->merge;
    result_stand_in_close_all(m);
    run->reports_in_memory = shows_summary(c);
    run->monitor.kind_of_tensor = shows_summary(c) ? merge_summary_kind_of_tensor(c) : NULL;
    int status = pipeline_run_start_report(run, c->options->report);
    for (size_t i = 0; i < m->n_results && status == 0; i++)
        if (m->results[i]->uses > 1)
            status = shared_result_compute(m, m->results[i], run, descriptor.name, &c->a);
    if (status == 0)
        status = pipeline_run(run, &m->pipeline, &c->a);
    if (status == 0 && run->reports_in_memory)
        merge_summary_print(c, run->monitor.report);
    return pipeline_run_end_report(run, status);
}

int tv_merge_main(int argc, char **argv, const struct filter *const *filters)
{
    struct config_command c;
    struct error e = {0};
    int status = config_command_parse_and_translate(&c, &descriptor, argc, argv, true);
    if (status)
        return config_command_free(&c, status);
    const struct common_options *common = &c.stage->common;
    struct pipeline_options run = {
        .filters = filters,
        .threads = common->threads ? common->threads : c.options->num_threads,
        .memory = common->memory,
        .spool = common->spool,
        .monitor = {.show_progress = true, .report_progress = common->progress}};
    if (preflight_check_inputs(&c.merge, &run, &c.a, &e))
        return config_command_free(&c, config_command_print_error(&c, &e, 1));
    status = c.options->check ? run_dry_run(&c, &run) : run_merge(&c, &run);
    return config_command_free(&c, status);
}
