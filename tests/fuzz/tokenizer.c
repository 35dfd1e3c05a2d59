/* The tokenizer.json of two models, one after a zero byte: equal files have no difference, and the
 * token that differs has other ids in the files. */
#include "fuzz.h"
#include "tokenizer_files.h"

#include <errno.h>

/* The files of the models "0" and "1". */
static struct {
    const uint8_t *bytes;
    size_t size;
} files[2];

/* In the place of the function that reads a file of a model. */
int __wrap_ckpt_read_model_file(const char *path, const char *name, char **text, size_t *size,
                                struct error *e);
int __wrap_ckpt_read_model_file(const char *path, const char *name, char **text, size_t *size,
                                struct error *e)
{
    size_t model = (size_t)(*path - '0');
    *size = files[model].size;
    *text = fuzz_text(files[model].bytes, *size);
    return 1;
}

static void compare(const char *a_path, const char *b_path, bool same)
{
    struct error e;
    struct arena a = {0};
    struct token_difference d = {0};
    int found = tokenizer_files_find_difference(a_path, b_path, &d, &a, &e);
    if (found < 0 || (found && (same || !d.token || d.id_in_a == d.id_in_b)))
        abort();
    arena_free(&a);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    const uint8_t *zero = size ? memchr(bytes, 0, size) : NULL;
    files[0].bytes = bytes;
    files[0].size = zero ? (size_t)(zero - bytes) : size;
    files[1].bytes = zero ? zero + 1 : bytes;
    files[1].size = zero ? size - files[0].size - 1 : size;
    compare("0", "1", !zero);
    compare("1", "0", !zero);
    compare("0", "0", true);
}
