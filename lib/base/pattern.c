#include "pattern.h"

#include <fnmatch.h>
#include <locale.h>
#include <string.h>

bool pattern_matches(const char *pattern, const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(c);
    bool matches = fnmatch(pattern, text, 0) == 0;
    uselocale(before);
    freelocale(c);
    return matches;
}

bool pattern_ends(const char *text, const char *ending)
{
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}
