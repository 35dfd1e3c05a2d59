/* Finds the inputs of a recorded merge among the operands of the user: NAME=PATH, or paths of
 * models, of other files, and of folders that contain them. Models are recognized by their
 * fingerprint, other files by their hash. No other path is ever opened.
 *
 * An input_search owns what it returns until input_search_free. */
#ifndef TV_INPUT_SEARCH_H
#define TV_INPUT_SEARCH_H

#include "hf_cache.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input_search;

/* Lists the files that n operands offer; folders are searched one level deep. Archives of models
 * are unpacked to `spool`. Links to missing files are skipped; `tool` notes those among the
 * operands. NULL on error: an operand that does not exist or cannot be read. */
struct input_search *input_search_new(size_t n, const char *const *operands, const char *tool,
                                      const char *spool, struct error *e);
/* Adds the snapshot of a model in the local Hugging Face cache, if it is there. */
void input_search_add_cached(struct input_search *s, const struct hub_model *m);
void input_search_free(struct input_search *s);

/* A model of a recorded merge. */
struct recorded_input {
    const char *name;
    bool has_fingerprint;
    uint64_t fingerprint;
};

struct found_input {
    const char *path; /* NULL: it was not found */
    bool is_folder;
    uint64_t fingerprint; /* of the model at that path: another one only for NAME=PATH */
};

/* Finds a model: NAME=PATH, else the first offered model with the fingerprint. -1 if the model at
 * NAME=PATH cannot be opened. */
int input_search_find_model(struct input_search *s, const struct recorded_input *wanted,
                            struct found_input *found, struct error *e);
/* The path of a regular file of at most 256 MiB with this XXH3-64; NULL if none is offered. */
const char *input_search_find_file(struct input_search *s, uint64_t hash);
/* The path of a file or folder with statistics of a model (model_statistics.h) that has this
 * fingerprint; NULL if none is offered. */
const char *input_search_find_statistics(struct input_search *s, uint64_t fingerprint);
/* The first offered path that exists but could not be read in a search; NULL if there is none. */
const char *input_search_first_unreadable(const struct input_search *s);
/* The first NAME=PATH that no search has used; NULL if there is none. */
const char *input_search_first_unused(const struct input_search *s);

#endif
