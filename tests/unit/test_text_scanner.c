#include "element_text.h"
#include "text_print.h"
#include "text_scanner.h"
#include "unit.h"

static char *written;
static size_t written_size;

/* A stream to print to; write_end returns a scanner of the printed text. */
static FILE *write_start(void)
{
    free(written);
    written = NULL;
    return open_memstream(&written, &written_size);
}

static struct text_scanner write_end(FILE *f)
{
    fclose(f);
    return text_scanner_start((const unsigned char *)written, written_size);
}

/* True if printed elements are parsed to the same bits. */
static int round_trips(enum dtype d, const void *from, size_t columns, size_t n)
{
    size_t size = dtype_bits(d) / 8;
    struct error e;
    FILE *f = write_start();
    element_text_print_rows(f, d, columns, 0, n, from);
    struct text_scanner t = write_end(f);
    for (size_t i = 0; i < n; i++) {
        unsigned char parsed[8];
        if (i % columns == 0 && (!text_scanner_at_line_end(&t) || !text_scanner_next_line(&t)))
            return 0;
        if (text_scanner_read_element(&t, d, parsed, &e) ||
            memcmp(parsed, (const char *)from + i * size, size) != 0)
            return 0;
    }
    return text_scanner_at_line_end(&t) && !text_scanner_next_line(&t);
}

static uint64_t state = 1;

static uint64_t random_bits(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 32 ^ state << 20;
}

static void test_elements(void)
{
    static uint16_t all[65536];
    static uint64_t some[4096];
    for (size_t i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    for (size_t i = 0; i < 4096; i++)
        some[i] = random_bits();
    CHECK(round_trips(DTYPE_F16, all, 256, 65536));
    CHECK(round_trips(DTYPE_BF16, all, 65536, 65536));
    for (enum dtype d = DTYPE_BOOL; d < DTYPE_COUNT; d++)
        if (dtype_bits(d) % 8 == 0)
            CHECK(round_trips(d, some, 64, 4096));
}

static const char *print_one(enum dtype d, double x)
{
    static char text[64];
    unsigned char bytes[8];
    dtype_from_f64(d, &x, bytes, 1);
    FILE *f = write_start();
    element_text_print_rows(f, d, 1, 0, 1, bytes);
    fclose(f);
    snprintf(text, sizeof text, "%.*s", (int)strcspn(written, "\n"), written);
    return text;
}

static void test_shortest(void)
{
    CHECK(strcmp(print_one(DTYPE_F32, 0.1), "0.1") == 0);
    CHECK(strcmp(print_one(DTYPE_F32, 16777216), "16777216") == 0);
    CHECK(strcmp(print_one(DTYPE_F64, 0.1), "0.1") == 0);
    CHECK(strcmp(print_one(DTYPE_BF16, 0.1), "0.1") == 0);
    CHECK(strcmp(print_one(DTYPE_F16, -2), "-2") == 0);
    CHECK(strcmp(print_one(DTYPE_F32, -0.0), "-0") == 0);
    CHECK(strcmp(print_one(DTYPE_F32, INFINITY), "inf") == 0);
}

static int parses(enum dtype d, const char *word)
{
    struct text_scanner t = text_scanner_start((const unsigned char *)word, strlen(word));
    unsigned char to[8];
    struct error e;
    return text_scanner_next_line(&t) && text_scanner_read_element(&t, d, to, &e) == 0 &&
           text_scanner_at_line_end(&t);
}

static void test_invalid_elements(void)
{
    CHECK(parses(DTYPE_F32, "1e38") && !parses(DTYPE_F32, "1e39"));
    CHECK(parses(DTYPE_F16, "65504") && !parses(DTYPE_F16, "65520"));
    CHECK(parses(DTYPE_I8, "-128") && !parses(DTYPE_I8, "-129") && !parses(DTYPE_I8, "128"));
    CHECK(parses(DTYPE_U64, "18446744073709551615") && !parses(DTYPE_U64, "18446744073709551616"));
    CHECK(!parses(DTYPE_U8, "-1") && !parses(DTYPE_U8, "1.0") && !parses(DTYPE_U8, ""));
    CHECK(!parses(DTYPE_F32, "x") && !parses(DTYPE_F32, "1x") && !parses(DTYPE_F32, "infinity"));
    CHECK(!parses(DTYPE_F32, "nan:7f800000") && parses(DTYPE_F32, "nan:ffffffff"));
    CHECK(!parses(DTYPE_F8_E4M3, "1") && parses(DTYPE_F8_E4M3, "7f"));
}

static void test_words(void)
{
    static const char *const words[] = {
        "plain", "",   "two words",   "#x",           "a#b",    "\"",
        "a\"b",  "\\", "tab\t\n\x7f", "na\xc3\xafve", "role=x", "\xe9"};
    struct arena a = {0};
    struct error e;
    FILE *f = write_start();
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        text_print_word(f, words[i]);
        fputs("  ", f);
    }
    fputs("# the end", f);
    struct text_scanner t = write_end(f);
    const char *word;
    CHECK(text_scanner_next_line(&t));
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        CHECK(text_scanner_read_word(&t, &a, &word, &e) == 0 && word &&
              strcmp(word, words[i]) == 0);
    CHECK(text_scanner_read_word(&t, &a, &word, &e) == 0 && !word);
    arena_free(&a);
}

static void test_lines(void)
{
    static const char text[] = "\n  # nothing\nkey=value \"\\u00e9\\n\"\r\n\t\nlast";
    struct text_scanner t = text_scanner_start((const unsigned char *)text, sizeof text - 1);
    struct arena a = {0};
    struct error e;
    const char *word;
    CHECK(text_scanner_next_line(&t) && t.line == 3);
    CHECK(!text_scanner_accept_word(&t, "key") && !text_scanner_accept_key(&t, "ke") &&
          text_scanner_accept_key(&t, "key"));
    CHECK(text_scanner_accept_word(&t, "value"));
    CHECK(text_scanner_read_word(&t, &a, &word, &e) == 0 && strcmp(word, "\xc3\xa9\n") == 0);
    CHECK(text_scanner_at_line_end(&t));
    CHECK(text_scanner_next_line(&t) && t.line == 5 && text_scanner_accept_word(&t, "last"));
    CHECK(!text_scanner_next_line(&t));
    CHECK(text_scanner_set_error(&t, &e, "no %s", "more") == -1 &&
          strcmp(e.text, "line 5: no more") == 0);
    arena_free(&a);
}

int main(void)
{
    test_elements();
    test_shortest();
    test_invalid_elements();
    test_words();
    test_lines();
    free(written);
    return unit_end();
}
