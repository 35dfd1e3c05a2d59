/* Numbers as YAML 1.1 and PyYAML read them. */
#ifndef TV_YAML_NUMBER_H
#define TV_YAML_NUMBER_H

#include <stdbool.h>

/* Does `text` equal one of these lower-case words, ended by NULL, in lower case, capitalized or in
 * upper case? */
bool yaml_number_matches_word_in_yaml_case(const char *text, const char *const *words);

/* Parses a scalar; false if it is not a number. Unquoted (`plain`) scalars may also be booleans
 * (1 and 0), binary, octal, hexadecimal and sexagesimal numbers (1:30 is 90). Any scalar may be a
 * decimal number as Python's float() accepts it. */
bool yaml_number_parse(const char *text, bool plain, double *x);
/* Parses a boolean as 1 or 0, as pydantic reads one: true, t, yes, y, on and false, f, no, n, off
 * in any case, and the numbers 1 and 0; false if it is something else. */
bool yaml_number_parse_flag(const char *text, double *x);

#endif
