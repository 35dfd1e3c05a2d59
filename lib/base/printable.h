/* Printing text that others chose, such as names in input files. Control characters never reach a
 * terminal, because they could change what it shows: C0 and C1, bidirectional marks, line and
 * paragraph separators. */
#ifndef TV_PRINTABLE_H
#define TV_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Bytes of the control character at the start of the text, or 1 if it starts with a byte that is
 * not UTF-8; 0 if it starts with another character, or is empty. */
size_t printable_control_length(const char *text);
/* True if a control character or a byte that is not UTF-8 is in the text. */
bool printable_has_controls(const char *text);
/* Replaces each control character by '?'; the text becomes shorter. */
void printable_replace(char *text);
/* Prints the text with '?' in place of each control character; returns the columns that it takes,
 * one per character. If `out` is NULL, only counts them. */
int printable_print(FILE *out, const char *text);
/* The same for the columns from `first` to before `end`. */
int printable_print_columns(FILE *out, const char *text, int first, int end);
/* Prints a JSON string, in quotes, of `size` bytes; escapes control characters. */
void printable_print_json(FILE *out, const char *text, size_t size);
/* Prints a word of a command line, in quotes where the shell (bash, zsh) needs them. */
void printable_print_shell_word(FILE *out, const char *word);
/* From here on this process and those that it forks print each message once: the stages of a
 * pipeline often fail for the same reason. Without memory for this they repeat it. */
void printable_share_messages(void);
/* Prints one line on standard error, with '?' in place of each control character. */
void printable_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for "TOOL: warning: ..." and "TOOL: note: ...". A warning says what the user probably
 * did not want, a note what happened. Of more than 100 warnings the rest is not printed, because a
 * file that others wrote can cause any number of them. */
void printable_warning(const char *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void printable_note(const char *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* --quiet: from here on this process prints no notes. What shows progress asks. */
void printable_set_quiet(void);
bool printable_is_quiet(void);

#endif
