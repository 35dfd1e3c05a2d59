#include "tv_extract_lora.h"

#include "command_line.h"
#include "glob_pattern.h"
#include "layer_slice.h"
#include "mergekit_options.h"
#include "module_pattern.h"
#include "pipeline_run.h"
#include "printable.h"
#include "stage.h"
#include "tensor_name.h"

#include <stdlib.h>
#include <string.h>

struct options {
    uint64_t max_rank, num_threads;
    double epsilon;
    bool embed, skip_undecomposable, no_distribute_scale, distribute_scale, force, ignored;
    struct string_list save, exclude, include;
    enum dtype dtype;
    const char *model, *base, *out, *energy, *cache, *ignored_value;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"max-rank", OPTION_COUNT, FIELD(max_rank), "R", .help = "rank of the adapter (default 128)",
     .range = {.low = 1, .high = 32766}, .default_value = "128"},
    {"sv-epsilon", OPTION_NUMBER, FIELD(epsilon), "S",
     .help = "keep only singular values above S (default 0)", .range = {.low = 0, .high = INFINITY},
     .default_value = "0"},
    {"energy", OPTION_STRING, FIELD(energy), "SHARE",
     .help = "the smallest rank that keeps this share of the squared norm of each change"},
    {"embed-lora", OPTION_FLAG, FIELD(embed), NULL,
     .help = "decompose embeddings and the LM head, which are stored whole otherwise"},
    {"save-module", OPTION_STRINGS, FIELD(save), "NAME",
     .help = "store the module whole: its last component or full name; may be repeated"},
    {"exclude-regex", OPTION_STRINGS, FIELD(exclude), "REGEX",
     .help = "leave out modules in whose name it is found; may be repeated"},
    {"include-regex", OPTION_STRINGS, FIELD(include), "REGEX",
     .help = "decompose only modules in whose name it is found; may be repeated"},
    {"skip-undecomposable", OPTION_FLAG, FIELD(skip_undecomposable), NULL,
     .help = "leave out norms, biases and other tensors that are no matrices"},
    {"no-distribute-scale", OPTION_FLAG, FIELD(no_distribute_scale), NULL,
     .help = "A has the singular values, B only directions"},
    {"distribute-scale", OPTION_FLAG, FIELD(distribute_scale), NULL,
     .help = "A and B have the square roots of the singular values (default)"},
    {"dtype", OPTION_DTYPE, FIELD(dtype), "TYPE",
     .help = "dtype of the adapter (default: the base's)"},
    {"force", OPTION_FLAG, FIELD(force), NULL, .help = "replace OUT if it exists"},
    {"model", OPTION_STRING, FIELD(model), "EXPERT", .help = "same as the operand EXPERT"},
    {"base-model", OPTION_STRING, FIELD(base), "BASE", .help = "same as the operand BASE"},
    {"out-path", OPTION_STRING, FIELD(out), "OUT", .help = "same as the operand OUT"},
    MERGEKIT_CACHE_AND_THREADS(FIELD(cache), FIELD(num_threads)),
    MERGEKIT_IGNORED_OPTIONS(FIELD(ignored), FIELD(ignored_value)),
    MERGEKIT_IGNORED_PAIR("unsafe-truncate-embeddings", FIELD(ignored)),
    MERGEKIT_IGNORED_PAIR("copy-tokenizer", FIELD(ignored)),
    MERGEKIT_IGNORED_FLAG("no-embed-lora", FIELD(ignored)),
    MERGEKIT_IGNORED_VALUE("out-shard-size", FIELD(ignored_value)),
    MERGEKIT_IGNORED_VALUE("random-seed", FIELD(ignored_value)),
    {0}};

/* BASE, EXPERT and OUT, as operands or by the options of mergekit. */
static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    bool by_options = o->model && o->base && o->out;
    if (s->operands.n == 3 && (o->model || o->base || o->out))
        return error_set(e, "--model, --base-model and --out-path replace the operands");
    if (s->operands.n != (by_options ? 0 : 3))
        return error_set(e, "expected the operands BASE EXPERT OUT");
    return o->distribute_scale && o->no_distribute_scale
               ? error_set(e,
                           "only one of --distribute-scale and --no-distribute-scale can be given")
               : 0;
}

static const struct filter descriptor = {
    .name = "tv extract-lora",
    .summary = "Extract a LoRA adapter from a fine-tuned model",
    .operands = "[BASE EXPERT OUT]",
    .notes = "OUT is a folder, or a .tar or .tar.zst archive, that peft loads.",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = 3,
    .check_options = check_options,
};

/* ---- modules --------------------------------------------------------------------------------- */

/* Is one of the expressions found in the module's name? -1 on error. */
static int is_found(const struct string_list *expressions, const char *module, struct error *e)
{
    int found = 0;
    for (size_t i = 0; i < expressions->n && found == 0; i++) {
        char *anywhere = mem_printf(".*(%s).*", expressions->items[i]);
        struct error ignored;
        struct module_pattern *p = module_pattern_new(anywhere, "", &ignored);
        found = p ? module_pattern_matches(p, module)
                  : error_set(e, "the regular expression %.200s is not supported",
                              expressions->items[i]);
        module_pattern_free(p);
        free(anywhere);
    }
    return found;
}

/* Is the matrix left out? -1 on error. */
static int is_left_out(const struct options *o, const char *module, bool is_vocabulary,
                       struct error *e)
{
    int excluded = is_found(&o->exclude, module, e);
    if (excluded || !o->include.n || (is_vocabulary && !o->embed))
        return excluded;
    int included = is_found(&o->include, module, e);
    return included < 0 ? -1 : !included;
}

/* Rules of rank 0 for the matrices that the expressions leave out. */
static int add_rank_rules(struct pipeline_command *pack, const struct options *o,
                          const struct model_source *m, struct arena *a, struct error *e)
{
    int found = 0;
    for (size_t i = 0; found >= 0 && i < model_source_tensor_count(m); i++) {
        const struct ckpt_tensor *t = model_source_tensor(m, i);
        size_t n = strlen(t->name), leaf = strlen(".weight");
        if (t->rank != 2 || n <= leaf || strcmp(t->name + n - leaf, ".weight") != 0)
            continue;
        bool is_vocabulary = tensor_name_is_embedding(t->name) || tensor_name_is_lm_head(t->name);
        found = is_left_out(o, arena_copy_text_n(a, t->name, n - leaf), is_vocabulary, e);
        if (found > 0)
            pipeline_add_word(pack, arena_printf(a, "--lora=/%s=0", t->name), a);
    }
    return found < 0 ? -1 : 0;
}

static bool has_tensor_like(const struct model_source *m, const char *glob)
{
    for (size_t i = 0; i < model_source_tensor_count(m); i++)
        if (glob_pattern_matches(glob, model_source_tensor(m, i)->name))
            return true;
    return false;
}

/* --save-module: a module by its full name, else all with that last component. */
static int add_whole_modules(struct pipeline_command *pack, const struct options *o,
                             const struct model_source *m, struct arena *a, struct error *e)
{
    for (size_t i = 0; i < o->save.n; i++) {
        const char *glob = arena_printf(a, "%s.weight", o->save.items[i]);
        if (!has_tensor_like(m, glob))
            glob = arena_printf(a, "*.%s", glob);
        if (!has_tensor_like(m, glob))
            return error_set(e, "--save-module=%.200s: %s has no such module", o->save.items[i],
                             model_source_name(m));
        pipeline_add_word(pack, arena_printf(a, "--whole=/%s", glob), a);
    }
    return 0;
}

/* The options that depend on the names of the base's modules. */
static int add_module_options(struct pipeline_command *pack, const struct options *o,
                              const char *base, const struct stage *s, struct arena *a,
                              struct error *e)
{
    const struct layer_slice_options whole = {.first_layer = -1};
    if (!o->exclude.n && !o->include.n && !o->save.n)
        return 0;
    struct model_source *m = layer_slice_open(base, &whole, s->common.spool, descriptor.name, e);
    int failed = m ? add_whole_modules(pack, o, m, a, e) || add_rank_rules(pack, o, m, a, e) : -1;
    model_source_close(m);
    return failed ? -1 : 0;
}

/* ---- the pipeline ---------------------------------------------------------------------------- */

static void add_flag(struct pipeline_command *c, bool flag, const char *word, struct arena *a)
{
    if (flag)
        pipeline_add_word(c, word, a);
}

static int make_pipeline(struct pipeline *p, const struct stage *s, struct arena *a,
                         struct error *e)
{
    const struct options *o = s->options;
    const char *const *operands = s->operands.items;
    const char *base = o->base ? o->base : operands[0], *out = o->out ? o->out : operands[2];
    char number[32];
    struct pipeline_command *extract = pipeline_add_command(p, "tv-extract", a);
    pipeline_add_operand(extract, base, a);
    pipeline_add_operand(extract, o->model ? o->model : operands[1], a);
    struct pipeline_command *pack = pipeline_add_command(p, "pack", a);
    pipeline_add_word(pack, arena_printf(a, "--base=%s", base), a);
    pipeline_add_word(pack, arena_printf(a, "--lora=%llu", (unsigned long long)o->max_rank), a);
    if (o->energy)
        pipeline_add_word(pack, arena_printf(a, "--energy=%s", o->energy), a);
    if (o->epsilon > 0)
        pipeline_add_word(pack,
                          arena_printf(a, "--sv-epsilon=%s", number_format(o->epsilon, number)), a);
    if (o->dtype != DTYPE_NONE)
        pipeline_add_word(pack, arena_printf(a, "--dtype=%s", dtype_torch_name(o->dtype)), a);
    add_flag(pack, o->embed, "--embed-lora", a);
    add_flag(pack, o->skip_undecomposable, "--skip-undecomposable", a);
    add_flag(pack, o->no_distribute_scale, "--no-distribute-scale", a);
    add_flag(pack, o->force, "--force", a);
    if (add_module_options(pack, o, base, s, a, e))
        return -1;
    pipeline_add_operand(pack, out, a);
    return 0;
}

int tv_extract_lora_main(int argc, char **argv, const struct filter *const *filters)
{
    static const struct short_option short_options[] = {
        {'e', "--exclude-regex"}, {'i', "--include-regex"}, {0}};
    char **words = mergekit_options_expand_short(&argc, argv, short_options);
    struct stage *s = command_line_parse(&descriptor, argc, words);
    free(words);
    mergekit_options_print_ignored(s, FIELD(ignored), FIELD(ignored_value));
    const struct options *o = s->options;
    mergekit_options_use_cache(o->cache);
    struct arena a = {0};
    struct pipeline p = {0};
    struct error e = {0};
    int status = 1;
    if (make_pipeline(&p, s, &a, &e)) {
        printable_message("%s: %s", descriptor.name, e.text);
    } else {
        const struct pipeline_options run = {
            .filters = filters,
            .threads = s->common.threads ? s->common.threads : o->num_threads,
            .memory = s->common.memory,
            .spool = s->common.spool,
            .monitor = {.show_progress = true, .report_progress = s->common.progress}};
        status = pipeline_run(&run, &p, &a);
    }
    arena_free(&a);
    stage_free(s);
    return status;
}
