#include "printable.h"

#include "hash.h"
#include "utf8.h"

#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

static bool is_between(unsigned char c, unsigned char first, unsigned char last)
{
    return c >= first && c <= last;
}

/* U+0080 to U+009F and U+061C. */
static bool is_control_of_2(const unsigned char *p)
{
    return (p[0] == 0xc2 && is_between(p[1], 0x80, 0x9f)) || (p[0] == 0xd8 && p[1] == 0x9c);
}

/* U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069. */
static bool is_control_of_3(const unsigned char *p)
{
    if (p[0] != 0xe2)
        return false;
    return (p[1] == 0x80 && (is_between(p[2], 0x8e, 0x8f) || is_between(p[2], 0xa8, 0xae))) ||
           (p[1] == 0x81 && is_between(p[2], 0xa6, 0xa9));
}

/* Bytes of the UTF-8 character at p; 1 if there is none. */
static size_t character_length(const char *p)
{
    size_t length = 1;
    while ((p[length] & 0xc0) == 0x80)
        length++;
    length = utf8_valid_prefix_length(p, length);
    return length ? length : 1;
}

size_t printable_control_length(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t length = character_length(text);
    if (length == 2)
        return is_control_of_2(p) ? 2 : 0;
    if (length == 3)
        return is_control_of_3(p) ? 3 : 0;
    return length == 1 && *p && (*p < ' ' || *p >= 127);
}

bool printable_has_controls(const char *text)
{
    while (*text && !printable_control_length(text))
        text += character_length(text);
    return *text != '\0';
}

void printable_replace(char *text)
{
    char *to = text;
    for (size_t n; *text; text += n) {
        size_t control = printable_control_length(text);
        n = control ? control : character_length(text);
        memmove(to, control ? "?" : text, control ? 1 : n);
        to += control ? 1 : n;
    }
    *to = '\0';
}

int printable_print(FILE *out, const char *text)
{
    return printable_print_columns(out, text, 0, INT_MAX);
}

int printable_print_columns(FILE *out, const char *text, int first, int end)
{
    int column = 0;
    for (size_t n; *text && column < end; text += n, column++) {
        size_t control = printable_control_length(text);
        n = control ? control : character_length(text);
        if (out && column >= first)
            fwrite(control ? "?" : text, 1, control ? 1 : n, out);
    }
    return column > first ? column - first : 0;
}

/* ---- escapes --------------------------------------------------------------------------------- */

/* The code point of a character of 1 to 3 bytes. */
static unsigned code_point(const unsigned char *p, size_t length)
{
    if (length == 1)
        return p[0];
    if (length == 2)
        return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    return (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
}

/* Bytes that are not UTF-8 are printed as they are: JSON cannot express them. */
void printable_print_json(FILE *out, const char *text, size_t size)
{
    putc('"', out);
    for (size_t i = 0, n = 1; i < size; i += n) {
        const unsigned char *p = (const unsigned char *)text + i;
        unsigned char copy[4] = {0};
        memcpy(copy, p, size - i < 3 ? size - i : 3);
        size_t control = *p ? printable_control_length((const char *)copy) : 1;
        bool escaped = control && !(control == 1 && *p >= 128);
        n = escaped ? control : 1;
        if (*p == '"' || *p == '\\')
            fprintf(out, "\\%c", *p);
        else if (escaped)
            fprintf(out, "\\u%04x", code_point(p, control));
        else
            putc(*p, out);
    }
    putc('"', out);
}

static bool has_control_character(const char *text)
{
    for (; *text; text += character_length(text))
        if (printable_control_length(text))
            return true;
    return false;
}

/* $'...' */
static void print_with_escapes(FILE *out, const char *word)
{
    fputs("$'", out);
    for (size_t n; *word; word += n) {
        size_t control = printable_control_length(word);
        n = control ? control : character_length(word);
        for (size_t i = 0; i < control; i++)
            fprintf(out, "\\x%02x", (unsigned char)word[i]);
        if (*word == '\'' || *word == '\\')
            putc('\\', out);
        if (!control)
            fwrite(word, 1, n, out);
    }
    putc('\'', out);
}

void printable_print_shell_word(FILE *out, const char *word)
{
    static const char literal[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "_./:=,+@%-";
    if (*word && word[strspn(word, literal)] == '\0') {
        fputs(word, out);
    } else if (has_control_character(word)) {
        print_with_escapes(out, word);
    } else {
        putc('\'', out);
        for (; *word; word++)
            *word == '\'' ? (void)fputs("'\\''", out) : (void)putc(*word, out);
        putc('\'', out);
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

#define SHARED_MAX   256
#define WARNINGS_MAX 100

/* The hashes of messages that were printed, in memory that the processes share; 0: free. */
static _Atomic uint64_t *shared_hashes;

void printable_share_messages(void)
{
    if (shared_hashes)
        return;
    void *memory = mmap(NULL, SHARED_MAX * sizeof *shared_hashes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared_hashes = memory == MAP_FAILED ? NULL : memory;
}

/* Has no process printed it? Records that this one does. */
static bool is_new_message(const char *text)
{
    uint64_t hash = XXH3_64bits(text, strlen(text)) | 1;
    for (size_t i = 0; shared_hashes && i < SHARED_MAX; i++) {
        uint64_t found = 0;
        if (atomic_compare_exchange_strong(&shared_hashes[i], &found, hash))
            return true;
        if (found == hash)
            return false;
    }
    return true;
}

static bool is_quiet;
static atomic_int n_warnings;

/* `before` and `tool` are NULL, or the line begins with "TOOL: BEFORE: ". False if it has been
 * printed before. */
static bool print_line(const char *tool, const char *before, const char *format, va_list args)
{
    char text[1200];
    int n = tool ? snprintf(text, sizeof text, "%.200s: %s: ", tool, before) : 0;
    vsnprintf(text + n, sizeof text - (size_t)n, format, args);
    printable_replace(text);
    bool is_new = is_new_message(text);
    if (is_new)
        fprintf(stderr, "%s\n", text);
    return is_new;
}

void printable_message(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_line(NULL, NULL, format, args);
    va_end(args);
}

void printable_warning(const char *tool, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (n_warnings < WARNINGS_MAX && print_line(tool, "warning", format, args) &&
        ++n_warnings == WARNINGS_MAX)
        printable_message("%.200s: warning: further warnings are not printed", tool);
    va_end(args);
}

void printable_note(const char *tool, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!is_quiet)
        print_line(tool, "note", format, args);
    va_end(args);
}

void printable_set_quiet(void)
{
    is_quiet = true;
}

bool printable_is_quiet(void)
{
    return is_quiet;
}
