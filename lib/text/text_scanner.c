#include "text_scanner.h"

#include "element_text.h"
#include "number.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 400 /* more characters than the exact decimal of any double has */

/* ---- lines --------------------------------------------------------------------------------- */

int text_scanner_set_error(const struct text_scanner *t, struct error *e, const char *format, ...)
{
    char sentence[sizeof e->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return error_set(e, "line %zu: %s", t->line, sentence);
}

struct text_scanner text_scanner_start(const unsigned char *bytes, size_t size)
{
    const char *at = (const char *)bytes;
    return (struct text_scanner){.next_line = at, .end = at + size, .word = at, .line_end = at};
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void skip_space(struct text_scanner *t)
{
    while (t->word < t->line_end && is_space(*t->word))
        t->word++;
    if (t->word < t->line_end && *t->word == '#')
        t->word = t->line_end;
}

bool text_scanner_at_line_end(struct text_scanner *t)
{
    skip_space(t);
    return t->word == t->line_end;
}

bool text_scanner_next_line(struct text_scanner *t)
{
    while (t->next_line < t->end) {
        const char *newline = memchr(t->next_line, '\n', (size_t)(t->end - t->next_line));
        t->word = t->next_line;
        t->line_end = newline ? newline : t->end;
        t->next_line = newline ? newline + 1 : t->end;
        t->line++;
        if (!text_scanner_at_line_end(t))
            return true;
    }
    return false;
}

size_t text_scanner_word_length(struct text_scanner *t)
{
    const char *p;
    skip_space(t);
    for (p = t->word; p < t->line_end && !is_space(*p); p++)
        ;
    return (size_t)(p - t->word);
}

bool text_scanner_accept_word(struct text_scanner *t, const char *word)
{
    size_t n = text_scanner_word_length(t);
    if (n != strlen(word) || memcmp(t->word, word, n) != 0)
        return false;
    t->word += n;
    return true;
}

bool text_scanner_accept_key(struct text_scanner *t, const char *key)
{
    size_t n = strlen(key);
    if (text_scanner_word_length(t) <= n + 1 || memcmp(t->word, key, n) != 0 || t->word[n] != '=')
        return false;
    t->word += n + 1;
    return true;
}

/* ---- words --------------------------------------------------------------------------------- */

static int parse_hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The code point of XXXX in "\uXXXX"; 0 if it is invalid, NUL or a surrogate. */
static unsigned read_code_point(struct text_scanner *t)
{
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = t->word < t->line_end ? parse_hex_digit(*t->word) : -1;
        if (digit < 0)
            return 0;
        t->word++;
        code = code << 4 | (unsigned)digit;
    }
    return code >= 0xd800 && code < 0xe000 ? 0 : code;
}

/* Writes a code point below 2^16 as UTF-8; returns the end. */
static char *write_code_point_as_utf8(char *to, unsigned code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* Reads a JSON escape after its backslash. */
static int read_json_escape(struct text_scanner *t, char **to, struct error *e)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char c = t->word < t->line_end ? *t->word++ : '\0';
    const char *letter = c ? strchr(letters, c) : NULL;
    unsigned code = c == 'u' ? read_code_point(t) : 0;
    if (letter)
        *(*to)++ = meanings[letter - letters];
    else if (code)
        *to = write_code_point_as_utf8(*to, code);
    else
        return text_scanner_set_error(t, e,
                                      "invalid escape in quotes; expected one of JSON's escapes");
    return 0;
}

static int read_quoted_word(struct text_scanner *t, struct arena *a, const char **word,
                            struct error *e)
{
    char *text = arena_alloc(a, (size_t)(t->line_end - t->word) + 1, 1), *to = text;
    t->word++;
    while (t->word < t->line_end && *t->word != '"') {
        char c = *t->word++;
        if (c == '\\' && read_json_escape(t, &to, e))
            return -1;
        if (c != '\\')
            *to++ = c;
    }
    if (t->word == t->line_end)
        return text_scanner_set_error(t, e, "missing quote at the end of a word");
    t->word++;
    if (t->word < t->line_end && !is_space(*t->word))
        return text_scanner_set_error(t, e, "expected a space after a quoted word");
    *to = '\0';
    *word = text;
    return 0;
}

int text_scanner_read_word(struct text_scanner *t, struct arena *a, const char **word,
                           struct error *e)
{
    *word = NULL;
    if (text_scanner_at_line_end(t))
        return 0;
    if (*t->word == '"')
        return read_quoted_word(t, a, word, e);
    size_t n = text_scanner_word_length(t);
    if (memchr(t->word, '\0', n))
        return text_scanner_set_error(t, e, "the line contains a zero byte, so this is not text");
    *word = arena_copy_text_n(a, t->word, n);
    t->word += n;
    return 0;
}

int text_scanner_read_hex(struct text_scanner *t, unsigned char *bytes, size_t size,
                          struct error *e)
{
    if (text_scanner_word_length(t) != 2 * size)
        return text_scanner_set_error(t, e, "expected %zu hexadecimal digits, found %zu characters",
                                      2 * size, text_scanner_word_length(t));
    for (size_t i = 0; i < size; i++) {
        int high = parse_hex_digit(t->word[2 * i]), low = parse_hex_digit(t->word[2 * i + 1]);
        if (high < 0 || low < 0)
            return text_scanner_set_error(t, e, "%.*s is not hexadecimal", 2, t->word + 2 * i);
        bytes[i] = (unsigned char)(high << 4 | low);
    }
    t->word += 2 * size;
    return 0;
}

int text_scanner_read_hash(struct text_scanner *t, uint64_t *hash, struct error *e)
{
    unsigned char bytes[8];
    if (text_scanner_read_hex(t, bytes, 8, e))
        return -1;
    *hash = 0;
    for (int i = 0; i < 8; i++)
        *hash = *hash << 8 | bytes[i];
    return 0;
}

/* Copies the first n characters of the word and skips them. */
static int copy_number_text(struct text_scanner *t, size_t n, char *text, struct error *e)
{
    if (n == 0)
        return text_scanner_set_error(t, e, "expected a number");
    if (n >= NUMBER_MAX)
        return text_scanner_set_error(t, e, "a number of %zu characters is too long", n);
    memcpy(text, t->word, n);
    text[n] = '\0';
    t->word += n;
    return 0;
}

int text_scanner_read_number(struct text_scanner *t, double *x, struct error *e)
{
    char text[NUMBER_MAX];
    size_t n = text_scanner_word_length(t);
    const char *comma = memchr(t->word, ',', n);
    if (copy_number_text(t, comma ? (size_t)(comma - t->word) : n, text, e))
        return -1;
    return number_parse(text, x) ? text_scanner_set_error(t, e, "%s is not a number", text) : 0;
}

int text_scanner_read_count(struct text_scanner *t, uint64_t *x, struct error *e)
{
    char text[NUMBER_MAX], *end;
    if (copy_number_text(t, text_scanner_word_length(t), text, e))
        return -1;
    errno = 0;
    *x = strtoull(text, &end, 10);
    if (parse_hex_digit(text[0]) < 0 || parse_hex_digit(text[0]) > 9 || *end || errno)
        return text_scanner_set_error(t, e, "%s is not an integer", text);
    return 0;
}

int text_scanner_read_element(struct text_scanner *t, enum dtype d, void *to, struct error *e)
{
    char word[NUMBER_MAX];
    struct error reason;
    if (element_text_is_hex(d))
        return text_scanner_read_hex(t, to, dtype_bits(d) / 8, e);
    if (copy_number_text(t, text_scanner_word_length(t), word, e))
        return -1;
    return element_text_parse(word, d, to, &reason)
               ? text_scanner_set_error(t, e, "%s", reason.text)
               : 0;
}
