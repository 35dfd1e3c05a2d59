/* Random configurations: for every tensor, the rules in the pipeline yield the same number as a
 * plain implementation of mergekit's lookup in this file. Also YAML numbers and suggestions. */
#include "unit.h"

#include "config_to_pipeline.h"
#include "spelling_suggestion.h"
#include "tensor_rules.h"

#include <unistd.h>

#define MODELS     3
#define LEVELS     4 /* model, slice, module, document */
#define CONDITIONS 4
#define LAYERS     3

/* ---- a random configuration ------------------------------------------------------------------ */

struct value {
    size_t n;
    double numbers[4];
};

/* A parameter at one level; a plain value is one condition without a filter. */
struct level_value {
    bool set;
    size_t n;
    const char *filters[CONDITIONS];
    struct value values[CONDITIONS];
};

enum { WEIGHT, DENSITY, PARAMETERS };
static const char *const names[] = {"weight", "density"};

struct random_config {
    struct level_value of_model[MODELS][PARAMETERS];
    struct level_value of_level[LEVELS - 1][PARAMETERS]; /* slice, module, document */
};

static uint64_t state = 1;

static size_t pick(size_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(state >> 33) % n;
}

static struct value random_value(void)
{
    struct value v = {.n = pick(3) ? 1 : 1 + pick(4)};
    for (size_t i = 0; i < v.n; i++)
        v.numbers[i] = (double)(1 + pick(16)) / 16;
    return v;
}

static struct level_value random_level_value(bool always)
{
    static const char *const filters[] = {"mlp", "self_attn",     "layers.1.", "norm",
                                          "*",   "q_proj.weight", "[a-z]",     "e"};
    bool plain = always || pick(2);
    struct level_value p = {.set = always || pick(2), .n = plain ? 1 : 1 + pick(CONDITIONS)};
    for (size_t i = 0; i < p.n; i++) {
        p.filters[i] = plain || pick(5) == 0 ? NULL : filters[pick(8)];
        p.values[i] = random_value();
    }
    return p;
}

static struct random_config make_random_config(void)
{
    struct random_config s;
    for (size_t p = 0; p < PARAMETERS; p++) {
        for (size_t m = 0; m < MODELS; m++)
            s.of_model[m][p] = random_level_value(false);
        for (size_t level = 0; level < LEVELS - 1; level++)
            s.of_level[level][p] = random_level_value(p == WEIGHT && level == LEVELS - 2);
    }
    return s;
}

static void print_value(FILE *f, const struct value *v)
{
    for (size_t i = 0; i < v->n; i++)
        fprintf(f, "%s%.17g", i ? ", " : v->n > 1 ? "[" : "", v->numbers[i]);
    fputs(v->n > 1 ? "]" : "", f);
}

static void print_level_value(FILE *f, const struct level_value *p)
{
    if (p->n == 1 && !p->filters[0]) {
        print_value(f, &p->values[0]);
        return;
    }
    for (size_t i = 0; i < p->n; i++) {
        fputs(i ? ", {" : "[{", f);
        if (p->filters[i])
            fprintf(f, "filter: '%s', ", p->filters[i]);
        fputs("value: ", f);
        print_value(f, &p->values[i]);
        fputs("}", f);
    }
    fputs("]", f);
}

static void print_parameters(FILE *f, const struct level_value *values)
{
    fputs("parameters: {", f);
    for (size_t p = 0, n = 0; p < PARAMETERS; p++) {
        if (!values[p].set)
            continue;
        fprintf(f, "%s%s: ", n++ ? ", " : "", names[p]);
        print_level_value(f, &values[p]);
    }
    fputs("}", f);
}

static void print_config(FILE *f, const struct random_config *s)
{
    fputs("merge_method: ties\nbase_model: base\nmodules:\n  default:\n    ", f);
    print_parameters(f, s->of_level[1]);
    fputs("\n    slices:\n    - ", f);
    print_parameters(f, s->of_level[0]);
    fprintf(f, "\n      sources:\n      - {model: base, layer_range: [0, %d]}\n", LAYERS);
    for (size_t m = 0; m < MODELS; m++) {
        fprintf(f, "      - {model: m%zu, layer_range: [0, %d], ", m, LAYERS);
        print_parameters(f, s->of_model[m]);
        fputs("}\n", f);
    }
    print_parameters(f, s->of_level[2]);
    putc('\n', f);
}

/* ---- the lookup ------------------------------------------------------------------------------ */

static double interpolate(const struct value *v, long layer)
{
    double t = layer < 0 ? 0 : (double)layer / (LAYERS - 1), s = t * (double)(v->n - 1);
    size_t i = (size_t)s, j = i + 1 < v->n ? i + 1 : v->n - 1;
    return (1 - (s - (double)i)) * v->numbers[i] + (s - (double)i) * v->numbers[j];
}

/* False if the level has no value for this tensor. */
static bool find_at_level(const struct level_value *p, const char *tensor, long layer, double *x)
{
    for (size_t i = 0; p->set && i < p->n; i++) {
        const char *filter = p->filters[i];
        if (filter && strcmp(filter, "*") != 0 && !strstr(tensor, filter))
            continue;
        *x = interpolate(&p->values[i], layer);
        return true;
    }
    return false;
}

static double lookup(const struct random_config *s, size_t m, size_t p, const char *tensor,
                     long layer)
{
    double x = 1;
    bool found = find_at_level(&s->of_model[m][p], tensor, layer, &x);
    for (size_t level = 0; !found && level < LEVELS - 1; level++)
        found = find_at_level(&s->of_level[level][p], tensor, layer, &x);
    return x;
}

/* ---- the pipeline ---------------------------------------------------------------------------- */

static const struct pipeline_command *find_command(const struct pipeline *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->commands[i].words[0].text, name) == 0)
            return &l->commands[i];
    return NULL;
}

static void read_rules(struct tensor_rules *r, const struct pipeline_command *c)
{
    const struct range any = {0};
    struct error e;
    for (size_t i = 1; c && i < c->n; i++)
        if (strncmp(c->words[i].text, "--", 2) != 0)
            CHECK(tensor_rules_parse_and_add(r, c->words[i].text, "RULE", &any, &e) == 0);
}

static void compare_rules(const struct random_config *s, const struct tensor_rules *rules, size_t p)
{
    static const char *const tensors[] = {"model.embed_tokens.weight",
                                          "model.layers.0.mlp.up_proj.weight",
                                          "model.layers.1.self_attn.q_proj.weight",
                                          "model.layers.2.input_layernorm.weight",
                                          "model.layers.2.mlp.[a-z].weight",
                                          "lm_head.weight"};
    for (size_t m = 0; m < MODELS; m++)
        for (size_t t = 0; t < 6; t++) {
            char model[8];
            double x = 1;
            long layer = t == 0 || t == 5 ? -1 : tensors[t][13] - '0';
            snprintf(model, sizeof model, "m%zu", m);
            tensor_rules_find_value(rules, model, tensors[t], layer, LAYERS, &x);
            CHECK(x == lookup(s, m, p, tensors[t], layer));
        }
}

static void test_random_config(const char *path)
{
    struct random_config s = make_random_config();
    struct arena a = {0};
    struct error e = {0};
    struct merge_config_file file;
    struct translated_config r;
    struct translation_options o = {0};
    FILE *f = fopen(path, "w");
    print_config(f, &s);
    fclose(f);
    CHECK(merge_config_read(&file, path, "test", &a, &e) == 0);
    CHECK(config_to_pipeline(&r, &file, "out", &o, "test", &a, &e) == 0);
    if (unit_failures) {
        fprintf(stderr, "%s\n", e.text);
        return;
    }
    struct tensor_rules weights = {0}, densities = {0};
    read_rules(&weights, find_command(&r.pipeline, "weigh"));
    read_rules(&densities, find_command(&r.pipeline, "trim"));
    compare_rules(&s, &weights, WEIGHT);
    compare_rules(&s, &densities, DENSITY);
    tensor_rules_free(&weights);
    tensor_rules_free(&densities);
    arena_free(&a);
}

/* ---- YAML 1.1 -------------------------------------------------------------------------------- */

/* The number that `text` means as a weight in YAML; NAN if it is rejected. */
static double parse_weight(const char *path, const char *text)
{
    struct arena a = {0};
    struct error e;
    struct merge_config_file file;
    FILE *f = fopen(path, "w");
    fprintf(f, "merge_method: linear\nparameters: {weight: %s}\nmodels: [{model: m}]\n", text);
    fclose(f);
    double x = NAN;
    if (merge_config_read(&file, path, "test", &a, &e) == 0) {
        const struct config_parameter *s =
            config_parameters_find(&file.documents[0].parameters, "weight");
        if (s && s->n_conditions > 0 && !s->conditions[0].number_error)
            x = s->conditions[0].values[0];
    }
    arena_free(&a);
    return x;
}

static void test_yaml_numbers(const char *path)
{
    static const struct {
        const char *text;
        double x;
    } good[] = {{"0.5", 0.5},     {"yes", 1},      {"Off", 0},     {"TRUE", 1}, {"1e-3", 0.001},
                {"'0.25'", 0.25}, {"1_000", 1000}, {"0x1F", 31},   {"010", 8},  {"'010'", 10},
                {"0b101", 5},     {"1:30", 90},    {"-1:30", -90}, {".5", 0.5}, {"-.5e1", -5},
                {"+3", 3},        {"5.", 5},       {"[7]", 7},     {"! 2", 2}};
    static const char *const bad[] = {"abc", "'yes'", "~",  ".inf", "nan",   "[]",   "yEs",  "1__",
                                      "0x",  "''",    "{}", "[a]",  "[[1]]", "!x 1", "1e999"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(parse_weight(path, good[i].text) == good[i].x);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(isnan(parse_weight(path, bad[i])));
}

static void test_suggestions(void)
{
    static const char *const words[] = {"density", "weight", "normalize"};
    CHECK(strcmp(spelling_suggestion_find("desnity", 3, words), "density") == 0);
    CHECK(strcmp(spelling_suggestion_find("wieght", 3, words), "weight") == 0);
    CHECK(strcmp(spelling_suggestion_find("normalize", 3, words), "normalize") == 0);
    CHECK(!spelling_suggestion_find("temperature", 3, words));
}

/* pipeline_parse inverts pipeline_print. */
static void test_pipeline_round_trip(void)
{
    static const char text[] = "stack \\\n"
                               "    x=<(unpack 'a b[0:1]' |\n"
                               "        rescale '' 'it'\\''s')'[0:2]' plain |\n"
                               "    pack out";
    struct arena a = {0};
    struct error e;
    char *printed = NULL;
    size_t size;
    const struct pipeline *l = pipeline_parse(text, &a, &e);
    FILE *f = open_memstream(&printed, &size);
    CHECK(l && l->n == 2 && l->commands[0].n == 3);
    if (l)
        pipeline_print(l, 0, f);
    fclose(f);
    CHECK(strcmp(printed, text) == 0);
    free(printed);
    arena_free(&a);
}

int main(void)
{
    char path[] = "/tmp/test_recipe.XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    for (int i = 0; i < 500 && !unit_failures; i++)
        test_random_config(path);
    test_yaml_numbers(path);
    test_suggestions();
    test_pipeline_round_trip();
    unlink(path);
    return unit_end();
}
