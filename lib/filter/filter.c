#include "filter.h"

#include "hash.h"
#include "pattern.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- options ------------------------------------------------------------------------------ */

#define COMMON(field) offsetof(struct common_options, field)
static const struct option_row common_rows[] = {
    {"threads", OPTION_COUNT, COMMON(threads), "N",
     "work with N threads (default 1; where matrices are multiplied, one a processor)",
     .not_in_history = true},
    {"memory", OPTION_SIZE, COMMON(memory), "SIZE",
     "hold up to SIZE bytes of a tensor in memory, the rest in a temporary file (default 1G)",
     .preset = "1G", .not_in_history = true},
    {"spool", OPTION_FILE, COMMON(spool), "DIR",
     "folder for temporary files (default $TMPDIR, else /var/tmp)", .not_in_history = true},
    {"allow-nonfinite", OPTION_FLAG, COMMON(allow_nonfinite), NULL,
     .help = "let NaN and infinity pass instead of failing"},
    {0}};
static const struct option_row glob_rows[] = {
    {"include", OPTION_STRINGS, COMMON(include), "GLOB",
     .help = "work only on tensors whose name matches; may be repeated"},
    {"exclude", OPTION_STRINGS, COMMON(exclude), "GLOB",
     .help = "leave tensors alone whose name matches; may be repeated"},
    {0}};
#undef COMMON

/* The rows of one filter: its own, then the common ones. */
struct row {
    const struct option_row *row;
    char *field;
};

#define ROWS_MAX 64

static size_t all_rows(const struct stage *s, struct row *rows)
{
    size_t n = 0;
    for (const struct option_row *o = s->filter->options; o && o->name; o++)
        rows[n++] = (struct row){o, (char *)s->options + o->offset};
    if (s->filter->element_wise)
        for (const struct option_row *o = glob_rows; o->name; o++)
            rows[n++] = (struct row){o, (char *)&s->common + o->offset};
    for (const struct option_row *o = common_rows; o->name; o++)
        rows[n++] = (struct row){o, (char *)&s->common + o->offset};
    return n;
}

/* The one for operands; its `row` is NULL if they are no rules. */
static struct row operand_row(const struct stage *s)
{
    const struct option_row *o = s->filter->operand_row;
    return (struct row){o, o ? (char *)s->options + o->offset : NULL};
}

/* Those that hold rules. */
static size_t rule_rows(const struct stage *s, struct row *rows)
{
    size_t n = all_rows(s, rows), kept = 0;
    for (size_t i = 0; i < n; i++)
        if (rows[i].row->kind == OPTION_RULES || rows[i].row->kind == OPTION_SELECTORS)
            rows[kept++] = rows[i];
    if (s->filter->operand_row)
        rows[kept++] = operand_row(s);
    return kept;
}

/* What messages call it. */
static const char *row_name(struct stage *s, const struct option_row *o)
{
    return o == s->filter->operand_row ? o->name : arena_printf(&s->arena, "--%s", o->name);
}

static void add_text(struct arena *a, struct string_list *t, const char *text)
{
    const char **texts = arena_alloc(a, t->n + 1, sizeof *texts);
    if (t->n)
        memcpy(texts, t->items, t->n * sizeof *texts);
    texts[t->n] = arena_copy_text_n(a, text, strlen(text));
    *t = (struct string_list){t->n + 1, texts};
}

static int parse_size(const char *text, uint64_t *size)
{
    static const char units[] = "KMGT";
    char *end;
    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (errno || end[unit != NULL] || value > UINT64_MAX >> shift)
        return -1;
    *size = value << shift;
    return 0;
}

/* The index of `text` among "a|b|c"; -1. */
static int find_choice(const char *choices, const char *text)
{
    size_t length = strlen(text);
    for (int i = 0; *choices; i++) {
        size_t n = strcspn(choices, "|");
        if (n == length && memcmp(choices, text, n) == 0)
            return i;
        choices += n + (choices[n] == '|');
    }
    return -1;
}

static int parse_number(const struct option_row *o, const char *text, double *x, struct error *e)
{
    char range[96] = "";
    if (number_parse(text, x))
        return error_set(e, "--%s: \"%s\" is not a number", o->name, text);
    if (!range_contains(&o->range, *x))
        return error_set(e, "--%s: %s is not %s", o->name, text, range_format(&o->range, range));
    return 0;
}

static int set_option(struct stage *s, const struct row *r, const char *text, struct error *e)
{
    const struct option_row *o = r->row;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)r->field = true;
        return 0;
    case OPTION_NUMBER:
        return parse_number(o, text, (double *)r->field, e);
    case OPTION_COUNT: {
        char *end;
        errno = 0;
        uint64_t n = strtoull(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || errno)
            return error_set(e, "--%s: \"%s\" is not a whole number", o->name, text);
        *(uint64_t *)r->field = n;
        return 0;
    }
    case OPTION_SIZE:
        if (parse_size(text, (uint64_t *)r->field))
            return error_set(e, "--%s: \"%s\" is not a size (64K, 512M, 2G)", o->name, text);
        return 0;
    case OPTION_STRING:
    case OPTION_FILE:
        *(const char **)r->field = arena_copy_text_n(&s->arena, text, strlen(text));
        return 0;
    case OPTION_CHOICE:
        *(int *)r->field = find_choice(o->choices, text);
        if (*(int *)r->field < 0)
            return error_set(e, "--%s: \"%s\" is none of %s", o->name, text, o->choices);
        return 0;
    case OPTION_DTYPE:
        *(enum dtype *)r->field = dtype_from_user_name(text);
        if (*(enum dtype *)r->field == DTYPE_NONE)
            return error_set(e, "--%s: \"%s\" is none of float32, bfloat16, float16, float64",
                             o->name, text);
        return 0;
    case OPTION_RULES:
        return tensor_rules_add((struct tensor_rules *)r->field, text, row_name(s, o), &o->range,
                                e);
    case OPTION_SELECTORS:
        return tensor_rules_add_selector((struct tensor_rules *)r->field, text, row_name(s, o), e);
    case OPTION_STRINGS:
        add_text(&s->arena, (struct string_list *)r->field, text);
        return 0;
    }
    return -1;
}

int stage_set_option(struct stage *s, const struct option_row *o, const char *text, struct error *e)
{
    return set_option(s, &(struct row){o, (char *)s->options + o->offset}, text, e);
}

struct stage *stage_new(const struct filter *f)
{
    struct stage *s = mem_alloc(1, sizeof *s);
    struct row rows[ROWS_MAX];
    struct error e;
    s->filter = f;
    s->name = f->name;
    s->options = mem_alloc(1, f->options_size);
    size_t n = all_rows(s, rows);
    s->given = mem_alloc(n, sizeof *s->given);
    for (size_t i = 0; i < n; i++) {
        if (rows[i].row->kind == OPTION_CHOICE)
            *(int *)rows[i].field = -1;
        if (rows[i].row->preset)
            set_option(s, &rows[i], rows[i].row->preset, &e);
    }
    return s;
}

void stage_free(struct stage *s)
{
    if (!s)
        return;
    struct row rows[ROWS_MAX];
    size_t n = rule_rows(s, rows);
    for (size_t i = 0; i < n; i++)
        tensor_rules_free((struct tensor_rules *)rows[i].field);
    free(s->options);
    free(s->given);
    arena_free(&s->arena);
    free(s);
}

/* ---- the command line ---------------------------------------------------------------------- */

#define KEY 256 /* argp keys of the rows start here: no short options */

/* One sentence, and the status of a usage error. */
static void refuse(const struct stage *s, const char *format, ...)
{
    struct error e;
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    error_set(&e, "%s", length < 0 ? "" : text);
    free(text);
    fprintf(stderr, "%s: %s\n", s->filter->name, e.text);
    exit(2);
}

static error_t parse_key(int key, char *argument, struct argp_state *state)
{
    struct stage *s = state->input;
    const struct filter *f = s->filter;
    struct row rows[ROWS_MAX];
    size_t n = all_rows(s, rows);
    struct error e;
    if (key == ARGP_KEY_ARG) {
        if (s->operands.n == f->max_operands)
            refuse(s, "%s is one operand too many", argument);
        add_text(&s->arena, &s->operands, argument);
        const struct row operand = operand_row(s);
        if (operand.row && set_option(s, &operand, argument, &e))
            refuse(s, "%s", e.text);
        return 0;
    }
    if (key == ARGP_KEY_END) {
        if (s->operands.n < f->min_operands)
            refuse(s, "an operand is missing: %s", f->operands);
        for (size_t i = 0; i < n; i++)
            if (rows[i].row->required && !s->given[i])
                refuse(s, "--%s is required", rows[i].row->name);
        return 0;
    }
    if (key < KEY || (size_t)(key - KEY) >= n)
        return ARGP_ERR_UNKNOWN;
    s->given[key - KEY] = true;
    if (set_option(s, &rows[key - KEY], argument, &e))
        refuse(s, "%s", e.text);
    return 0;
}

/* Is the word an option, perhaps shortened, whose argument is the next one? */
static bool takes_next(const struct row *rows, size_t n, const char *word)
{
    size_t length = strlen(word);
    bool takes = false;
    for (size_t i = 0; i < n && length > 2 && strncmp(word, "--", 2) == 0; i++) {
        const char *name = rows[i].row->name;
        bool has_argument = rows[i].row->kind != OPTION_FLAG;
        if (strcmp(name, word + 2) == 0)
            return has_argument;
        takes |= has_argument && strncmp(name, word + 2, length - 2) == 0;
    }
    return takes;
}

/* Is it no option: a word, "-", or a negative number? */
static bool is_operand(const char *word)
{
    return word[0] != '-' || !word[1] || strchr(".0123456789", word[1]);
}

/* Where an operand looks like a negative number ("rescale -1"), argp would take it for an option:
 * all operands, in their order, are moved behind a "--". */
static char **protect_negative(const struct row *rows, size_t n, int argc, char **argv)
{
    char **out = mem_alloc((size_t)argc + 2, sizeof *out);
    char **operands = mem_alloc((size_t)argc, sizeof *operands);
    int n_out = 0, n_operands = 0, i = 0;
    out[n_out++] = argv[i++];
    for (bool argument = false; i < argc && strcmp(argv[i], "--") != 0; i++) {
        bool operand = !argument && is_operand(argv[i]);
        argument = !argument && takes_next(rows, n, argv[i]);
        if (operand)
            operands[n_operands++] = argv[i];
        else
            out[n_out++] = argv[i];
    }
    if (n_operands || i < argc)
        out[n_out++] = (char *)"--";
    for (int j = 0; j < n_operands; j++)
        out[n_out++] = operands[j];
    for (i++; i < argc; i++)
        out[n_out++] = argv[i];
    free(operands);
    return out;
}

struct stage *command_line_parse(const struct filter *f, int argc, char **argv)
{
    struct stage *s = stage_new(f);
    struct row rows[ROWS_MAX];
    size_t n = all_rows(s, rows);
    struct argp_option *options = mem_alloc(n + 1, sizeof *options);
    for (size_t i = 0; i < n; i++) /* in groups of one, for argp sorts a group by name */
        options[i] = (struct argp_option){.name = rows[i].row->name,
                                          .key = KEY + (int)i,
                                          .arg = rows[i].row->argument,
                                          .doc = rows[i].row->help,
                                          .group = (int)i + 1};
    char *doc = arena_printf(&s->arena, "%s.\v%s", f->summary, f->notes ? f->notes : "");
    struct argp argp = {
        .options = options, .parser = parse_key, .args_doc = f->operands, .doc = doc};
    char *version = arena_printf(&s->arena, "%s (tvtools) %s", f->name, TV_VERSION);
    argp_program_version = version;
    argp_err_exit_status = 2;
    char **words = protect_negative(rows, n, argc, argv);
    words[0] = (char *)f->name;
    int count = 0;
    while (words[count])
        count++;
    argp_parse(&argp, count, words, 0, NULL, s);
    argp_program_version = NULL;
    free(words);
    free(options);
    return s;
}

/* ---- history ------------------------------------------------------------------------------- */

/* What a file given as an option contained, for it may be gone tomorrow. */
static const char *file_hash(struct arena *a, const char *path)
{
    XXH3_state_t *state = XXH3_createState();
    unsigned char bytes[1 << 14];
    ssize_t n;
    XXH3_64bits_reset(state);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (n = read(fd, bytes, sizeof bytes)) > 0)
        XXH3_64bits_update(state, bytes, (size_t)n);
    if (fd >= 0)
        close(fd);
    const char *text =
        arena_printf(a, "xxh3:%016llx", (unsigned long long)XXH3_64bits_digest(state));
    XXH3_freeState(state);
    return text;
}

static void add_argument(struct arena *a, struct string_list *t, const struct row *r)
{
    const char *name = r->row->name;
    char number[32];
    switch (r->row->kind) {
    case OPTION_FLAG:
        add_text(a, t, arena_printf(a, "--%s", name));
        break;
    case OPTION_NUMBER:
        add_text(a, t,
                 arena_printf(a, "--%s=%s", name, number_format(*(double *)r->field, number)));
        break;
    case OPTION_COUNT:
    case OPTION_SIZE:
        add_text(a, t,
                 arena_printf(a, "--%s=%llu", name, (unsigned long long)*(uint64_t *)r->field));
        break;
    case OPTION_STRING:
        add_text(a, t, arena_printf(a, "--%s=%s", name, *(const char **)r->field));
        break;
    case OPTION_FILE:
        add_text(a, t, arena_printf(a, "--%s=%s", name, file_hash(a, *(const char **)r->field)));
        break;
    case OPTION_CHOICE: {
        const char *choice = r->row->choices;
        for (int i = *(int *)r->field; i > 0; i--)
            choice = strchr(choice, '|') + 1;
        add_text(a, t, arena_printf(a, "--%s=%.*s", name, (int)strcspn(choice, "|"), choice));
        break;
    }
    case OPTION_DTYPE:
        add_text(a, t, arena_printf(a, "--%s=%s", name, dtype_torch_name(*(enum dtype *)r->field)));
        break;
    case OPTION_RULES:
    case OPTION_SELECTORS: {
        const struct tensor_rules *rules = (struct tensor_rules *)r->field;
        for (size_t i = 0; i < tensor_rules_count(rules); i++)
            add_text(a, t, arena_printf(a, "--%s=%s", name, tensor_rules_text(rules, i)));
        break;
    }
    case OPTION_STRINGS: {
        const struct string_list *texts = (struct string_list *)r->field;
        for (size_t i = 0; i < texts->n; i++)
            add_text(a, t, arena_printf(a, "--%s=%s", name, texts->items[i]));
        break;
    }
    }
}

struct string_list stage_history_arguments(struct stage *s, struct arena *a)
{
    struct row rows[ROWS_MAX];
    struct string_list t = {0};
    size_t n = all_rows(s, rows);
    for (size_t i = 0; i < n; i++)
        if (s->given[i] && !rows[i].row->not_in_history)
            add_argument(a, &t, &rows[i]);
    const struct string_list *operands =
        s->filter->operands_are_files ? &s->recorded_operands : &s->operands;
    const struct tensor_rules *rules = (const struct tensor_rules *)operand_row(s).field;
    for (size_t i = 0; rules && i < tensor_rules_count(rules); i++)
        add_text(a, &t, tensor_rules_text(rules, i)); /* those of a file too */
    for (size_t i = 0; !rules && i < operands->n; i++)
        add_text(a, &t, operands->items[i]);
    return t;
}

void stage_record_operand(struct stage *s, const char *text)
{
    add_text(&s->arena, &s->recorded_operands, text);
}

bool stage_excludes_tensor(const struct stage *s, const struct tensor *t)
{
    bool included = s->common.include.n == 0;
    for (size_t i = 0; i < s->common.include.n; i++)
        included |= pattern_matches(s->common.include.items[i], t->name);
    for (size_t i = 0; i < s->common.exclude.n; i++)
        included &= !pattern_matches(s->common.exclude.items[i], t->name);
    return !included;
}

/* ---- rules --------------------------------------------------------------------------------- */

const char *stage_rules_tensor_name(const struct tensor *t, const struct vector *v)
{
    return v->source && t->layer >= 0 ? v->source : t->name;
}

double stage_rules_vector_value(const struct stage *s, const struct tensor_rules *r,
                                const struct tensor *t, const struct vector *v, double missing)
{
    double value;
    return tensor_rules_find_value(r, s->in->models[v->model].name, stage_rules_tensor_name(t, v),
                                   t->layer, t->layers, &value)
               ? value
               : missing;
}

double stage_rules_tensor_value(const struct tensor_rules *r, const struct tensor *t,
                                double missing)
{
    double value;
    return tensor_rules_find_value(r, NULL, t->name, t->layer, t->layers, &value) ? value : missing;
}

int stage_rules_check_models(const struct tensor_rules *r, const char *what, const struct header *h,
                             struct error *e)
{
    const char **models = mem_alloc(h->n_models, sizeof *models);
    for (size_t i = 0; i < h->n_models; i++)
        models[i] = h->models[i].name;
    const char *unmatched = tensor_rules_find_unknown_model(r, h->n_models, models);
    free(models);
    return unmatched ? error_set(e, "%s %s: the stream has no model of that name", what, unmatched)
                     : 0;
}

static int check_tensors(const char *name, const struct option_row *o, const struct tensor_rules *r,
                         const struct header *h, struct error *e)
{
    const char *named = tensor_rules_find_unknown_model(r, 0, NULL);
    if (named)
        return error_set(e,
                         "%s %s names a model, but the number is one per tensor (write /GLOB=...)",
                         name, named);
    for (size_t i = 0; o->every_tensor && i < h->n_tensors; i++)
        if (tensor_is_float(&h->tensors[i]) &&
            isnan(stage_rules_tensor_value(r, &h->tensors[i], NAN)))
            return error_set(e, "%s has no rule for tensor %s", name, h->tensors[i].name);
    return 0;
}

/* Does rule i match anything in the stream? */
static bool is_idle(const struct tensor_rules *r, size_t i, bool per_tensor, const struct header *h)
{
    for (size_t j = 0; j < h->n_tensors; j++) {
        const struct tensor *t = &h->tensors[j];
        if (per_tensor && tensor_rules_rule_matches(r, i, NULL, t->name))
            return false;
        for (size_t k = 0; !per_tensor && k < t->n_vectors; k++) {
            const struct vector *v = &t->vectors[k];
            if (tensor_rules_rule_matches(r, i, h->models[v->model].name,
                                          stage_rules_tensor_name(t, v)))
                return false;
        }
    }
    return true;
}

static void warn_of_idle(const struct stage *s, const char *name, const struct tensor_rules *r,
                         bool per_tensor, const struct header *h)
{
    for (size_t i = 0; i < tensor_rules_count(r); i++)
        if (tensor_rules_has_tensor_pattern(r, i) && is_idle(r, i, per_tensor, h))
            fprintf(stderr, "%s: warning: %s %s matches no tensor\n", s->filter->name, name,
                    tensor_rules_text(r, i));
}

static void warn_of_idle_globs(const struct stage *s, const char *name,
                               const struct string_list *globs, const struct header *h)
{
    for (size_t i = 0; i < globs->n; i++) {
        bool found = false;
        for (size_t j = 0; !found && j < h->n_tensors; j++)
            found = pattern_matches(globs->items[i], h->tensors[j].name);
        if (!found)
            fprintf(stderr, "%s: warning: %s %s matches no tensor\n", s->filter->name, name,
                    globs->items[i]);
    }
}

/* Ramps are known to stay in their range only where they meet the layers. */
static int check_values(const char *name, const struct option_row *o, const struct tensor_rules *r,
                        const struct header *h, struct error *e)
{
    double x;
    char text[32], range[80];
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        for (size_t k = 0; k < (o->per_tensor ? 1 : t->n_vectors); k++) {
            const struct vector *v = &t->vectors[k];
            const char *model = o->per_tensor ? NULL : h->models[v->model].name;
            const char *names = o->per_tensor ? t->name : stage_rules_tensor_name(t, v);
            if (tensor_rules_find_value(r, model, names, t->layer, t->layers, &x) &&
                !range_contains(&o->range, x))
                return error_set(e, "%s is %s for tensor %s; expected numbers %s", name,
                                 number_format(x, text), t->name, range_format(&o->range, range));
        }
    }
    return 0;
}

int stage_rules_check_all(struct stage *s, const struct header *h, struct error *e)
{
    struct row rows[ROWS_MAX];
    size_t n = rule_rows(s, rows);
    for (size_t i = 0; i < n; i++) {
        const struct option_row *o = rows[i].row;
        const struct tensor_rules *r = (const struct tensor_rules *)rows[i].field;
        if (o->per_tensor ? check_tensors(row_name(s, o), o, r, h, e)
                          : stage_rules_check_models(r, row_name(s, o), h, e))
            return -1;
        if (o->kind == OPTION_RULES && check_values(row_name(s, o), o, r, h, e))
            return -1;
        if (o->kind == OPTION_RULES) /* where parts are chosen, none of them is an error */
            warn_of_idle(s, row_name(s, o), r, o->per_tensor, h);
    }
    if (s->filter->element_wise) {
        warn_of_idle_globs(s, "--include", &s->common.include, h);
        warn_of_idle_globs(s, "--exclude", &s->common.exclude, h);
    }
    return 0;
}
