/* Printing the values of a line of JSON on standard output. `before` is printed first: the
 * punctuation and the key, such as "{\"tensor\": ". No function keeps a pointer. tvtools-json(7)
 * lists the keys. */
#ifndef TV_JSON_PRINT_H
#define TV_JSON_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A string; null for NULL. */
void json_print_text(const char *before, const char *text);
/* A list of n strings. */
void json_print_texts(const char *before, size_t n, const char *const *texts);
/* A number that reads back exactly; null if it is not finite. */
void json_print_number(const char *before, double x);
void json_print_count(const char *before, uint64_t n);
void json_print_bool(const char *before, bool value);

#endif
