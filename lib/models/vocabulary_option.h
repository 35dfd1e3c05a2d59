/* The option --vocabulary of filters that open models: the vocabulary that their embeddings and LM
 * heads get, as JSON (vocabulary_request.h). */
#ifndef TV_VOCABULARY_OPTION_H
#define TV_VOCABULARY_OPTION_H

#include "filter.h"
#include "vocabulary.h"

/* The row of the option; `field` is a const char *. The history has it without paths. */
#define VOCABULARY_OPTION_ROW(type, field, text)                                                   \
    {                                                                                              \
        "vocabulary", OPTION_VOCABULARY, offsetof(struct type, field), "JSON", .help = text        \
    }

/* In open: makes the vocabulary and records the option. Only sources print warnings, so that a
 * pipeline prints each once; in other stages it must be the vocabulary of the stream. *v is NULL
 * without the option; the caller frees, also after an error. */
int vocabulary_option_open(struct stage *s, const char *text, struct vocabulary **v,
                           struct error *e);
/* In open of a stage without the option: an error if rows of the stream have been moved to a
 * vocabulary, so that those of another model do not fit. */
int vocabulary_option_check_not_needed(const struct stage *s, struct error *e);

#endif
