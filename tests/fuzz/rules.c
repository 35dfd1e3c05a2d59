/* A rule per line, as options give them; every line also as a number, a glob pattern and an operand
 * with a range of layers. */
#include "fuzz.h"
#include "glob_pattern.h"
#include "layer_slice.h"
#include "tensor_rules.h"

static void check_number(const char *text)
{
    double x, again;
    char printed[32];
    if (number_parse(text, &x))
        return;
    number_format(x, printed);
    if (number_parse(printed, &again) || again != x)
        abort();
}

static void use_rules(const struct tensor_rules *r)
{
    static const char *const models[] = {"math", "code"};
    double x;
    tensor_rules_find_value(r, "math", "model.layers.3.mlp.down_proj.weight", 3, 8, &x);
    tensor_rules_find_value(r, NULL, "lm_head.weight", -1, -1, &x);
    tensor_rules_find_unknown_model(r, 2, models);
    for (size_t i = 0; i < tensor_rules_count(r); i++) {
        tensor_rules_rule_text(r, i);
        tensor_rules_has_tensor_pattern(r, i);
        tensor_rules_rule_matches(r, i, "code", "lm_head.weight");
    }
}

static void read_line(struct tensor_rules *r, const char *line, const char *last)
{
    static const struct range range = {0, 1, true, false};
    struct error e;
    check_number(line);
    glob_pattern_matches(line, last);
    free(glob_pattern_replace(line, last, "model.layers.3.mlp.down_proj.weight"));
    glob_pattern_count_stars(line);
    layer_slice_find_range_suffix(line);
    if (*line == '@') /* a file */
        return;
    tensor_rules_parse_and_add(r, line, "--density", &range, &e);
    tensor_rules_add_selector(r, line, "a selector", &e);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct tensor_rules r = {0};
    char *text = fuzz_text(bytes, size), *next = text;
    const char *last = "";
    for (char *line = strsep(&next, "\n"); line; line = strsep(&next, "\n")) {
        read_line(&r, line, last);
        last = line;
    }
    use_rules(&r);
    tensor_rules_free(&r);
    free(text);
}
