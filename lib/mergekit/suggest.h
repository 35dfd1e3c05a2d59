/* Words that may have been meant. */
#ifndef TV_SUGGEST_H
#define TV_SUGGEST_H

#include <stddef.h>

/* Of the n words the one that is spelled most like `word`; NULL if none is near. */
const char *suggest_word(const char *word, size_t n, const char *const *words);

#endif
