#include "tokenizer_files.h"

#include "ckpt.h"
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

bool tokenizer_files_is_tokenizer_file(const char *name)
{
    static const char *const names[] = {"special_tokens_map.json",
                                        "added_tokens.json",
                                        "merges.txt",
                                        "vocab.json",
                                        "vocab.txt",
                                        "spiece.model",
                                        "sentencepiece.bpe.model",
                                        "tekken.json"};
    static const char *const prefixes[] = {"tokenizer", "tokenization_", "chat_template"};
    bool found = false;
    for (size_t i = 0; i < COUNT(names); i++)
        found |= strcmp(name, names[i]) == 0;
    for (size_t i = 0; i < COUNT(prefixes); i++)
        found |= strncmp(name, prefixes[i], strlen(prefixes[i])) == 0;
    return found;
}

/* The first token, in the order of the file, that has another id in the other tokenizer, or none.
 */
static bool find_first_difference(const struct tokenizer *one, const struct tokenizer *two,
                                  struct token_difference *d, struct arena *a)
{
    for (size_t i = 0; i < one->n; i++) {
        const struct token *t = &one->tokens[i], *other = tokenizer_find(two, t->text);
        if (other && other->id == t->id)
            continue;
        *d = (struct token_difference){arena_copy_text(a, t->text), t->id, other ? other->id : -1};
        return true;
    }
    return false;
}

int tokenizer_files_find_difference(const char *a_path, const char *b_path,
                                    struct token_difference *d, struct arena *a, struct error *e)
{
    size_t n = 0, m = 0;
    char *one = NULL, *two = NULL;
    int found = ckpt_read_model_file(a_path, "tokenizer.json", &one, &n, e) < 0 ||
                        ckpt_read_model_file(b_path, "tokenizer.json", &two, &m, e) < 0
                    ? -1
                    : 0;
    if (one && two && (n != m || memcmp(one, two, n) != 0)) {
        struct error ignored; /* a file that is not valid has no tokens to compare */
        struct tokenizer *first = tokenizer_parse(one, n, a_path, &ignored),
                         *second = tokenizer_parse(two, m, b_path, &ignored);
        found = first && second && find_first_difference(first, second, d, a);
        tokenizer_free(first);
        tokenizer_free(second);
    }
    free(one);
    free(two);
    return found;
}
