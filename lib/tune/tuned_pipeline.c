#include "tuned_pipeline.h"

#include "command_line.h"
#include "layer_slice.h"
#include "stage.h"

#include <string.h>

#define SUBSTITUTION "<(...)" /* in place of an operand that is one */

/* ---- commands as stages ---------------------------------------------------------------------- */

/* The stage of a command, with its options and operands; NULL if it is no filter. */
static struct stage *parse_command(const struct tuned_pipeline *t, const struct pipeline_command *c,
                                   struct arena *a)
{
    const struct filter *f = pipeline_run_find_filter(t->run, c->words[0].text);
    char **words = arena_alloc(a, c->n + 1, sizeof *words);
    for (size_t i = 0; i < c->n; i++)
        words[i] = c->words[i].substitution ? arena_printf(a, "%s" SUBSTITUTION, c->words[i].text)
                                            : arena_copy_text(a, c->words[i].text);
    return f ? command_line_parse(f, (int)c->n, words) : NULL;
}

static bool is_substitution(const char *operand)
{
    return strstr(operand, SUBSTITUTION) != NULL;
}

/* ---- experts --------------------------------------------------------------------------------- */

/* Adds an operand once, without its range of layers: the teacher is the whole model. */
static void add_expert(struct tuned_pipeline *t, const char *operand, struct arena *a)
{
    const char *range = layer_slice_find_range_suffix(operand);
    const char *model = range ? arena_copy_text_n(a, operand, (size_t)(range - operand)) : operand;
    if (is_substitution(model))
        return;
    for (size_t i = 0; i < t->experts.n; i++)
        if (strcmp(t->experts.items[i], model) == 0)
            return;
    string_list_append(&t->experts, a, model);
}

/* The first operand of tv-extract is the base, and so is that of an unpack before a tv-extract. */
static void add_experts_of_source(struct tuned_pipeline *t, const struct stage *s,
                                  const struct stage *next, struct arena *a)
{
    bool extracts = strcmp(s->filter->name, "tv-extract") == 0;
    bool unpacks = strcmp(s->filter->name, "unpack") == 0;
    bool is_extracted = next && strcmp(next->filter->name, "tv-extract") == 0;
    if (!extracts && !unpacks)
        return;
    for (size_t i = extracts || is_extracted ? 1 : 0; i < s->operands.n; i++)
        add_expert(t, s->operands.items[i], a);
}

/* ---- notes ----------------------------------------------------------------------------------- */

static bool has_model_scope(const struct stage *s)
{
    const struct filter *f = s->filter;
    return (f->choose_scope ? f->choose_scope(s) : f->scope) == SCOPE_MODEL;
}

/* Notes what an evaluation costs besides one pass. `foreign`: the name of another program before
 * the command; NULL: none. */
static void note_stage(struct tuned_pipeline *t, const struct stage *s, const char *foreign,
                       struct arena *a)
{
    if (has_model_scope(s) && foreign)
        string_list_append(&t->notes, a,
                           arena_printf(a,
                                        "%s needs all of its input before it can write; in each "
                                        "evaluation the output of %s is stored for it",
                                        s->filter->name, foreign));
    else if (has_model_scope(s))
        string_list_append(&t->notes, a,
                           arena_printf(a,
                                        "%s needs all of its input before it can write; each "
                                        "evaluation may compute the steps before it twice",
                                        s->filter->name));
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Finds experts and notes in the pipeline and in its <( ... ). */
static void examine_pipeline(struct tuned_pipeline *t, const struct pipeline *p, struct arena *a)
{
    const char *foreign = NULL;
    struct stage **stages = arena_alloc(a, p->n + 1, sizeof *stages);
    for (size_t i = 0; i < p->n; i++) {
        const struct pipeline_command *c = &p->commands[i];
        stages[i] = parse_command(t, c, a);
        for (size_t w = 0; w < c->n; w++)
            if (c->words[w].substitution)
                examine_pipeline(t, c->words[w].substitution, a);
    }
    for (size_t i = 0; i < p->n; i++) {
        if (stages[i]) {
            add_experts_of_source(t, stages[i], stages[i + 1], a);
            note_stage(t, stages[i], foreign, a);
        } else {
            foreign = p->commands[i].words[0].text;
            string_list_append(
                &t->notes, a,
                arena_printf(a, "%s is not a filter of tvtools; each evaluation starts it again",
                             foreign));
        }
    }
    for (size_t i = 0; i < p->n; i++)
        stage_free(stages[i]);
}

/* Does this option of pack change tensors, or name their base? */
static bool changes_tensors(const char *option)
{
    static const char *const names[] = {"base",  "onto",    "like",
                                        "dtype", "no-fill", "allow-nonfinite"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], option) == 0)
            return true;
    return false;
}

/* Sets base and dtype from pack's options. */
static void read_pack_options(struct tuned_pipeline *t, const struct stage *pack, struct arena *a)
{
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n = stage_list_options(pack, options);
    for (size_t i = 0; i < n; i++) {
        const struct option_row *row = options[i].row;
        if (!pack->given[i] || !changes_tensors(row->name))
            continue;
        if (row->kind == OPTION_STRING)
            t->base = arena_copy_text(a, *(const char *const *)options[i].field);
        if (row->kind == OPTION_DTYPE)
            t->dtype = *(const enum dtype *)options[i].field;
    }
}

static int read_pack(struct tuned_pipeline *t, const struct pipeline *p, struct arena *a,
                     struct error *e)
{
    const struct pipeline_command *last = &p->commands[p->n - 1];
    const struct filter *f = pipeline_run_find_filter(t->run, last->words[0].text);
    if (!f || strcmp(f->name, "pack") != 0)
        return error_set(e, "the pipeline must end with pack, as in tv run; nothing is written");
    struct stage *pack = parse_command(t, last, a);
    read_pack_options(t, pack, a);
    stage_free(pack);
    if (!t->base)
        return error_set(e, "pack needs --base, --onto or --like: that model's config.json says "
                            "how to run the result");
    if (t->dtype >= DTYPE_COUNT) /* a format of .gguf files */
        return error_set(e, "a quantized result cannot be measured; tune without this --dtype, and "
                            "add it to the pipeline that is printed");
    return is_substitution(t->base)
               ? error_set(e, "the model of pack must be a file, and not <( ... )")
               : 0;
}

/* The pipeline with all numbers at the same end of their ranges: x is 0 or 1. */
static struct pipeline *fill_with_ends(const struct tuned_pipeline *t, double x, struct arena *a,
                                       struct error *e)
{
    char texts[PIPELINE_TEMPLATE_MAX_NUMBERS][PIPELINE_TEMPLATE_NUMBER_SIZE];
    const char *values[PIPELINE_TEMPLATE_MAX_NUMBERS];
    for (size_t i = 0; i < t->template.n; i++)
        values[i] = template_number_format(&t->template.numbers[i], x, texts[i]);
    return tuned_pipeline_with_numbers(t, values, a, e);
}

/* Parses the command lines of all filters: a wrong one ends the process. */
static void check_command_lines(const struct tuned_pipeline *t, const struct pipeline *p,
                                struct arena *a)
{
    for (size_t i = 0; i < p->n; i++) {
        stage_free(parse_command(t, &p->commands[i], a));
        for (size_t w = 0; w < p->commands[i].n; w++)
            if (p->commands[i].words[w].substitution)
                check_command_lines(t, p->commands[i].words[w].substitution, a);
    }
}

int tuned_pipeline_read(struct tuned_pipeline *t, const char *text,
                        const struct pipeline_options *run, struct arena *a, struct error *e)
{
    *t = (struct tuned_pipeline){.run = run, .dtype = DTYPE_NONE};
    if (pipeline_template_parse(&t->template, text, a, e))
        return -1;
    struct pipeline *low = fill_with_ends(t, 0, a, e);
    struct pipeline *high = low ? fill_with_ends(t, 1, a, e) : NULL;
    if (!high || read_pack(t, low, a, e))
        return -1;
    examine_pipeline(t, low, a);
    check_command_lines(t, high, a);
    return 0;
}

/* ---- pipelines ------------------------------------------------------------------------------- */

struct pipeline *tuned_pipeline_with_numbers(const struct tuned_pipeline *t,
                                             const char *const *values, struct arena *a,
                                             struct error *e)
{
    return pipeline_parse(pipeline_template_fill(&t->template, values, a), a, e);
}

/* The words of a pack that writes to standard output. */
static struct string_list rewrite_pack(const struct tuned_pipeline *t,
                                       const struct pipeline_command *c, struct arena *a)
{
    struct stage *pack = parse_command(t, c, a);
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n = stage_list_options(pack, options);
    struct string_list words = {0};
    string_list_append(&words, a, "pack");
    for (size_t i = 0; i < n; i++)
        if (pack->given[i] && changes_tensors(options[i].row->name))
            option_row_append_words(options[i].row, options[i].field, a, &words);
    string_list_append(&words, a, "--format=safetensors");
    string_list_append(&words, a, "-");
    stage_free(pack);
    return words;
}

struct pipeline *tuned_pipeline_to_standard_output(const struct tuned_pipeline *t,
                                                   const char *const *values, struct arena *a,
                                                   struct error *e)
{
    struct pipeline *p = tuned_pipeline_with_numbers(t, values, a, e);
    if (!p)
        return NULL;
    struct pipeline_command *last = &p->commands[p->n - 1];
    struct string_list words = rewrite_pack(t, last, a);
    *last = (struct pipeline_command){0};
    for (size_t i = 0; i < words.n; i++)
        pipeline_add_word(last, words.items[i], a);
    return p;
}
