#include "spectral_steps.h"

#include "parameter_rules.h"

#include <math.h>
#include <string.h>

/* A parameter that is an option with a number: it is omitted where it has the option's default. */
struct number_option {
    const char *parameter, *option;
    double preset;
    bool is_whole;
};

#define MAX_NUMBER_OPTIONS 2

/* A method: the filter with its words, the parameters that are its options, and whether vectors are
 * left to be weighed and combined. */
static const struct spectral_method {
    const char *name, *filter, *words[4];
    struct number_option numbers[MAX_NUMBER_OPTIONS + 1];
    bool keeps_vectors;
} methods[] = {
    {"tsv_m", "tsv-merge", {0}, {{"tolerance", "--tolerance", 1e-6, false}}, false},
    {"iso_c", "iso-merge", {0}, {{"tolerance", "--tolerance", 1e-6, false}}, false},
    {"iso_cts",
     "iso-merge",
     {0},
     {{"common_space_fraction", "--common", 1, false}, {"tolerance", "--tolerance", 1e-6, false}},
     false},
    {"wudi", "wudi", {0}, {{"lr", "--lr", 1e-5, false}, {"steps", "--steps", 300, true}}, false},
    {"optmerge",
     "wudi",
     {"--optimizer", "sgd"},
     {{"lr", "--lr", 1e-4, false}, {"steps", "--steps", 300, true}},
     false},
    {"swudi", "swudi", {0}, {{"time", "--time", 300, false}}, true},
    {"swudi_a", "swudi", {"--rank", "participation-sqrt", "--filter", "none"}, {{0}}, true},
};

static const struct spectral_method *find_method(const char *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

bool spectral_steps_has_method(const char *name)
{
    return find_method(name) != NULL;
}

static void add_word(const struct slice_context *s, struct pipeline_command *to, const char *word)
{
    pipeline_add_word(to, word, s->builder->a);
}

static void add_number(const struct slice_context *s, struct pipeline_command *to,
                       const char *option, double x)
{
    char text[32];
    add_word(s, to, option);
    add_word(s, to, arena_copy_text(s->builder->a, number_format(x, text)));
}

static int add_number_option(const struct slice_context *s, struct pipeline_command *to,
                             const struct number_option *o)
{
    double x;
    if (parameter_rules_find_number(s, o->parameter, &x))
        return -1;
    if (o->is_whole && x != floor(x))
        return pipeline_builder_error(s->builder, s->builder->config->line,
                                      "%s must be a whole number", o->parameter);
    if (x != o->preset)
        add_number(s, to, o->option, x);
    return 0;
}

/* cumvar, or ratio unless that is 0, its default. */
static int add_rank_options(const struct slice_context *s, struct pipeline_command *to)
{
    double cumvar, ratio;
    if (parameter_rules_find_number(s, "cumvar", &cumvar) ||
        parameter_rules_find_number(s, "ratio", &ratio))
        return -1;
    if (ratio > 0) {
        add_word(s, to, "--rank");
        add_word(s, to, "ratio");
        add_number(s, to, "--fraction", ratio);
    } else if (cumvar != 0.85) {
        add_number(s, to, "--fraction", cumvar);
    }
    return 0;
}

static int add_weigh_and_combine(const struct slice_context *s)
{
    if (parameter_rules_add_per_model(s, "weight", (struct rule_target){"weigh", NULL, 1}, NULL))
        return -1;
    pipeline_add_command(s->pipeline, "combine", s->builder->a);
    return 0;
}

int spectral_steps_add(const struct slice_context *s)
{
    const struct spectral_method *m = find_method(s->builder->method->name);
    struct pipeline_command *c = pipeline_add_command(s->pipeline, m->filter, s->builder->a);
    for (size_t i = 0; i < sizeof m->words / sizeof *m->words && m->words[i]; i++)
        add_word(s, c, m->words[i]);
    if (strcmp(m->name, "swudi") == 0 && add_rank_options(s, c))
        return -1;
    for (size_t i = 0; m->numbers[i].parameter; i++)
        if (add_number_option(s, c, &m->numbers[i]))
            return -1;
    if (m->keeps_vectors && add_weigh_and_combine(s))
        return -1;
    return parameter_rules_add_global(s, "lambda", (struct rule_target){"rescale", NULL, 1});
}
