/* The likely intended spelling of a mistyped word. */
#ifndef TV_SPELLING_SUGGESTION_H
#define TV_SPELLING_SUGGESTION_H

#include "mem.h"

#include <stddef.h>

/* The one of `n` words that is closest to `word` in edit distance; NULL if none is close. */
const char *spelling_suggestion_find(const char *word, size_t n, const char *const *words);
/* " (did you mean SUGGESTION?)", to end a message; empty if `suggestion` is NULL. */
const char *spelling_suggestion_phrase(const char *suggestion, struct arena *a);

#endif
