/* Chat templates: the Jinja text by which a tokenizer turns messages into a prompt. */
#ifndef TV_CHAT_TEMPLATE_H
#define TV_CHAT_TEMPLATE_H

#include "error.h"
#include "mem.h"

/* Finds the template that `wanted` asks for: a known one (alpaca, chatml, exaone, llama3, mistral),
 * "auto" for the one that most of the models have, or a Jinja text. *text is NULL if "auto" finds
 * none. */
int chat_template_choose(const char *wanted, size_t n, const char *const *models, const char **text,
                         struct arena *a, struct error *e);

/* A tokenizer_config.json with this template in it. The caller frees; NULL on error, if it is not
 * valid JSON. */
char *chat_template_insert(const char *config, size_t size, const char *text, struct error *e);

#endif
