#include "text_scanner.h"

#include "number.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 400 /* characters of a number: any double has an exact decimal of fewer */

/* ---- words, written ------------------------------------------------------------------------ */

void text_print_quoted(FILE *out, const char *word)
{
    putc('"', out);
    for (const unsigned char *p = (const unsigned char *)word; *p; p++) {
        if (*p == '"' || *p == '\\')
            fprintf(out, "\\%c", *p);
        else if (*p < ' ' || *p == 127)
            fprintf(out, "\\u%04x", *p);
        else
            putc(*p, out);
    }
    putc('"', out);
}

void text_print_word(FILE *out, const char *word)
{
    bool bare = *word && *word != '#';
    for (const unsigned char *p = (const unsigned char *)word; *p; p++)
        bare &= *p > ' ' && *p != 127 && *p != '"' && *p != '\\';
    if (bare)
        fputs(word, out);
    else
        text_print_quoted(out, word);
}

int text_print_width(const char *name)
{
    int width = 0;
    for (; *name; name++)
        width += (*name & 0xc0) != 0x80;
    return width;
}

int text_print_max_width(int width, const char *name)
{
    int own = text_print_width(name);
    return own > width ? own : width;
}

void text_print_name(FILE *out, const char *name, int width)
{
    for (const char *p = name; *p; p++)
        putc((unsigned char)*p < ' ' || *p == 127 ? '?' : *p, out);
    for (int i = text_print_width(name); i < width; i++)
        putc(' ', out);
}

void text_print_count(FILE *out, uint64_t n, const char *noun)
{
    fprintf(out, "%llu %s%s", (unsigned long long)n, noun, n == 1 ? "" : "s");
}

void text_print_hash(FILE *out, uint64_t hash)
{
    fprintf(out, "%016llx", (unsigned long long)hash);
}

void text_print_hex(FILE *out, const unsigned char *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        putc(digits[bytes[i] >> 4], out);
        putc(digits[bytes[i] & 15], out);
    }
}

/* ---- numbers, both ways -------------------------------------------------------------------- */

/* What a NaN's bits are unless the text says them: quiet, positive, the rest 0. */
static uint64_t plain_nan(enum dtype d)
{
    return d == DTYPE_F64   ? 0x7ff8000000000000
           : d == DTYPE_F32 ? 0x7fc00000
           : d == DTYPE_F16 ? 0x7e00
                            : 0x7fc0;
}

static uint64_t bits_of(const void *from, size_t size)
{
    uint64_t bits = 0;
    for (size_t i = size; i-- > 0;)
        bits = bits << 8 | ((const unsigned char *)from)[i];
    return bits;
}

static void set_bits(void *to, size_t size, uint64_t bits)
{
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)to)[i] = (unsigned char)(bits >> 8 * i);
}

/* Decimals of so many digits survive the way through the dtype and back (of a subnormal number
 * perhaps one); and more than `most` are never needed for the way from the dtype. */
static void digits_of(enum dtype d, double x, int *least, int *most)
{
    double normal = d == DTYPE_F64 ? DBL_MIN : d == DTYPE_F16 ? 0x1p-14 : FLT_MIN;
    *least = d == DTYPE_F64 ? 15 : d == DTYPE_F32 ? 6 : d == DTYPE_F16 ? 3 : 2;
    *most = d == DTYPE_F64 ? 17 : d == DTYPE_F32 ? 9 : d == DTYPE_F16 ? 5 : 4;
    if (fabs(x) < normal)
        *least = 1;
}

static void put_float(FILE *out, enum dtype d, const void *from)
{
    size_t size = dtype_bits(d) / 8;
    char text[64];
    double x, read;
    unsigned char back[8];
    int digits, most;
    dtype_to_f64(d, from, &x, 1);
    if (isnan(x)) {
        fputs("nan", out);
        if (bits_of(from, size) != plain_nan(d))
            fprintf(out, ":%0*llx", (int)(2 * size), (unsigned long long)bits_of(from, size));
        return;
    }
    if (isinf(x)) {
        fputs(x < 0 ? "-inf" : "inf", out);
        return;
    }
    for (digits_of(d, x, &digits, &most); digits <= most; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        read = strtod(text, NULL);
        dtype_from_f64(d, &read, back, 1);
        if (memcmp(back, from, size) == 0)
            break;
    }
    fputs(text, out);
}

enum number_class { CLASS_FLOAT, CLASS_SIGNED, CLASS_UNSIGNED, CLASS_BYTES };

static enum number_class class_of(enum dtype d)
{
    switch (d) {
    case DTYPE_I8:
    case DTYPE_I16:
    case DTYPE_I32:
    case DTYPE_I64:
        return CLASS_SIGNED;
    case DTYPE_U8:
    case DTYPE_U16:
    case DTYPE_U32:
    case DTYPE_U64:
        return CLASS_UNSIGNED;
    default:
        return dtype_is_float(d) ? CLASS_FLOAT : CLASS_BYTES;
    }
}

static void put_element(FILE *out, enum dtype d, const unsigned char *from)
{
    size_t size = dtype_bits(d) / 8;
    uint64_t bits;
    int unused = (int)(64 - 8 * size);
    switch (class_of(d)) {
    case CLASS_FLOAT:
        put_float(out, d, from);
        break;
    case CLASS_SIGNED:
        bits = bits_of(from, size);
        fprintf(out, "%lld", (long long)(int64_t)(bits << unused) >> unused);
        break;
    case CLASS_UNSIGNED:
        fprintf(out, "%llu", (unsigned long long)bits_of(from, size));
        break;
    case CLASS_BYTES:
        text_print_hex(out, from, size);
        break;
    }
}

void text_print_elements(FILE *out, enum dtype d, size_t columns, size_t first, size_t n,
                         const void *from)
{
    size_t size = dtype_bits(d) / 8;
    if (dtype_bits(d) % 8) {
        text_print_hex(out, from, n * dtype_bits(d) / 8);
        putc('\n', out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        put_element(out, d, (const unsigned char *)from + i * size);
        putc((first + i + 1) % columns ? ' ' : '\n', out);
    }
}

/* ---- lines --------------------------------------------------------------------------------- */

int text_scanner_error(const struct text_scanner *t, struct error *e, const char *format, ...)
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
    return (struct text_scanner){.at = at, .end = at + size, .word = at, .line_end = at};
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
    while (t->at < t->end) {
        const char *newline = memchr(t->at, '\n', (size_t)(t->end - t->at));
        t->word = t->at;
        t->line_end = newline ? newline : t->end;
        t->at = newline ? newline + 1 : t->end;
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

/* ---- words, read --------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* \uXXXX, below the surrogates or above them, as UTF-8. */
static int read_escaped(struct text_scanner *t, char **to, struct error *e)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char c = t->word < t->line_end ? *t->word++ : '\0';
    const char *letter = c ? strchr(letters, c) : NULL;
    unsigned code = 0;
    int digit = 0;
    if (letter) {
        *(*to)++ = meanings[letter - letters];
        return 0;
    }
    for (int i = 0; c == 'u' && i < 4 && digit >= 0; i++) {
        digit = t->word < t->line_end ? hex_digit(*t->word) : -1;
        t->word += digit >= 0;
        code = code << 4 | (unsigned)digit;
    }
    if (c != 'u' || digit < 0 || code == 0 || (code >= 0xd800 && code < 0xe000))
        return text_scanner_error(
            t, e,
            "a \\ in quotes that is not one of JSON's, or of a character that "
            "no name has");
    if (code < 0x80) {
        *(*to)++ = (char)code;
    } else if (code < 0x800) {
        *(*to)++ = (char)(0xc0 | code >> 6);
        *(*to)++ = (char)(0x80 | (code & 0x3f));
    } else {
        *(*to)++ = (char)(0xe0 | code >> 12);
        *(*to)++ = (char)(0x80 | (code >> 6 & 0x3f));
        *(*to)++ = (char)(0x80 | (code & 0x3f));
    }
    return 0;
}

static int read_quoted(struct text_scanner *t, struct arena *a, const char **word, struct error *e)
{
    char *text = arena_alloc(a, (size_t)(t->line_end - t->word) + 1, 1), *to = text;
    t->word++;
    while (t->word < t->line_end && *t->word != '"') {
        char c = *t->word++;
        if (c == '\\' && read_escaped(t, &to, e))
            return -1;
        if (c != '\\')
            *to++ = c;
    }
    if (t->word == t->line_end)
        return text_scanner_error(t, e, "a word in quotes does not end");
    t->word++;
    if (t->word < t->line_end && !is_space(*t->word))
        return text_scanner_error(t, e, "something follows a quote without a space");
    *to = '\0';
    *word = text;
    return 0;
}

int text_scanner_next_word(struct text_scanner *t, struct arena *a, const char **word,
                           struct error *e)
{
    *word = NULL;
    if (text_scanner_at_line_end(t))
        return 0;
    if (*t->word == '"')
        return read_quoted(t, a, word, e);
    size_t n = text_scanner_word_length(t);
    if (memchr(t->word, '\0', n))
        return text_scanner_error(t, e, "a zero byte; this is no text");
    *word = arena_copy_text_n(a, t->word, n);
    t->word += n;
    return 0;
}

int text_scanner_read_hex(struct text_scanner *t, unsigned char *bytes, size_t size,
                          struct error *e)
{
    if (text_scanner_word_length(t) != 2 * size)
        return text_scanner_error(t, e, "%zu hexadecimal digits needed, found %zu characters",
                                  2 * size, text_scanner_word_length(t));
    for (size_t i = 0; i < size; i++) {
        int high = hex_digit(t->word[2 * i]), low = hex_digit(t->word[2 * i + 1]);
        if (high < 0 || low < 0)
            return text_scanner_error(t, e, "%.*s is not hexadecimal", 2, t->word + 2 * i);
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

/* The word's first n characters, terminated; passes them. */
static int take_number(struct text_scanner *t, size_t n, char *text, struct error *e)
{
    if (n == 0)
        return text_scanner_error(t, e, "a number is missing");
    if (n >= NUMBER_MAX)
        return text_scanner_error(t, e, "a number of %zu characters", n);
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
    if (take_number(t, comma ? (size_t)(comma - t->word) : n, text, e))
        return -1;
    return number_parse(text, x) ? text_scanner_error(t, e, "%s is not a number", text) : 0;
}

int text_scanner_read_count(struct text_scanner *t, uint64_t *x, struct error *e)
{
    char text[NUMBER_MAX], *end;
    if (take_number(t, text_scanner_word_length(t), text, e))
        return -1;
    errno = 0;
    *x = strtoull(text, &end, 10);
    if (hex_digit(text[0]) < 0 || hex_digit(text[0]) > 9 || *end || errno)
        return text_scanner_error(t, e, "%s is not a whole number", text);
    return 0;
}

/* "nan", or "nan:7fc00001" with its bits. */
static int read_nan(struct text_scanner *t, enum dtype d, const char *word, void *to,
                    struct error *e)
{
    size_t size = dtype_bits(d) / 8;
    char *end = NULL;
    uint64_t bits = word[3] ? strtoull(word + 4, &end, 16) : plain_nan(d);
    double x = 0;
    set_bits(to, size, bits);
    dtype_to_f64(d, to, &x, 1);
    if ((word[3] && (word[3] != ':' || strlen(word + 4) != 2 * size || *end)) || !isnan(x))
        return text_scanner_error(t, e, "%s is not a NaN of %s", word, dtype_name(d));
    return 0;
}

static int read_float(struct text_scanner *t, enum dtype d, const char *word, void *to,
                      struct error *e)
{
    char *end;
    double x, back;
    if (strncmp(word, "nan", 3) == 0)
        return read_nan(t, d, word, to, e);
    bool infinite = strcmp(word + (*word == '-'), "inf") == 0;
    x = strtod(word, &end);
    if (*end || (!infinite && !strchr("+-.0123456789", *word)))
        return text_scanner_error(t, e, "%s is not a number", word);
    dtype_from_f64(d, &x, to, 1);
    dtype_to_f64(d, to, &back, 1);
    if (!infinite && !isfinite(back))
        return text_scanner_error(t, e, "%s is more than %s holds", word, dtype_name(d));
    return 0;
}

static int read_integer(struct text_scanner *t, enum dtype d, const char *word, void *to,
                        struct error *e)
{
    size_t size = dtype_bits(d) / 8;
    int unused = (int)(64 - 8 * size);
    bool is_signed = class_of(d) == CLASS_SIGNED, negative = *word == '-';
    char *end;
    errno = 0;
    uint64_t bits = negative ? (uint64_t)strtoll(word, &end, 10) : strtoull(word, &end, 10);
    if (hex_digit(word[negative]) < 0 || hex_digit(word[negative]) > 9 || *end)
        return text_scanner_error(t, e, "%s is not a whole number", word);
    int64_t low = is_signed ? INT64_MIN >> unused : 0;
    uint64_t high = is_signed ? (uint64_t)(INT64_MAX >> unused) : UINT64_MAX >> unused;
    if (errno || (negative ? (int64_t)bits < low : bits > high))
        return text_scanner_error(t, e, "%s is outside what %s holds", word, dtype_name(d));
    set_bits(to, size, bits);
    return 0;
}

int text_scanner_read_element(struct text_scanner *t, enum dtype d, void *to, struct error *e)
{
    char word[NUMBER_MAX];
    if (class_of(d) == CLASS_BYTES)
        return text_scanner_read_hex(t, to, dtype_bits(d) / 8, e);
    if (take_number(t, text_scanner_word_length(t), word, e))
        return -1;
    return class_of(d) == CLASS_FLOAT ? read_float(t, d, word, to, e)
                                      : read_integer(t, d, word, to, e);
}
