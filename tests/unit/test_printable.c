/* Control characters: found, replaced, escaped; words for the shell read back by tv run. */
#include "printable.h"

#include "error.h"
#include "pipeline.h"
#include "text_print.h"
#include "text_scanner.h"
#include "unit.h"
#include "utf8.h"

static const char *const controls[] = {
    "\x01",         "\x1b",         "\n",           "\x7f",         "\xc2\x80",     "\xc2\x9b",
    "\xc2\x9f",     "\xd8\x9c",     "\xe2\x80\x8e", "\xe2\x80\x8f", "\xe2\x80\xa8", "\xe2\x80\xaa",
    "\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x81\xa9", "\x9b",         "\xc2",         "\xe2\x80"};
static const char *const others[] = {"a",
                                     " ",
                                     "~",
                                     "\xc2\xa0",
                                     "\xc3\xa9",
                                     "\xe2\x80\x93",
                                     "\xe2\x81\xa5",
                                     "\xe6\x97\xa5",
                                     "\xf0\x9f\x98\x80"};
#define N_CONTROLS (sizeof controls / sizeof *controls)
#define N_OTHERS   (sizeof others / sizeof *others)

static void test_replaced(const char *between, const char *expected, size_t control, int width)
{
    char text[32];
    struct error e;
    snprintf(text, sizeof text, "a%sb", between);
    CHECK(printable_control_length(between) == control);
    CHECK(printable_print(NULL, text) == width);
    error_set(&e, "%s", text);
    CHECK(strcmp(e.text, expected) == 0);
    printable_replace(text);
    CHECK(strcmp(text, expected) == 0);
}

/* The text that print(out, word) prints. */
static char *printed(void (*print)(FILE *out, const char *word), const char *word)
{
    struct bytes b = {0};
    FILE *out = bytes_open_stream(&b);
    print(out, word);
    fclose(out);
    return bytes_take_text(&b);
}

static bool has_control(const char *text)
{
    for (size_t i = 0; i < N_CONTROLS - 3; i++)
        if (strstr(text, controls[i]))
            return true;
    return false;
}

static void test_shell_word(const char *word)
{
    struct arena a = {0};
    struct error e;
    char *text = printed(printable_print_shell_word, word);
    struct pipeline *p = pipeline_parse(text, &a, &e);
    CHECK(!has_control(text));
    CHECK(utf8_valid_prefix_length(text, strlen(text)) == strlen(text));
    CHECK(p && p->n == 1 && p->commands[0].n == 1 &&
          strcmp(p->commands[0].words[0].text, word) == 0);
    free(text);
    arena_free(&a);
}

static void test_quoted_word(const char *word)
{
    struct arena a = {0};
    struct error e;
    const char *back;
    char *text = printed(text_print_word, word);
    struct text_scanner t = text_scanner_start((const unsigned char *)text, strlen(text));
    CHECK(!has_control(text));
    CHECK(text_scanner_next_line(&t) && text_scanner_read_word(&t, &a, &back, &e) == 0 &&
          strcmp(back, word) == 0);
    free(text);
    arena_free(&a);
}

/* A name that is wider than its column keeps its beginning and end; a character of UTF-8 is one
 * column. */
static void test_fitted_name(const char *name, int width, const char *expected)
{
    struct bytes b = {0};
    FILE *out = bytes_open_stream(&b);
    text_print_fitted_name(out, name, width);
    fclose(out);
    char *text = bytes_take_text(&b);
    CHECK(strcmp(text, expected) == 0);
    CHECK(printable_print(NULL, text) == width);
    free(text);
}

static void test_fitted_columns(int tensor, int model, int others, int width, int expected_tensor,
                                int expected_model)
{
    text_print_fit_names(&tensor, &model, others, width);
    CHECK(tensor == expected_tensor && model == expected_model);
}

int main(void)
{
    char text[32], long_word[200] = "";
    for (size_t i = 0; i < N_CONTROLS; i++) {
        size_t n = strlen(controls[i]);
        bool is_valid = i < N_CONTROLS - 3;
        test_replaced(controls[i], is_valid || n == 1 ? "a?b" : "a??b", is_valid ? n : 1,
                      is_valid || n == 1 ? 3 : 4);
        snprintf(text, sizeof text, "x%s'\\ f", controls[i]);
        test_shell_word(text);
        if (is_valid)
            test_quoted_word(text);
        strcat(long_word, controls[i]);
    }
    for (size_t i = 0; i < N_OTHERS; i++) {
        snprintf(text, sizeof text, "a%sb", others[i]);
        test_replaced(others[i], text, 0, 3);
        test_shell_word(text);
        test_quoted_word(text);
        strcat(text, "\n");
        test_shell_word(text);
    }
    test_shell_word(long_word);
    test_shell_word("");
    test_shell_word("it's");
    test_fitted_name("abcdef", 6, "abcdef");
    test_fitted_name("abcdef", 8, "abcdef  ");
    test_fitted_name("abcdef", 5,
                     "ab\xe2\x80\xa6"
                     "ef");
    test_fitted_name("model.layers.10.q_proj", 16,
                     "model\xe2\x80\xa6"
                     ".10.q_proj");
    test_fitted_name("abcdef", 4,
                     "ab\xe2\x80\xa6"
                     "f");
    test_fitted_name("\xc3\xa9\x1b\xe6\x97\xa5xyz", 5, "\xc3\xa9?\xe2\x80\xa6yz");
    test_fitted_columns(50, 30, 20, 0, 50, 30);
    test_fitted_columns(50, 30, 20, 100, 50, 30);
    test_fitted_columns(50, 30, 20, 90, 40, 30);
    test_fitted_columns(50, 30, 20, 60, 24, 16);
    test_fitted_columns(50, 30, 20, 10, 24, 8);
    test_fitted_columns(10, 5, 20, 10, 10, 5);
    return unit_end();
}
