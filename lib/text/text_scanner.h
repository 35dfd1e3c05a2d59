/* Scanning text line by line and word by word (share/text.md, "Lines and words"). The scanner does
 * not interpret the lines; text_form_parse.h does. A text_scanner borrows the text. Errors begin
 * with the line number. */
#ifndef TV_TEXT_SCANNER_H
#define TV_TEXT_SCANNER_H

#include "dtype.h"
#include "error.h"
#include "mem.h"

#include <stdint.h>

/* A position in a text. A copy of it can be used to return to the position. */
struct text_scanner {
    const char *next_line, *end;
    const char *word; /* next word of the current line */
    const char *line_end;
    size_t line; /* number of the current line, from 1 */
};

/* Starts before the first line. */
struct text_scanner text_scanner_start(const unsigned char *bytes, size_t size);
/* Moves to the next line that is not blank or a comment; false at the end of the text. */
bool text_scanner_next_line(struct text_scanner *t);
/* True if the current line has no more words. */
bool text_scanner_at_line_end(struct text_scanner *t);
/* Returns -1 with the error "line 7: sentence". */
int text_scanner_set_error(const struct text_scanner *t, struct error *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* If the next word is `word`, skips it and returns true. */
bool text_scanner_accept_word(struct text_scanner *t, const char *word);
/* If the next word is "KEY=value", skips "KEY=" and returns true; the value is read next. */
bool text_scanner_accept_key(struct text_scanner *t, const char *key);
/* Number of bytes of the next word. */
size_t text_scanner_word_length(struct text_scanner *t);

/* These read the next word of the line; 0 or -1. */

/* Copies the word, without quotes and escapes, into the arena; NULL at the end of the line. */
int text_scanner_read_word(struct text_scanner *t, struct arena *a, const char **word,
                           struct error *e);
/* One element of a dtype of whole bytes. */
int text_scanner_read_element(struct text_scanner *t, enum dtype d, void *to, struct error *e);
int text_scanner_read_count(struct text_scanner *t, uint64_t *n, struct error *e);
/* A number, up to a comma or the end of the word. */
int text_scanner_read_number(struct text_scanner *t, double *x, struct error *e);
/* Exactly `size` bytes as hexadecimal digits; a hash of 16 digits. */
int text_scanner_read_hex(struct text_scanner *t, unsigned char *bytes, size_t size,
                          struct error *e);
int text_scanner_read_hash(struct text_scanner *t, uint64_t *hash, struct error *e);

#endif
