#include "option_row.h"

#include "descriptor_path.h"
#include "dtype.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void string_list_append(struct string_list *list, struct arena *a, const char *text)
{
    list->items = arena_grow(a, list->items, list->n, &list->capacity, sizeof *list->items);
    list->items[list->n++] = arena_copy_text(a, text);
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* Messages quote at most 200 bytes of a value. */

static int check_range(const struct option_row *o, double x, const char *text, const char *label,
                       struct error *e)
{
    char range[96] = "";
    if (range_contains(&o->range, x))
        return 0;
    return error_set(e, "%s must be %s, found %.200s", label, range_format(&o->range, range), text);
}

static int parse_number(const struct option_row *o, double *x, const char *text, const char *label,
                        struct error *e)
{
    char fraction[32];
    if (number_parse(text, x) && number_fraction_of_percentage(text, fraction))
        return error_set(e, "%s: \"%.200s\" is not a number; write %s", label, text, fraction);
    if (number_parse(text, x))
        return error_set(e, "%s: \"%.200s\" is not a number", label, text);
    return check_range(o, *x, text, label, e);
}

static int parse_count(const struct option_row *o, uint64_t *count, const char *text,
                       const char *label, struct error *e)
{
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno)
        return error_set(e, "%s: \"%.200s\" is not a whole number", label, text);
    *count = n;
    return check_range(o, (double)n, text, label, e);
}

static int parse_byte_size(const struct option_row *o, uint64_t *size, const char *text,
                           const char *label, struct error *e)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (*text < '0' || *text > '9' || errno || end[unit != NULL] || value > UINT64_MAX >> shift)
        return error_set(e, "%s: \"%.200s\" is not a size (64K, 512M, 2G)", label, text);
    *size = value << shift;
    return check_range(o, (double)*size, text, label, e);
}

static int parse_choice(const struct option_row *o, int *choice, const char *text,
                        const char *label, struct error *e)
{
    *choice = tensor_rules_find_choice(o->choices, text);
    return *choice < 0 ? error_set(e, "%s: \"%.200s\" is not one of %s", label, text, o->choices)
                       : 0;
}

static int parse_dtype(const struct option_row *o, enum dtype *dtype, const char *text,
                       const char *label, struct error *e)
{
    int choice = o->choices ? tensor_rules_find_choice(o->choices, text) : -1;
    *dtype = choice < 0 ? dtype_from_user_name(text) : (enum dtype)(DTYPE_COUNT + choice);
    if (*dtype != DTYPE_NONE)
        return 0;
    return error_set(e, "%s: \"%.200s\" is not one of float32, bfloat16, float16, float64%s%s%s",
                     label, text, o->choices ? ", " : "", o->choices ? o->choices : "",
                     o->not_a_choice ? o->not_a_choice : "");
}

/* The number of a rule, but for layer gradients, which stage_rules_check_all checks at each layer.
 */
static int check_whole_number(const struct option_row *o, const char *rule, const char *label,
                              struct error *e)
{
    const char *equals = strrchr(rule, '=');
    double x;
    bool is_number = number_parse(equals ? equals + 1 : rule, &x) == 0;
    return o->whole && is_number && x != floor(x)
               ? error_set(e, "%s: \"%.200s\" is not a whole number", label, rule)
               : 0;
}

int option_row_parse(const struct option_row *o, void *field, const char *text, const char *label,
                     struct arena *a, struct error *e)
{
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return 0;
    case OPTION_NUMBER:
        return parse_number(o, field, text, label, e);
    case OPTION_COUNT:
        return parse_count(o, field, text, label, e);
    case OPTION_SIZE:
        return parse_byte_size(o, field, text, label, e);
    case OPTION_FILE:
        *(const char **)field = arena_copy_text(a, o->writes_file ? descriptor_path_to_write(text)
                                                                  : descriptor_path_to_read(text));
        return 0;
    case OPTION_STRING:
    case OPTION_VOCABULARY:
        *(const char **)field = arena_copy_text(a, text);
        return 0;
    case OPTION_CHOICE:
        return parse_choice(o, field, text, label, e);
    case OPTION_DTYPE:
        return parse_dtype(o, field, text, label, e);
    case OPTION_RULES:
        return check_whole_number(o, text, label, e) ||
                       tensor_rules_parse_and_add(field, text, label, &o->range, e)
                   ? -1
                   : 0;
    case OPTION_CHOICE_RULES:
        return tensor_rules_add_choice(field, text, label, o->choices, e);
    case OPTION_SELECTORS:
        return tensor_rules_add_selector(field, text, label, e);
    case OPTION_STRINGS:
    case OPTION_MODEL_FILES:
        string_list_append(field, a, text);
        return 0;
    }
    return -1;
}

bool option_row_has_rules(const struct option_row *o)
{
    return o->kind == OPTION_RULES || o->kind == OPTION_CHOICE_RULES || o->kind == OPTION_SELECTORS;
}

/* ---- history --------------------------------------------------------------------------------- */

static const char *copy_choice_text(const struct option_row *o, int index, struct arena *a)
{
    const char *choice = o->choices;
    for (; index > 0; index--)
        choice = strchr(choice, '|') + 1;
    return arena_printf(a, "%.*s", (int)strcspn(choice, "|"), choice);
}

/* The value of an option that holds one, as text. */
static const char *format_option_value(const struct option_row *o, const void *field,
                                       struct arena *a)
{
    char number[32];
    switch (o->kind) {
    case OPTION_NUMBER:
        return arena_printf(a, "%s", number_format(*(const double *)field, number));
    case OPTION_COUNT:
    case OPTION_SIZE:
        return arena_printf(a, "%llu", (unsigned long long)*(const uint64_t *)field);
    case OPTION_STRING:
        return *(const char *const *)field;
    case OPTION_CHOICE:
        return copy_choice_text(o, *(const int *)field, a);
    case OPTION_DTYPE:
        return *(const enum dtype *)field >= DTYPE_COUNT
                   ? copy_choice_text(o, *(const int *)field - DTYPE_COUNT, a)
                   : dtype_torch_name(*(const enum dtype *)field);
    default:
        return "";
    }
}

static void append_option_word(const char *name, const char *value, struct arena *a,
                               struct string_list *words)
{
    string_list_append(words, a, arena_printf(a, "--%s=%s", name, value));
}

void option_row_append_words(const struct option_row *o, const void *field, struct arena *a,
                             struct string_list *words)
{
    const struct tensor_rules *rules = field;
    const struct string_list *strings = field;
    switch (o->kind) {
    case OPTION_FILE: /* stage_record_file */
    case OPTION_MODEL_FILES:
    case OPTION_VOCABULARY:
        break;
    case OPTION_FLAG:
        string_list_append(words, a, arena_printf(a, "--%s", o->name));
        break;
    case OPTION_RULES:
    case OPTION_CHOICE_RULES:
    case OPTION_SELECTORS:
        for (size_t i = 0; i < tensor_rules_count(rules); i++)
            append_option_word(o->name, tensor_rules_rule_text(rules, i), a, words);
        break;
    case OPTION_STRINGS:
        for (size_t i = 0; i < strings->n; i++)
            append_option_word(o->name, strings->items[i], a, words);
        break;
    default:
        append_option_word(o->name, format_option_value(o, field, a), a, words);
    }
}
