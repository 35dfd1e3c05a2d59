/* Command lines of filters: aliases of options, operands that look like options, the history. */
#include "command_line.h"
#include "stage.h"
#include "unit.h"

/* All filters, ended by NULL. */
extern const struct filter *const filter_all[];

struct options {
    double scale;
    bool flag;
    struct tensor_rules factors;
};

static const struct option_row rows[] = {{"scale", OPTION_NUMBER, offsetof(struct options, scale),
                                          "X", .help = "a number", .alias = "size"},
                                         {"new-flag", OPTION_FLAG, offsetof(struct options, flag),
                                          .help = "a flag", .alias = "old-flag"},
                                         {0}};
static const struct option_row factor_row = {
    .name = "FACTOR", .kind = OPTION_RULES, .offset = offsetof(struct options, factors)};
static const struct filter sample = {.name = "sample",
                                     .summary = "Test command lines",
                                     .options_size = sizeof(struct options),
                                     .options = rows,
                                     .max_operands = SIZE_MAX,
                                     .operand_row = &factor_row,
                                     .role = ROLE_FILTER};

#define WORDS_MAX 64

struct words {
    int n;
    char *items[WORDS_MAX];
};

static void add_word(struct words *w, const char *word)
{
    CHECK(w->n < WORDS_MAX - 1);
    w->items[w->n++] = (char *)word;
}

/* The history of a command line, its words joined by spaces, in the arena. */
static const char *history(const struct filter *f, struct words *w, struct arena *a)
{
    struct stage *s = command_line_parse(f, w->n, w->items);
    struct string_list words = stage_history_arguments(s, a);
    const char *text = "";
    for (size_t i = 0; i < words.n; i++)
        text = arena_printf(a, "%s%s%s", text, i ? " " : "", words.items[i]);
    stage_free(s);
    return text;
}

static void test_operands_and_aliases(void)
{
    struct arena a = {0};
    CHECK(strcmp(history(&sample, &(struct words){3, {"sample", "-1", "math=0.5"}}, &a),
                 "-1 math=0.5") == 0);
    CHECK(strcmp(history(&sample, &(struct words){4, {"sample", "--size", "-2", "-1"}}, &a),
                 "--scale=-2 -1") == 0);
    CHECK(strcmp(history(&sample, &(struct words){4, {"sample", "--si", "-2", "-1"}}, &a),
                 "--scale=-2 -1") == 0);
    CHECK(
        strcmp(history(&sample, &(struct words){4, {"sample", "--old-flag", "--size=3", "1"}}, &a),
               "--scale=3 --new-flag 1") == 0);
    arena_free(&a);
}

/* A value that an option accepts. */
static const char *valid_value(const struct option_row *o, struct arena *a)
{
    const struct range *r = &o->range;
    double low = isfinite(r->low) ? r->low : 0, high = isfinite(r->high) ? r->high : low + 2;
    switch (o->kind) {
    case OPTION_NUMBER:
    case OPTION_RULES:
        return arena_printf(a, "%g", (low + high) / 2);
    case OPTION_COUNT:
    case OPTION_SIZE:
        return "1";
    case OPTION_CHOICE:
        return arena_printf(a, "%.*s", (int)strcspn(o->choices, "|"), o->choices);
    case OPTION_DTYPE:
        return "float32";
    case OPTION_FILE:
        return "/dev/null";
    default:
        return "x";
    }
}

static const char *option_word(const char *name, const struct option_row *o, struct arena *a)
{
    return o->kind == OPTION_FLAG ? arena_printf(a, "--%s", name)
                                  : arena_printf(a, "--%s=%s", name, valid_value(o, a));
}

/* A command line of the filter with option `o`, spelled `name`, and all that is required. */
static struct words command_with(const struct filter *f, const struct option_row *o,
                                 const char *name, struct arena *a)
{
    struct words w = {0};
    add_word(&w, f->name);
    add_word(&w, option_word(name, o, a));
    for (const struct option_row *other = f->options; other->name; other++)
        if (other->required && other != o)
            add_word(&w, option_word(other->name, other, a));
    for (size_t i = 0; i < f->min_operands; i++)
        add_word(&w, "x");
    return w;
}

/* Each alias gives the stage and the history that the name gives. */
static void test_aliases_of_all_filters(void)
{
    struct arena a = {0};
    for (size_t i = 0; filter_all[i]; i++)
        for (const struct option_row *o = filter_all[i]->options; o && o->name; o++) {
            if (!o->alias)
                continue;
            struct words by_name = command_with(filter_all[i], o, o->name, &a);
            struct words by_alias = command_with(filter_all[i], o, o->alias, &a);
            const char *expected = history(filter_all[i], &by_name, &a);
            const char *found = history(filter_all[i], &by_alias, &a);
            CHECK(strcmp(expected, found) == 0);
            CHECK(o->not_in_history || strstr(found, o->name));
        }
    arena_free(&a);
}

int main(void)
{
    test_operands_and_aliases();
    test_aliases_of_all_filters();
    return unit_end();
}
