/* Printing words, names, counts and hexadecimal numbers as text. text_scanner.h reads words and
 * hexadecimal numbers back. No function keeps a pointer. */
#ifndef TV_TEXT_PRINT_H
#define TV_TEXT_PRINT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Prints a word, in quotes if text_scanner_read_word needs them. */
void text_print_word(FILE *out, const char *word);
/* Prints a word in quotes: a JSON string. */
void text_print_quoted(FILE *out, const char *word);
/* Prints a name for a person: control characters (printable.h) become '?'; spaces fill it up to
 * `width`. */
void text_print_name(FILE *out, const char *name, int width);
/* The same, but of a name that is wider than `width` only the beginning and the end are printed,
 * mostly the end, which tells the tensors of a model apart: "model…10.self_attn.q_proj.weight". */
void text_print_fitted_name(FILE *out, const char *name, int width);
/* Columns that names keep in the narrowest table. */
#define TEXT_PRINT_LEAST_TENSOR_WIDTH 24
#define TEXT_PRINT_LEAST_MODEL_WIDTH  8
/* Takes up to *excess columns, if that is positive, from a column that keeps `least`. */
void text_print_narrow_column(int *width, int least, int *excess);
/* Columns in which the names of a model's tensors can be told apart: two fifths of a line of
 * `width` columns. */
int text_print_ample_tensor_width(int width);
/* Narrows the columns of tensor names and model names, as far as names remain legible, so that they
 * and `others` columns fit into a line of `width` columns; 0: no limit. */
void text_print_fit_names(int *tensor_width, int *model_width, int others, int width);
/* Columns of a name on a terminal: one per UTF-8 character. */
int text_print_name_width(const char *name);
/* The larger of `width` and the name's width. */
int text_print_max_name_width(int width, const char *name);
/* Prints words from a column on, in lines of at most `columns` (0: one line) that begin there. A
 * word that is longer has a line of its own. */
void text_print_wrapped(FILE *out, const char *text, int column, int columns);
/* Prints "1 tensor", "2 tensors". */
void text_print_count(FILE *out, uint64_t n, const char *noun);
/* Prints 16 hexadecimal digits. */
void text_print_hash(FILE *out, uint64_t hash);
/* Prints two hexadecimal digits per byte. */
void text_print_hex(FILE *out, const unsigned char *bytes, size_t size);

#endif
