#include "merge_methods.h"

#include <string.h>

struct method {
    const char *filter, *option; /* a step of the method, and the option that makes it one; NULL */
    const char *name, *authors, *arxiv;
};

/* The first row that fits a step counts. */
static const struct method methods[] = {
    {"trim", "--outliers", "Model Breadcrumbs", "Davari and Belilovsky 2023", "2312.06795"},
    {"trim", NULL, "TIES-Merging", "Yadav et al. 2023", "2306.01708"},
    {"elect-sign", NULL, "TIES-Merging", "Yadav et al. 2023", "2306.01708"},
    {"dare-drop", NULL, "DARE", "Yu et al. 2023", "2311.03099"},
    {"della-drop", NULL, "DELLA-Merging", "Deep et al. 2024", "2406.11617"},
    {"sce-select", NULL, "SCE", "Wan et al. 2024", "2408.07990"},
    {"sce-weigh", NULL, "SCE", "Wan et al. 2024", "2408.07990"},
    {"model-stock", NULL, "Model Stock", "Jang et al. 2024", "2403.19522"},
    {"calibrate", "--plus-plus", "Expert Merging++", NULL, "2509.25712"},
    {"calibrate", NULL, "Expert Merging", NULL, "2509.25712"},
    {"swudi", NULL, "SWUDI", NULL, "2606.07289"},
    {"wudi", "--optimizer=sgd", "OptMerge", NULL, "2505.19892"},
    {"wudi", "--centered", "OptMerge", NULL, "2505.19892"},
    {"wudi", NULL, "WUDI-Merging", "Cheng et al. 2025", "2503.08099"},
    {"tsv-merge", NULL, "TSV-Merge", "Gargiulo et al. 2024", "2412.00081"},
    {"iso-merge", "--common", "Iso-CTS", "Marczak et al. 2025", "2502.04959"},
    {"iso-merge", NULL, "Iso-C", "Marczak et al. 2025", "2502.04959"},
    {"regmean", NULL, "RegMean", "Jin et al. 2023", "2212.09849"},
    {"fisher", NULL, "Fisher merging", "Matena and Raffel 2022", "2111.09832"},
    {"slerp", NULL, "SLERP", "Shoemake 1985", NULL},
    {0}};
/* Without any of them, by the filter that reads the models. */
static const struct method sums[] = {
    {"tv-extract", NULL, "Task Arithmetic", "Ilharco et al. 2023", "2212.04089"},
    {"unpack", NULL, "Model soups", "Wortsman et al. 2022", "2203.05482"},
    {0}};

static bool has_option(const struct history_step *s, const char *option)
{
    size_t n = strlen(option);
    for (size_t i = 0; i < s->n_arguments; i++)
        if (strncmp(s->arguments[i], option, n) == 0 &&
            (s->arguments[i][n] == '=' || s->arguments[i][n] == '\0'))
            return true;
    return false;
}

static const struct method *find_method(const struct method *of, const struct history_step *s)
{
    for (const struct method *m = of; m->filter; m++)
        if (strcmp(s->tool, m->filter) == 0 && (!m->option || has_option(s, m->option)))
            return m;
    return NULL;
}

/* Adds "`trim`, `elect-sign`": the steps of the method, each once. */
static void print_steps(FILE *out, const struct history *h, const struct method *method)
{
    for (size_t i = 0, n = 0; i < h->n; i++) {
        const struct method *m = find_method(methods, &h->steps[i]);
        bool repeated = false;
        for (size_t j = 0; j < i; j++)
            repeated |= strcmp(h->steps[j].tool, h->steps[i].tool) == 0;
        if (m && strcmp(m->name, method->name) == 0 && !repeated)
            fprintf(out, "%s`%s`", n++ ? ", " : ": ", h->steps[i].tool);
    }
}

static void print_method(FILE *out, const struct history *h, const struct method *m, bool is_first)
{
    fprintf(out, "%s- %s", is_first ? "\nPublished methods that it takes steps of:\n\n" : "",
            m->name);
    print_steps(out, h, m);
    if (m->authors)
        fprintf(out, "; %s", m->authors);
    if (m->arxiv)
        fprintf(out, "; [arXiv:%s](https://arxiv.org/abs/%s)", m->arxiv, m->arxiv);
    putc('\n', out);
}

/* Is the method that of one of the first n steps? */
static bool is_listed(const struct history *h, size_t n, const struct method *method)
{
    for (size_t i = 0; i < n; i++) {
        const struct method *m = find_method(methods, &h->steps[i]);
        if (m && strcmp(m->name, method->name) == 0)
            return true;
    }
    return false;
}

static const struct method *find_sum(const struct history *h)
{
    const struct method *sum = NULL;
    bool combines = false;
    for (size_t i = 0; i < h->n; i++) {
        sum = sum ? sum : find_method(sums, &h->steps[i]);
        combines |= strcmp(h->steps[i].tool, "combine") == 0;
    }
    return combines ? sum : NULL;
}

void merge_methods_print(FILE *out, const struct history *h)
{
    const struct method *sum = find_sum(h);
    bool any = false;
    for (size_t i = 0; i < h->n; i++) {
        const struct method *m = find_method(methods, &h->steps[i]);
        if (m && !is_listed(h, i, m))
            print_method(out, h, m, !any);
        any |= m != NULL;
    }
    if (!any && sum)
        print_method(out, h, sum, true);
}
