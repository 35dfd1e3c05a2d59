#include "glob_pattern.h"
#include "unit.h"

#include <locale.h>
#include <time.h>

static void test_globs(void)
{
    CHECK(glob_pattern_matches("*", "") && glob_pattern_matches("a*c", "a.b/c") &&
          !glob_pattern_matches("a*c", "a.b/cd"));
    CHECK(glob_pattern_matches("?.w", "a.w") && !glob_pattern_matches("?.w", ".w") &&
          glob_pattern_matches("*.w", ".w"));
    CHECK(glob_pattern_matches("l[0-3]", "l2") && !glob_pattern_matches("l[!0-3]", "l2") &&
          glob_pattern_matches("[]x]", "]"));
    CHECK(glob_pattern_matches("a\\*", "a*") && !glob_pattern_matches("a\\*", "ab") &&
          glob_pattern_matches("a[b", "a[b"));
    CHECK(glob_pattern_matches("[[:digit:]]", "7") && glob_pattern_matches("?", "\xff") &&
          glob_pattern_matches("*é", "caf\xc3\xa9"));
    char text[4001];
    memset(text, 'a', 4000);
    text[4000] = '\0';
    clock_t start = clock();
    CHECK(!glob_pattern_matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text));
    CHECK(clock() - start < 5 * CLOCKS_PER_SEC);
}

static void test_endings(void)
{
    CHECK(glob_pattern_text_ends_with("a.tar", ".tar") && glob_pattern_text_ends_with("a", "a") &&
          glob_pattern_text_ends_with("a", ""));
    CHECK(!glob_pattern_text_ends_with("tar", ".tar") &&
          !glob_pattern_text_ends_with("a.tar.zst", ".tar"));
}

int main(void)
{
    static const char *const locales[] = {"C", "C.UTF-8", "de_DE.UTF-8"};
    for (size_t i = 0; i < 3; i++) {
        setlocale(LC_ALL, locales[i]); /* a missing locale keeps the previous one */
        test_globs();
        test_endings();
    }
    return unit_end();
}
