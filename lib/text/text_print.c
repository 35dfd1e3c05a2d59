#include "text_print.h"

#include <stdbool.h>

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
    bool needs_no_quotes = *word && *word != '#';
    for (const unsigned char *p = (const unsigned char *)word; *p; p++)
        needs_no_quotes &= *p > ' ' && *p != 127 && *p != '"' && *p != '\\';
    if (needs_no_quotes)
        fputs(word, out);
    else
        text_print_quoted(out, word);
}

int text_print_name_width(const char *name)
{
    int width = 0;
    for (; *name; name++)
        width += (*name & 0xc0) != 0x80;
    return width;
}

int text_print_max_name_width(int width, const char *name)
{
    int own = text_print_name_width(name);
    return own > width ? own : width;
}

void text_print_name(FILE *out, const char *name, int width)
{
    for (const char *p = name; *p; p++)
        putc((unsigned char)*p < ' ' || *p == 127 ? '?' : *p, out);
    for (int i = text_print_name_width(name); i < width; i++)
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
