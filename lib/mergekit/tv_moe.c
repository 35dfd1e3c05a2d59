#include "tv_moe.h"

#include "command_line.h"
#include "mergekit_options.h"
#include "mixture_to_pipeline.h"
#include "output_target.h"
#include "pipeline_run.h"
#include "printable.h"
#include "stage.h"
#include "standard_output.h"

#include <stdlib.h>

struct options {
    const char *prompts, *cache, *shard_size, *shard_parameters, *report;
    uint64_t seed, num_threads;
    bool force, no_copy_tokenizer, ignored_flag;
    const char *ignored_value;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"prompts", OPTION_FILE, FIELD(prompts), "FILE",
     .help = "token ids of the prompts, as a JSON object: {\"text\": [1, 17, 4], ...}"},
    {"force", OPTION_FLAG, FIELD(force), .help = "replace OUT if it exists"},
    {"random-seed", OPTION_COUNT, FIELD(seed), "S",
     .help = "seed of noise and random routers (default 0)", .default_value = "0"},
    {"shard-size", OPTION_STRING, FIELD(shard_size), "SIZE",
     .help = "maximum size of a shard (default 5G)"},
    {"report", OPTION_STRING, FIELD(report), "FILE",
     .help = "write time, memory and I/O of the run, by stage, to FILE as JSON"},
    {"no-copy-tokenizer", OPTION_FLAG, FIELD(no_copy_tokenizer), .help = "copy no tokenizer"},
    {"out-shard-size", OPTION_STRING, FIELD(shard_parameters), "N",
     .help = "maximum number of parameters per file, such as 5B or 200M"},
    MERGEKIT_CACHE_AND_THREADS(FIELD(cache), FIELD(num_threads)),
    MERGEKIT_IGNORED_OPTIONS(FIELD(ignored_flag), FIELD(ignored_value)),
    MERGEKIT_IGNORED_PAIR("unsafe-truncate-embeddings", FIELD(ignored_flag)),
    MERGEKIT_IGNORED_FLAG("copy-tokenizer", FIELD(ignored_flag)),
    MERGEKIT_IGNORED_FLAG("load-in-4bit", FIELD(ignored_flag)),
    MERGEKIT_IGNORED_FLAG("load-in-8bit", FIELD(ignored_flag)),
    MERGEKIT_IGNORED_FLAG("i-understand-this-is-not-useful-without-training", FIELD(ignored_flag)),
    {0}};

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    uint64_t n;
    if (o->shard_size && o->shard_parameters)
        return error_set(e, "only one of --shard-size and --out-shard-size can be given");
    if (o->shard_parameters && mergekit_options_parse_shard_size(o->shard_parameters, &n, e))
        return -1;
    return s->operands.n == 2 ? output_target_check_name(s->operands.items[1], e) : 0;
}

static const struct filter moe_descriptor = {
    .name = "tv moe",
    .summary = "Make a mixture of experts according to a mergekit-moe configuration",
    .operands = "CONFIG.yml OUT",
    .notes = "The architectures are Mixtral, Qwen2-MoE, Qwen3-MoE and DeepSeek-MoE, with the names "
             "of tensors on the Hub. tv from-yaml prints the pipeline.",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 2,
    .max_operands = 2,
    .check_options = check_options,
};

static const struct filter print_descriptor = {
    .name = "tv from-yaml",
    .summary = "Print a mergekit-moe configuration as a pipeline of filters",
    .operands = "CONFIG.yml [OUT]",
    .notes = "The options are those of tv moe.",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 2,
    .check_options = check_options,
};

/* Prints the error; returns the exit status. */
static int print_error(const struct stage *s, const struct error *e)
{
    printable_message("%s: %s", s->filter->name, e->text);
    return 1;
}

static int read_and_translate_config(const struct stage *s, struct pipeline *p, struct arena *a,
                                     struct error *e)
{
    const struct options *o = s->options;
    const char *tool = s->filter->name;
    const char *out = s->operands.n == 2 ? s->operands.items[1] : "merged";
    struct mixture_options options = {.seed = o->seed,
                                      .force = o->force,
                                      .no_tokenizer = o->no_copy_tokenizer,
                                      .shard_size = o->shard_size,
                                      .spool = s->common.spool,
                                      .tool = tool};
    struct mixture_config c;
    if (o->shard_parameters &&
        mergekit_options_parse_shard_size(o->shard_parameters, &options.shard_parameters, e))
        return -1;
    mergekit_options_use_cache(o->cache);
    return mixture_config_read(&c, s->operands.items[0], o->prompts, tool, a, e) ||
                   mixture_to_pipeline(p, &c, out, &options, a, e)
               ? -1
               : 0;
}

static int run_mixture(const struct stage *s, const struct pipeline *p,
                       const struct filter *const *filters, struct arena *a)
{
    const struct options *o = s->options;
    struct pipeline_options run = {
        .filters = filters,
        .threads = s->common.threads ? s->common.threads : o->num_threads,
        .memory = s->common.memory,
        .spool = s->common.spool,
        .monitor = {.show_progress = true, .report_progress = s->common.progress}};
    int status = pipeline_run_start_report(&run, o->report);
    if (status == 0)
        status = pipeline_run(&run, p, a);
    return pipeline_run_end_report(&run, status);
}

/* Parses the command line; prints which options have no effect. */
static struct stage *parse_command_line(const struct filter *f, int argc, char **argv)
{
    char **words = mergekit_options_expand_short(&argc, argv, NULL);
    struct stage *s = command_line_parse(f, argc, words);
    free(words);
    mergekit_options_print_ignored(s, FIELD(ignored_flag), FIELD(ignored_value));
    return s;
}

int tv_moe_main(int argc, char **argv, const struct filter *const *filters)
{
    struct stage *s = parse_command_line(&moe_descriptor, argc, argv);
    struct pipeline p;
    struct arena a = {0};
    struct error e = {0};
    int status = read_and_translate_config(s, &p, &a, &e) ? print_error(s, &e)
                                                          : run_mixture(s, &p, filters, &a);
    arena_free(&a);
    stage_free(s);
    return status;
}

int tv_moe_print_main(int argc, char **argv)
{
    struct stage *s = parse_command_line(&print_descriptor, argc, argv);
    struct pipeline p;
    struct arena a = {0};
    struct error e = {0};
    int failed = read_and_translate_config(s, &p, &a, &e);
    if (!failed) {
        pipeline_print(&p, 0, stdout);
        putchar('\n');
        failed = standard_output_flush(&e);
    }
    int status = failed ? print_error(s, &e) : 0;
    arena_free(&a);
    stage_free(s);
    return status;
}
