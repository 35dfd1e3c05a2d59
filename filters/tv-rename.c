/* tv-rename: give tensors other names
 *
 *     tv-rename 'model.*=model.language_model.*'    a language model's, as a part of a larger model
 *     tv-rename 'a.*.b.*=b.*.a.*' 'c=d'             several rules, one after another
 *     tv-rename --to qwen2vl-memory                 the names of a layout
 *
 * Each * of the replacement is what the * at the same place in the pattern stands for.
 */
#include "filter.h"
#include "name_scheme.h"
#include "pattern.h"

#include <stdlib.h>
#include <string.h>

struct options {
    int to;
};

static const struct option_row rows[] = {
    {"to", OPTION_CHOICE, offsetof(struct options, to), "LAYOUT",
     .help = "the names of a layout of Qwen2-VL or InternVL, after all rules",
     .choices = NAME_SCHEME_CHOICES},
    {0}};

struct rule {
    const char *pattern, *to;
    bool used;
};

/* ---- names ----------------------------------------------------------------------------------- */

static int read_rule(struct stage *s, const char *text, struct rule *r, struct error *e)
{
    const char *equals = strrchr(text, '=');
    if (!equals || equals == text || !equals[1])
        return error_set(e, "the rule %s is not PATTERN=REPLACEMENT", text);
    r->pattern = arena_copy_text_n(&s->arena, text, (size_t)(equals - text));
    r->to = equals + 1;
    size_t stars = 0;
    for (const char *p = r->to; *p; p++)
        stars += *p == '*';
    return stars <= pattern_count_stars(r->pattern)
               ? 0
               : error_set(e, "the rule %s has more stars behind the = than before it", text);
}

/* The layout's word, for which q, k and v must be as apart as it has them. */
static const char *spell(struct stage *s, int layout, const char *name, struct error *e)
{
    char plain[NAME_SCHEME_MAX_NAME], spelled[NAME_SCHEME_MAX_NAME];
    if (!name_scheme_to_canonical(name, plain) ||
        !name_scheme_from_canonical((size_t)layout, plain, spelled)) {
        error_set(e, "--to: the layout has no name for tensor %s (pick --drop leaves it out)",
                  name);
        return NULL;
    }
    enum name_scheme_qkv_kind not =
        name_scheme_has_split_qkv((size_t)layout) ? NAME_SCHEME_FUSED_QKV : NAME_SCHEME_SPLIT_QKV;
    if (name_scheme_qkv_kind(plain) == not ) {
        error_set(e, "--to: the layout has q, k and v %s, tensor %s has not",
                  not == NAME_SCHEME_FUSED_QKV ? "apart" : "in one tensor", name);
        return NULL;
    }
    return arena_copy_text(&s->arena, spelled);
}

/* What becomes of a name; NULL on error. */
static const char *renamed(struct stage *s, struct rule *rules, const char *name, struct error *e)
{
    const struct options *o = s->options;
    for (size_t i = 0; i < s->operands.n; i++) {
        char *other = pattern_replace(rules[i].pattern, rules[i].to, name);
        if (!other)
            continue;
        rules[i].used = true;
        name = arena_copy_text(&s->arena, other);
        free(other);
    }
    return o->to >= 0 ? spell(s, o->to, name, e) : name;
}

static int rename_all(struct stage *s, struct rule *rules, struct header *h, struct error *e)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        struct tensor *t = &h->tensors[i];
        if (t->base_name && !(t->base_name = renamed(s, rules, t->base_name, e)))
            return -1;
        if (!(t->name = renamed(s, rules, t->name, e)))
            return -1;
        if (t->base_name && strcmp(t->base_name, t->name) == 0)
            t->base_name = NULL;
    }
    return 0;
}

/* ---- names that meet ------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const struct tensor *x = *(const struct tensor *const *)a;
    const struct tensor *y = *(const struct tensor *const *)b;
    return strcmp(x->name, y->name);
}

static int check_names(const struct header *before, const struct header *h, struct error *e)
{
    const struct tensor **sorted = mem_alloc(h->n_tensors, sizeof *sorted);
    int failed = 0;
    for (size_t i = 0; i < h->n_tensors; i++)
        sorted[i] = &h->tensors[i];
    qsort(sorted, h->n_tensors, sizeof *sorted, by_name);
    for (size_t i = 1; i < h->n_tensors && !failed; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            failed = error_set(e, "%s and %s would both be called %s",
                               before->tensors[sorted[i - 1]->input_index].name,
                               before->tensors[sorted[i]->input_index].name, sorted[i]->name);
    free(sorted);
    return failed;
}

static int open_rename(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct rule *rules = arena_alloc(&s->arena, s->operands.n, sizeof *rules);
    if (!s->operands.n && o->to < 0)
        return error_set(e, "a RULE or --to is needed");
    for (size_t i = 0; i < s->operands.n; i++)
        if (read_rule(s, s->operands.items[i], &rules[i], e))
            return -1;
    if (rename_all(s, rules, h, e) || check_names(s->in, h, e))
        return -1;
    for (size_t i = 0; i < s->operands.n; i++)
        if (!rules[i].used)
            fprintf(stderr, "%s: warning: the rule %s matches no tensor\n", s->filter->name,
                    s->operands.items[i]);
    return 0;
}

static int begin(struct job *job, struct error *e)
{
    return PLAN_PASS_THROUGH;
}

const struct filter filter_tv_rename = {
    .name = "tv-rename",
    .summary = "Give tensors other names",
    .operands = "[RULE...]",
    .notes =
        "RULE is PATTERN=REPLACEMENT: each * of the replacement is what the * at the same place "
        "in the pattern stands for; the rules apply one after another. LAYOUT "
        "is " NAME_SCHEME_CHOICES ".\n\n"
        "  tv-extract base math | tv-rename 'model.*=model.language_model.*' |\n"
        "      pack --onto seeing-model merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = SIZE_MAX,
    .kinds = KIND_TASK_VECTORS | KIND_WEIGHTS | KIND_ACTIVATIONS,
    .role = ROLE_FILTER,
    .raw_payload = true,
    .accepts_nonfinite = true,
    .open = open_rename,
    .begin = begin,
};
