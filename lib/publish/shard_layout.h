/* The layout of a checkpoint's safetensors files: which tensor is in which shard at which offset,
 * and the names and headers of the shards. It follows from the tensors and options alone, so it is
 * known before any data.
 *
 * A shard_layout owns what it points to until shard_layout_free. */
#ifndef TV_SHARD_LAYOUT_H
#define TV_SHARD_LAYOUT_H

#include "dtype.h"
#include "error.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What to lay out. */
struct shard_layout_spec {
    size_t n; /* tensors, in the order in which their data will come */
    const char *const *names;
    const enum dtype *dtypes;
    const size_t *ranks;
    const uint64_t *const *shapes;
    uint64_t shard_size;          /* maximum bytes of data; a larger tensor gets its own shard */
    const char *stem;             /* of the names of the files (weight_names.h) */
    const char *single_file_name; /* one file of this name; NULL: named by the stem */
    bool keeps_order;             /* data are written in the order of the tensors: an archive */
    size_t n_metadata;            /* keys and values; {"format": "pt"} is always added */
    const char *const (*metadata)[2];
};

/* One file. */
struct shard {
    const char *name;
    unsigned char *header; /* eight bytes of length and the JSON */
    size_t header_size;
    uint64_t data_size;
    uint64_t padding; /* bytes of the data that belong to no tensor, and are 0 */
};

/* One tensor. */
struct placed_tensor {
    const char *name;
    enum dtype dtype;
    size_t rank;
    const uint64_t *shape;
    uint64_t size; /* bytes */
    size_t shard;
    uint64_t offset;       /* in the data of its shard */
    uint64_t total_offset; /* in the data of all shards, one after another */
};

/* A header in another format than JSON. The eight bytes before each value of the metadata are its
 * length. */
struct encoded_header {
    size_t used, alignment; /* its bytes before the padding to a multiple of the alignment */
    size_t *text_offsets;   /* where it has the values of the metadata */
};

struct shard_layout {
    size_t n;
    struct placed_tensor *tensors;
    size_t n_shards;
    struct shard *shards;
    size_t n_metadata;
    const char *(*metadata)[2];
    const char *index_name;         /* NULL if there is one file, which needs no index */
    struct encoded_header *encoded; /* NULL: the headers are JSON */
    bool keeps_order;
    struct arena arena;
};

/* `target` names the checkpoint in messages. NULL on error. */
struct shard_layout *shard_layout_new(const struct shard_layout_spec *spec, const char *target,
                                      struct error *e);
/* A layout of one file in another format. The caller sets the shard, with its header, and the
 * tensors; *encoded is copied. */
struct shard_layout *shard_layout_new_encoded(const char *name, size_t n, size_t n_metadata,
                                              const char *const (*metadata)[2],
                                              const struct encoded_header *encoded);
void shard_layout_free(struct shard_layout *l);
/* The smallest shard_size that gives at most n shards. */
uint64_t shard_layout_balanced_size(const struct shard_layout_spec *spec, uint64_t n);

/* Changes the value of a metadata key to one of the same length, and encodes the headers again. */
int shard_layout_set_metadata(struct shard_layout *l, const char *key, const char *value,
                              const char *target, struct error *e);
/* The same with a value of any length; a shorter one is padded with spaces. The headers may grow.
 */
int shard_layout_set_longer_metadata(struct shard_layout *l, const char *key, const char *value,
                                     const char *target, struct error *e);
/* The text of the index; NULL if there is none. The caller frees. */
char *shard_layout_index_json(const struct shard_layout *l);

#endif
