#include "spelling_suggestion.h"

#include <string.h>

#define MAX_LENGTH 40 /* of words that are compared */

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The edit distance: insertions, deletions, substitutions and swaps of neighbors that turn one
 * word into the other (Damerau-Levenshtein, optimal string alignment). */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][MAX_LENGTH + 1], n = strlen(a), m = strlen(b);
    size_t *before_last = rows[0], *last = rows[1], *row = rows[2];
    if (n > MAX_LENGTH || m > MAX_LENGTH)
        return MAX_LENGTH;
    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t d = last[j - 1] + (a[i - 1] != b[j - 1]);
            d = min(d, min(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = min(d, before_last[j - 2] + 1);
            row[j] = d;
        }
        size_t *spare = before_last;
        before_last = last;
        last = row;
        row = spare;
    }
    return last[m];
}

const char *spelling_suggestion_find(const char *word, size_t n, const char *const *words)
{
    size_t limit = min(strlen(word) / 3 + 2, 4); /* distances below it are close */
    const char *closest = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t d = edit_distance(word, words[i]);
        if (d < limit) {
            limit = d;
            closest = words[i];
        }
    }
    return closest;
}

const char *spelling_suggestion_phrase(const char *suggestion, struct arena *a)
{
    return suggestion ? arena_printf(a, " (did you mean %s?)", suggestion) : "";
}
