/* Patterns of names. */
#ifndef TV_PATTERN_H
#define TV_PATTERN_H

#include <stdbool.h>

/* Does a glob match? '*' crosses dots and slashes; '?' and [...] as in fnmatch; '\\' quotes. */
bool pattern_matches(const char *pattern, const char *text);
/* Does the text end so, letter by letter? */
bool pattern_ends(const char *text, const char *ending);

#endif
