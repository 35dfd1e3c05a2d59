/* The lines of the text form of a stream, read one after the other: their words, their ends, and
 * what may follow any of them. text_form_parse.h parses each kind of line.
 *
 * A text_lines borrows the text and the arena, which receives what is read. */
#ifndef TV_TEXT_LINES_H
#define TV_TEXT_LINES_H

#include "header.h"
#include "text_scanner.h"

struct text_lines {
    struct arena *arena;
    struct text_scanner scanner;
    bool has_line; /* the scanner is in a line that was not parsed yet, not at the end */
};

/* Starts at the first line. */
struct text_lines text_lines_start(const unsigned char *bytes, size_t size, struct arena *a);
/* Moves to the next line. */
void text_lines_next(struct text_lines *l);
/* If the next word of the current line is `word`, skips it and returns true. */
bool text_lines_accept_word(struct text_lines *l, const char *word);
/* Returns -1 with an error that quotes the next word. */
int text_lines_set_unexpected_error(struct text_lines *l, struct error *e);
/* Reads the next word, which must exist; `what` describes it in the message. */
int text_lines_read_word(struct text_lines *l, const char *what, const char **word,
                         struct error *e);
/* Checks that the line has no more words, and moves to the next line. */
int text_lines_end(struct text_lines *l, struct error *e);

/* Reads an optional line WORD N HEX: unknown keys, encoded as in the stream. */
int text_lines_read_unknown_keys(struct text_lines *l, const char *word,
                                 struct unknown_keys *unknown, struct error *e);
/* The lines around what is nested at this depth, "parent" and "end". The word "parent" has been
 * read; `what` and `expected` describe the contents in messages. */
int text_lines_begin_parent(struct text_lines *l, int depth, const char *what, struct error *e);
int text_lines_end_parent(struct text_lines *l, const char *expected, struct error *e);

#endif
