#include "text_print.h"

#include "printable.h"

#include <stdbool.h>
#include <string.h>

void text_print_quoted(FILE *out, const char *word)
{
    printable_print_json(out, word, strlen(word));
}

void text_print_word(FILE *out, const char *word)
{
    bool needs_no_quotes = *word && *word != '#';
    for (const unsigned char *p = (const unsigned char *)word; *p; p++)
        needs_no_quotes &= *p > ' ' && *p != '"' && *p != '\\';
    if (needs_no_quotes && !printable_has_controls(word))
        fputs(word, out);
    else
        text_print_quoted(out, word);
}

int text_print_name_width(const char *name)
{
    return printable_print(NULL, name);
}

int text_print_max_name_width(int width, const char *name)
{
    int own = text_print_name_width(name);
    return own > width ? own : width;
}

void text_print_name(FILE *out, const char *name, int width)
{
    for (int i = printable_print(out, name); i < width; i++)
        putc(' ', out);
}

void text_print_fitted_name(FILE *out, const char *name, int width)
{
    int own = text_print_name_width(name), head = width < 10 ? width / 2 : 5;
    if (own <= width) {
        text_print_name(out, name, width);
        return;
    }
    printable_print_columns(out, name, 0, head);
    fputs("\u2026", out); /* an ellipsis takes one column */
    printable_print_columns(out, name, own - (width - head - 1), own);
}

void text_print_narrow_column(int *width, int least, int *excess)
{
    int taken = *width - least < *excess ? *width - least : *excess;
    if (taken <= 0)
        return;
    *width -= taken;
    *excess -= taken;
}

int text_print_ample_tensor_width(int width)
{
    int ample = width * 2 / 5;
    return ample > TEXT_PRINT_LEAST_TENSOR_WIDTH ? ample : TEXT_PRINT_LEAST_TENSOR_WIDTH;
}

void text_print_fit_names(int *tensor_width, int *model_width, int others, int width)
{
    int excess = width ? *tensor_width + *model_width + others - width : 0;
    text_print_narrow_column(tensor_width, text_print_ample_tensor_width(width), &excess);
    text_print_narrow_column(model_width, TEXT_PRINT_LEAST_MODEL_WIDTH, &excess);
    text_print_narrow_column(tensor_width, TEXT_PRINT_LEAST_TENSOR_WIDTH, &excess);
}

void text_print_wrapped(FILE *out, const char *text, int column, int columns)
{
    for (int at = column; *text; text += strspn(text, " ")) {
        int n = (int)strcspn(text, " ");
        if (columns && at > column && at + 1 + n > columns) {
            fprintf(out, "\n%*s", column, "");
            at = column;
        }
        at += fprintf(out, "%s%.*s", at > column ? " " : "", n, text);
        text += n;
    }
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
