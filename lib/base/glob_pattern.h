/* Glob patterns for names: matching, and replacing the text that stars matched. */
#ifndef TV_GLOB_PATTERN_H
#define TV_GLOB_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

/* True if the glob matches the whole text. '*' also matches dots and slashes; '?' and [...] are
 * those of fnmatch; a backslash quotes the next character. */
bool glob_pattern_matches(const char *pattern, const char *text);
/* Returns `to` with its i-th '*' replaced by the text that the i-th '*' of the pattern matched (as
 * little as possible). NULL if the pattern does not match or `to` has more stars than the pattern.
 * The caller frees the result. */
char *glob_pattern_replace(const char *pattern, const char *to, const char *text);
/* The number of stars in a pattern, except quoted ones and those inside brackets. */
size_t glob_pattern_count_stars(const char *pattern);
/* True if the text ends with `ending`, compared without wildcards. */
bool glob_pattern_text_ends_with(const char *text, const char *ending);

#endif
