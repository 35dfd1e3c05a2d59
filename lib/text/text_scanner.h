/* A stream as text (share/text.md): lines, words and numbers, both ways. tv-view writes it,
 * from-text reads it. Nothing here knows what a line means. */
#ifndef TV_TEXT_SCANNER_H
#define TV_TEXT_SCANNER_H

#include "dtype.h"
#include "error.h"
#include "mem.h"

#include <stdint.h>
#include <stdio.h>

/* ---- writing ------------------------------------------------------------------------------ */

/* A word, in quotes where it would not read back as one without them. */
void text_print_word(FILE *out, const char *word);
/* The same always in quotes: a JSON string. */
void text_print_quoted(FILE *out, const char *word);
/* A name for a person: control characters become '?'; filled up with spaces to `width`. */
void text_print_name(FILE *out, const char *name, int width);
/* Columns that a name takes on a terminal (UTF-8: one a character). */
int text_print_width(const char *name);
/* That, or `width` if it is more. */
int text_print_max_width(int width, const char *name);
/* "1 tensor", "2 tensors". */
void text_print_count(FILE *out, uint64_t n, const char *noun);
void text_print_hash(FILE *out, uint64_t hash);
void text_print_hex(FILE *out, const unsigned char *bytes, size_t size);
/* n elements from flat index `first` on, a line for each row of `columns` elements; all in one
 * line where elements do not fill whole bytes. Each number is the shortest decimal that reads back
 * as the same element. */
void text_print_elements(FILE *out, enum dtype d, size_t columns, size_t first, size_t n,
                         const void *from);

/* ---- reading ------------------------------------------------------------------------------ */

/* The place in a text: what is left of it, and of the line at hand. */
struct text_scanner {
    const char *at, *end; /* the lines after this one */
    const char *word;     /* in this line, before its end */
    const char *line_end;
    size_t line; /* counted from 1 */
};

struct text_scanner text_scanner_start(const unsigned char *bytes, size_t size);
/* The next line with something in it, comments apart; false when there is none. */
bool text_scanner_next_line(struct text_scanner *t);
/* The line's next word, quotes resolved, into the arena; NULL when there is none. -1: the quotes
 * are wrong. */
int text_scanner_next_word(struct text_scanner *t, struct arena *a, const char **word,
                           struct error *e);
/* Is the line's next word this one? Then it is passed. */
bool text_scanner_accept_word(struct text_scanner *t, const char *word);
/* "KEY=value": is the line's next word of this key? Then the value comes next. */
bool text_scanner_accept_key(struct text_scanner *t, const char *key);
bool text_scanner_at_line_end(struct text_scanner *t);
/* "line 7: sentence". Returns -1. */
int text_scanner_error(const struct text_scanner *t, struct error *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The line's next word as one element (of whole bytes). */
int text_scanner_read_element(struct text_scanner *t, enum dtype d, void *to, struct error *e);
int text_scanner_read_count(struct text_scanner *t, uint64_t *n, struct error *e);
/* The next number, up to a comma or the end of the word. */
int text_scanner_read_number(struct text_scanner *t, double *x, struct error *e);
/* Exactly `size` bytes as hexadecimal digits; and 16 digits. */
int text_scanner_read_hex(struct text_scanner *t, unsigned char *bytes, size_t size,
                          struct error *e);
int text_scanner_read_hash(struct text_scanner *t, uint64_t *hash, struct error *e);
/* How many characters the next word has. */
size_t text_scanner_word_length(struct text_scanner *t);

#endif
