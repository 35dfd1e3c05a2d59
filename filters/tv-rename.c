/* tv-rename: rename tensors
 *
 *     tv-rename 'model.*=model.language_model.*'    from a language model's names to a Qwen2-VL's
 *     tv-rename 'a.*.b.*=b.*.a.*' 'c=d'             several rules, one after another
 *     tv-rename --to qwen2vl-memory                 the names of a naming scheme
 *
 * Each * of the replacement becomes the text that the corresponding * of the pattern matched.
 */
#include "filter.h"
#include "glob_pattern.h"
#include "name_scheme.h"
#include "printable.h"

#include <stdlib.h>
#include <string.h>

struct options {
    int to;
};

static const struct option_row rows[] = {
    {"to", OPTION_CHOICE, offsetof(struct options, to), "SCHEME",
     .help = "convert the names to a naming scheme of Qwen2-VL or InternVL, after all rules",
     .choices = NAME_SCHEME_CHOICES},
    {0}};

struct rename_rule {
    const char *pattern, *replacement;
    bool used; /* it has matched a tensor */
};

/* ---- names ----------------------------------------------------------------------------------- */

static int parse_rule(const char *text, struct rename_rule *r, struct arena *a, struct error *e)
{
    const char *equals = strrchr(text, '=');
    if (!equals || equals == text || !equals[1])
        return error_set(e, "invalid rule %.200s; expected PATTERN=REPLACEMENT", text);
    r->pattern = arena_copy_text_n(a, text, (size_t)(equals - text));
    r->replacement = equals + 1;
    size_t stars = 0;
    for (const char *p = r->replacement; *p; p++)
        stars += *p == '*';
    return stars <= glob_pattern_count_stars(r->pattern)
               ? 0
               : error_set(e,
                           "invalid rule %.200s: the replacement has more stars than the pattern",
                           text);
}

/* The name of a tensor in a naming scheme. Names of q, k and v can only be converted between
 * schemes that store them in the same number of tensors. NULL on error. */
static const char *convert_to_naming_scheme(struct stage *s, size_t scheme, const char *name,
                                            struct error *e)
{
    char canonical[NAME_SCHEME_MAX_NAME], converted[NAME_SCHEME_MAX_NAME];
    if (!name_scheme_to_canonical(name, canonical) ||
        !name_scheme_from_canonical(scheme, canonical, converted)) {
        error_set(e,
                  "--to: the naming scheme has no name for tensor %s (remove it with pick --drop)",
                  name);
        return NULL;
    }
    bool is_split = name_scheme_has_split_qkv(scheme);
    enum name_scheme_qkv_kind kind = name_scheme_qkv_kind(canonical);
    if (is_split && kind == NAME_SCHEME_FUSED_QKV) {
        error_set(e, "--to: the naming scheme has separate q, k and v, but tensor %s holds all",
                  name);
        return NULL;
    }
    if (!is_split && kind == NAME_SCHEME_SPLIT_QKV) {
        error_set(e,
                  "--to: the naming scheme has q, k and v in one tensor, but tensor %s is one "
                  "of three",
                  name);
        return NULL;
    }
    return arena_copy_text(&s->arena, converted);
}

/* The new name of a tensor; NULL on error. */
static const char *apply_rename_rules(struct stage *s, struct rename_rule *rules, const char *name,
                                      struct error *e)
{
    const struct options *o = s->options;
    for (size_t i = 0; i < s->operands.n; i++) {
        char *replaced = glob_pattern_replace(rules[i].pattern, rules[i].replacement, name);
        if (!replaced)
            continue;
        rules[i].used = true;
        name = arena_copy_text(&s->arena, replaced);
        free(replaced);
    }
    return o->to >= 0 ? convert_to_naming_scheme(s, (size_t)o->to, name, e) : name;
}

static int rename_tensors(struct stage *s, struct rename_rule *rules, struct header *h,
                          struct error *e)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        struct tensor *t = &h->tensors[i];
        if (t->base_name && !(t->base_name = apply_rename_rules(s, rules, t->base_name, e)))
            return -1;
        if (!(t->name = apply_rename_rules(s, rules, t->name, e)))
            return -1;
        if (t->base_name && strcmp(t->base_name, t->name) == 0)
            t->base_name = NULL;
    }
    return 0;
}

/* ---- duplicate names ------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    const struct tensor *x = *(const struct tensor *const *)a;
    const struct tensor *y = *(const struct tensor *const *)b;
    return strcmp(x->name, y->name);
}

/* Checks that no two tensors have the same name now. */
static int check_names_are_unique(const struct header *before, const struct header *h,
                                  struct error *e)
{
    const struct tensor **sorted = mem_alloc(h->n_tensors, sizeof *sorted);
    int failed = 0;
    for (size_t i = 0; i < h->n_tensors; i++)
        sorted[i] = &h->tensors[i];
    qsort(sorted, h->n_tensors, sizeof *sorted, compare_names);
    for (size_t i = 1; i < h->n_tensors && !failed; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            failed = error_set(e, "tensors %s and %s would both be named %s",
                               before->tensors[sorted[i - 1]->input_index].name,
                               before->tensors[sorted[i]->input_index].name, sorted[i]->name);
    free(sorted);
    return failed;
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    struct arena a = {0};
    struct rename_rule rule;
    int failed = s->operands.n || o->to >= 0 ? 0 : error_set(e, "expected a RULE or --to");
    for (size_t i = 0; i < s->operands.n && !failed; i++)
        failed = parse_rule(s->operands.items[i], &rule, &a, e);
    arena_free(&a);
    return failed;
}

static int open_rename(struct stage *s, struct header *h, struct error *e)
{
    struct rename_rule *rules = arena_alloc(&s->arena, s->operands.n, sizeof *rules);
    for (size_t i = 0; i < s->operands.n; i++)
        if (parse_rule(s->operands.items[i], &rules[i], &s->arena, e))
            return -1;
    if (rename_tensors(s, rules, h, e) || check_names_are_unique(s->in, h, e))
        return -1;
    for (size_t i = 0; i < s->operands.n; i++)
        if (!rules[i].used)
            printable_warning(s->filter->name, "the rule %s matches no tensor",
                              s->operands.items[i]);
    return 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    return PLAN_PASS_THROUGH;
}

const struct filter filter_tv_rename = {
    .name = "tv-rename",
    .summary = "Rename tensors",
    .step = STEP_STREAMS,
    .operands = "[RULE...]",
    .notes =
        "RULE is PATTERN=REPLACEMENT: each * of the replacement becomes the text that the "
        "corresponding * of the pattern matched; the rules are applied one after another. SCHEME "
        "is " NAME_SCHEME_CHOICES_TEXT ".\n\n"
        "  tv-extract base math | tv-rename 'model.*=model.language_model.*' |\n"
        "      pack --onto vision-model merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = SIZE_MAX,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS | KIND_ACTIVATIONS,
    .role = ROLE_FILTER,
    .raw_payload = true,
    .accepts_nonfinite = true,
    .check_options = check_options,
    .open = open_rename,
    .begin_tensor = begin_tensor,
};
