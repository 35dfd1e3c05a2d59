#include "tensor_rules.h"
#include "unit.h"

#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct range any = {0}, density = {.low = 0, .high = 1, .low_open = true};

static double value(const struct tensor_rules *r, const char *model, const char *tensor, long layer)
{
    double x;
    return tensor_rules_find_value(r, model, tensor, layer, 4, &x) ? x : -99;
}

static void add(struct tensor_rules *r, const char *text)
{
    struct error e;
    CHECK(tensor_rules_parse_and_add(r, text, "--weight", &any, &e) == 0);
}

static void test_last_match_wins(void)
{
    struct tensor_rules r = {0};
    CHECK(value(&r, "math", "x", 0) == -99);
    add(&r, "0.3");
    add(&r, "math=0.5");
    add(&r, "math/*mlp*=-0.25");
    add(&r, "/*norm*=0");
    add(&r, "co?e/a=b=2");
    add(&r, "run1[a]/x=3");
    CHECK(value(&r, "chat", "model.layers.0.mlp.up", 0) == 0.3);
    CHECK(value(&r, "math", "model.layers.0.attn", 0) == 0.5);
    CHECK(value(&r, "math", "model.layers.0.mlp.up", 0) == -0.25);
    CHECK(value(&r, "math", "mlp.norm", 0) == 0);
    CHECK(value(&r, "code", "a=b", 0) == 2);
    CHECK(value(&r, "run1[a]", "x", 0) == 3 && value(&r, "run1a", "x", 0) == 3);
    CHECK(value(&r, NULL, "mlp", 0) == 0.3 && value(&r, NULL, "norm", 0) == 0);
    CHECK(tensor_rules_count(&r) == 6 && strcmp(tensor_rules_rule_text(&r, 3), "/*norm*=0") == 0);
    const char *models[] = {"math", "code"};
    CHECK(strcmp(tensor_rules_find_unknown_model(&r, 2, models), "run1[a]/x=3") == 0);
    CHECK(strcmp(tensor_rules_find_unknown_model(&r, 1, models), "co?e/a=b=2") == 0);
    CHECK(strcmp(tensor_rules_find_unknown_model(&r, 0, NULL), "math=0.5") == 0);
    tensor_rules_free(&r);
    add(&r, "*/b*=1");
    add(&r, "m\\/n/b=2");
    CHECK(value(&r, NULL, "bias", 0) == 1 && value(&r, "m/n", "b", 0) == 2);
    tensor_rules_free(&r);
}

/* Among many rules, the last one that matches alone applies. */
static void test_many_rules(void)
{
    enum { N = 400 };
    static const char *const models[] = {"", "a", "b", "[ab]", "?", "\\a", "*", "c"};
    static const char *const tensors[] = {"", "/x", "/y", "/x*", "/[xy]", "/*", "/\\x", "/xx"};
    static const char *const asked[] = {NULL, "a", "b", "c", "\\a"}, *const names[] = {
                                                                         "x", "y", "xx", "z", ""};
    struct tensor_rules all = {0}, alone[N] = {{0}};
    uint32_t random = 1;
    for (size_t i = 0; i < N; i++) {
        char text[40];
        random = random * 1664525 + 1013904223;
        const char *model = models[random >> 29], *tensor = tensors[(random >> 26) % 8];
        if (!*model && !*tensor) /* this would override all others */
            tensor = "/x";
        snprintf(text, sizeof text, "%s%s=%zu", model, tensor, i);
        if (strcmp(model, "*") == 0 && !*tensor)
            snprintf(text, sizeof text, "*/*=%zu", i);
        add(&all, text);
        add(&alone[i], text);
    }
    for (size_t m = 0; m < 5; m++)
        for (size_t t = 0; t < 5; t++) {
            bool matches[N] = {false};
            double expected = -99;
            tensor_rules_mark_matches(&all, asked[m], names[t], matches);
            for (size_t i = 0; i < N; i++) {
                double own = value(&alone[i], asked[m], names[t], 0);
                CHECK(matches[i] == (own != -99));
                expected = own != -99 ? own : expected;
            }
            CHECK(value(&all, asked[m], names[t], 0) == expected);
        }
    for (size_t i = 0; i < N; i++)
        tensor_rules_free(&alone[i]);
    tensor_rules_free(&all);
}

static void test_layer_gradients(void)
{
    struct tensor_rules r = {0};
    add(&r, "[0.2, 0.8]");
    add(&r, "math=[ 1,2 ,4]");
    add(&r, "code=[7]");
    CHECK(value(&r, "chat", "x", -1) == 0.2 && value(&r, "chat", "x", 3) == 0.8);
    CHECK(fabs(value(&r, "chat", "x", 1) - 0.4) < 1e-15);
    CHECK(value(&r, "math", "x", 0) == 1 && value(&r, "math", "x", 3) == 4);
    CHECK(fabs(value(&r, "math", "x", 1) - 5. / 3) < 1e-15);
    CHECK(value(&r, "code", "x", -1) == 7 && value(&r, "code", "x", 2) == 7);
    const double two[] = {1, 3};
    CHECK(tensor_rules_interpolate_gradient(2, two, 0, 1) == 3 &&
          tensor_rules_interpolate_gradient(2, two, -1, -1) == 1);
    CHECK(tensor_rules_interpolate_gradient(2, two, 0, 2) == 1 &&
          tensor_rules_interpolate_gradient(2, two, 1, 3) == 2);
    tensor_rules_free(&r);
}

/* Rules of choices give their indices; a list of them over the layers does not interpolate. */
static void test_choices(void)
{
    struct tensor_rules r = {0};
    struct error e;
    CHECK(tensor_rules_add_choice(&r, "all", "--normalize", "none|all|agreeing", &e) == 0);
    CHECK(tensor_rules_add_choice(&r, "/*mlp*=[none,agreeing]", "--normalize", "none|all|agreeing",
                                  &e) == 0);
    CHECK(value(&r, NULL, "norm", 2) == 1);
    for (long layer = -1; layer < 4; layer++)
        CHECK(value(&r, NULL, "mlp", layer) == (layer == 3 ? 2 : 0));
    CHECK(tensor_rules_contain_value(&r, 2) && !tensor_rules_contain_value(&r, 3));
    CHECK(tensor_rules_add_choice(&r, "/x=some", "--normalize", "none|all", &e) == -1);
    CHECK(strstr(e.text, "--normalize: \"/x=some\": expected one of none|all"));
    tensor_rules_free(&r);
}

/* An end of a layer gradient may lie outside the range; its values are clamped to the range. */
static void test_clamping(void)
{
    struct tensor_rules r = {0};
    struct error e;
    double x;
    CHECK(tensor_rules_parse_and_add(&r, "[0.5,1.5]", "--density", &density, &e) == 0);
    CHECK(tensor_rules_find_value(&r, "math", "x", 0, 3, &x) && x == 0.5);
    CHECK(tensor_rules_find_value(&r, "math", "x", 1, 3, &x) && x == 1);
    CHECK(tensor_rules_find_value(&r, "math", "x", 2, 3, &x) && x == 1);
    tensor_rules_free(&r);
}

/* Each text is an error with this sentence, and leaves the rules unchanged. */
static void test_invalid_rules(void)
{
    static const struct {
        const char *text, *sentence;
    } invalid[] = {
        {"", "--density: \"\": expected a number, or a layer gradient"},
        {"abc", "\"abc\": expected a number"},
        {"0x1", "expected a number"},
        {"math=", "\"math=\": expected a number"},
        {"=0.5", "expected MODEL, MODEL/GLOB or /GLOB"},
        {"/=0.5", "expected a glob of tensor names"},
        {"math/=0.5", "expected a glob of tensor names"},
        {"math=0", "\"math=0\": expected a number in (0, 1]"},
        {"[2]", "expected a number in (0, 1]"},
        {"[]", "expected a number"},
        {"[0.5,]", "expected a number"},
        {"[0.5", "expected ] at the end"},
        {"[", "expected ] at the end"},
        {"@", "--density: cannot open"},
        {"@/no/such/file", "cannot open /no/such/file: No such file"},
        {"@/", "Is a directory"},
        {"@/dev/zero", "/dev/zero, line 1: the line contains a zero byte"},
    };
    struct tensor_rules r = {0};
    struct error e;
    CHECK(tensor_rules_parse_and_add(&r, "0.5", "--density", &density, &e) == 0);
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        CHECK(tensor_rules_parse_and_add(&r, invalid[i].text, "--density", &density, &e) == -1);
        CHECK(strstr(e.text, invalid[i].sentence) && strstr(e.text, "--density: "));
        CHECK(tensor_rules_count(&r) == 1);
    }
    tensor_rules_free(&r);
}

static int add_text(struct tensor_rules *r, const char *text, size_t n, struct error *e)
{
    char name[] = "/tmp/test_rules.XXXXXX", rule[sizeof name + 1];
    int fd = mkstemp(name);
    CHECK(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
    snprintf(rule, sizeof rule, "@%s", name);
    int result = tensor_rules_parse_and_add(r, rule, "--weight", &density, e);
    unlink(name);
    return result;
}

static void test_files(void)
{
    static const char good[] = "# weights\n\n0.5\r\n  math = 1\nmath/*mlp*=0.25";
    static const char bad[] = "code=0.5\n\nmath=3\n", nested[] = "@other\n", zero[] = "0.5\0\n";
    struct tensor_rules r = {0};
    struct error e;
    CHECK(add_text(&r, good, sizeof good - 1, &e) == -1);
    CHECK(strstr(e.text, ", line 4: \"math = 1\": expected a number"));
    CHECK(add_text(&r, "# c\n 0.5 \r\nmath/*mlp*=0.25", 26, &e) == 0);
    CHECK(tensor_rules_count(&r) == 2 && strcmp(tensor_rules_rule_text(&r, 0), "0.5") == 0);
    CHECK(value(&r, "math", "mlp", 0) == 0.25 && value(&r, "math", "x", 0) == 0.5);
    CHECK(add_text(&r, bad, sizeof bad - 1, &e) == -1 && tensor_rules_count(&r) == 2);
    CHECK(strstr(e.text, ", line 3: \"math=3\": expected a number in (0, 1]"));
    CHECK(add_text(&r, nested, sizeof nested - 1, &e) == -1);
    CHECK(add_text(&r, zero, sizeof zero - 1, &e) == -1 && strstr(e.text, "zero byte"));
    char *endless = malloc((1 << 20) + 3);
    memset(endless, '1', (1 << 20) + 3);
    memcpy(endless, "#\n", 2);
    CHECK(add_text(&r, endless, (1 << 20) + 3, &e) == -1 &&
          strstr(e.text, ", line 2: the line is longer"));
    endless[(1 << 20) + 2] = '\n';
    CHECK(add_text(&r, endless, (1 << 20) + 3, &e) == -1 && strstr(e.text, "expected a number"));
    free(endless);
    CHECK(tensor_rules_parse_and_add(&r, "0.25", "--weight", &density, &e) == -1 &&
          tensor_rules_count(&r) == 2);
    CHECK(strstr(e.text, "overrides all earlier rules"));
    tensor_rules_free(&r);
}

int main(void)
{
    static const char *const locales[] = {"C", "C.UTF-8", "de_DE.UTF-8"};
    for (size_t i = 0; i < 3; i++) {
        setlocale(LC_ALL, locales[i]); /* a missing locale keeps the previous one */
        test_last_match_wins();
        test_many_rules();
        test_layer_gradients();
        test_choices();
        test_clamping();
        test_invalid_rules();
        test_files();
    }
    return unit_end();
}
