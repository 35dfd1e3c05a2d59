/* The tokenizer files of a merged model: those of the start of its vocabulary, with the tokens that
 * the start lacks, and without those that its embedding has no rows of. The texts are edited, so
 * that all else stays as it is. */
#ifndef TV_TOKENIZER_EDIT_H
#define TV_TOKENIZER_EDIT_H

#include "vocabulary.h"

/* The tokenizer.json that the vocabulary was read from; an error if it is another text: new tokens
 * are appended to added_tokens; tokens that are taken out disappear from added_tokens, the
 * vocabulary and all merges with one of them as a part or as the result. `text` is followed by a
 * zero byte. The caller frees; NULL on error. */
char *tokenizer_edit_json(const struct vocabulary *v, const char *text, size_t size,
                          struct error *e);
/* tokenizer_config.json: the same for added_tokens_decoder, if it has one. */
char *tokenizer_edit_config(const struct vocabulary *v, const char *text, size_t size,
                            struct error *e);

#endif
