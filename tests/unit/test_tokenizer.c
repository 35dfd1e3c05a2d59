/* Vocabularies: JSON text, tokenizer.json, unions, default rows, the written files. Merges with
 * mergekit's results are in tests/vocabulary.bats. */
#include "json_text.h"
#include "token_rows.h"
#include "tokenizer_edit.h"

#include "unit.h"

#include <sys/stat.h>
#include <unistd.h>

/* ---- JSON text ------------------------------------------------------------------------------- */

static bool is_valid(const char *text)
{
    return json_text_check(text, strlen(text));
}

static void check_json_text(void)
{
    static const char *const valid[] = {"{}",
                                        " [ ] ",
                                        "0",
                                        "-1.5e+3",
                                        "\"\\u00e9\\ud83d\\ude00\"",
                                        "[1, {\"a\": [null, true]}]",
                                        "{\"a\": 1e9999, \"a\": 12345678901234567890}"};
    static const char *const invalid[] = {
        "",    "{",        "[1,]",      "{\"a\"}",     "{\"a\":}",    "{a: 1}",
        "01",  "1.",       "+1",        "nul",         "[1] 2",       "\"\\x\"",
        "\"a", "\"\n\"",   "[}",        "\"\\u0000\"", "\"\\ud83d\"", "\"\\ude00\"",
        "1e",  "\"\xff\"", "{\"a\" 1}", "\"\\u12\"",   "[1 2]",       "\"\\ud83d\\u0041\""};
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++)
        CHECK(is_valid(valid[i]));
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++)
        CHECK(!is_valid(invalid[i]));
    CHECK(!json_text_check("[]\0[]", 5));
    char deep[200] = "";
    memset(deep, '[', 64);
    memset(deep + 64, ']', 64);
    CHECK(is_valid(deep));
    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    CHECK(!is_valid(deep));
}

static void check_json_values(void)
{
    static const char text[] = "{\"a\": \"x\\n\\\"]\", \"b\": [1, [2, 3], {}], \"\\u0061\": 7}";
    char decoded[64];
    struct json_text_entry entry = {0};
    CHECK(json_text_index(json_text_find_key(text, "a")) == 7); /* the last one */
    CHECK(!json_text_find_key(text, "c") && !json_text_find_key("[1]", "a"));
    const char *list = json_text_find_key(text, "b");
    CHECK(json_text_next(list, &entry) && json_text_index(entry.value) == 1 && !entry.key);
    CHECK(json_text_next(list, &entry) && strncmp(entry.value, "[2, 3]", 6) == 0);
    CHECK(json_text_next(list, &entry) && entry.end - entry.value == 2);
    CHECK(!json_text_next(list, &entry) && !entry.value);
    CHECK(!json_text_next("3", &entry));
    CHECK(json_text_decode("\"\\t\\u00e9\\ud83d\\ude00\\/\"", decoded) == 8 &&
          strcmp(decoded, "\t\u00e9\U0001F600/") == 0);
    CHECK(json_text_equals("\"\\u0061b\"", "ab") && !json_text_equals("\"ab\"", "a") &&
          !json_text_equals("\"a\"", "ab"));
    CHECK(json_text_index("2147483647") == 2147483647 && json_text_index("2147483648") == -1 &&
          json_text_index("1.0") == -1 && json_text_index("-1") == -1);
}

/* ---- models ---------------------------------------------------------------------------------- */

static void write_bytes(const char *folder, const char *name, const void *bytes, size_t size)
{
    char path[200];
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    fwrite(bytes, 1, size, f);
    fclose(f);
}

/* A file of a model without tensors. */
static void write_text(const char *folder, const char *name, const char *text)
{
    write_bytes(folder, name, text, strlen(text));
    write_bytes(folder, "model.safetensors", "\x02\0\0\0\0\0\0\0{}", 10);
}

/* A model with this vocab_size, and tokenizer.json with this vocabulary, merges and added tokens.
 */
static void write_model(const char *folder, int rows, const char *vocabulary, const char *merges,
                        const char *added)
{
    char text[2000];
    snprintf(text, sizeof text, "{\"vocab_size\": %d}", rows);
    write_text(folder, "config.json", text);
    snprintf(text, sizeof text,
             "{\"added_tokens\": [%s], \"model\": {\"vocab\": %s%s%s}, \"decoder\": null}", added,
             vocabulary, *merges ? ", \"merges\": " : "", merges);
    write_text(folder, "tokenizer.json", text);
}

static struct error e;

/* `rest`: further keys, each with a comma before it. */
static struct vocabulary *make(const char *source, const char *models, const char *rest)
{
    char text[1000];
    snprintf(text, sizeof text, "{\"source\": %s, \"models\": {%s}%s}", source, models, rest);
    *e.text = '\0';
    return vocabulary_new(text, "test", &e);
}

static bool fails(const char *source, const char *models, const char *rest, const char *sentence)
{
    struct vocabulary *v = make(source, models, rest);
    bool failed = !v && strstr(e.text, sentence);
    if (!failed)
        fprintf(stderr, "%s: %s\n", sentence, v ? "no error" : e.text);
    vocabulary_free(v);
    return failed;
}

/* The tokens from id `first` on, separated by spaces. */
static bool has_tokens(const struct vocabulary *v, size_t first, const char *expected)
{
    char text[1000] = "";
    for (size_t i = first; v && i < v->n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i > first ? " " : "",
                 v->tokens[i].text);
    return strcmp(text, expected) == 0;
}

#define ADDED(id, text) "{\"id\": " #id ", \"content\": \"" text "\", \"special\": true}"
#define ALL             "\"a\": \"a\", \"b\": \"b\", \"c\": \"c\""
#define UNION           "\"union\""

static void write_models(void)
{
    write_model("a", 6, "{\"x\": 0, \"y\": 1, \"xy\": 2}", "[[\"x\", \"y\"]]", ADDED(3, "<e>"));
    write_model("b", 6, "{\"y\": 0, \"x\": 1, \"xy\": 2}", "[\"x y\"]",
                ADDED(3, "<e>") "," ADDED(5, "<q>") "," ADDED(4, "<p>"));
    write_model("c", 5, "{\"x\": 0, \"y\": 1, \"xy\": 2}", "[\"x y\"]",
                ADDED(3, "<e>") "," ADDED(4, "<p>") "," ADDED(5, "<r>"));
}

/* ---- the vocabulary -------------------------------------------------------------------------- */

static void check_union(void)
{
    struct vocabulary *v = make(UNION, ALL, ", \"pad_to_multiple_of\": 4");
    CHECK(v && v->n == 6 && v->n_start == 4 && v->n_rows == 8 && !v->start_is_cut);
    CHECK(has_tokens(v, 0, "x y xy <e> <p> <q>")); /* <r> has no row in c */
    CHECK(v->tokens[4].is_added && v->tokens[4].flags.special && !v->tokens[0].is_added);
    CHECK(v->models[1].row_of[0] == 1 && v->models[1].row_of[5] == 5 && v->models[0].row_of[4] < 0);
    CHECK(v->models[1].matched == 6 && v->models[0].matched == 4 && v->models[2].matched == 5);
    vocabulary_free(v);
    v = make("\"base\"", ALL, "");
    CHECK(has_tokens(v, 0, "x y xy <e>"));
    vocabulary_free(v);
    v = make("{\"b\": \"b\"}", "\"a\": \"a\"", "");
    CHECK(has_tokens(v, 0, "y x xy <e> <p> <q>") && v->models[0].row_of[0] == 1);
    vocabulary_free(v);
}

static void check_other_bpe(void)
{
    write_model("d", 5, "{\"x\": 0, \"y\": 1, \"xy\": 2, \"yx\": 3}", "[\"x y\", \"y x\"]",
                ADDED(4, "<e>"));
    write_model("f", 4, "{\"x\": 0, \"y\": 1, \"xy\": 2}", "[]", ADDED(3, "<e>"));
    CHECK(fails(UNION, "\"a\": \"a\", \"d\": \"d\"", "", "1 token of d, such as \"yx\""));
    CHECK(fails(UNION, "\"d\": \"d\", \"a\": \"a\"", "", "plain tokens of the first are not"));
    CHECK(fails(UNION, "\"a\": \"a\", \"f\": \"f\"", "", "their merges, scores or types differ"));
    struct vocabulary *v = make(UNION, "\"a\": \"a\", \"d\": \"d\"", ", \"other_bpe\": true");
    CHECK(has_tokens(v, 3, "<e> yx"));
    CHECK(v && v->tokens[4].flags.normalized && !v->tokens[4].flags.special);
    vocabulary_free(v);
    write_model("g", 2, "[[\"x\", -1.0], [\"y\", -2]]", "", "");
    write_model("h", 2, "[[\"x\", -1], [\"y\", -2.5]]", "", "");
    write_model("i", 3, "[[\"x\", -1], [\"y\", -2.0]]", "", ADDED(2, "z"));
    CHECK(fails(UNION, "\"g\": \"g\", \"h\": \"h\"", "", "their merges, scores or types differ"));
    v = make(UNION, "\"g\": \"g\", \"i\": \"i\"", "");
    CHECK(has_tokens(v, 0, "x y z"));
    vocabulary_free(v);
}

static void check_refusals(void)
{
    write_model("j", 9, "{\"x\": 0, \"y\": 2}", "", "");
    write_model("k", 9, "{\"x\": 0, \"y\": 0}", "", "");
    write_model("l", 1, "[[\"x\", 1], [\"y\", 1]]", "", "");
    write_model("m", 9, "{\"x\": -1}", "", "");
    write_model("n", 9, "[[\"x\"]]", "", "");
    write_model("o", 9, "{}", "", "");
    write_model("q", 9, "{\"x\": 0}", "", "{\"content\": \"z\"}");
    write_text("p", "tokenizer.json", "{\"model\": 3");
    CHECK(fails(UNION, "\"j\": \"j\"", "", "have a gap: no token has the id 1, but \"y\" has 2"));
    CHECK(fails(UNION, "\"k\": \"k\"", "", "two tokens of k have the id 0"));
    CHECK(fails(UNION, "\"l\": \"l\"", "", "but not of a Unigram model"));
    CHECK(fails(UNION, "\"m\": \"m\"", "", "the id of token \"x\" is invalid"));
    CHECK(fails(UNION, "\"n\": \"n\"", "", "has no score"));
    CHECK(fails(UNION, "\"o\": \"o\"", "", "has 0 rows"));
    CHECK(fails(UNION, "\"p\": \"p\"", "", "tokenizer.json of p: it is not valid JSON"));
    CHECK(fails(UNION, "\"q\": \"q\"", "", "an added token has no content or no id"));
    CHECK(fails(UNION, ALL, ", \"tokens\": {\"<p>\": {}}", "<p> needs a source, because a lacks"));
    CHECK(fails(UNION, ALL, ", \"tokens\": {\"x\": {\"force\": true}}", "force needs a source"));
    CHECK(fails(UNION, ALL, ", \"tokens\": {\"n\": {\"source\": \"a\"}}", "a has no token n"));
    CHECK(fails(UNION, ALL, ", \"tokens\": {\"n\": {\"source\": \"z\"}}", "z is not one of the"));
}

/* ---- rows ------------------------------------------------------------------------------------ */

static bool is_row(const struct token_row *row, int model, int number)
{
    return row->model == model && row->row == number;
}

static void check_default_rows(void)
{
    struct token_rows_model models[] = {
        {.model = 0, .rows = 6}, {.model = 1, .rows = 6}, {.model = 2, .rows = 5}};
    struct token_row rows[8];
    static const char tokens[] =
        ", \"tokens\": {\"n\": {\"source\": {\"kind\": \"zero\"}}, \"x\": {\"force\": true, "
        "\"source\": "
        "{\"kind\": \"model_token\", \"model\": \"b\", \"token_id\": 4}}, \"xy\": {}}";
    struct vocabulary *v = make(UNION, ALL, tokens);
    CHECK(v && v->n == 7 && token_rows_find_defaults(v, "t", 3, models, "test", rows, &e) == 0);
    CHECK(is_row(&rows[0], 1, 4) && token_rows_own_row(v, &models[0], 0) == -1); /* forced */
    CHECK(token_rows_own_row(v, &models[1], 1) == 0);
    CHECK(rows[4].model == TOKEN_ROW_MEAN); /* <p> of b and c; there is no base */
    CHECK(is_row(&rows[5], 1, 5));          /* <q> of b */
    CHECK(rows[6].model == TOKEN_ROW_ZERO); /* n */
    CHECK(token_rows_find_defaults(v, "t", 1, models, "test", rows, &e) < 0 &&
          strstr(e.text, "b is not among the models of tensor t"));
    models[1].rows = 5;
    CHECK(token_rows_find_defaults(v, "t", 3, models, "test", rows, &e) < 0 &&
          strstr(e.text, "tensor t of b has 5 rows, but token \"<q>\" has the id 5"));
    vocabulary_free(v);
    v = make(UNION, ALL, ", \"base\": \"c\"");
    CHECK(v && token_rows_find_defaults(v, "t", 1, models, "test", rows, &e) == 0);
    CHECK(rows[4].model == TOKEN_ROW_ZERO); /* only a has the tensor */
    models[1].rows = 6;
    CHECK(v && token_rows_find_defaults(v, "t", 3, models, "test", rows, &e) == 0);
    CHECK(is_row(&rows[4], 2, 4)); /* the base's */
    vocabulary_free(v);
}

/* ---- the written files ----------------------------------------------------------------------- */

static bool edits_to(const struct vocabulary *v, const char *model, const char *expected)
{
    char path[100], text[2000];
    snprintf(path, sizeof path, "%s/tokenizer.json", model);
    FILE *f = fopen(path, "r");
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    char *edited = tokenizer_edit_json(v, text, n, &e);
    bool same = edited && strcmp(edited, expected) == 0;
    if (edited && !same)
        fprintf(stderr, "%s\n", edited);
    free(edited);
    return same;
}

static void check_written_files(void)
{
    write_model("r", 3, "{\"x\": 0, \"y\": 1, \"xy\": 2, \"yx\": 3, \"yxy\": 4}",
                "[[\"x\", \"y\"], \"y x\", [\"y\", \"xy\"], \"yx y\"]", ADDED(5, "<e>"));
    struct vocabulary *v = make("\"base\"", "\"r\": \"r\"", "");
    CHECK(v && v->start_is_cut);
    CHECK(edits_to(v, "r",
                   "{\"added_tokens\": [], \"model\": {\"vocab\": {\"x\": 0, \"y\": 1, \"xy\": 2}, "
                   "\"merges\": [[\"x\", \"y\"]]}, \"decoder\": null}"));
    vocabulary_free(v);
    v = make("\"base\"", "\"a\": \"a\"",
             ", \"tokens\": {\"\\u00e9\\\"\": {\"source\": {\"kind\": \"zero\"}}}");
    static const char token[] = "\n      \"content\": \"\u00e9\\\"\",\n      \"single_word\": "
                                "false,\n      \"lstrip\": false,\n"
                                "      \"rstrip\": false,\n      \"normalized\": true,\n      "
                                "\"special\": false\n    }\n  ";
    char expected[1000];
    snprintf(
        expected, sizeof expected,
        "{\"added_tokens\": [" ADDED(
            3, "<e>") ",\n    {\n      \"id\": 4,%s], \"model\": "
                      "{\"vocab\": {\"x\": 0, \"y\": 1, \"xy\": 2}, \"merges\": [[\"x\", \"y\"]]}, "
                      "\"decoder\": null}",
        token);
    CHECK(edits_to(v, "a", expected));
    CHECK(!edits_to(v, "b", "") && strstr(e.text, "has changed while it was used"));
    static const char config[] = "{\"n\": 1e40, \"added_tokens_decoder\": {\"3\": {}}}";
    snprintf(expected, sizeof expected,
             "{\"n\": 1e40, \"added_tokens_decoder\": {\"3\": {},\n    \"4\": {%s}}", token);
    char *edited = tokenizer_edit_config(v, config, strlen(config), &e);
    CHECK(edited && strcmp(edited, expected) == 0);
    free(edited);
    CHECK(!tokenizer_edit_config(v, "{", 1, &e));
    vocabulary_free(v);
}

int main(void)
{
    char folder[] = "/tmp/test_tokenizer.XXXXXX";
    if (!mkdtemp(folder) || chdir(folder))
        return EXIT_FAILURE;
    check_json_text();
    check_json_values();
    write_models();
    check_union();
    check_other_bpe();
    check_refusals();
    check_default_rows();
    check_written_files();
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return chdir("/") || system(command) ? EXIT_FAILURE : unit_end();
}
