/* Patterns of names. */
#ifndef TV_PATTERN_H
#define TV_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

/* Does a glob match? '*' crosses dots and slashes; '?' and [...] as in fnmatch; '\\' quotes. */
bool pattern_matches(const char *pattern, const char *text);
/* What a text that a glob matches becomes: each '*' of `to` is what the '*' at its place in the
 * pattern stands for, which takes as little as it can. NULL: it does not match, or `to` has more
 * stars. The caller frees. */
char *pattern_replace(const char *pattern, const char *to, const char *text);
/* How many stars that match anything does a pattern have? */
size_t pattern_count_stars(const char *pattern);
/* Does the text end so, letter by letter? */
bool pattern_text_ends_with(const char *text, const char *ending);

#endif
