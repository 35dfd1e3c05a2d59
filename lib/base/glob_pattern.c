#include "glob_pattern.h"

#include "mem.h"

#include <fnmatch.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

bool glob_pattern_matches(const char *pattern, const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(c);
    bool matches = fnmatch(pattern, text, 0) == 0;
    uselocale(before);
    freelocale(c);
    return matches;
}

/* ---- replacing ------------------------------------------------------------------------------- */

/* The part of a pattern before its next star: its length, and how many characters it matches. */
struct piece {
    size_t length, characters;
};

/* The ']' that closes the '[' at `open`; NULL if there is none. Skips the inner brackets of
 * "[]...]", "[!]...]", "[[:alpha:]]" and "[\\]]". */
static const char *find_bracket_end(const char *open)
{
    const char *p = open + 1;
    p += *p == '!' || *p == '^';
    p += *p == ']';
    for (; *p && *p != ']'; p++) {
        const char class[] = {p[1], ']', '\0'};
        const char *end = *p == '[' && p[1] && strchr(":.=", p[1]) ? strstr(p + 2, class) : NULL;
        if (end)
            p = end + 1;
        else if (*p == '\\' && p[1])
            p++;
    }
    return *p ? p : NULL;
}

static struct piece find_piece_before_star(const char *pattern)
{
    struct piece p = {0, 0};
    while (pattern[p.length] && pattern[p.length] != '*') {
        const char *at = pattern + p.length, *close = *at == '[' ? find_bracket_end(at) : NULL;
        p.length += close ? (size_t)(close - at) + 1 : at[0] == '\\' && at[1] ? 2 : 1;
        p.characters++;
    }
    return p;
}

static bool piece_matches(const char *pattern, struct piece p, const char *text)
{
    char *glob = mem_copy_text_n(pattern, p.length), *part = mem_copy_text_n(text, p.characters);
    bool matches = strlen(part) == p.characters && glob_pattern_matches(glob, part);
    free(glob);
    free(part);
    return matches;
}

size_t glob_pattern_count_stars(const char *pattern)
{
    size_t n = 0;
    for (pattern += find_piece_before_star(pattern).length; *pattern; n++) {
        pattern++;
        pattern += find_piece_before_star(pattern).length;
    }
    return n;
}

/* Finds the text that each star matches: lengths[i] characters at starts[i]. */
static bool find_text_matched_by_stars(const char *pattern, const char *text, const char **starts,
                                       size_t *lengths)
{
    struct piece p = find_piece_before_star(pattern);
    if (!piece_matches(pattern, p, text))
        return false;
    for (size_t i = 0;; i++) {
        text += p.characters;
        pattern += p.length;
        if (!*pattern)
            return !*text;
        p = find_piece_before_star(++pattern);
        starts[i] = text;
        size_t left = strlen(text), skip = 0;
        if (left < p.characters)
            return false;
        if (!pattern[p.length]) /* the last piece must match at the end */
            skip = left - p.characters;
        while (skip + p.characters < left && !piece_matches(pattern, p, text + skip))
            skip++;
        text += lengths[i] = skip;
        if (!piece_matches(pattern, p, text))
            return false;
    }
}

char *glob_pattern_replace(const char *pattern, const char *to, const char *text)
{
    size_t stars = glob_pattern_count_stars(pattern), n = 0;
    const char **starts = mem_alloc(stars, sizeof *starts);
    size_t *lengths = mem_alloc(stars, sizeof *lengths);
    struct bytes out = {0};
    bool matches = find_text_matched_by_stars(pattern, text, starts, lengths);
    for (; matches && *to; to++) {
        if (*to != '*')
            bytes_append(&out, to, 1);
        else if (n == stars)
            matches = false;
        else {
            bytes_append(&out, starts[n], lengths[n]);
            n++;
        }
    }
    free(starts);
    free(lengths);
    bytes_append(&out, "", 1);
    if (matches)
        return (char *)out.data;
    bytes_free(&out);
    return NULL;
}

bool glob_pattern_text_ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}
