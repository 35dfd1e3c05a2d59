/* The safetensors files of a checkpoint: which tensor lies in which and where, what they are
 * called, and their headers. All of it follows from the tensors and the sizes alone, before any
 * data. Shards own what they point to until shard_layout_free. */
#ifndef TV_SHARD_LAYOUT_H
#define TV_SHARD_LAYOUT_H

#include "dtype.h"
#include "error.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shard_layout_spec {
    size_t n; /* tensors, in the order in which their data will come */
    const char *const *names;
    const enum dtype *dtypes;
    const size_t *ranks;
    const uint64_t *const *shapes;
    uint64_t shard_size;    /* bytes of a file; a larger tensor has one of its own */
    const char *whole_name; /* all in one file of this name; NULL: model*.safetensors */
    bool as_they_come;      /* data are written one after another: an archive */
    size_t n_metadata;      /* pairs of key and value; {"format": "pt"} is always there */
    const char *const (*metadata)[2];
};

/* One file. */
struct shard {
    const char *name;
    unsigned char *head; /* eight bytes of length and the JSON header */
    size_t head_size;
    uint64_t size; /* bytes of data */
};

/* One tensor. */
struct place {
    const char *name;
    enum dtype dtype;
    size_t rank;
    const uint64_t *shape;
    uint64_t size;
    size_t shard;
    uint64_t offset; /* in its shard's data */
    uint64_t start;  /* in the data of all shards, one after another */
};

struct shard_layout {
    size_t n;
    struct place *places;
    size_t n_files;
    struct shard *files;
    size_t n_metadata;
    const char *(*metadata)[2];
    bool as_they_come;
    struct arena arena;
};

/* NULL on error; `target` is what sentences call the checkpoint. */
struct shard_layout *shard_layout_new(const struct shard_layout_spec *w, const char *target,
                                      struct error *e);
void shard_layout_free(struct shard_layout *s);
/* The smallest size of a file with which they are at most `files`. */
uint64_t shard_layout_balanced_size(const struct shard_layout_spec *w, uint64_t files);

/* Gives metadata key `key` another value of the same length, and writes the headers anew. */
int shard_layout_set_metadata(struct shard_layout *s, const char *key, const char *value,
                              const char *target, struct error *e);
/* The text of model.safetensors.index.json; NULL if there is one file, which needs none. Caller
 * frees. */
char *shard_layout_index_json(const struct shard_layout *s);

#endif
