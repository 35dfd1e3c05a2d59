#include "merge_summary.h"

#include "output_target.h"
#include "printable.h"
#include "tensor_name.h"

#include <math.h>
#include <string.h>

/* ---- kinds of tensors ------------------------------------------------------------------------ */

enum kind { ATTENTION, MLP, NORMS, EMBEDDINGS, OTHERS, N_KINDS };

static const char *const kind_names[N_KINDS] = {"attention", "MLP", "norms",
                                                "embeddings and LM head", "others"};

static bool contains_any(const char *name, const char *const *parts)
{
    bool found = false;
    for (; *parts; parts++)
        found |= strcasestr(name, *parts) != NULL;
    return found;
}

/* A change_counts_kind_of_tensor, for the names of any architecture. */
static size_t kind_of_tensor(const char *name)
{
    static const char *const norms[] = {"norm", "ln_", ".ln", NULL};
    static const char *const attention[] = {"attn", "attention", NULL};
    static const char *const mlp[] = {"mlp", "ffn", "feed_forward", "expert", "moe", "dense", NULL};
    if (contains_any(name, norms))
        return NORMS;
    if (tensor_name_is_embedding(name) || tensor_name_is_lm_head(name))
        return EMBEDDINGS;
    if (contains_any(name, attention))
        return ATTENTION;
    return contains_any(name, mlp) ? MLP : OTHERS;
}

change_counts_kind_of_tensor *merge_summary_kind_of_tensor(const struct config_command *c)
{
    return c->merge.n_results ? NULL : kind_of_tensor;
}

/* ---- what the run has counted ---------------------------------------------------------------- */

#define STEPS_MAX 8 /* that drop elements, of different names */

struct step {
    char name[32];
    struct dropped_elements elements;
};

struct counts {
    uint64_t bytes_written; /* of the result, not of streams between processes */
    size_t n_steps;
    struct step steps[STEPS_MAX];
    struct change_norm changes[N_KINDS];
};

static void add_step(struct counts *c, const struct run_report_stage *stage)
{
    size_t i = 0;
    while (i < c->n_steps && strcmp(c->steps[i].name, stage->name) != 0)
        i++;
    if (stage->dropped.received == 0 || i == STEPS_MAX)
        return;
    if (i == c->n_steps)
        snprintf(c->steps[c->n_steps++].name, sizeof c->steps->name, "%s", stage->name);
    c->steps[i].elements.received += stage->dropped.received;
    c->steps[i].elements.kept += stage->dropped.kept;
}

static struct counts sum_counts(const struct run_report *report)
{
    struct counts c = {0};
    for (size_t i = 0; i < run_report_count_chains(report); i++) {
        struct run_report_chain chain;
        struct run_report_stage stages[RUN_REPORT_STAGES_MAX];
        if (!run_report_get_chain(report, i, &chain, stages))
            continue;
        for (size_t s = 0; s < chain.n_stages; s++)
            add_step(&c, &stages[s]);
        if (chain.n_stages && strcmp(stages[chain.n_stages - 1].name, "pack") == 0)
            c.bytes_written += chain.bytes_written;
        for (size_t kind = 0; kind < N_KINDS; kind++) {
            c.changes[kind].squares += chain.changes[kind].squares;
            c.changes[kind].elements += chain.changes[kind].elements;
        }
    }
    return c;
}

/* ---- printing -------------------------------------------------------------------------------- */

static void print_steps(const struct counts *c)
{
    for (size_t i = 0; i < c->n_steps; i++) {
        const struct dropped_elements *d = &c->steps[i].elements;
        printable_message("  nonzero after %s: about %.1f %% of %s", c->steps[i].name,
                          100 * (double)d->kept / (double)d->received,
                          i ? "those" : "the elements of the task vectors");
    }
}

static void print_changes(const struct counts *c, struct arena *a)
{
    const char *text = "", *separator = "";
    for (size_t kind = 0; kind < N_KINDS; kind++) {
        const struct change_norm *n = &c->changes[kind];
        if (n->elements == 0)
            continue;
        text = arena_printf(a, "%s%s%s %.3g", text, separator, kind_names[kind], sqrt(n->squares));
        separator = ", ";
    }
    if (*text)
        printable_message("  L2 norm of the change, about: %s", text);
}

/* Of any length, unlike a message. */
static void print_verify_command(const struct config_command *c)
{
    fputs("  to verify it: tv verify ", stderr);
    printable_print_shell_word(stderr, c->out);
    for (size_t i = 0; i < c->merge.n_models; i++) {
        putc(' ', stderr);
        printable_print_shell_word(stderr, c->merge.models[i]);
    }
    putc('\n', stderr);
}

/* Where the model card is, and the command that verifies the model. */
static void print_where(const struct config_command *c)
{
    enum output_form form = output_target_form_of_name(c->out);
    const char *slash = c->out[strlen(c->out) - 1] == '/' ? "" : "/";
    if (c->options->part) {
        printable_message("  part %s is stored; tv finish publishes the model when all parts are",
                          c->options->part);
        return;
    }
    if (strcmp(c->out, "-") == 0)
        return;
    if (form == OUTPUT_FOLDER)
        printable_message("  model card: %s%sREADME.md", c->out, slash);
    else if (!output_form_is_single_file(form))
        printable_message("  model card: README.md in %s", c->out);
    print_verify_command(c);
}

void merge_summary_print(struct config_command *c, const struct run_report *report)
{
    const struct run_report_chain sum = run_report_sum_chains(report);
    const struct counts counts = sum_counts(report);
    size_t n = c->merge.n_models;
    printable_message("%s: %s of %zu model%s: %s written in %.1f s, with %s of memory",
                      c->stage->filter->name, c->merge.config->method, n, n == 1 ? "" : "s",
                      config_command_format_size(counts.bytes_written, &c->a), sum.seconds,
                      config_command_format_size(sum.peak_anonymous, &c->a));
    print_steps(&counts);
    print_changes(&counts, &c->a);
    print_where(c);
}
